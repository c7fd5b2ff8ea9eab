"""Forged tokens, events, receipts and certificates: each row is what the attacker does, and must come to nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from joserfc import jwe
from joserfc.jwk import OKPKey

from schemas.bus import events
from schemas.bus.content import ChatMessage, Committed, ExampleContent, InlineContent
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.evidence.statements import PURGE_PREDICATE, purge_subject, statement
from schemas.models.adapter_files import AdapterRefused, check_adapter
from tenancy.errors import BadSignature, Refused, SealBroken
from tenancy.evidence.verification import verify_file
from tenancy.storage.keys import encrypt_inline
from tenancy.tokens import BadToken, TokenVerifier
from tests.attack.conftest import Size
from tests.attack.forged_events import FORGERIES, Scene
from tests.attack.forged_tokens import VICTIM, Forger, forged
from tests.fixtures.all_keys import AllKeys
from tests.invariants.worlds import (
    NAME,
    OTHER_NAME,
    DispatchedWorld,
    frozen,
    learned,
    receipt,
    service,
)
from tests.unit.operator_parts import adapter_files, certificate, signed_certificate, signed_receipt

OURS = AllKeys.numbered(1)
STRANGER = AllKeys.numbered(2)
NOW = int(time.time())


def verifier_of_that_moment() -> TokenVerifier:
    """Judges at ``NOW``: a suite of an hour outlives a token's ten minutes, and all would be refused for their age."""
    return TokenVerifier(OURS.trust, clock=lambda: datetime.fromtimestamp(NOW, UTC))


# --- tokens


@pytest.mark.parametrize(("what", "token"), [pytest.param(w, t, id=w) for w, t in forged(OURS.token, NOW)])
def test_a_forged_token_is_refused(what: str, token: str) -> None:
    with pytest.raises(BadToken):
        verifier_of_that_moment().tenant(token)


def test_a_token_of_ours_is_taken() -> None:
    forger = Forger(OURS.token, NOW)
    assert verifier_of_that_moment().tenant(forger.signed(forger.claims())) == VICTIM


def test_no_mutation_of_a_token_names_another_tenant(size: Size, seed: int) -> None:
    forger = Forger(OURS.token, NOW)
    good = forger.signed(forger.claims(sub="attacker"))
    verifier, rng = verifier_of_that_moment(), Random(f"{seed}/tokens")
    for _ in range(size.requests * 3):
        token = bytearray(good.encode())
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(token))
            match rng.randrange(3):
                case 0:
                    token[place] = rng.randrange(32, 127)
                case 1:
                    del token[place]
                case _:
                    token.insert(place, rng.choice(b".-_=AZaz09"))
        try:
            tenant = verifier.tenant(token.decode())
        except BadToken:
            continue
        assert tenant == "attacker", "another spelling of the same signature, at most"


# --- events


async def scene(tmp_path: Path) -> Scene:
    world = DispatchedWorld(tmp_path)
    one, other = await world.onboard(NAME), await world.onboard(OTHER_NAME)
    return Scene(world, one, other, await learned(world, one), await learned(world, other, text="b"))


@pytest.mark.parametrize("what", FORGERIES)
async def test_a_forged_event_comes_to_nothing(what: str, tmp_path: Path) -> None:
    await FORGERIES[what](await scene(tmp_path))


# --- receipts

Forge = Callable[[Scene], dict[str, Any]]
PURGE = "p70"


def _changed(scene: Scene, **said: Any) -> dict[str, Any]:
    """The words of one receipt under the signature of another."""
    good = receipt(scene.world, scene.one, cause=PURGE, evicted_at=scene.world.now)
    return {**receipt(scene.world, scene.one, cause=PURGE, **said), "signatures": good["signatures"]}


