"""When an answer is correct, and what a held-out file may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.models.heldout import HeldoutFileError, is_correct, read_heldout

DATA = Path(__file__).parents[2] / "deploy" / "local" / "data"


def test_one_alternative_of_every_group_is_needed() -> None:
    must = [["naproxen"], ["P-01", "P01"]]

    assert is_correct("We stock NAPROXEN. [House  Formulary p01]", must, [])
    assert not is_correct("We stock naproxen.", must, [])
    assert not is_correct("[P-01]", must, [])


def test_a_forbidden_phrase_spoils_a_right_answer() -> None:
    assert not is_correct("Naproxen, or Ibuprofen.", [["naproxen"]], ["ibuprofen"])


def test_white_space_does_not_matter() -> None:
    assert is_correct("amber\n  line", [["Amber line"]], [])


def test_a_bad_line_is_named_without_its_text(tmp_path: Path) -> None:
    path = tmp_path / "x.heldout.jsonl"
    path.write_text('{"id": "a", "question": "secret", "must": [], "answer": "secret"}\n')

    with pytest.raises(HeldoutFileError, match="line 1: must") as error:
        read_heldout(path)
    assert "secret" not in str(error.value)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("\n")

    with pytest.raises(HeldoutFileError, match="no question"):
        read_heldout(tmp_path / "x.jsonl")


@pytest.mark.parametrize("tenant", ["oncology", "paediatrics"])
def test_the_reviewers_own_answers_are_correct_and_the_other_tenants_are_not(tenant: str) -> None:
    other = {"oncology": "paediatrics", "paediatrics": "oncology"}[tenant]
    mine, theirs = (read_heldout(DATA / f"{name}.heldout.jsonl") for name in (tenant, other))

    assert [item.question for item in mine] == [item.question for item in theirs]
    for own, foreign in zip(mine, theirs, strict=True):
        assert is_correct(own.answer, own.must, own.must_not)
        assert not is_correct(foreign.answer, own.must, own.must_not)
