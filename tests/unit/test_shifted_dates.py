"""Dates that are shifted keep their order and distances, and no real date can pass for one."""

from __future__ import annotations

import re
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.bus.content import ChatMessage
from tenancy.redaction.dates import find
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.rules import RuleDetector
from tenancy.redaction.shifted_dates import DateShift

SHIFT = DateShift(b"0123456789abcdef")
SHOWN = re.compile(r"\[DATE-\d+ (\d{4})-(\d\d)-(\d\d)\]")


def days(text: str) -> list[date]:
    return [date(*map(int, match.groups())) for match in SHOWN.finditer(text)]


def between(values: list[str]) -> list[int]:
    moved = SHIFT.shifted(values)
    return [(moved[after] - moved[before]).days for before, after in pairwise(values)]


@pytest.fixture(scope="module")
def gate() -> UnionGate:
    return UnionGate("rules", "1", [RuleDetector()])


def test_a_conversations_dates_stay_in_order_and_as_far_apart_in_every_message(gate: UnionGate) -> None:
    said = [
        ChatMessage(role="user", content="admitted 3/14/2024, discharged March 20, 2024, dob 1951-04-02"),
        ChatMessage(role="assistant", content="Between 14 March 2024 and 20-Mar-24 the drain stayed."),
    ]
    first, second = (message.content for message in gate.redact(said, dates=SHIFT).messages)
    admitted, discharged, born = days(first)
    assert (discharged - admitted, admitted - born) == (timedelta(days=6), date(2024, 3, 14) - date(1951, 4, 2))
    assert days(second) == [admitted, discharged]
    assert "[DATE-1 " in first and "[DATE-1 " in second


def test_all_shifted_dates_lie_in_years_that_no_text_is_of_and_a_later_gate_finds_nothing_in_them(
    gate: UnionGate,
) -> None:
    done = gate.redact_text("seen 2024-03-14 and 3/20/2024", dates=SHIFT)
    assert all(2100 <= day.year <= 2199 for day in days(done.text))
    assert gate.scan(done.text) == ()
    assert gate.redact_text("seen [DATE-1 2024-03-14] again").text == "seen [DATE-1 [DATE-1]] again"


def test_the_same_secret_gives_the_same_dates_and_another_one_others(gate: UnionGate) -> None:
    text = "seen 2024-03-14"
    again = gate.redact_text(text, dates=DateShift(SHIFT.seed)).text
    assert again == gate.redact_text(text, dates=SHIFT).text
    assert again != gate.redact_text(text, dates=DateShift(b"another secret of it")).text
    assert "0123" not in repr(SHIFT)


def test_a_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        DateShift(b"short")


def test_a_date_without_a_year_takes_the_year_next_to_the_date_before_it() -> None:
    assert between(["12/28/2023", "1/3", "3 February"]) == [6, 31]
    assert between(["3/14", "3/20"]) == [6]
    assert between(["Tues, 3/5/2024", "Thursday the 7th of March 2024"]) == [2]


@pytest.mark.parametrize("value", ["March 2024", "2024-03", "Christmas", "March 3-5", "13/32/2024", "the 3rd"])
def test_what_names_no_day_keeps_its_plain_placeholder(value: str) -> None:
    assert SHIFT.shifted([value]) == {}


def test_a_birth_that_tells_an_age_over_89_is_not_shifted() -> None:
    assert set(SHIFT.shifted(["1/5/1930", "3/14/2024"])) == {"3/14/2024"}


@given(st.dates(date(1945, 1, 1), date(2030, 1, 1)), st.integers(0, 5))
def test_every_form_in_which_a_day_is_found_is_read_as_that_day(day: date, form: int) -> None:
    written = (
        f"{day:%Y-%m-%d}",
        f"{day.month}/{day.day}/{day.year}",
        f"{day:%B} {day.day}, {day.year}",
        f"{day.day} {day:%b} {day.year}",
        f"{day:%d%b%Y}",
        f"{day:%Y%m%d}",
    )[form]
    assert any(end - start >= len(written) for start, end, _ in find(f"seen {written} again"))
    fixed = f"{day:%Y/%m/%d}"
    moved = SHIFT.shifted([written, fixed])
    assert moved[written] == moved[fixed]
