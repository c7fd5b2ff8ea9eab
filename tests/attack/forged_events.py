"""What somebody who may write to one topic says of a tenant, and what must not come of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from schemas.base.canonical import sha256_hex
from schemas.bus import events
from schemas.bus.derived_commands import churn_purge_id
from schemas.bus.envelope import Event
from schemas.bus.outcome import Outcome
from schemas.objects import object_keys
from tenancy.tenant_id import TenantId
from tests.invariants.worlds import DispatchedWorld, assert_purged, receipt

FORGED = "f" * 64
"""A digest of nothing."""


@dataclass
class Scene:
    """Two tenants that have learned and are served: ``one`` is attacked, by whoever knows ``other`` as well."""

    world: DispatchedWorld
    one: TenantId
    other: TenantId
    digest: str
    foreign: str

    async def say(self, tenant: TenantId, data: events.EventData) -> None:
        """Publish, and let everybody handle it."""
        await self.world.publish(tenant, data)
        await self.world.settle()

    async def churn(self) -> None:
        await self.say(self.one, events.TenantChurned(requested_by="op"))

    async def assert_served(self, tenant: TenantId) -> None:
        """The tenant's own adapter answers, as before."""
        assert (await self.world.state(tenant)).status == "active"
        assert await self.world.served(tenant) == (self.digest if tenant == self.one else self.foreign)

    def receipts(self, cause: str) -> list[Event]:
        """What replicas published as signed about a cause."""
        logged = self.world.bus.topics.get(events.REPLICAS, [])
        return [made for made in logged if isinstance(made.data, events.ReplicaEvicted) and made.data.cause_id == cause]

    def audited(self, tenant: TenantId) -> list[dict[str, Any]]:
        """The entries of a tenant's audit log, in their order."""
        prefix = object_keys.audit_entries_prefix(tenant)
        keys = sorted(key for key in self.world.memory.objects if key.startswith(prefix))
        return [json.loads(self.world.memory.objects[key][-1].body or b"") for key in keys]

    def certificates(self) -> list[bytes]:
        """Every certificate of purge that there is."""
        held = self.world.memory.objects.items()
        return [v[-1].body or b"" for key, v in held if key.startswith("purges/") and key.endswith(".certificate.json")]


async def _retired(scene: Scene) -> None:
    """An active adapter is said to be retired: it goes on serving, and no replica signs that it does not."""
    await scene.say(scene.one, events.AdapterRetired(adapter_digest=scene.digest, reason_code="forged"))
    await scene.assert_served(scene.one)
    assert scene.receipts(scene.digest) == []


async def _foreign_retired(scene: Scene) -> None:
    """Another tenant's adapter is said to be retired, in the attacker's own name."""
    await scene.say(scene.one, events.AdapterRetired(adapter_digest=scene.foreign, reason_code="forged"))
    await scene.assert_served(scene.other)
    assert scene.receipts(scene.foreign) == []


async def _fenced(scene: Scene) -> None:
    """An active tenant is said to be fenced: it is served on, and no replica signs for a purge that is none."""
    fenced = events.PurgeFenced(purge_id="p-forged", fenced_at=scene.world.now, deadline=scene.world.now)
    await scene.say(scene.one, fenced)
    await scene.assert_served(scene.one)
    assert scene.receipts("p-forged") == []


async def _fenced_beforehand(scene: Scene) -> None:
    """A fence is forged under the id that the churn's purge will have, so that what is signed for it counts then. The
    replica restarts and serves the tenant; at the churn the receipt is said again before the replica handles the fence.
    """
    purge_id = churn_purge_id(scene.one)
    at = scene.world.now
    await scene.say(scene.one, events.PurgeFenced(purge_id=purge_id, fenced_at=at, deadline=at))
    early = receipt(scene.world, scene.one, cause=purge_id, evicted_at=at)
    scene.world.restart_server()
    await scene.world.settle()
    await scene.world.served(scene.one)
    scene.world.now += timedelta(hours=1)
    replica = next(service for service in scene.world.services if service.name == "inference")
    scene.world.services.remove(replica)
    signed = [made.data for made in scene.receipts(purge_id)]
    kept = [*signed, events.ReplicaEvicted(replica_id="replica-0", cause_id=purge_id, receipt=early)]
    await scene.world.publish(scene.one, events.TenantChurned(requested_by="op"))
    for number in range(30):  # as far as it comes without the replica, whose lease lives on
        await scene.world.step()
        scene.world.now += timedelta(seconds=5)
        if number == 3:
            for data in kept:
                await scene.world.publish(scene.one, data)
    assert (await scene.world.state(scene.one)).status == "purging"
    assert scene.certificates() == [], "certified while the engine holds the adapter"
    assert scene.digest in scene.world.engine.loaded()
    scene.world.services.append(replica)
    await scene.world.settle()
    await assert_purged(scene.world, scene.one)
    assert scene.digest not in scene.world.engine.loaded()


