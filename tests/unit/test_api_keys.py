"""API keys: created once, known by their hash, revoked singly, and gone with their tenant."""

from __future__ import annotations

from datetime import timedelta

import pytest

from producers.commands import api_keys, requests
from producers.commands.api_keys import CreatedKey
from schemas.bus.envelope import event_id
from schemas.tenant.api_keys import MAX_KEYS, Scope
from tenancy.errors import Refused, TenantFenced, UnknownTenant
from tenancy.state.api_keys import GivenKey, verified
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import NOW, Parts, onboarded_parts, purge_to_the_end

TENANT = TenantId("t1")


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def create(parts: Parts, name: str = "app", *scopes: Scope, days: int = 9) -> CreatedKey:
    lifetime = timedelta(days=days)
    return await api_keys.create(
        parts.tenancy, TENANT, name=name, scopes=scopes or ("chat",), lifetime=lifetime, created_by="operator-1"
    )


async def is_good(parts: Parts, text: str, after: timedelta = timedelta()) -> bool:
    given = GivenKey.parse(text)
    assert given is not None
    return verified(given, (await parts.tenancy.states.read(TENANT)).state, NOW + after) is not None


async def test_a_key_is_good_until_it_expires_and_nothing_that_is_kept_is_enough_to_make_it(parts: Parts) -> None:
    created = await create(parts, "app", "embeddings", "chat")
    assert created.view.scopes == ("chat", "embeddings")
    assert await is_good(parts, created.text)
    assert await is_good(parts, created.text, timedelta(days=9, seconds=-1))
    assert not await is_good(parts, created.text, timedelta(days=9))
    secret = created.text.rpartition("_")[2]
    assert len(secret) == 64
    kept = [body.body async for body in _all(parts)]
    assert kept
    assert not any(secret.encode() in body for body in kept)
    assert secret not in repr(GivenKey.parse(created.text))
    assert secret not in str(await api_keys.keys(parts.tenancy, TENANT))


async def _all(parts: Parts):  # type: ignore[no-untyped-def]
    async for key in parts.tenancy.objects.keys(""):
        yield await parts.tenancy.objects.get(key)


async def test_a_key_of_another_secret_or_another_tenant_is_not_good(parts: Parts) -> None:
    text = (await create(parts)).text
    other = "0" if text[-1] != "0" else "1"
    assert not await is_good(parts, text[:-1] + other)
    assert not await is_good(parts, GivenKey.random(TENANT).text)
    given = GivenKey.parse(text)
    assert given is not None
    assert verified(given, None, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sano_",
        "sano_t1",
        f"sano_T1_{'0' * 16}_{'0' * 64}",
        f"sano_t1_{'0' * 16}_{'0' * 63}",
        "sano_" + "a" * 10_000,
    ],
)
def test_what_has_no_keys_shape_is_none(text: str) -> None:
    assert GivenKey.parse(text) is None


async def test_keys_are_revoked_singly(parts: Parts) -> None:
    first, second = await create(parts, "one"), await create(parts, "two")
    revoked = await api_keys.revoke(parts.tenancy, TENANT, first.view.key_id, revoked_by="operator-2")
    assert revoked.name == "one"
    assert not await is_good(parts, first.text)
    assert await is_good(parts, second.text)
    with pytest.raises(Refused, match="no key of this id"):
        await api_keys.revoke(parts.tenancy, TENANT, first.view.key_id, revoked_by="operator-2")


async def test_names_differ_and_there_are_so_many_keys_at_most(parts: Parts) -> None:
    for number in range(MAX_KEYS):
        await create(parts, f"app-{number}")
    with pytest.raises(Refused, match="name"):
        await create(parts, "app-0")
    with pytest.raises(Refused, match="at most 64"):
        await create(parts, "more")


@pytest.mark.parametrize(("name", "days"), [("Jane Doe", 1), ("app", 0), ("app", 366)])
async def test_a_name_with_blanks_and_a_lifetime_without_end_are_refused(parts: Parts, name: str, days: int) -> None:
    with pytest.raises(Refused):
        await create(parts, name, days=days)


async def test_creating_and_revoking_are_entered_in_the_audit_log_without_the_key(parts: Parts) -> None:
    created = await create(parts)
    await api_keys.revoke(parts.tenancy, TENANT, created.view.key_id, revoked_by="operator-2")
    for kind, operator in ((api_keys.CREATED, "operator-1"), (api_keys.REVOKED, "operator-2")):
        entry = await parts.tenancy.audit.entered(TENANT, event_id(kind, TENANT, created.view.key_id))
        assert entry is not None
        assert (entry.kind, entry.actor.id, entry.facts["name"]) == (kind, operator, "app")
        assert created.text.rpartition("_")[2] not in entry.model_dump_json()


async def test_a_purge_ends_all_keys_and_no_new_one_is_created(parts: Parts) -> None:
    created = await create(parts)
    await requests.churn(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    state = (await parts.tenancy.states.read(TENANT)).state
    assert state.api_keys == ()
    assert not await is_good(parts, created.text)
    with pytest.raises(TenantFenced):
        await create(parts, "another")


async def test_an_unknown_tenant_gets_no_key() -> None:
    parts = await onboarded_parts(TENANT)
    with pytest.raises(UnknownTenant):
        await api_keys.keys(parts.tenancy, TenantId("nobody"))
