"""Registers the stores of running processes and their operators: engine, memory, scratch, telemetry, caches, files."""

from __future__ import annotations

from datetime import timedelta

from schemas.stores.memory import OF_MEMORY, RECEIPT
from schemas.stores.store import ABSENT, SCANNED, Probe, Purger, Store, kept

_SERVING = (
    Store(
        name="engine.slots",
        medium="engine",
        where="adapter slots and loaded copies in vLLM's workers, on every replica",
        holds="the weights of adapters",
        protection="clear",
        purger=Purger(
            who="replica agent",
            method="evict",
            how="removed (remove_lora), then every free slot is overwritten and read back",
        ),
        probe=RECEIPT,
        survives="until-purge",
    ),
    Store(
        name="engine.prefix-cache",
        medium="engine",
        where="key-value blocks in vLLM's workers, on every replica",
        holds="cached prompts and answers, found only under the salt of tenant and adapter",
        protection="clear",
        purger=Purger(
            who="replica agent", method="evict", how="reset (reset_prefix_cache); blocks are overwritten by reuse"
        ),
        probe=RECEIPT,
        survives="until-purge",
    ),
    kept(
        name="engine.temporary",
        medium="engine",
        where="TMPDIR of a replica, of the knowledge consumer and of a training worker",
        holds="sockets between the engine's processes, and torch's and vLLM's files about the base model",
        protection="no-tenant-data",
        purger=ABSENT,
        kept_because="engine and torch need it; it ends with the process",
    ),
    Store(
        name="replica.adapter-files",
        medium="replica-files",
        where="SANO_ADAPTER_DIR/<replica>/<digest>, memory-backed, on every replica",
        holds="the files of loaded adapters",
        protection="clear",
        purger=Purger(
            who="replica agent",
            method="unlink",
            how="the adapter's folder is removed; all folders when the replica stops or starts",
        ),
        probe=RECEIPT,
        survives="until-purge",
    ),
)

_PROCESSES = (
    Store(
        name="worker.scratch",
        medium="worker-scratch",
        where="SANO_WORK_DIR/scratch of a training worker, of the runner and of `sano reproduce`",
        holds="the trained adapter's files and manifest, until the attempt ends",
        protection="clear",
        purger=Purger(
            who="the worker",
            method="unlink",
            how="removed when the attempt ends; what a killed one left when a runner or `sano reproduce` looks next",
        ),
        probe=Probe(evidence="scan", how="the folder is empty when no attempt runs"),
        survives=timedelta(),
        survives_settings=("lease_seconds", "reconcile_seconds"),
    ),
)

_TELEMETRY = tuple(
    kept(
        name=f"telemetry.{name}",
        medium="telemetry",
        where=where,
        holds=holds,
        protection="no-tenant-data",
        purger=ABSENT,
        kept_because="it describes how the system runs, and holds nothing of any tenant",
    )
    for name, where, holds in (
        ("logs", "standard error of every process", "types, codes, event ids, run ids, digests, replica ids"),
        ("traces", "SANO_OTLP_ENDPOINT/v1/traces", "spans of handlings: event types, event ids, outcomes"),
        ("metrics", "/metrics and SANO_OTLP_ENDPOINT/v1/metrics", "counts and times by type, topic, outcome, route"),
    )
)

_CACHES = tuple(
    kept(
        name=f"cache.{name}",
        medium="package-cache",
        where=where,
        holds=holds,
        protection="no-tenant-data",
        purger=ABSENT,
        kept_because="it consists of published packages and models only",
    )
    for name, where, holds in (
        (
            "models",
            "SANO_WORK_DIR/models, SANO_CACHE_DIR/models, and digest.json beside a base model",
            "the base model and its digest",
        ),
        (
            "packages",
            "SANO_CACHE_DIR, and the caches of transformers, torch and vLLM under ~/.cache and ~/.config",
            "packages, compiled kernels, Kafka's jars, SeaweedFS",
        ),
    )
)