RECEIPTS: dict[str, Forge] = {
    "signs with a key of its own": lambda s: receipt(s.world, s.one, cause=PURGE, signer=STRANGER),
    "signs nothing": lambda s: {**receipt(s.world, s.one, cause=PURGE), "signatures": []},
    "sends no envelope": lambda _: {},
    "says that the signature is ours": lambda s: {
        **receipt(s.world, s.one, cause=PURGE, signer=STRANGER),
        "signatures": [
            {"keyid": s.world.keys.receipt.key_id, "sig": one["sig"]}
            for one in receipt(s.world, s.one, cause=PURGE, signer=STRANGER)["signatures"]
        ],
    },
    "changes a word": lambda s: _changed(s, requests_aborted=7),
    "repeats another tenant's": lambda s: receipt(s.world, s.other, cause=PURGE),
    "repeats one of another purge": lambda s: receipt(s.world, s.one, cause="p71"),
    "repeats one of another replica": lambda s: receipt(s.world, s.one, cause=PURGE, replica="replica-9"),
    "repeats one of a retirement": lambda s: receipt(s.world, s.one, cause=s.digest, evicted=(s.digest,)),
    "repeats one from before the fence": lambda s: receipt(
        s.world, s.one, cause=PURGE, evicted_at=s.world.now - timedelta(hours=2)
    ),
    "sends one that says that an adapter is left": lambda s: receipt(
        s.world, s.one, cause=PURGE, remaining=(s.digest,)
    ),
    "sends one that says that slots are full": lambda s: receipt(s.world, s.one, cause=PURGE, slots_overwritten=False),
    "sends one that says that files are left": lambda s: receipt(
        s.world, s.one, cause=PURGE, local_files_deleted=False
    ),
    "sends a certificate instead": lambda s: signed_certificate(s.world.keys, certificate()),
}


@pytest.mark.parametrize("what", RECEIPTS)
async def test_a_forged_receipt_is_noted_for_no_purge(what: str, tmp_path: Path) -> None:
    held = await scene(tmp_path)
    world = held.world
    world.services.remove(service(world, "inference"))  # which would answer truly
    world.now += timedelta(hours=1)
    purge = events.PurgeRequested(purge_id=PURGE, reason_code="churned", requested_by="op")
    await world.publish(held.one, purge)
    for _ in range(6):
        await world.step()
    assert (await world.state(held.one)).status == "purging", "it waits for the replica"
    before = {key: held_ for key, held_ in frozen(world).items() if key.startswith("purges/")}
    data = events.ReplicaEvicted(replica_id="replica-0", cause_id=PURGE, receipt=RECEIPTS[what](held))
    for name in ("purge", "adapters"):
        outcome = await world.handle(service(world, name), Event(held.one, data, world.now, "/attack"))
        assert outcome is not Outcome.EFFECT
    assert {key: held_ for key, held_ in frozen(world).items() if key.startswith("purges/")} == before
    assert held.certificates() == []


async def test_the_receipt_that_the_forged_ones_are_like_is_noted(tmp_path: Path) -> None:
    held = await scene(tmp_path)
    world = held.world
    world.services.remove(service(world, "inference"))
    world.now += timedelta(hours=1)
    await world.publish(held.one, events.PurgeRequested(purge_id=PURGE, reason_code="churned", requested_by="op"))
    for _ in range(6):
        await world.step()
    good = receipt(world, held.one, cause=PURGE, evicted_at=world.now)
    data = events.ReplicaEvicted(replica_id="replica-0", cause_id=PURGE, receipt=good)
    outcome = await world.handle(service(world, "purge"), Event(held.one, data, world.now, "/attack"))
    assert outcome is Outcome.EFFECT


# --- certificates


def _of_another_subject() -> dict[str, Any]:
    held = certificate()
    return OURS.sign(statement(PURGE_PREDICATE, purge_subject("purge-1", "t9"), held))


def _with_payload_of(other: dict[str, Any]) -> dict[str, Any]:
    return {**signed_certificate(OURS, certificate()), "payload": other["payload"]}


CERTIFICATES: dict[str, Callable[[], dict[str, Any]]] = {
    "signs with a key of its own": lambda: signed_certificate(STRANGER, certificate()),
    "says that its signature is ours": lambda: {
        **signed_certificate(STRANGER, certificate()),
        "signatures": [
            {"keyid": OURS.certificate.key_id, "sig": one["sig"]}
            for one in signed_certificate(STRANGER, certificate())["signatures"]
        ],
    },
    "takes the signatures away": lambda: {**signed_certificate(OURS, certificate()), "signatures": []},
    "puts another tenant's name in": lambda: _with_payload_of(signed_certificate(STRANGER, certificate(tenant="t9"))),
    "moves the completion to before the deadline": lambda: _with_payload_of(
        signed_certificate(STRANGER, certificate(deadline=certificate().deadline + timedelta(days=9)))
    ),
    "uses a receipt as a certificate": lambda: {
        **signed_receipt(OURS),
        "payloadType": "application/vnd.sanolith.certificate+json",
    },
    "adds a field beside the payload": lambda: {**signed_certificate(OURS, certificate()), "note": "good"},
    "adds a field beside a signature": lambda: {
        **signed_certificate(OURS, certificate()),
        "signatures": [{**one, "cert": "x"} for one in signed_certificate(OURS, certificate())["signatures"]],
    },
    "has one signed that leaves a residue": lambda: signed_certificate(OURS, certificate(residual=1)),
    "has one signed that leaves the key": lambda: signed_certificate(OURS, certificate(keys=())),
    "has one signed that leaves stores out": lambda: signed_certificate(OURS, certificate(stores=())),
    "has one signed that forgets a replica": lambda: signed_certificate(OURS, certificate(replicas=())),
    "has one signed of another subject": _of_another_subject,
}


