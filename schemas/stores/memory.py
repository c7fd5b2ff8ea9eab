"""Registers the stores in our processes' memory: requests and records in progress, and long-lived tables.

Every attribute of a class of ``inference``, ``consumers`` or ``tenancy.state.open_work`` that is a dict, set, list or
queue belongs to one entry (``tests/fixtures/declared.py``), so that no tenant data is kept undeclared.
"""

from __future__ import annotations

from datetime import timedelta

from schemas.stores.store import ABSENT, Probe, Purger, Store, kept

RECEIPT = Probe(
    evidence="receipt", how="after removal the replica signs what its engine still lists; or its lease has expired"
)

_REPLICA = (
    Store(
        name="engine.requests",
        medium="process-memory",
        where="requests in the memory of the server and the engine",
        holds="prompts and answers while they are computed; grammars that the engine has compiled, with the names and "
        "choices of a schema",
        protection="clear",
        purger=Purger(
            who="replica agent",
            method="evict",
            how="drained for a bounded time, then aborted; compiled grammars are dropped",
        ),
        probe=RECEIPT,
        survives=timedelta(),
        survives_settings=("drain_seconds",),
    ),
    Store(
        name="replica.indexes",
        medium="process-memory",
        where="memory of a replica's server: the indexes of tenants' documents, opened from their segments, and keys "
        "to those that lie in the database",
        holds="passages of documents, their titles, vectors and word lists; keys derived from data keys that open what "
        "the database holds of a tenant",
        protection="clear",
        purger=Purger(
            who="replica agent",
            method="evict",
            how="overwritten at the fence, and when idle or short of memory; the receipt counts the segments. A key is "
            "dropped at the fence",
        ),
        probe=RECEIPT,
        survives="until-purge",
    ),
    Store(
        name="replica.tables",
        medium="process-memory",
        where="tables of a replica's server: cached tenant states, adapters loaded or loading, which of them answered "
        "each tenant last, and the keys of ids of answers",
        holds="tenant ids, the states of tenants (ids, digests, times), digests of adapters, and keys derived from "
        "data keys that sign ids and open nothing",
        protection="references",
        purger=Purger(
            who="replica agent",
            method="evict",
            how="the cached state and the key are dropped first, each adapter's entries on its eviction",
        ),
        probe=RECEIPT,
        survives="until-purge",
    ),
    Store(
        name="replica.suspects",
        medium="process-memory",
        where="fingerprints of requests in flight now, and of those in flight when the replica's engine died",
        holds="HMACs of tenant and request, under a key that exists only in this process",
        protection="references",
        purger=Purger(
            who="the replica",
            method="end-of-process",
            how="dropped ten minutes after one engine death, an hour after a second, or once the request is answered",
        ),
        probe=Probe(evidence="scan", how="the fields are HMACs, times and numbers"),
        survives=timedelta(hours=1, minutes=1),
    ),
    Store(
        name="replica.unsent",
        medium="process-memory",
        where="a replica's unsent backlog: loads for the audit log, usage sums and events",
        holds="tenant ids, digests, times and amounts",
        protection="references",
        purger=Purger(
            who="the replica",
            method="end-of-process",
            how="dropped once the bus or the bucket accepts it, retried every few seconds; or with the process",
        ),
        probe=Probe(evidence="scan", how="the fields are ids, times and numbers"),
        survives=timedelta(),
        survives_settings=("usage_seconds",),
    ),
    kept(
        name="memory.remembered-ids",
        medium="process-memory",
        where="ids that a replica or consumer remembers: fenced and purged tenants, completed purges, retired "
        "adapters, loads ahead and failed ones, ids given to vLLM, today's count of usage reports, its own earlier "
        "processes, which grammars have compiled, which tokens' signatures were right, and the identity providers "
        "that it asked for their keys",
        holds="tenant ids, ids of purges, digests of adapters and tokens, HMACs of grammars under a key of this "
        "process, and issuers with their public keys, without their tenants",
        protection="references",
        purger=Purger(who="nobody", method="none", how="they end with the process, the day's counts with the day"),
        probe=Probe(evidence="scan", how="the fields are ids and numbers"),
        kept_because="nothing of a purged tenant may be admitted again, and no usage may be counted twice",
    ),
)

_CONSUMERS = (
    Store(
        name="consumers.memory",
        medium="process-memory",
        where="memory of a consumer while it handles an event",
        holds="the unwrapped data key and the data being sealed, for one handling",
        protection="clear",
        purger=Purger(who="the consumer", method="end-of-process", how="dropped when the handling ends; never cached"),
        probe=Probe(evidence="scan", how="tests fail on an undeclared attribute that could outlive the handling"),
        survives=timedelta(),
        survives_settings=("handler_deadline_seconds",),
    ),
    Store(
        name="consumers.tables",
        medium="process-memory",
        where="tables of a consumer: running training workers, runs to retry, and records that wait or come again",
        holds="tenant ids and run ids, topics and offsets, and events, whose content is sealed where they carry any",
        protection="references",
        purger=Purger(
            who="the consumer",
            method="end-of-process",
            how="workers end with their lease; records when they are handled, or their partition moves; the rest is "
            "dropped by the first check after the fence",
        ),
        probe=Probe(evidence="scan", how="the fields are ids, process handles and numbers"),
        survives=timedelta(),
        survives_settings=("lease_seconds", "reconcile_seconds"),
    ),
    kept(
        name="consumers.overview",
        medium="process-memory",
        where="the purge watchdog's numbers, until its next check",
        holds="the number of purges in each step, and for how long topics keep their events",
        protection="no-tenant-data",
        purger=ABSENT,
        kept_because="the metrics show it",
    ),
    Store(
        name="worker.memory",
        medium="process-memory",
        where="memory of a training worker",
        holds="the examples of the training set and the weights in training",
        protection="clear",
        purger=Purger(who="the worker", method="end-of-process", how="it loses its lease at the fence and exits"),
        probe=Probe(evidence="scan", how="example texts are never written to a file"),
        survives=timedelta(),
        survives_settings=("lease_seconds",),
    ),
)

OF_MEMORY: tuple[Store, ...] = (*_REPLICA, *_CONSUMERS)