async def _squatted(scene: Scene) -> None:
    """A purge of the other tenant under the id that this one's churn will have: this one's is not held up by it."""
    purge_id = churn_purge_id(scene.one)
    requested = events.PurgeRequested(purge_id=purge_id, reason_code="forged", requested_by="attacker")
    await scene.say(scene.other, requested)
    await scene.churn()
    await assert_purged(scene.world, scene.one)


async def _squatted_for_nobody(scene: Scene) -> None:
    """The same for a tenant that does not exist."""
    requested = events.PurgeRequested(purge_id=churn_purge_id(scene.one), reason_code="forged", requested_by="attacker")
    await scene.say(TenantId("nobody"), requested)
    await scene.churn()
    await assert_purged(scene.world, scene.one)


async def _completed(scene: Scene) -> None:
    """A completion with another certificate, before the churn: the log keeps the real one, and knows the other for
    what it is."""
    forged = events.PurgeCompleted(
        purge_id=churn_purge_id(scene.one), objects_removed=1, residual=0, certificate_sha256=FORGED
    )
    await scene.say(scene.one, forged)
    await scene.assert_served(scene.one)
    await scene.churn()
    await assert_purged(scene.world, scene.one)
    (certificate,) = scene.certificates()
    entries = scene.audited(scene.one)
    completed = [one["facts"]["certificate_sha256"] for one in entries if one["kind"] == "purge.completed"]
    assert completed == [sha256_hex(json.loads(certificate))]
    assert all(one["kind"] == "event.contradicted" for one in entries if FORGED in json.dumps(one))


async def _activated(scene: Scene) -> None:
    """The victim's active adapter is said to be the attacker's: nothing but the state decides that."""
    await scene.say(
        scene.one, events.AdapterActivated(adapter_digest=scene.foreign, previous_digest=scene.digest, activation=9)
    )
    await scene.assert_served(scene.one)
    assert (await scene.world.state(scene.one)).active_adapter == scene.digest


async def _ready(scene: Scene) -> None:
    """Another tenant's adapter is said to be ready as one's own."""
    await scene.say(
        scene.one,
        events.AdapterReady(adapter_digest=scene.foreign, run_id="batch-1", base_model_digest="b" * 64, size_bytes=1),
    )
    await scene.assert_served(scene.one)
    assert scene.foreign not in (await scene.world.state(scene.one)).adapters


async def _approved_twice(scene: Scene) -> None:
    """Two different approvals under one version: the second changes nothing, and is not told as a mere repetition."""
    first = await scene.world.approval(scene.one, "e70", text="first")
    await scene.say(scene.one, first)
    second = await scene.world.approval(scene.one, "e70", text="second")
    before = len(scene.world.outcomes)
    await scene.say(scene.one, second)
    told = [o for name, kind, o in scene.world.outcomes[before:] if (name, kind) == ("curation", second.type)]
    assert told
    assert Outcome.EFFECT not in told
    assert Outcome.NOOP_DUPLICATE not in told, "silently a duplicate"
    assert any(one["kind"] == "event.contradicted" for one in scene.audited(scene.one))


async def _exported(scene: Scene) -> None:
    """Another tenant's adapter is asked for as an export of one's own."""
    asked = events.ExportRequested(export_id="x70", adapter_digest=scene.foreign, requested_by="attacker")
    await scene.say(scene.one, asked)
    mine = object_keys.tenant_prefix(scene.one)
    assert not [key for key in scene.world.memory.objects if key.startswith(f"{mine}exports/x70/adapter_model")]


async def _acknowledged_retirement(scene: Scene) -> None:
    """A receipt for an adapter that nobody retired: it is kept by nobody, and the adapter serves on."""
    signed = receipt(scene.world, scene.one, cause=scene.digest, evicted=(scene.digest,))
    await scene.say(scene.one, events.ReplicaEvicted(replica_id="replica-0", cause_id=scene.digest, receipt=signed))
    await scene.assert_served(scene.one)


FORGERIES: Mapping[str, Callable[[Scene], Awaitable[None]]] = {
    "says that an active adapter is retired": _retired,
    "says that another tenant's adapter is retired": _foreign_retired,
    "says that an active tenant is fenced": _fenced,
    "forges a fence beforehand and repeats the receipt at the churn": _fenced_beforehand,
    "takes the id of a purge to come, for another tenant": _squatted,
    "takes the id of a purge to come, for nobody": _squatted_for_nobody,
    "says that a purge is completed, with a certificate of its own": _completed,
    "says that its adapter is the victim's active one": _activated,
    "says that another tenant's adapter is ready": _ready,
    "approves another content under a version that is approved": _approved_twice,
    "asks for another tenant's adapter as an export": _exported,
    "acknowledges a retirement that there was not": _acknowledged_retirement,
}