_LOCAL = (
    Store(
        name="local-stack",
        medium="local-stack",
        where=".sano/: keys/, logs/, data/ (brokers' segments, work folders, temporary files), stack.json",
        holds="on one machine, the content of the stores above, and the master key",
        protection="references-or-ciphertext",
        purger=Purger(who="`sano down`", method="unlink", how="data/ and the memory-backed folder are removed"),
        probe=SCANNED,
        survives="until-purge",
    ),
    Store(
        name="operator.imports",
        medium="operator-files",
        where="the file that `sano import` is given",
        holds="questions and answers in clear",
        protection="clear",
        purger=Purger(who="operator", method="operator", how="it is the tenant's file; this system only reads it"),
        probe=Probe(evidence="operator", how="outside this system"),
        survives="until-purge",
    ),
    Store(
        name="operator.exports",
        medium="operator-files",
        where="the folder that `sano export --to` is given, and its hidden sibling until all is checked",
        holds="the adapter in clear, its manifest and list of examples",
        protection="clear",
        purger=Purger(who="tenant", method="operator", how="it is the tenant's own copy, handed over on its request"),
        probe=Probe(evidence="operator", how="outside this system"),
        survives="until-purge",
    ),
    kept(
        name="operator.keys",
        medium="operator-files",
        where="the folder of `sano keys init`, or of SANO_TRUST_FILE: keys that sign, and the trust file",
        holds="private keys for signatures, public keys, names of publishers and ids of the tenants they speak for",
        protection="references",
        kept_because="what was signed before a purge must be verifiable after it",
    ),
    Store(
        name="operator.redacted",
        medium="operator-files",
        where="standard output of `sano redact`, and what an operator sends it to",
        holds="redacted texts, with what the gate has missed in them",
        protection="clear",
        purger=Purger(who="tenant", method="operator", how="it is the hospital's own copy of its own text"),
        probe=Probe(evidence="operator", how="outside this system"),
        survives="until-purge",
    ),
    kept(
        name="operator.certificates",
        medium="operator-files",
        where="files written by `sano purge --certificate`, `sano purges --certificates`, `sano countersign` and `sano "
        "withdrawals --receipts`",
        holds="copies of certificates and of withdrawal receipts",
        protection="references",
        probe=Probe(evidence="operator", how="outside this system"),
        kept_because="they are the tenant's proof",
    ),
    kept(
        name="operator.audit-copies",
        medium="operator-files",
        where="the file that `sano audit export --to` is given",
        holds="a copy of a tenant's audit log",
        protection="references",
        probe=Probe(evidence="operator", how="outside this system"),
        kept_because="the log can be checked against them",
    ),
    kept(
        name="operator.replays",
        medium="operator-files",
        where="plan and progress files of a replay",
        holds="topics, offsets, event ids, event types, tenant ids, counts",
        protection="references",
        kept_because="they are evidence of what was resent; a plan excludes purged tenants",
    ),
    kept(
        name="operator.source-tree",
        medium="operator-files",
        where="the files of this repository that its own tools generate",
        holds="golden schemas, pages and pinned versions",
        protection="no-tenant-data",
        purger=ABSENT,
        probe=Probe(evidence="operator", how="they are in git and reviewed"),
        kept_because="they are the source",
    ),
    kept(
        name="operator.demo",
        medium="operator-files",
        where="demo-report.json and the demo's folder, removed when it ends",
        holds="made-up questions of the demo, their scores",
        protection="no-tenant-data",
        purger=ABSENT,
        probe=Probe(evidence="operator", how="the demo's tenants are made up"),
        kept_because="it is the demo's result",
    ),
    kept(
        name="source.positions",
        medium="operator-files",
        where="SANO_FHIR_POSITION_FILE and SANO_CURATION_POSITION_FILE of sources, on the hospital's side",
        holds="a FHIR server's names of subscriptions and the number of the last event of each; when a curation "
        "tool was looked at last",
        protection="no-tenant-data",
        purger=ABSENT,
        kept_because="it says how far a source was read, and nothing of what it read",
    ),
)

_OUTSIDE = (
    Store(
        name="urls.presigned",
        medium="outside",
        where="presigned URLs of exports",
        holds="nothing: none is made; exports are read through the tenant's own store",
        protection="no-tenant-data",
        purger=ABSENT,
        probe=Probe(
            evidence="scan",
            how="no code here signs a URL; one signed elsewhere yields sealed bytes, and nothing after a purge",
        ),
        survives=timedelta(),
    ),
    Store(
        name="cluster.jobs",
        medium="outside",
        where="Jobs and pods of training workers in a Kubernetes cluster, where SANO_WORKER_JOB_FILE is set",
        holds="tenant ids and run ids, on the workers' command lines; digests of them in names and labels",
        protection="references",
        purger=Purger(
            who="operator",
            method="operator",
            how="the cluster deletes a Job ttlSecondsAfterFinished after its end, which the operator's Job sets",
        ),
        probe=Probe(evidence="operator", how="list the Jobs that have the label sanolith.io/run"),
        survives="until-purge",
    ),
    Store(
        name="copies.bucket",
        medium="outside",
        where="backups, replication targets, inventories and access logs of the bucket",
        holds="sealed bytes and key names, if an operator makes such copies; it must not copy registry/*/key.json",
        protection="tenant-key",
        purger=Purger(
            who="operator",
            method="operator",
            how="sealed bytes are unreadable once the key is destroyed; the operator answers for when copies end",
        ),
        probe=Probe(evidence="operator", how="see Backups in docs/operations.md; this system makes no such copies"),
        survives="until-purge",
    ),
)

OF_PROCESSES: tuple[Store, ...] = (*_SERVING, *OF_MEMORY, *_PROCESSES, *_TELEMETRY, *_CACHES, *_LOCAL, *_OUTSIDE)
