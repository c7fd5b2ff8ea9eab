"""A signed event says who published it, and nothing of it can be changed, moved or borrowed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jws
from joserfc.jwk import OKPKey

from schemas.base.base64url import base64url, from_base64url
from schemas.base.canonical import canonical_json
from schemas.bus import events
from schemas.bus.envelope import ORIGIN, REPLAY_ID, Event, Header, encode
from schemas.bus.events import EVENT_TYPES
from schemas.bus.publishers import PUBLISHES
from schemas.bus.signatures import MEDIA_TYPE, SIGNATURE, is_covered, signed_payload
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import SpeaksFor
from tenancy.evidence.event_signatures import EventVerifier, NotBelieved, may_publish
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.trust import Trust, trusted
from tests.fixtures.event_keys import LONG_AGO, event_key, signature_header, signer_of
from tests.unit.event_strategies import approved
from tests.unit.event_strategies import events as any_event
from tests.unit.test_docs import page

NOW = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
KEY, OTHER = LocalKey.generate(), LocalKey.generate()
EVERYTHING = tuple(EVENT_TYPES)
OMNISCIENT = event_key(KEY, "services", event_types=EVERYTHING)
QUICK = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow], deadline=None)

Headers = list[tuple[str, bytes | None]]


def verifier(*entries: Any) -> EventVerifier:
    return EventVerifier(Trust.of(*(entries or (OMNISCIENT,)), clock=lambda: NOW), lambda: NOW)


def signed(event: Event, key: LocalKey = KEY, at: datetime = NOW) -> Headers:
    return [*encode(event).headers, signature_header(event, signer_of(key, lambda: at))]


def believed(
    event: Event,
    headers: Headers,
    *entries: Any,
    value: bytes | None = None,
    appended_at: datetime | None = NOW,
) -> SpeaksFor | None:
    body = encode(event).value if value is None else value
    return verifier(*entries).publisher(event, body, headers, appended_at=appended_at)


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(NotBelieved) as refused:
        believed(*args, **options)
    return refused.value.code


@QUICK
@given(any_event())
def test_a_signed_event_names_its_publisher(event: Event) -> None:
    assert believed(event, signed(event)) == OMNISCIENT.speaks_for


def test_an_unsigned_event_names_nobody() -> None:
    assert believed(approved(), list(encode(approved()).headers)) is None


@QUICK
@given(any_event(), st.data())
def test_any_changed_attribute_breaks_the_signature(event: Event, data: st.DataObject) -> None:
    headers = signed(event)
    name, value = data.draw(st.sampled_from([header for header in headers if is_covered(header[0])]))
    other = data.draw((st.none() | st.text().map(str.encode) | st.binary()).filter(lambda found: found != value))
    changed = [(held, other if held == name else raw) for held, raw in headers]
    assert refusal(event, changed) == "wrong-signature"
    assert refusal(event, [header for header in headers if header[0] != name]) == "wrong-signature"
    assert refusal(event, [*headers, (name, value)]) == "wrong-signature"


@QUICK
@given(
    any_event(), st.from_regex(r"ce_[a-z0-9]{1,9}", fullmatch=True) | st.just("ce_Frau") | st.just("ce_é"), st.text()
)
def test_an_added_attribute_breaks_the_signature(event: Event, name: str, value: str) -> None:
    headers = signed(event)
    if is_covered(name):
        assert refusal(event, [*headers, (name, value.encode())]) == "wrong-signature"


@QUICK
@given(any_event(), st.binary(max_size=64))
def test_any_changed_payload_breaks_the_signature(event: Event, value: bytes) -> None:
    assert refusal(event, signed(event), value=value) == "wrong-signature"
    assert refusal(event, signed(event), value=encode(event).value + b" ") == "wrong-signature"


@QUICK
@given(any_event(), any_event())
def test_the_signature_of_one_event_stands_for_no_other(one: Event, other: Event) -> None:
    borrowed = [*encode(other).headers, signed(one)[-1]]
    # A copy that a replay sends is the same event, as is one in another trace.
    if replace(one, replay_id=None) != replace(other, replay_id=None):
        assert refusal(other, borrowed) == "wrong-signature"


@pytest.mark.parametrize("change", [{"subject": "t2"}, {"time": NOW - DAY}, {"source": "/sanolith/other"}])
def test_the_signature_of_an_event_stands_for_no_other_tenant_time_or_source(change: dict[str, Any]) -> None:
    other = replace(approved(), **change)
    assert refusal(other, [*encode(other).headers, signed(approved())[-1]]) == "wrong-signature"


def test_the_signature_of_a_grant_stands_for_no_revocation_with_the_same_data() -> None:
    granted = replace(approved(), data=events.ConsentGranted(consent_id="c", version=1))
    revoked = replace(approved(), data=events.ConsentRevoked(consent_id="c", version=1))
    said = encode(granted).value  # a reader of revocations passes over what only a grant has
    assert refusal(revoked, [*encode(revoked).headers, signed(granted)[-1]], value=said) == "wrong-signature"
    assert believed(granted, signed(granted), value=said) == OMNISCIENT.speaks_for


@QUICK
@given(any_event(), any_event())
def test_no_two_messages_have_one_payload(one: Event, other: Event) -> None:
    first, second = encode(one), encode(other)
    of_first = signed_payload(first.topic, first.value, first.headers)
    assert of_first != signed_payload(f"{first.topic}.dlq", first.value, first.headers)
    if first != second:
        assert of_first != signed_payload(second.topic, second.value, second.headers)


@QUICK
@given(any_event(), st.text())
def test_the_payload_is_canonical_json(event: Event, text: str) -> None:
    message = encode(event)
    headers = [*message.headers, ("ce_x", text.encode())]
    payload = signed_payload(message.topic, message.value, headers)
    assert payload == canonical_json(json.loads(payload))


def test_what_is_added_on_the_way_leaves_the_signature_whole() -> None:
    added = (REPLAY_ID, *ORIGIN, "dlq_reason", "sano_only_for", "traceparent", "unrelated")
    for times in (1, 2):
        assert believed(approved(), [*signed(approved()), *((name, b"x") for name in added * times)])


# --- the header


def resigned(change: Callable[[dict[str, Any]], dict[str, Any]], key: LocalKey = KEY) -> Headers:
    """The event with another protected header, rightly signed."""
    protected = from_base64url((signed(approved())[-1][1] or b"").decode().partition("..")[0])
    header = base64url(json.dumps(change(json.loads(protected))).encode())
    message = encode(approved())
    payload = base64url(signed_payload(message.topic, message.value, message.headers))
    signature = base64url(key.sign(f"{header}.{payload}".encode()))
    return [*message.headers, (SIGNATURE, f"{header}..{signature}".encode())]


PROTECTED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "no algorithm": lambda said: {**said, "alg": "none"},
    "another algorithm": lambda said: {**said, "alg": "HS256"},
    "another type": lambda said: {**said, "typ": "JWT"},
    "no type": lambda said: {name: value for name, value in said.items() if name != "typ"},
    "a critical extension": lambda said: {**said, "crit": ["b64"], "b64": False},
    "a key of its own": lambda said: {**said, "jwk": {"kty": "OKP"}},
    "no time": lambda said: {name: value for name, value in said.items() if name != "iat"},
    "a time that is none": lambda said: {**said, "iat": True},
    "a time before all times": lambda said: {**said, "iat": -1},
    "a time that nobody can write": lambda said: {**said, "iat": 10**30},
    "a time in the future": lambda said: {**said, "iat": said["iat"] + 60},
}


def test_the_header_that_the_others_are_like_is_taken() -> None:
    assert believed(approved(), resigned(lambda said: said))


@pytest.mark.parametrize("what", PROTECTED)
def test_a_rightly_signed_header_of_another_kind_is_refused(what: str) -> None:
    assert refusal(approved(), resigned(PROTECTED[what])) == "wrong-signature"


def test_two_signatures_are_none() -> None:
    assert refusal(approved(), [*signed(approved()), signed(approved(), OTHER)[-1]]) == "wrong-signature"


@QUICK
@given(st.none() | st.binary() | st.from_regex(r"[A-Za-z0-9_-]{1,40}\.\.[A-Za-z0-9_-]{1,40}").map(str.encode))
def test_no_bytes_in_the_header_make_it_fail_in_another_way(raw: bytes | None) -> None:
    assert refusal(approved(), [*encode(approved()).headers, (SIGNATURE, raw)]) == "wrong-signature"


def test_another_spelling_of_a_signature_is_refused() -> None:
    *headers, (name, raw) = signed(approved())
    text = (raw or b"").decode()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    respelled = text[:-1] + last[last.index(text[-1]) + 1]  # 64 bytes leave bits of the last digit unused
    assert refusal(approved(), [*headers, (name, respelled.encode())]) == "wrong-signature"
    assert refusal(approved(), [*headers, (name, f"{text}=".encode())]) == "wrong-signature"


# --- the key


def test_a_signature_by_a_key_that_nobody_knows_is_refused() -> None:
    assert refusal(approved(), signed(approved(), OTHER)) == "unknown-signer"


@pytest.mark.parametrize("purpose", [purpose for purpose in Purpose if purpose is not Purpose.EVENT])
def test_a_signature_by_a_key_of_another_purpose_is_refused(purpose: Purpose) -> None:
    assert refusal(approved(), signed(approved()), trusted(KEY.public_key, purpose, LONG_AGO)) == "signer-not-valid"


def test_a_key_that_ended_verifies_what_it_signed_before_and_nothing_later() -> None:
    ended = event_key(KEY, "import", valid_until=NOW - DAY)
    assert believed(approved(), signed(approved(), at=NOW - 2 * DAY), ended, appended_at=NOW)
    assert refusal(approved(), signed(approved(), at=NOW), ended) == "signer-not-valid"


def test_a_key_that_is_not_valid_yet_verifies_nothing() -> None:
    assert refusal(approved(), signed(approved()), event_key(KEY, "import", valid_from=NOW + DAY)) == "signer-not-valid"


def test_a_revoked_key_verifies_what_the_broker_had_before() -> None:
    revoked = event_key(KEY, "import", revoked_at=NOW - DAY)
    before = signed(approved(), at=NOW - 2 * DAY)
    assert believed(approved(), before, revoked, appended_at=NOW - 2 * DAY)
    assert refusal(approved(), signed(approved(), at=NOW), revoked) == "signer-not-valid"


def test_a_thief_of_a_revoked_key_gains_nothing_by_writing_an_earlier_time() -> None:
    revoked = event_key(KEY, "import", revoked_at=NOW - DAY)
    backdated = signed(approved(), at=NOW - 2 * DAY)
    assert refusal(approved(), backdated, revoked, appended_at=NOW) == "signer-not-valid"
    assert refusal(approved(), backdated, revoked, appended_at=None) == "signer-not-valid"


def test_an_event_whose_time_lies_before_its_key_is_believed() -> None:
    """What an outbox owes may be published by a process that was started with the next key."""
    young = event_key(KEY, "import", valid_from=NOW - timedelta(minutes=1))
    assert believed(replace(approved(), time=NOW - 9 * DAY), signed(replace(approved(), time=NOW - 9 * DAY)), young)


def test_a_p256_key_signs_events_too() -> None:
    key = LocalKey.generate_p256()
    assert believed(approved(), signed(approved(), key), event_key(key, "import"))
    *headers, (name, raw) = signed(approved(), key)
    changed = (raw or b"")[:-4] + b"AAAA"
    assert refusal(approved(), [*headers, (name, changed)], event_key(key, "import")) == "wrong-signature"


# --- whom it speaks for


def test_a_registered_publisher_speaks_for_its_tenants_and_types_only() -> None:
    clinic = event_key(KEY, "clinic-7", tenants=("t1",), event_types=("sano.consent.granted", "sano.consent.revoked"))
    consent = replace(approved(), data=events.ConsentGranted(consent_id="c", version=1))
    assert believed(consent, signed(consent), clinic) == clinic.speaks_for
    assert refusal(approved(), signed(approved()), clinic) == "signer-not-allowed"
    foreign = replace(consent, subject="t2")
    assert refusal(foreign, signed(foreign), clinic) == "signer-not-allowed"


def test_a_publisher_for_some_tenants_registers_no_replica() -> None:
    registered = Event("t1", events.ReplicaRegistered(replica_id="t1", base_model_digest="a" * 64), NOW, "/x")
    assert may_publish(SpeaksFor(publisher="inference"), registered)
    assert not may_publish(SpeaksFor(publisher="inference", tenants=("t2",)), registered)


@QUICK
@given(any_event(), st.sampled_from([*PUBLISHES, "clinic-7"]))
def test_a_publisher_without_types_of_its_own_publishes_what_the_contract_says(event: Event, who: str) -> None:
    is_its_own = who in PUBLISHES and type(event.data) in PUBLISHES[who]
    assert may_publish(SpeaksFor(publisher=who), event) is is_its_own


# --- others' libraries


def test_joserfc_verifies_our_signatures_and_ours_verifies_joserfcs() -> None:
    message = encode(approved())
    payload = signed_payload(message.topic, message.value, message.headers)
    key = OKPKey.import_key(KEY.pem())
    ours = (signed(approved())[-1][1] or b"").decode()
    protected, signature = ours.split("..")
    whole = f"{protected}.{base64url(payload)}.{signature}"
    registry = jws.JWSRegistry(algorithms=["Ed25519"], strict_check_header=False)  # of which iat is none
    assert jws.deserialize_compact(whole, key, registry=registry).payload == payload
    header = {"alg": "Ed25519", "iat": int(NOW.timestamp()), "kid": KEY.public_key.key_id, "typ": MEDIA_TYPE}
    made = jws.serialize_compact(header, payload, key, registry=registry)
    detached: Header = (SIGNATURE, jws.detach_content(made).encode())
    assert believed(approved(), [*message.headers, detached])


def test_the_example_for_integrators_signs_what_is_taken() -> None:
    blocks = re.findall(r"```python\n(.*?)```", page("docs/integrators.md"), re.DOTALL)
    [block] = [block for block in blocks if "def signature(" in block]
    example: dict[str, Any] = {}
    exec(block, example)  # noqa: S102 - our own page
    message = encode(approved())
    attributes = {name: value.decode() for name, value in message.headers}
    made = example["signature"](message.topic, message.value, attributes, KEY.private_key, KEY.public_key.key_id)
    now = datetime.now(UTC)
    today = EventVerifier(Trust.of(OMNISCIENT))
    headers = [*message.headers, (SIGNATURE, made.encode())]
    assert today.publisher(approved(), message.value, headers, appended_at=now) == OMNISCIENT.speaks_for
