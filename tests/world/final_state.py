"""The final state down to what is inside the tenant's sealed objects, without what differs between any two runs:
the state's revision and nonce, times, and signatures, which each world makes with a key of its own.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from typing import Any

from schemas.objects import object_keys
from tenancy.errors import KeyDestroyed
from tenancy.tenant_id import TenantId
from tests.world.deliveries import Deliveries
from tests.world.summary import audited, summary

KEYED = {"signatures", "receipt_sha256", "certificate_sha256", "public_key_thumbprint"}
OF_ITS_MOMENT = {"ineligible", "adapters_evicted"}
DIFFERS = KEYED | OF_ITS_MOMENT | {"rev", "nonce", "train_seconds", "receipt", "incarnation", "incarnations"}
# A replica that is told again to evict says again that it did, and that there was nothing left this time. A training
# set says which decided examples were ineligible when it was frozen: those of decisions that had come by then. A
# replica that hears of an adapter's end before its beginning has not loaded it ahead, and has none to evict.


async def final_state(world: Deliveries, tenant: TenantId) -> dict[str, Any]:
    """Everything of a tenant that is left when nothing happens any more, as a value."""
    state = (await world.state(tenant)).model_dump(mode="json")
    assert state["outbox"] == []
    withdrawal = state["curation"]["eligibility_version"]  # and the revision at which it was entered
    state["curation"]["eligibility_version"] = withdrawal and withdrawal.rpartition(".")[0]
    told = await summary(world, tenant)
    return {
        "state": canonical(state),
        "objects": await _opened(world, tenant),
        "has_key": await world.objects.exists(object_keys.key_key(tenant)),
        "effects": sorted({effect for effect in world.effects if effect[1] == tenant and not _of_a_cache(effect)}),
        "effective_twice": _twice(world, tenant),
        "published": _published(world, tenant),
        "audit": await audited(world, tenant),
        "purge": told["purge"],
        "loaded": told["loaded"],
    }


def _of_a_cache(effect: tuple[str, ...]) -> bool:
    """Whether a replica evicted what it may or may not have loaded ahead."""
    return effect[0] == "inference" and effect[2] == "sano.adapter.retired"


def _twice(world: Deliveries, tenant: TenantId) -> list[tuple[str, ...]]:
    """Events that one consumer said of more than once that they had an effect."""
    told = Counter(effect for effect in world.effects if effect[1] == tenant)
    return sorted(effect for effect, times in told.items() if times > 1)


def _published(world: Deliveries, tenant: TenantId) -> list[str]:
    """Every event by what it says: saying it again is nothing, saying something else under its id would be.

    Without ciphertexts, of which no two of one text are alike; the commitment says which text it is.
    """
    without = {"content": {"reference": {"jwe"}}}
    said = {
        f"{event.type} {json.dumps(canonical(event.data.model_dump(mode='json', exclude=without)), sort_keys=True)}"
        for log in world.bus.topics.values()
        for event in log
        if event.subject == tenant
    }
    return sorted(said)


async def _opened(world: Deliveries, tenant: TenantId) -> dict[str, Any]:
    """Every object under the tenant's prefix, by name, opened."""
    prefix = object_keys.tenant_prefix(tenant)
    names = [key.removeprefix(prefix) async for key in world.objects.keys(prefix)]
    try:
        store = await world.outside.store(tenant)
    except KeyDestroyed:
        return dict.fromkeys(names, "sealed for ever")
    return {name: _content((await store.get(name))[0]) for name in sorted(names)}


def _content(body: bytes) -> Any:
    try:
        return canonical(json.loads(body))
    except ValueError:
        return body.hex()


def canonical(value: Any) -> Any:
    """A JSON value without what differs; a signed statement as what it states."""
    if isinstance(value, dict):
        if {"payload", "payloadType"} <= set(value):
            return canonical(json.loads(base64.b64decode(value["payload"])))
        return {name: canonical(held) for name, held in value.items() if name not in DIFFERS}
    if isinstance(value, list):
        return [canonical(held) for held in value]
    is_time = isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|\+00:00)", value)
    return "a time" if is_time else value


def difference(one: Any, two: Any, path: str = "") -> str:
    """Where two final states are not the same; empty where they are."""
    if one == two:
        return ""
    if isinstance(one, dict) and isinstance(two, dict):
        if one.keys() != two.keys():
            return f"{path}: only one of them has {sorted(one.keys() ^ two.keys())}"
        return "; ".join(difference(one[key], two[key], f"{path}.{key}") for key in one if one[key] != two[key])
    if isinstance(one, list) and isinstance(two, list):
        return f"{path}: with {[x for x in one if x not in two]}, without {[x for x in two if x not in one]}"
    return f"{path}: {one} != {two}"
