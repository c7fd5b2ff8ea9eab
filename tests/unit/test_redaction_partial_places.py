"""Places that are named in part are found: streets without a house, towns with a state, firms by their trade."""

from __future__ import annotations

import pytest

from tenancy.redaction.port import RedactionGate
from tenancy.redaction.standard import standard_gate


@pytest.fixture(scope="module")
def gate() -> RedactionGate:
    return standard_gate()


@pytest.mark.parametrize(
    "identifier",
    [
        "Cobalt Terrace",
        "14 Willow",
        "Linnet Cottage, Mill Lane",
        "RR 3",
        "unit 14",
        "55379",
        "Norcross Poultry",
        "Halvorsen Freight",
        "Riverbend Dental",
        "Tolland Slate & Brick",
        "Hy-Vee on Grand",
        "amazon mkc6",
        "HMP Swaleside",
        "Stow-on-the-Hill",
        "Akron Station 9",
        "5th and Pine",
    ],
)
def test_a_place_that_is_named_in_part_is_found_whole(gate: RedactionGate, identifier: str) -> None:
    before = "lives in" if identifier in ("55379", "unit 14") else "lives on" if identifier == "RR 3" else "fell at"
    redacted = gate.redact_text(f"{before} {identifier}, temp 38, ibuprofen 400 mg?").text
    assert redacted.startswith(f"{before} [")
    assert redacted.endswith("-1], temp 38, ibuprofen 400 mg?")


@pytest.mark.parametrize(
    "text",
    [
        "RR 28, sats 90, cr 450",
        "growth scan at 36 Weeks",
        "Blood Bank has none left",
        "Bowel prep, then Plant sterols",
        "Arterial Blood Gas shows pH 7.21",
        "dose of Mineral Oil, then Cod Liver Oil",
        "Black Seed Oil with metformin",
        "Iron & Zinc at bedtime",
        "Ponseti boots on for 6 weeks after the casts",
        "in 10 years or 20000 units",
        "D4341 or D4910 after root planing, CO-97 on the remittance",
        "Duraphat 22600 ppm twice a year",
        "Braxton Hicks at 36 weeks",
        "Van Herick grade 1, dilate?",
        "counter: 50 y man asks for sildenafil",
    ],
)
def test_medicine_that_looks_like_a_place_or_a_name_is_left_alone(gate: RedactionGate, text: str) -> None:
    assert gate.redact_text(text).text == text
