"""Stores in the memory of our processes: what is in hand, and the tables of objects that live as long as a process.

Every attribute of a class of ``inference``, ``consumers`` or ``tenancy.state.open_work`` that is a dict, set, list
or queue is named by one entry (``tests/invariants/test_declared_tables.py``), so that nothing of a tenant is remembered
in passing.
"""

from __future__ import annotations

from datetime import timedelta

from schemas.stores.store import ABSENT, SCANNED, Probe, Purger, Store

RECEIPT = Probe(
    evidence="receipt", how="after removal the replica signs what its engine still lists; or its lease has ended"
)

_REPLICA = (
    Store(
        name="engine.requests",
        medium="process-memory",
        where="requests in the memory of the server and of the engine, and in the shared memory between its processes",
        paths=("{shm}/psm_", "{shm}/sem.mp-"),
        written_by=("inference.engine.shared_memory",),
        tables=(
            "inference.api.answers.Answer.body",
            "inference.engine.engine.Engine._processes",
            "inference.engine.engine.Engine._segments",
            "inference.engine.in_flight.EventStream._events",
            "inference.engine.in_flight.Flights._running",
            "inference.engine.stream_usage.StreamUsage._completion_tokens",
            "inference.engine.stream_usage.StreamUsage._prompt_tokens",
            "tenancy.service.connections.BoundedConnection._unparsed",
            "inference.engine.supervisor.SupervisedEngine._streams",
        ),
        holds="prompts and answers while they are computed; in shared memory as token ids, until they are overwritten",
        protection="clear",
        purger=Purger(
            who="replica agent",
            method="evict",
            how="drained for a bounded time, then aborted; messages in shared memory are overwritten, and removed "
            "by a replica that stops or whose engine has died; those of a killed replica end with its /dev/shm, which "
            "each pod has for itself",
        ),
        probe=RECEIPT,
        survives=timedelta(),
        survives_settings=("drain_seconds",),
    ),
    Store(
        name="replica.tables",
        medium="process-memory",
        where="the tables of a replica's server: views of tenants' states, which adapters are loaded or being loaded, "
        "and which were asked for in vain a second ago",
        tables=(
            "inference.tenants.absent.AbsentAdapters._noted",
            "inference.tenants.binding.TenantViews._held",
            "inference.tenants.binding.TenantViews._reading",
            "inference.adapters.fetch_limiter.FetchTurns._own",
            "inference.engine.loaded_adapters.LoadedAdapters._ids",
            "inference.adapters.placement.Placement._loads",
            "inference.adapters.placement.Placement._unloads",
            "inference.adapters.placement.Placement._owners",
            "inference.adapters.residency.Residency._places",
            "inference.adapters.residency._Place.held",
            "inference.engine.unread.Unread._streams",
            "inference.engine.unread.Unread._totals",
            "inference.tenants.admission.TenantRequests._running",
            "inference.tenants.admission.TenantRequests._unread",
        ),
        holds="tenant ids, the states of tenants (ids, digests, times), digests of adapters",
        protection="references",
        purger=Purger(
            who="replica agent",
            method="evict",
            how="the view is dropped first, each adapter's entries when it is evicted",
        ),
        probe=RECEIPT,
        survives="until-purge",
    ),
    Store(
        name="replica.suspects",
        medium="process-memory",
        where="fingerprints of requests that were in flight when a replica's engine died, and of those in flight now",
        tables=(
            "inference.engine.suspects.Suspects._given_up",
            "inference.engine.suspects.Suspects._in_flight",
            "inference.engine.suspects.Suspects._records",
        ),
        holds="HMACs of tenant and request, under a key that only this process has and that ends with it",
        protection="references",
        purger=Purger(
            who="the replica",
            method="end-of-process",
            how="each is dropped ten minutes after one death, an hour after a second, or once its request is answered",
        ),
        probe=Probe(evidence="scan", how="the fields are HMACs, times and numbers"),
        survives=timedelta(hours=1, minutes=1),
    ),
    Store(
        name="replica.unsent",
        medium="process-memory",
        where="what a replica has not sent yet: loads for the audit log, sums and events of usage",
        tables=(
            "inference.replica.load_audit.LoadAudit._waiting",
            "inference.tenants.usage.UsageMeter._amounts",
            "inference.tenants.usage.UsageMeter._running",
            "inference.tenants.usage.UsageReporter._unsent",
        ),
        holds="tenant ids, digests, times and amounts",
        protection="references",
        purger=Purger(
            who="the replica",
            method="end-of-process",
            how="dropped once the bus or the bucket has accepted it, tried every few seconds; or with the process",
        ),
        probe=Probe(evidence="scan", how="the fields are ids, times and numbers"),
        survives=timedelta(),
        survives_settings=("usage_seconds",),
    ),
    Store(
        name="memory.remembered-ids",
        medium="process-memory",
        where="ids that a replica or consumer remembers: fenced and purged tenants, purges that are over, retired "
        "adapters, loads that failed, ids given to vLLM, how many reports of usage it made today, and its own earlier "
        "processes",
        tables=(
            "inference.tenants.binding.TenantViews._blocked",
            "inference.adapters.recent_set.Latest._values",
            "inference.engine.loaded_adapters.LoadedAdapters._digests",
            "inference.adapters.placement.Placement._failed",
            "inference.adapters.placement.Placement._gone",
            "inference.adapters.placement.Placement._retired",
            "inference.replica.lease.ReplicaLease._earlier",
            "inference.tenants.usage.UsageReporter._numbers",
            "tenancy.lifecycle.purge_records.PurgeRecords.certified",
        ),
        holds="tenant ids, ids of purges and digests of adapters",
        protection="references",
        purger=Purger(who="nobody", method="none", how="they end with the process, and the day's numbers with the day"),
        probe=Probe(evidence="scan", how="the fields are ids and numbers"),
        survives="kept",
        kept_because="nothing of a purged tenant may be let in again, and no usage may be counted twice",
    ),
)

