"""Stores that outlive the processes: the bucket, keys, and the bus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from schemas import object_keys
from schemas.store import ABSENT, KEPT, SCANNED, Probe, Protection, Purger, Store
from schemas.topics import TOPICS, Topic

KMS_PENDING_DELETION = timedelta(days=7)
"""The shortest waiting period that AWS KMS allows; the key is unusable from the day it is scheduled."""

_SWEEP = Purger(
    who="purge",
    method="delete-versions",
    how="every version, delete marker and open multipart upload is deleted, after the key that sealed it",
)
_LISTED = Probe(evidence="listing", how="list_object_versions and list_multipart_uploads find nothing, twice")


def _areas() -> Iterator[Store]:
    for area, holds in object_keys.TENANT_AREAS.items():
        by_provider = area == "knowledge"
        yield Store(
            name=f"objects.{area}",
            medium="object-store",
            where=f"tenants/{{tenant}}/{area}/",
            holds=holds,
            protection="provider-key" if by_provider else "tenant-key",
            purger=_SWEEP.model_copy(update={"how": "erased by deletion, not by shredding"}) if by_provider else _SWEEP,
            probe=_LISTED,
            survives="until-purge",
        )


_OBJECTS = (
    *_areas(),
    Store(
        name="objects.strays",
        medium="object-store",
        where="tenants/{tenant}/",
        holds="nothing: whatever lies here and in no area above came from outside, and is counted apart",
        protection="as-sent",
        purger=_SWEEP,
        probe=_LISTED,
        survives="until-purge",
    ),
    Store(
        name="state.superseded",
        medium="object-store",
        where="registry/{tenant}/state.json",
        versions="superseded",
        holds="earlier states: ids of examples, runs and adapters, policy, events that were owed",
        protection="references",
        purger=_SWEEP.model_copy(update={"how": "every version but the current one is deleted"}),
        probe=_LISTED,
        survives="until-purge",
    ),
    Store(
        name="state.current",
        medium="object-store",
        where="registry/{tenant}/state.json",
        versions="current",
        holds="tenant id, policy, and that it is purged",
        protection="references",
        purger=KEPT.model_copy(update={"how": "emptied by the fence, then kept"}),
        probe=Probe(evidence="listing", how="one version is left, without runs, adapters, examples or events"),
        survives="kept",
        kept_because="it refuses every later event, job and writer of the tenant, for ever",
    ),
    Store(
        name="replicas",
        medium="object-store",
        where="replicas/{replica}.json",
        holds="replica ids, base model digest and lease times; nothing of any tenant",
        protection="no-tenant-data",
        purger=KEPT,
        probe=SCANNED,
        survives="kept",
        kept_because="it is how a purge knows which replicas must acknowledge",
    ),
    Store(
        name="consumers.in-hand",
        medium="object-store",
        where="in-hand/{group}/{topic}/{partition}.json",
        holds="a group's place on a topic, and how many processes ended over the record there; nothing of any tenant",
        protection="no-tenant-data",
        purger=KEPT.model_copy(update={"how": "erased once the group is past that record"}),
        probe=SCANNED,
        survives="kept",
        kept_because="it is how an event that ends its process is passed over in the end",
    ),
    Store(
        name="purges.record",
        medium="object-store",
        where="purges/{purge}.json",
        holds="tenant id, who asked, times, counts, sizes, replica ids, what replicas signed, with digests of adapters "
        "that they went on to serve, the contract's and confirmations' references",
        protection="references",
        purger=KEPT,
        probe=SCANNED,
        survives="kept",
        kept_because="evidence that and how the tenant was purged",
    ),
    Store(
        name="purges.certificate",
        medium="object-store",
        where="purges/{purge}.certificate.json",
        holds="the signed statement of the record",
        protection="references",
        purger=KEPT,
        probe=SCANNED,
        survives="kept",
        kept_because="the tenant's proof",
    ),
    Store(
        name="audit",
        medium="object-store",
        where="audit/{tenant}/",
        holds=(
            "hash-chained entries of decisions and effects: types, times, opaque ids, digests, salted commitments, "
            "pseudonyms; and, in claims/, event ids"
        ),
        protection="references",
        purger=KEPT.model_copy(
            update={"how": "kept; salts and pseudonyms die with the key, event ids when no topic holds them"}
        ),
        probe=SCANNED,
        survives="kept",
        kept_because="documentation of who did what is kept six years (45 CFR 164.316(b)(2)(i))",
    ),
)

_KEYS = (
    Store(
        name="keys.tenant",
        medium="key-material",
        where="registry/{tenant}/key.json",
        holds="the tenant's data key, wrapped by the master key, and its key pair, the private half sealed",
        protection="tenant-key",
        purger=Purger(who="purge", method="cryptographic-erase", how="every version is deleted, before anything else"),
        probe=_LISTED,
        survives="until-purge",
    ),
    Store(
        name="keys.tenant-kms",
        medium="outside",
        where="a KMS key of the tenant's own, where the operator gave it one for knowledge/",
        holds="the key of what the object store encrypts",
        protection="provider-key",
        purger=Purger(who="operator", method="operator", how="disable it, then ScheduleKeyDeletion with 7 days"),
        probe=Probe(evidence="operator", how="DescribeKey says PendingDeletion, and from which day it is gone"),
        survives=KMS_PENDING_DELETION,
    ),
    Store(
        name="keys.master",
        medium="outside",
        where="SANO_KMS_KEY_ID or SANO_MASTER_KEY_FILE",
        holds="the installation's wrapping key; nothing of any tenant",
        protection="no-tenant-data",
        purger=KEPT,
        probe=Probe(evidence="operator", how="it wraps every tenant's key, under the tenant's id as context"),
        survives="kept",
        kept_because="the other tenants' keys are wrapped by it",
    ),
    Store(
        name="keys.signing",
        medium="operator-files",
        where="SANO_SIGNING_KEY_FILE and SANO_VERIFY_KEY_FILE",
        holds="the installation's signing key pair; nothing of any tenant",
        protection="no-tenant-data",
        purger=KEPT,
        probe=Probe(evidence="operator", how="one pair for the installation"),
        survives="kept",
        kept_because="certificates are checked with its public half",
    ),
)


_PRIVACY: dict[str, Protection] = {
    "references-only": "references",
    "references-or-ciphertext": "references-or-ciphertext",
}


def _topic(topic: Topic) -> Store:
    letters = topic.name.endswith(".dlq")
    return Store(
        name=topic.name,
        medium="bus",
        where=topic.name,
        holds=topic.description,
        protection="as-sent" if letters else _PRIVACY[topic.privacy],
        purger=Purger(
            who="the brokers", method="retention", how="whole segments are deleted once all in them is old enough"
        ),
        probe=Probe(
            evidence="retention", how="no content in clear in the segment files; ids are gone by the topic's retention"
        ),
        survives=timedelta(milliseconds=topic.worst_case_survival_ms()),
    )


_BUS = (
    *map(_topic, TOPICS.values()),
    Store(
        name="bus.offsets",
        medium="bus-metadata",
        where="__consumer_offsets",
        holds="group names (service or replica), topics, partitions, offsets; nothing of any tenant",
        protection="no-tenant-data",
        purger=ABSENT,
        probe=SCANNED,
        survives="kept",
        kept_because="consumers go on where they were",
    ),
    Store(
        name="bus.metadata",
        medium="bus-metadata",
        where="__cluster_metadata and the brokers' own logs",
        holds="topics, configuration, brokers; nothing of any tenant",
        protection="no-tenant-data",
        purger=ABSENT,
        probe=SCANNED,
        survives="kept",
        kept_because="the cluster runs on it",
    ),
)

DURABLE: tuple[Store, ...] = (*_OBJECTS, *_KEYS, *_BUS)
