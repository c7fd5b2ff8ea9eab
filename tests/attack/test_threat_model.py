"""The threat model says for each attack which test shows that it fails, and for each attacker what remains open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.unit.test_docs import page, rows, section, ticked

PAGE = "docs/threat-model.md"
ROOT = Path(__file__).parents[2]
ATTACKERS = [heading for heading in re.findall(r"^## (.+)$", page(PAGE), re.MULTILINE) if heading[0] in "AS"]
NOT_SHOWN = ("none", "none here")
"""What a table may say where nothing here stops it."""


def test_there_are_attackers() -> None:
    assert len(ATTACKERS) == 9


@pytest.mark.parametrize("attacker", ATTACKERS)
def test_every_attack_cites_tests_that_exist_and_every_attacker_says_what_is_open(attacker: str) -> None:
    text = section(page(PAGE), f"## {attacker}")
    assert rows(text)
    for row in rows(text):
        assert len(row) == 3
        cited = ticked(row[2])
        assert cited or row[2] in NOT_SHOWN, row[0]
        for path in cited:
            assert (ROOT / path).is_file(), path
            assert "def test_" in (ROOT / path).read_text(encoding="utf-8"), path
    assert "**Open.**" in text


def test_every_file_of_the_attack_suite_is_cited() -> None:
    cited = set(ticked(page(PAGE)))
    here = {str(path.relative_to(ROOT)) for path in Path(__file__).parent.glob("test_*.py")}
    assert here - cited == {"tests/attack/test_threat_model.py"}


def test_the_readme_and_the_page_on_security_lead_to_it() -> None:
    assert "(docs/threat-model.md)" in page("README.md")
    assert "(threat-model.md" in page("docs/security.md")
