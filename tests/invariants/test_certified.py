"""What the certificate of a purge carries, with every service at work: the log of the purge, signed."""

from __future__ import annotations

from pathlib import Path

from producers.queries.audit_copy import read_copy
from producers.queries.audit_log import entries_of
from schemas.bus import events
from schemas.evidence.audit import CHECKPOINT_PREDICATE
from schemas.objects import object_keys
from tenancy.audit.verification import verify_copy
from tenancy.audit.witness import read_held
from tests.invariants.worlds import Pair
from tests.world.world import World


class _Absent:
    async def reconcile(self) -> None:
        """Nobody comes by."""


async def test_the_checkpoint_covers_the_purges_events_and_steps_up_to_the_deletion(pair: Pair, tmp_path: Path) -> None:
    """The ledger's own checkpoint is of the fence. The keeper, who signs what is left over, comes by too seldom."""
    world: World = pair.world
    world.keeper = _Absent()  # type: ignore[assignment]
    await world.publish(pair.one, events.TenantChurned(requested_by="op-1"))
    await world.settle()
    purge = (await world.state(pair.one)).purge
    assert purge is not None
    (tmp_path / "c.json").write_bytes(
        (await world.memory.get(object_keys.certificate_key(pair.one, purge.purge_id))).body
    )
    [held] = read_held(tmp_path / "c.json")
    copy = await read_copy(world.outside, pair.one)
    assert verify_copy(copy, world.keys.trust, [held]).problems == ()
    covered = world.keys.trust.verify(held, CHECKPOINT_PREDICATE)["predicate"]["seq"]
    log = {f"{entry.kind} {entry.facts.get('step', '')}".strip(): entry.seq for entry in entries_of(copy)}
    under = {kind for kind, seq in log.items() if seq <= covered}
    assert {
        "tenant.churned",
        "purge.requested",
        "purge.fenced",
        "purge.step shredded",
        "replica.evicted",
        "purge.step evicted",
        "purge.step deleted",
    } <= under
    assert log["purge.completed"] > covered, "it names the certificate's digest, and a later checkpoint covers it"
