"""A tenant's keys: made once, opened by nobody else, destroyed in every version."""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

import pytest
from joserfc import jwe
from joserfc.jwk import OctKey
from pydantic import ValidationError

from schemas.base.identifiers import MAX_JWE_CHARACTERS
from schemas.bus.content import ChatMessage, ExampleContent, InlineContent
from schemas.objects import object_keys
from tenancy.bootstrap import Tenancy
from tenancy.errors import KeyDestroyed, Refused, SealBroken
from tenancy.storage.keys import KeyRing, encrypt_inline
from tenancy.storage.master_keys import KeyFileMasterKey
from tenancy.storage.objects import ObjectStore
from tenancy.tenant_id import TenantId
from tests.contract.conftest import TENANT

OTHER = TenantId("t2")
CONTENT = ExampleContent(
    messages=(ChatMessage(role="user", content="question"), ChatMessage(role="assistant", content="answer")),
    salt="ab" * 32,
)


@pytest.fixture
def ring(objects: ObjectStore) -> KeyRing:
    return KeyRing(objects, KeyFileMasterKey(bytes(range(32))))


async def test_keys_are_made_once_and_an_interrupted_onboarding_finds_them(ring: KeyRing) -> None:
    made = await ring.create(TENANT)
    again = await ring.create(TENANT)
    opened = await ring.open(TENANT)
    assert made.data_key == again.data_key == opened.data_key
    assert made.thumbprint() == again.thumbprint() == opened.thumbprint()
    assert len(made.data_key) == 32


async def test_two_who_make_keys_at_once_end_up_with_the_same(ring: KeyRing) -> None:
    keys = await asyncio.gather(*[ring.create(TENANT) for _ in range(8)])
    assert len({key.data_key for key in keys}) == 1
    assert len({key.thumbprint() for key in keys}) == 1


async def test_every_tenant_has_keys_of_its_own(ring: KeyRing) -> None:
    one, other = await ring.create(TENANT), await ring.create(OTHER)
    assert one.data_key != other.data_key
    assert one.thumbprint() != other.thumbprint()


async def test_what_is_stored_shows_neither_the_data_key_nor_the_private_key(
    ring: KeyRing, objects: ObjectStore
) -> None:
    keys = await ring.create(TENANT)
    record = (await objects.get(object_keys.key_key(TENANT))).body
    private = str(keys.private_key.as_dict(private=True)["d"])
    assert keys.data_key not in record
    assert keys.data_key.hex().encode() not in record
    assert private.encode() not in record
    assert json.loads(record)["public_key"] == keys.public_key.as_dict(private=False)


async def test_a_key_record_copied_to_another_tenant_does_not_open(ring: KeyRing, objects: ObjectStore) -> None:
    await ring.create(TENANT)
    stored = await objects.get(object_keys.key_key(TENANT))
    await objects.put(object_keys.key_key(OTHER), stored.body)
    with pytest.raises(SealBroken):
        await ring.open(OTHER)


async def test_another_installations_master_key_opens_nothing(ring: KeyRing, objects: ObjectStore) -> None:
    await ring.create(TENANT)
    with pytest.raises(SealBroken):
        await KeyRing(objects, KeyFileMasterKey(secrets.token_bytes(32))).open(TENANT)


async def test_destroying_removes_every_version_and_delete_marker_and_counts_them(
    ring: KeyRing, objects: ObjectStore
) -> None:
    location = object_keys.key_key(TENANT)
    await ring.create(TENANT)
    await ring.create(OTHER)
    await objects.put(location, (await objects.get(location)).body)
    await objects.delete(location)
    await objects.put(object_keys.state_key(TENANT), b"{}")
    assert await ring.destroy(TENANT) == 3
    assert [version async for version in objects.versions(location)] == []
    with pytest.raises(KeyDestroyed):
        await ring.open(TENANT)
    assert await ring.destroy(TENANT) == 0
    assert (await objects.get(object_keys.state_key(TENANT))).body == b"{}"
    assert (await ring.open(OTHER)).tenant == OTHER


async def test_after_destruction_new_keys_open_nothing_of_the_old(tenancy: Tenancy) -> None:
    await tenancy.keys.create(TENANT)
    await (await tenancy.store(TENANT)).put("examples/x", b"text")
    await tenancy.keys.destroy(TENANT)
    with pytest.raises(KeyDestroyed):
        await tenancy.store(TENANT)
    await tenancy.keys.create(TENANT)
    with pytest.raises(SealBroken):
        await (await tenancy.store(TENANT)).get("examples/x")


# --- inline content


async def test_inline_content_is_read_by_its_tenant_and_by_no_other(ring: KeyRing) -> None:
    mine, others = await ring.create(TENANT), await ring.create(OTHER)
    token = encrypt_inline(mine.public_key, CONTENT)
    assert mine.decrypt_inline(token, ExampleContent) == CONTENT
    with pytest.raises(SealBroken, match="not encrypted to this tenant"):
        others.decrypt_inline(token, ExampleContent)


