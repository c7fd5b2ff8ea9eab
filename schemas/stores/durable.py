"""Registers the stores that outlive processes: the bucket, the keys and the bus."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from schemas.bus.topics import TOPICS, Topic
from schemas.objects import object_keys
from schemas.stores.store import ABSENT, KEPT, Probe, Protection, Purger, Store, kept

KMS_PENDING_DELETION = timedelta(days=7)
"""The shortest waiting period of AWS KMS; the key is unusable as soon as its deletion is scheduled."""

_SWEEP = Purger(
    who="purge",
    method="delete-versions",
    how="every version, delete marker and open multipart upload is deleted, after the key that sealed them",
)
_LISTED = Probe(evidence="listing", how="list_object_versions and list_multipart_uploads found nothing, twice")


def _areas() -> Iterator[Store]:
    for area, holds in object_keys.TENANT_AREAS.items():
        yield Store(
            name=f"objects.{area}",
            medium="object-store",
            where=f"tenants/{{tenant}}/{area}/",
            holds=holds,
            protection="tenant-key",
            purger=_SWEEP,
            probe=_LISTED,
            survives="until-purge",
        )


def _work() -> Iterator[Store]:
    for kind in object_keys.WORK_OF_THE_LIVING:
        yield Store(
            name=f"work.{kind}",
            medium="object-store",
            where=f"work/{kind}/{{tenant}}/",
            holds="nothing: an empty object whose name says that there is something to be done for the tenant",
            protection="references",
            purger=_SWEEP.evolve(how="removed when nothing is left to be done, else by the purge"),
            probe=_LISTED,
            survives="until-purge",
        )
    for kind in object_keys.WORK_BEYOND_THE_FENCE:
        yield kept(
            name=f"work.{kind}",
            medium="object-store",
            where=f"work/{kind}/{{tenant}}/",
            holds="nothing: an empty object whose name says that there is something to be done for the tenant",
            protection="references",
            purger=KEPT.evolve(how="removed when nothing is left to be done, soon after the purge"),
            kept_because="a purge and the signing of its audit log are found by it until both are over",
        )


_OBJECTS = (
    *_areas(),
    *_work(),
    kept(
        name="rounds",
        medium="object-store",
        where="rounds/{kind}.json",
        holds="the id of the tenant that a service's slow round over all tenants is at, until it is at another",
        protection="references",
        purger=KEPT.evolve(how="overwritten as the round goes on"),
        kept_because="it is how a round goes on where it was, whichever process does",
    ),
    kept(
        name="probes",
        medium="object-store",
        where="probes/{probe}/",
        holds="test objects of `sano doctor`, while it looks; nothing of any tenant",
        protection="no-tenant-data",
        purger=KEPT.evolve(how="removed by whoever wrote them, at the end of the look"),
        kept_because="it shows what the object store lacks, before anything is written elsewhere",
    ),
    kept(
        name="spent",
        medium="object-store",
        where="spent/{ends}-{id}",
        holds="nothing: an empty object, named by a random id and the time at which it would be over anyway: a session "
        "of the review page that somebody signed out of, a one-time link that was used, or an answer that was rated; "
        "nothing of any tenant",
        protection="no-tenant-data",
        purger=KEPT.evolve(how="removed an hour after that time, by whoever spends the next one"),
        kept_because="it refuses a copy of a session, a link or a rating, whichever process is asked",
    ),
    Store(
        name="objects.strays",
        medium="object-store",
        where="tenants/{tenant}/",
        holds="nothing: an object in none of the areas above was not written by this system, and is counted apart",
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
        holds="earlier states: ids of examples, runs and adapters, policy, the outbox",
        protection="references",
        purger=_SWEEP.evolve(how="every version but the current one is deleted"),
        probe=_LISTED,
        survives="until-purge",
    ),
    kept(
        name="state.current",
        medium="object-store",
        where="registry/{tenant}/state.json",
        versions="current",
        holds="the tenant's id, its policy, and the fact that it was purged",
        protection="references",
        purger=KEPT.evolve(how="emptied by the fence, then kept"),
        probe=Probe(evidence="listing", how="one version is left, without runs, adapters, examples or events"),
        kept_because="it is the fence: it permanently refuses every later event, job and write of the tenant",
    ),
    kept(
        name="replicas",
        medium="object-store",
        where="replicas/{replica}.json",
        holds="replica ids, base model digest, lease times, and the ids of the tenants whose adapters the replica had "
        "loaded last",
        protection="references",
        purger=KEPT.evolve(
            how="a replica that evicted a tenant leaves it out when it renews its lease; of one that is cut off the "
            "list is emptied"
        ),
        kept_because="a purge reads from it which replicas must acknowledge",
    ),
    kept(
        name="consumers.in-hand",
        medium="object-store",
        where="in-hand/{group}/{topic}/{partition}.json",
        holds="a group's offset on a topic, and how many processes died while handling it; nothing of any tenant",
        protection="no-tenant-data",
        purger=KEPT.evolve(how="erased when the last process of the group ends in good order"),
        kept_because="it detects crash loops, so that the record that causes one is skipped",
    ),
    kept(
        name="purges.record",
        medium="object-store",
        where="purges/{tenant}/{purge}.json",
        holds="the tenant's id, the requester, times, counts, sizes, replica ids, replicas' receipts (with digests of "
        "adapters that they continued to serve), and references to the contract and to confirmations",
        protection="references",
        kept_because="it is evidence of the purge and its steps",
    ),
    kept(
        name="purges.certificate",
        medium="object-store",
        where="purges/{tenant}/{purge}.certificate.json",
        holds="the signed statement of the record",
        protection="references",
        kept_because="it is the tenant's proof",
    ),
    kept(
        name="audit",
        medium="object-store",
        where="audit/{tenant}/",
        holds=(
            "hash-chained entries of decisions and effects: types, times, opaque ids, digests, salted commitments, "
            "pseudonyms; and, in claims/, event ids"
        ),
        protection="references",
        purger=KEPT.evolve(how="kept; salts and pseudonyms end with the key, event ids once no topic can hold them"),
        kept_because="documentation of who did what must be kept for six years (45 CFR 164.316(b)(2)(i))",
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
        where="a KMS key of the tenant's own, if the operator has the object store encrypt its prefix with one",
        holds="a second key of objects that are sealed already",
        protection="provider-key",
        purger=Purger(
            who="operator",
            method="operator",
            how="to be disabled by the operator, then scheduled for deletion in 7 days",
        ),
        probe=Probe(evidence="operator", how="DescribeKey reports PendingDeletion and the deletion date"),
        survives=KMS_PENDING_DELETION,
    ),
    kept(
        name="keys.master",
        medium="outside",
        where="SANO_KMS_KEY_ID or SANO_MASTER_KEY_FILE",
        holds="the installation's wrapping key; nothing of any tenant",
        protection="no-tenant-data",
        probe=Probe(evidence="operator", how="it wraps every tenant's key, with the tenant's id as encryption context"),
        kept_because="the other tenants' keys are wrapped by it",
    ),
    kept(
        name="keys.signing",
        medium="operator-files",
        where="SANO_TOKEN_KEY, SANO_MANIFEST_KEY, SANO_RECEIPT_KEY, SANO_AUDIT_KEY, SANO_CERTIFICATE_KEY, "
        "SANO_EVENT_KEY, SANO_TRUST_ROOT_KEY and SANO_TRUST_FILE",
        holds="the installation's signing keys, one for each purpose, and the trust file; nothing of any tenant",
        protection="no-tenant-data",
        probe=Probe(evidence="operator", how="`sano keys list` shows them"),
        kept_because="the trust file's public halves verify certificates",
    ),
)


_DATABASE = (
    Store(
        name="database.knowledge",
        medium="database",
        where="the tenant's schema at SANO_KNOWLEDGE_DATABASE_URL, if its policy keeps its index there",
        holds="embeddings of passages in clear, keyed hashes of their terms, ids, versions and dates of documents; "
        "titles and passages, sealed under the tenant's key",
        protection="clear",
        purger=Purger(
            who="purge", method="drop", how="the schema is dropped with all its tables, once the key is destroyed"
        ),
        probe=Probe(
            evidence="listing",
            how="the database's catalogue has no schema of the tenant, twice; where no database is set, none is made",
        ),
        survives="until-purge",
    ),
)

_PRIVACY: dict[str, Protection] = {
    "references-only": "references",
    "references-or-ciphertext": "references-or-ciphertext",
}
_LETTERS = {
    "references-only": "letters hold what was sent",
    "references-or-ciphertext": "letters hold what was sent, but no value that is not exactly an event",
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
            who="the brokers",
            method="retention",
            how="a segment is deleted once every record in it is older than the retention"
            if letters
            else "a segment is deleted once every record in it is older than the retention, which "
            "SANO_TOPIC_RETENTION can lengthen",
        ),
        probe=Probe(
            evidence="retention",
            how=f"{_LETTERS[topic.privacy]}; they expire with the topic's retention"
            if letters
            else "segment files hold no content in clear; ids expire with the topic's retention",
        ),
        survives=timedelta(milliseconds=topic.worst_case_survival_ms()),
    )


_BUS = (
    *map(_topic, TOPICS.values()),
    kept(
        name="bus.offsets",
        medium="bus-metadata",
        where="__consumer_offsets",
        holds="group names (service or replica), topics, partitions, offsets; nothing of any tenant",
        protection="no-tenant-data",
        purger=ABSENT,
        kept_because="consumers resume from it",
    ),
    kept(
        name="bus.metadata",
        medium="bus-metadata",
        where="__cluster_metadata and the brokers' own logs",
        holds="topics, configuration, brokers; nothing of any tenant",
        protection="no-tenant-data",
        purger=ABSENT,
        kept_because="the cluster needs it",
    ),
)

DURABLE: tuple[Store, ...] = (*_OBJECTS, *_KEYS, *_DATABASE, *_BUS)