_CONSUMERS = (
    Store(
        name="consumers.memory",
        medium="process-memory",
        where="the memory of a consumer that handles an event",
        tables=(
            "consumers.adapters.affected.Found.affected",
            "consumers.adapters.affected.Uses._sets",
            "consumers.purge.counting.Counting.by_store",
            "consumers.purge.counting.SweepCount.through",
            "consumers.purge.roots.Root._known",
            "consumers.purge.sweep._Removal.kept",
            "consumers.purge.sweep._Removal.running",
        ),
        holds="the opened data key and what is being sealed, for one handling",
        protection="clear",
        purger=Purger(who="the consumer", method="end-of-process", how="dropped when the handling ends; never cached"),
        probe=Probe(evidence="scan", how="tests fail on an undeclared attribute that could outlive the handling"),
        survives=timedelta(),
        survives_settings=("handler_deadline_seconds",),
    ),
    Store(
        name="consumers.tables",
        medium="process-memory",
        where="the tables of a consumer: training workers that run, runs that are tried again later, failing records",
        tables=(
            "consumers.runtime.in_hand.InHand._unproven",
            "consumers.runtime.redeliveries.Redeliveries._held",
            "consumers.training.runner.Runner._not_before",
            "tenancy.state.open_work.OpenWork._seen",
            "consumers.training.runner.SubprocessLauncher._children",
            "consumers.training.runner.SubprocessLauncher._watchers",
        ),
        holds="tenant ids and run ids, topics and offsets",
        protection="references",
        purger=Purger(
            who="the consumer",
            method="end-of-process",
            how="workers end with their lease; the rest is dropped by the first check after the fence",
        ),
        probe=Probe(evidence="scan", how="the fields are ids, process handles and numbers"),
        survives=timedelta(),
        survives_settings=("lease_seconds", "reconcile_seconds"),
    ),
    Store(
        name="consumers.overview",
        medium="process-memory",
        where="the purge watchdog's numbers, until its next look",
        tables=("consumers.purge.watchdog.Overview.flags", "consumers.purge.watchdog.Overview.steps"),
        holds="how many purges are in which step",
        protection="no-tenant-data",
        purger=ABSENT,
        probe=SCANNED,
        survives="kept",
        kept_because="it is what the metrics show",
    ),
    Store(
        name="worker.memory",
        medium="process-memory",
        where="the memory of a training worker",
        tables=("consumers.training.result.TrainingResult.library_versions",),
        holds="the examples of the set and the weights in training",
        protection="clear",
        purger=Purger(who="the worker", method="end-of-process", how="it loses its lease at the fence and ends"),
        probe=Probe(evidence="scan", how="it never writes example texts to a file"),
        survives=timedelta(),
        survives_settings=("lease_seconds",),
    ),
)

OF_MEMORY: tuple[Store, ...] = (*_REPLICA, *_CONSUMERS)