def content_for_a_token_of(characters: int, ring_token: str) -> ExampleContent:
    """An example whose JWE has about so many characters: base64 makes four of three bytes."""
    overhead = len(ring_token) - len(urlsafe_b64encode(CONTENT.model_dump_json().encode()).rstrip(b"="))
    size = (characters - overhead) * 3 // 4 - len(CONTENT.model_dump_json())
    turns = []
    turn = len(ChatMessage(role="user", content="x").model_dump_json())  # with the comma behind it: content and one
    while size > 0:
        length = min(size - turn, 32_768)
        turns.append(ChatMessage(role="user", content="x" * length))
        size -= length + turn
    return CONTENT.evolve(messages=(*turns, *CONTENT.messages))


@pytest.mark.parametrize("characters", [80_478, MAX_JWE_CHARACTERS])
async def test_inline_content_is_read_up_to_the_contracts_size(ring: KeyRing, characters: int) -> None:
    keys = await ring.create(TENANT)
    content = content_for_a_token_of(characters, encrypt_inline(keys.public_key, CONTENT))
    token = encrypt_inline(keys.public_key, content)
    assert characters - 2 <= len(token) <= characters
    assert InlineContent(jwe=token).jwe == token, "the contract takes it"
    assert keys.decrypt_inline(token, ExampleContent) == content


async def test_inline_content_over_the_contracts_size_is_refused_for_its_size(ring: KeyRing) -> None:
    keys = await ring.create(TENANT)
    content = content_for_a_token_of(MAX_JWE_CHARACTERS + 4, encrypt_inline(keys.public_key, CONTENT))
    plain = content.model_dump_json().encode()
    token = jwe.encrypt_compact({"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}, plain, keys.public_key)
    assert len(token) > MAX_JWE_CHARACTERS
    for refusing in (
        lambda: encrypt_inline(keys.public_key, content),
        lambda: keys.decrypt_inline(token, ExampleContent),
    ):
        with pytest.raises(Refused, match="up to 262,144 characters") as refused:
            refusing()
        assert refused.value.code == "bad-content"
    with pytest.raises(ValidationError, match="at most 262144 characters"):
        InlineContent(jwe=token)


async def test_compressed_inline_content_is_refused_before_it_is_inflated(
    ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = await ring.create(TENANT)
    header = {"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "zip": "DEF"}
    token = jwe.encrypt_compact(header, b" " * 1_000_000, keys.public_key, algorithms=[*header.values()])
    inflated: list[bytes] = []
    deflate = type(jwe.JWERegistry.algorithms["zip"]["DEF"])
    monkeypatch.setattr(deflate, "decompress", lambda _, raw: inflated.append(raw))
    with pytest.raises(SealBroken):
        keys.decrypt_inline(token, ExampleContent)
    assert inflated == []


async def test_changed_or_weakly_encrypted_inline_content_is_refused(ring: KeyRing) -> None:
    keys = await ring.create(TENANT)
    head, key, nonce, body, tag = encrypt_inline(keys.public_key, CONTENT).split(".")
    flipped = ("A" if body[0] != "A" else "B") + body[1:]
    weaker = jwe.encrypt_compact({"alg": "ECDH-ES", "enc": "A128GCM"}, b"{}", keys.public_key)
    symmetric = jwe.encrypt_compact(
        {"alg": "dir", "enc": "A256GCM"}, b"{}", OctKey.import_key(keys.data_key), algorithms=["dir", "A256GCM"]
    )
    for token in (".".join([head, key, nonce, flipped, tag]), weaker, symmetric, "a.b.c.d.e", "", "x"):
        with pytest.raises(SealBroken):
            keys.decrypt_inline(token, ExampleContent)


@pytest.mark.parametrize(
    "changed", [{"crit": 5}, {"enc": []}, {"epk": {"kty": "OKP", "crv": "P-256", "x": "AAAA"}}, {"alg": None}]
)
async def test_a_header_that_nobody_can_make_sense_of_is_the_publishers_fault(
    ring: KeyRing, changed: dict[str, object]
) -> None:
    keys = await ring.create(TENANT)
    head, *rest = encrypt_inline(keys.public_key, CONTENT).split(".")
    header = {**json.loads(urlsafe_b64decode(head + "==")), **changed}
    spelled = urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")
    with pytest.raises(SealBroken):
        keys.decrypt_inline(".".join([spelled, *rest]), ExampleContent)


async def test_inline_content_that_is_no_example_is_refused_without_repeating_it(ring: KeyRing) -> None:
    keys = await ring.create(TENANT)
    token = jwe.encrypt_compact(
        {"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}, b'{"messages": ["canary-8841"]}', keys.public_key
    )
    with pytest.raises(Refused, match="is no ExampleContent") as refused:
        keys.decrypt_inline(token, ExampleContent)
    assert refused.value.code == "bad-content"
    assert "canary" not in str(refused.value)
