"""An operator vouches for what is sent again: for what is not signed or was signed by a key that was revoked since."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from producers.replay.log import Message
from producers.replay.running import Run
from producers.replay.vouching import Vouching
from schemas.bus.envelope import Event, decode, encode
from schemas.bus.events import CURATION, ConsentGranted
from schemas.bus.signatures import SIGNATURE
from tenancy.bus import RawMessage
from tenancy.evidence.event_signatures import EventVerifier, NotBelieved
from tenancy.evidence.keys import LocalKey
from tests.fixtures.event_keys import EventKeys, event_key, signature_header, signer_of
from tests.unit.replay_parts import Installation

KEY = LocalKey.generate()


class Signed(Installation):
    """An installation of whose publishers one has a key that is revoked later."""

    async def publish_signed(
        self, data: ConsentGranted, signer_key: LocalKey | None, *, spoiled: bool = False
    ) -> Event:
        event = Event(subject="t1", data=data, time=self.clock(), source="/ehr")
        message = encode(replace(event, source="/other") if spoiled else event)
        headers = list(encode(event).headers)
        if signer_key is not None:
            signed = replace(event, source="/other") if spoiled else event
            headers.append(signature_header(signed, signer_of(signer_key, lambda: self.now)))
        await self.log.publish_raw(RawMessage(message.topic, message.key, message.value, headers))
        return event

    def verifier(self, keys: EventKeys, *, revoked: bool) -> EventVerifier:
        at = {"revoked_at": self.now} if revoked else {}
        return EventVerifier(keys.trust(event_key(KEY, "ehr", **at)), lambda: self.now)


async def sent_again(here: Signed, verifier: EventVerifier, keys: EventKeys, *, vouches: bool = True) -> list[Message]:
    vouching = Vouching(verifier, keys.signer("operators"))
    run: Run = here.run(await here.plan(), max_effects=None, max_dead_letters=None)
    run.vouching = vouching if vouches else None
    before = len(here.held(CURATION))
    await run.execute("op")
    return here.held(CURATION)[before:]


def signature(message: Message) -> bytes | None:
    return dict(message.headers).get(SIGNATURE)


def publisher(verifier: EventVerifier, message: Message) -> str | None:
    event = decode(message.key, message.value, message.headers)
    found = verifier.publisher(event, message.value, message.headers, appended_at=message.time)
    return found.publisher if found else None


async def installation() -> tuple[Signed, EventKeys]:
    here = Signed()
    await here.tenant("t1")
    return here, EventKeys(lambda: here.now)


@pytest.mark.parametrize("revoked", [False, True])
async def test_a_good_signature_is_kept_and_one_of_a_key_that_was_revoked_since_is_replaced(revoked: bool) -> None:
    here, keys = await installation()
    await here.publish_signed(ConsentGranted(consent_id="c", version=1), KEY)
    here.now += timedelta(days=1)
    verifier = here.verifier(keys, revoked=revoked)
    [original] = here.held(CURATION)
    [copy] = await sent_again(here, verifier, keys)
    assert (signature(copy) == signature(original)) is not revoked
    assert publisher(verifier, copy) == ("operators" if revoked else "ehr")


async def test_what_is_not_signed_is_signed_by_the_operator_who_vouches_and_by_nobody_else() -> None:
    here, keys = await installation()
    await here.publish_signed(ConsentGranted(consent_id="c", version=1), None)
    verifier = here.verifier(keys, revoked=False)
    [copy] = await sent_again(here, verifier, keys, vouches=False)
    assert publisher(verifier, copy) is None
    here, keys = await installation()
    await here.publish_signed(ConsentGranted(consent_id="c", version=1), None)
    verifier = here.verifier(keys, revoked=False)
    [copy] = await sent_again(here, verifier, keys)
    assert publisher(verifier, copy) == "operators"


@pytest.mark.parametrize("how", ["changed", "of nobody", "after the revocation"])
async def test_nobody_vouches_for_a_wrong_signature(how: str) -> None:
    here, keys = await installation()
    if how == "after the revocation":
        verifier = here.verifier(keys, revoked=True)
        here.now += timedelta(days=1)
    key = LocalKey.generate() if how == "of nobody" else KEY
    await here.publish_signed(ConsentGranted(consent_id="c", version=1), key, spoiled=how == "changed")
    if how != "after the revocation":
        verifier = here.verifier(keys, revoked=False)
    [original] = here.held(CURATION)
    [copy] = await sent_again(here, verifier, keys)
    assert signature(copy) == signature(original)
    with pytest.raises(NotBelieved):
        publisher(verifier, copy)


async def test_an_event_that_somebody_forged_first_keeps_the_true_one_out_of_no_replay() -> None:
    here, keys = await installation()
    data = ConsentGranted(consent_id="c", version=1)
    for key in (None, LocalKey.generate(), KEY):
        await here.publish_signed(data, key)
    verifier = here.verifier(keys, revoked=False)
    copies = await sent_again(here, verifier, keys, vouches=False)
    assert len(copies) == 3
    assert publisher(verifier, copies[-1]) == "ehr"
