"""Krippendorff's alpha against the worked examples of its author."""

from __future__ import annotations

import pytest

from producers.queries.agreement import agreement, krippendorff_alpha
from tests.unit.review_page_parts import T1, desk_of


def units(*observers: str) -> list[list[str]]:
    """From a row for each observer, with a dot where one said nothing, to the values of each unit."""
    return [[value for value in column if value != "."] for column in zip(*observers, strict=True)]


@pytest.mark.parametrize(
    ("observers", "alpha"),
    [
        pytest.param(("0100000010", "1110010000"), 0.095, id="A: binary, two observers"),
        pytest.param(("aabbdcccedda", "babbbccceddd"), 0.692, id="B: nominal, two observers"),
        pytest.param(
            ("123321412...", "1233224125.3", ".3332342251.", "12332441251."),
            0.743,
            id="C: four observers, some missing",
        ),
    ],
)
def test_alpha_is_what_krippendorff_computes_in_his_worked_examples(observers: tuple[str, ...], alpha: float) -> None:
    """Computing Krippendorff's Alpha-Reliability (2011), sections A, B and C."""
    found = krippendorff_alpha(units(*observers))
    assert found is not None
    assert round(found, 3) == alpha


def test_alpha_is_one_for_perfect_agreement_and_not_defined_without_variation_or_pairs() -> None:
    assert krippendorff_alpha([["a", "a"], ["b", "b"]]) == 1
    assert krippendorff_alpha([["a", "a"], ["a", "a"]]) is None
    assert krippendorff_alpha([["a"], ["b"]]) is None
    assert krippendorff_alpha([]) is None


async def test_a_tenants_agreement_is_of_its_reviews_by_example_and_version() -> None:
    desk = await desk_of(required=3)
    of = desk.review()
    for example, verdicts in {
        "e1": ("approved", "approved"),
        "e2": ("rejected", "rejected"),
        "e3": ("approved",),
    }.items():
        proposed = await of.proposed(example)
        said = [of.reviewed(proposed, f"rev-{number}", verdict) for number, verdict in enumerate(verdicts)]
        await of.handle(proposed, *said)
    found = await agreement(desk.parts.tenancy, T1)
    assert (found.alpha, found.units, found.reviews, found.is_whole) == (1, 2, 5, True)
