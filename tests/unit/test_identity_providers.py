"""A tenant's identity provider: set by operators only, for an audience of no other tenant, and gone with its tenant."""

from __future__ import annotations

from typing import Any

import pytest

from producers.commands import requests
from producers.commands.identity_providers import REMOVED, SET, provider_of, remove_provider, set_provider
from schemas.bus.envelope import event_id
from schemas.tenant.identity_provider import IdentityProvider, tenant_of
from tenancy.errors import Refused, TenantFenced, UnknownTenant
from tenancy.tenant_id import TenantId
from tests.unit.operator_parts import Parts, onboarded_parts, purge_to_the_end

TENANT = TenantId("t1")
ISSUER = "https://login.hospital.example/realms/one"


@pytest.fixture
async def parts() -> Parts:
    return await onboarded_parts(TENANT)


async def put(parts: Parts, tenant: TenantId = TENANT, **changed: Any) -> IdentityProvider:
    given: dict[str, Any] = {"issuer": ISSUER, "audience": "sanolith:t1", "required_claims": {}, "scopes": ["chat"]}
    return await set_provider(parts.tenancy, tenant, **(given | changed), set_by="operator-1")


@pytest.mark.parametrize(
    "issuer",
    [
        "http://login.hospital.example",
        "https://10.0.0.1",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "https://2852039166/",
        "https://0xa9fea9fe/",
        "https://169.254.0xa9fe",
        "https://user:secret@login.hospital.example",
        "https://login.hospital.example?x=",
        "https://login.hospital.example#x",
        "https://login.hospital.example\\@evil.example",
        "https://login.hospital.example /x",
        "https://",
        "https://login.hospital.example:0",
        "https://login_hospital",
        "file:///etc/passwd",
        "ftp://login.hospital.example",
        "login.hospital.example",
        "",
        "https://" + "a." * 300 + "example",
    ],
)
async def test_an_issuer_that_no_replica_may_ask_is_refused(parts: Parts, issuer: str) -> None:
    with pytest.raises(Refused):
        await put(parts, issuer=issuer)
    with pytest.raises(Refused, match="no identity provider"):
        await provider_of(parts.tenancy, TENANT)


@pytest.mark.parametrize("issuer", [ISSUER, "http://localhost:8080", "http://127.0.0.1:9/x", "https://idp.intern:8443"])
async def test_an_issuer_by_tls_or_on_this_machine_is_taken(parts: Parts, issuer: str) -> None:
    assert (await put(parts, issuer=issuer)).issuer == issuer
    assert (await provider_of(parts.tenancy, TENANT)).issuer == issuer


@pytest.mark.parametrize(
    ("audience", "tenant"),
    [
        ("sanolith:t1", "t1"),
        ("sanolith/t1", "t1"),
        ("api://0f0f-12/sanolith/t1", "t1"),
        ("https://hospital.example/sanolith:t-2", "t-2"),
        ("t1", None),
        ("sanolith-inference", None),
        ("xsanolith:t1", None),
        ("sanolith:t1/more", None),
        ("sanolith:T1", None),
        ("sanolith:", None),
    ],
)
def test_an_audience_is_of_one_tenant_or_of_none(audience: str, tenant: str | None) -> None:
    assert tenant_of(audience) == tenant


@pytest.mark.parametrize("audience", ["sanolith:t2", "api://x", "t1", "sanolith:t1 ", "sanolith:t1\n"])
async def test_an_audience_that_is_not_of_this_tenant_is_refused(parts: Parts, audience: str) -> None:
    with pytest.raises(Refused):
        await put(parts, audience=audience)


async def test_claims_without_bounds_and_no_scope_are_refused(parts: Parts) -> None:
    for wrong in ({"a b": "x"}, {"a": ""}, {"a": "x y"}, {f"c{n}": "x" for n in range(9)}):
        with pytest.raises(Refused):
            await put(parts, required_claims=wrong)
    with pytest.raises(Refused):
        await put(parts, scopes=[])


async def test_setting_and_removing_are_entered_in_the_audit_log_without_what_comes_from_outside(parts: Parts) -> None:
    made = await put(parts, required_claims={"dept": "radiology"})
    again = await put(parts, required_claims={"dept": "radiology"})
    assert again == made
    await remove_provider(parts.tenancy, TENANT, removed_by="operator-2")
    for kind, operator in ((SET, "operator-1"), (REMOVED, "operator-2")):
        entry = await parts.tenancy.audit.entered(TENANT, event_id(kind, TENANT, made.set_at.isoformat()))
        assert entry is not None
        assert (entry.kind, entry.actor.id, entry.facts["scopes"]) == (kind, operator, "chat")
        assert not any(said in entry.model_dump_json() for said in ("hospital", "radiology"))
    with pytest.raises(Refused, match="no identity provider"):
        await remove_provider(parts.tenancy, TENANT, removed_by="operator-2")


async def test_a_purge_removes_it_at_the_fence_and_none_is_set_again(parts: Parts) -> None:
    await put(parts)
    await requests.churn(parts.tenancy, TENANT, requested_by="operator")
    await purge_to_the_end(parts)
    assert (await parts.tenancy.states.read(TENANT)).state.identity_provider is None
    with pytest.raises(TenantFenced):
        await put(parts)


async def test_an_unknown_tenant_has_none(parts: Parts) -> None:
    with pytest.raises(UnknownTenant):
        await put(parts, TenantId("nobody"), audience="sanolith:nobody")
