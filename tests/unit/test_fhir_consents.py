"""Consents: training needs a permit that names it and is in force; deny wins; what is not understood denies."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from producers.sources.fhir.consents import Word, decided, together
from schemas.bus.events import ConsentGranted, ConsentRevoked
from tests.unit.fhir_parts import MAPPING, NOW, Json, consent, limit, made_from, provision

assert MAPPING.consent is not None
SAID = MAPPING.consent
OVER: Json = {"period": {"end": "2026-02-28"}}
LABEL: Json = {"securityLabel": [{"code": "N"}]}
IN_FORCE: Json = {"period": {"start": "2026-01", "end": "2026-03-01"}}


def word(root: Json, **said: Any) -> Word:
    return decided(consent(root, **said), SAID, NOW).word


@pytest.mark.parametrize(
    ("root", "expected"),
    [
        (provision(), Word.PERMIT),
        (provision(modifierExtension=limit()), Word.PERMIT),
        (provision(**IN_FORCE), Word.PERMIT),
        (provision("deny"), Word.DENY),
        (provision("deny", None), Word.DENY),
        (provision("deny", "TREAT"), Word.SILENT),
        (provision("permit", "TREAT"), Word.SILENT),
        (provision("permit", None), Word.SILENT),
        (provision(None, None), Word.SILENT),
        ({}, Word.SILENT),
        (provision(**LABEL), Word.SILENT),
        (provision(actor=[{"role": {}, "reference": {}}]), Word.SILENT),
        (provision(**OVER), Word.LAPSED),
        (provision(period={"start": "2026-03-02"}), Word.LAPSED),
        (provision("deny", **OVER), Word.LAPSED),
        (provision(provision=[provision("deny")]), Word.DENY),
        (provision(provision=[provision("deny", None, **LABEL)]), Word.DENY),
        (provision(provision=[provision("deny", "TREAT")]), Word.PERMIT),
        (provision(provision=[provision("deny", **OVER)]), Word.PERMIT),
        (provision(provision=[provision("permit", None), provision("deny")]), Word.DENY),
        (provision("deny", None, provision=[provision(modifierExtension=limit())]), Word.PERMIT),
        (provision("deny", None, provision=[provision(**LABEL)]), Word.DENY),
        (provision("deny", None, provision=[provision(), provision("deny")]), Word.DENY),
        (provision(modifierExtension=limit("PSEUD")), Word.DENY),
        (provision(modifierExtension=limit(url="https://elsewhere.example/x")), Word.DENY),
        (provision(modifierExtension=[{"url": limit()[0]["url"], "valueString": "x"}]), Word.DENY),
        (provision(provision=[provision("permit", "TREAT", modifierExtension=limit("X"))]), Word.DENY),
        (provision(period={"end": "some day"}), Word.DENY),
        (provision(period={"end": "9999-12-31"}), Word.PERMIT),
        (provision(period={"start": "0001-01-01T00:00:00+05:00"}), Word.DENY),
    ],
)
def test_what_a_consent_says_of_training(root: Json, expected: Word) -> None:
    assert word(root) is expected


def test_a_modifier_of_the_whole_consent_that_is_not_known_denies_and_says_so() -> None:
    decision = decided(consent(modifierExtension=[{"url": "x", "valueBoolean": True}]), SAID, NOW)
    assert decision.word is Word.DENY
    assert decision.refusal is not None
    assert "modifierExtension" in str(decision.refusal)


@pytest.mark.parametrize("status", ["draft", "proposed", "rejected", "inactive", "entered-in-error"])
def test_a_consent_that_is_not_active_permits_nothing(status: str) -> None:
    assert word(provision(), status=status) is Word.LAPSED


async def test_deny_wins_among_a_patients_consents_and_a_renewed_one_over_its_lapsed_one() -> None:
    deny, permit = consent(provision("deny"), "c2"), consent()
    [revoked] = (await made_from(permit, deny)).consents
    assert isinstance(revoked, ConsentRevoked)
    lapsed = consent(provision(**OVER), "c2")
    [granted] = (await made_from(lapsed, permit)).consents
    assert isinstance(granted, ConsentGranted)
    assert (await made_from(consent(provision("deny", "TREAT")))).consents == []
    other = consent(provision("deny"), "c3", patient={"reference": "https://ehr.example/fhir/Patient/p2"})
    kinds = [type(data) for data in (await made_from(permit, other)).consents]
    assert kinds == [ConsentGranted, ConsentRevoked]


async def test_a_consent_that_cannot_be_understood_is_said_and_revokes() -> None:
    made = await made_from(consent(provision(modifierExtension=limit("X"))))
    [revoked] = made.consents
    assert isinstance(revoked, ConsentRevoked)
    [refusal] = made.refused
    assert str(refusal).startswith("entry 0: refused: Consent: a provision has a limit")
    made = await made_from(consent(provision("deny"), meta={}), consent(name="c2"))
    assert [refusal.code for refusal in made.refused] == ["no-version"]
    [revoked] = made.consents
    assert isinstance(revoked, ConsentRevoked)


def test_a_decision_has_a_higher_version_after_a_change_and_after_each_begin_and_end_of_a_period() -> None:
    """Or what is decided when a period begins would lose against what was decided before it."""
    root = provision(period={"start": "2026-03-02", "end": "2026-03-04"})
    days = [datetime(2026, 3, day, 12, tzinfo=UTC) for day in (1, 2, 4, 5)]
    said = [decided(consent(root), SAID, day) for day in days]
    assert [one.word for one in said] == [Word.LAPSED, Word.PERMIT, Word.PERMIT, Word.LAPSED]
    versions = [one.version for one in said]
    assert versions[0] < versions[1] == versions[2] < versions[3]
    later = decided(consent(root, meta={"lastUpdated": "2026-03-06T00:00:00Z"}), SAID, NOW + timedelta(days=9))
    assert later.version > versions[3]
    assert together([said[1], said[3]]).version == versions[3]


def test_a_grant_ends_where_a_period_does_or_where_a_denial_begins() -> None:
    def until(*roots: Json) -> datetime | None:
        return together(decided(consent(root), SAID, NOW) for root in roots).until

    forever, march = provision(), provision(period={"end": "2026-03"})
    april = datetime(2026, 4, 1, tzinfo=UTC)
    assert until(forever) is None
    assert until(march) == april
    assert until(march, provision(period={"end": "2026-05"})) == datetime(2026, 6, 1, tzinfo=UTC)
    assert until(march, forever) is None
    later = provision("deny", period={"start": "2026-04"})
    assert until(forever, later) == until(provision(provision=[later])) == april
    assert until(forever, provision("deny", "TREAT", period={"start": "2026-04"})) is None


async def test_the_event_says_until_when_a_consent_is_granted() -> None:
    [granted] = (await made_from(consent(provision(period={"end": "2026-03-31"})))).consents
    assert isinstance(granted, ConsentGranted)
    assert granted.until == datetime(2026, 4, 1, tzinfo=UTC)
    forever = consent(provision(period={"end": "9999-12-31T23:59:59-05:00"}))
    [granted] = (await made_from(forever)).consents
    assert isinstance(granted, ConsentGranted)
    assert granted.until is None
