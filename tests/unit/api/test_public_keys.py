"""A tenant's public key is given to anybody who names the tenant, and nothing else of the tenant is."""

from __future__ import annotations

import json

import pytest
from joserfc import jwe
from joserfc.jwk import KeySet, OKPKey

from tests.unit.api.replica import OTHER, PURGED, TENANT, Bench, code


def path(tenant: str) -> str:
    return f"/tenants/{tenant}/jwks.json"


async def test_content_encrypted_to_the_key_of_the_route_is_opened_by_the_tenant(bench: Bench) -> None:
    answer = await bench.get(path(TENANT), {})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/jwk-set+json")
    [jwk] = answer.json()["keys"]
    assert jwk.keys() == {"kty", "crv", "x", "use", "alg", "kid"}, "only the public half"
    key = KeySet.import_key_set(answer.json()).keys[0]
    assert isinstance(key, OKPKey)
    assert jwk["kid"] == key.thumbprint() == (await bench.tenancy.keys.open(TENANT)).thumbprint()
    header = {"alg": jwk["alg"], "enc": "A256GCM"}
    token = jwe.encrypt_compact(header, b"{}", key, algorithms=list(header.values()))
    opened = jwe.decrypt_compact(
        token, (await bench.tenancy.keys.open(TENANT)).private_key, algorithms=list(header.values())
    )
    assert opened.plaintext == b"{}"


async def test_each_tenant_has_a_key_of_its_own(bench: Bench) -> None:
    first, other = [(await bench.get(path(tenant), {})).json()["keys"][0]["x"] for tenant in (TENANT, OTHER)]
    assert first != other


@pytest.mark.parametrize("tenant", [PURGED, "nobody", "T1", "..", "%2e%2e", "a" * 200])
async def test_a_tenant_that_is_purged_and_one_that_never_was_are_the_same_404(bench: Bench, tenant: str) -> None:
    answer = await bench.get(path(tenant), {})
    assert answer.status_code == 404
    assert code(answer) in ("tenant_not_found", "route_not_found")
    if tenant in (PURGED, "nobody"):
        assert answer.content == (await bench.get(path("another"), {})).content


async def test_a_fenced_tenants_key_is_given_no_more_although_it_is_there(bench: Bench) -> None:
    bench.views.block(TENANT)
    assert (await bench.get(path(TENANT), {})).status_code == 404


async def test_the_route_answers_503_where_the_store_does_not(bench: Bench) -> None:
    bench.objects.is_down = True
    answer = await bench.get(path(TENANT), {})
    assert (answer.status_code, code(answer)) == (503, "store_unavailable")
    assert TENANT not in json.dumps(answer.json())