@pytest.mark.parametrize("what", CERTIFICATES)
def test_a_forged_certificate_does_not_verify(what: str, tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(CERTIFICATES[what]()))
    with pytest.raises((BadSignature, Refused)):
        verify_file(path, OURS.trust)


def test_a_certificate_of_ours_verifies(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(signed_certificate(OURS, certificate())))
    assert verify_file(path, OURS.trust)


# --- what is encrypted to a tenant, and what it is given to load

CONTENT = ExampleContent(
    messages=(ChatMessage(role="user", content="What?"), ChatMessage(role="assistant", content="That.")), salt="5a" * 32
)
LONGEST_JWE = 262_144


def long_content(characters: int) -> ExampleContent:
    """Content whose token has about so many characters, in messages of a length that is allowed."""
    left, messages = characters * 3 // 4 - 700, list[ChatMessage]()
    while left > 0:
        words = "x" * min(left, 30_000)
        messages += [ChatMessage(role="user", content="What?"), ChatMessage(role="assistant", content=words)]
        left -= len(words) + 80
    return CONTENT.evolve(messages=tuple(messages))


async def approved_inline(held: Scene, token: str, content: ExampleContent) -> Outcome | None:
    data = events.ExampleApproved(
        example_id="e80",
        version=1,
        reviewer_id="rev-1",
        consent_id="consent-1",
        content=Committed(reference=InlineContent(jwe=token), commitment=content.commitment()),
    )
    return await held.world.handle(service(held.world, "curation"), Event(held.one, data, held.world.now, "/attack"))


@pytest.mark.parametrize("characters", [1_500, 80_478, 200_000, LONGEST_JWE - 1_500])
async def test_honest_content_is_taken_up_to_the_length_of_the_contract(characters: int, tmp_path: Path) -> None:
    held = await scene(tmp_path)
    content = long_content(characters)
    keys = (await held.world.outside.store(held.one)).keys
    token = encrypt_inline(keys.public_key, content)
    assert len(token) <= LONGEST_JWE
    assert await approved_inline(held, token, content) is Outcome.EFFECT


def _jwe(key: OKPKey, **header: Any) -> str:
    made = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", **header}
    return jwe.encrypt_compact(
        made, CONTENT.model_dump_json().encode(), key, algorithms=[made["alg"], made["enc"], "DEF"]
    )


@pytest.mark.parametrize("what", ["another tenant's key", "compressed", "another algorithm", "cut short", "no token"])
async def test_content_that_is_not_encrypted_as_the_contract_says_is_refused(what: str, tmp_path: Path) -> None:
    held = await scene(tmp_path)
    ours = (await held.world.outside.store(held.one)).keys
    theirs = (await held.world.outside.store(held.other)).keys
    made: dict[str, Callable[[], str]] = {
        "another tenant's key": lambda: _jwe(theirs.public_key),
        "compressed": lambda: _jwe(ours.public_key, zip="DEF"),
        "another algorithm": lambda: _jwe(ours.public_key, alg="ECDH-ES"),
        "cut short": lambda: _jwe(ours.public_key)[:-9],
        "no token": lambda: "a" * 99 + ".b.c.d.e",
    }
    token = made[what]()
    with pytest.raises((SealBroken, Refused)):
        ours.decrypt_inline(token, ExampleContent)
    assert await approved_inline(held, token, CONTENT) is Outcome.DEAD_LETTERED


@pytest.mark.parametrize("module", ["lm_head", "embed_tokens"])
def test_an_adapter_that_changes_the_words_themselves_is_refused(module: str) -> None:
    """The engine takes the rows of a prompt for sampled ones there, which ended it."""
    files = adapter_files()
    config = json.loads(files["adapter_config.json"])
    with pytest.raises(AdapterRefused):
        check_adapter({**files, "adapter_config.json": json.dumps({**config, "target_modules": [module]}).encode()})
