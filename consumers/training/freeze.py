"""Freezes the training set: exactly the tenant's approved, consented examples, in an order independent of arrival."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from consumers.training.tokenization import TrainingExample
from schemas.base.canonical import TRAINING_SET_DOMAIN, sha256_hex
from schemas.bus.content import ExampleContent
from schemas.bus.redaction import GateVerdict
from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord
from schemas.objects.proposals import ProposalRecord
from schemas.objects.training import EligibleExample, LeftOutExample, TrainingSet, TrainingSetEntry
from schemas.tenant.policy import TenantPolicy
from tenancy.errors import Refused
from tenancy.platform.concurrency import gathered
from tenancy.storage.tenant_store import TenantStore


class TrainingSetVoid(Exception):
    """An example of the frozen set is not eligible any more: the set must be frozen anew."""


@dataclass(frozen=True)
class Candidates:
    """Entries of eligible examples and their text, in one order; and all others, each with why it is not eligible."""

    entries: tuple[EligibleExample, ...]
    examples: tuple[TrainingExample, ...]
    ineligible: tuple[LeftOutExample, ...] = ()

    def without(self, ids: Collection[str]) -> Candidates:
        """The candidates but these."""
        return Candidates(
            tuple(entry for entry in self.entries if entry.example_id not in ids),
            tuple(example for example in self.examples if example.example_id not in ids),
            self.ineligible,
        )

    def refused(self, codes: Mapping[str, str]) -> tuple[LeftOutExample, ...]:
        """Those that cannot be trained on. ``codes`` says why, by id."""
        return tuple(
            LeftOutExample(example_id=entry.example_id, version=entry.version, code=codes[entry.example_id])
            for entry in self.entries
            if entry.example_id in codes
        )


@dataclass(frozen=True)
class FrozenSet:
    """A set, the text of its examples in the set's order, and what is not in it: eligible or not."""

    training_set: TrainingSet
    examples: tuple[TrainingExample, ...]
    left_out: tuple[LeftOutExample, ...]
    ineligible: tuple[LeftOutExample, ...]


async def candidates(store: TenantStore, policy: TenantPolicy, now: datetime) -> Candidates:
    """What is eligible now, by id.

    Raises :class:`Refused` when fewer than the policy's minimum are eligible, or when a text is not what its
    reviewer approved, and :class:`TrainingSetVoid` when a text was erased meanwhile.
    """
    entries, ineligible = await _looked_through(store, policy, now)
    _require_enough(len(entries), policy, "too-few-examples")
    decided = {entry.example_id for entry in entries} | {example.example_id for example in ineligible}
    ineligible += await _in_review(store, decided)
    contents = await gathered(frozen_content(store, entry) for entry in entries)
    examples = (
        TrainingExample(entry.example_id, content.messages) for entry, content in zip(entries, contents, strict=True)
    )
    return Candidates(tuple(entries), tuple(examples), tuple(ineligible))


async def freeze(
    store: TenantStore,
    policy: TenantPolicy,
    found: Candidates,
    left_out: tuple[LeftOutExample, ...],
    verdicts: Mapping[str, GateVerdict],
) -> FrozenSet:
    """Freeze what was ``found`` without what is ``left_out``, and write it under its own digest. ``verdicts`` are the
    redaction gate's, by id: nothing is frozen that has none.

    Raises :class:`Refused` when that is less than the policy's minimum.
    """
    taken = found.without({example.example_id for example in left_out})
    entries = tuple(TrainingSetEntry(**entry.model_dump(), gate=verdicts[entry.example_id]) for entry in taken.entries)
    _require_enough(len(entries), policy, "too-few-usable-examples")
    training_set = TrainingSet(set_id=training_set_id(store.tenant, entries), tenant=store.tenant, entries=entries)
    await store.put_if_absent(object_keys.training_set(training_set.set_id), training_set)  # or it was frozen before
    return FrozenSet(training_set, taken.examples, left_out, found.ineligible)


def _require_enough(count: int, policy: TenantPolicy, code: str) -> None:
    if count < policy.min_training_examples:
        raise Refused(
            code, f"refused: {count} examples to train on, the tenant's policy asks for {policy.min_training_examples}"
        )


async def eligible(store: TenantStore, policy: TenantPolicy, now: datetime) -> list[EligibleExample]:
    """Every example that may be trained on now, by id."""
    return (await _looked_through(store, policy, now))[0]


async def _looked_through(
    store: TenantStore, policy: TenantPolicy, now: datetime
) -> tuple[list[EligibleExample], list[LeftOutExample]]:
    """Lists the examples to train on now and, with a code each, the decided ones that are ineligible; both by id."""
    names = [relative async for relative in store.list("examples")]
    records = await gathered(_record(store, name) for name in names)
    consents = await _consents(store, records)
    entries, ineligible = [], []
    for record in sorted(records, key=lambda record: record.example_id):
        consent = consents.get(record.consent_id) if record.consent_id else None
        code = _not_eligible(record, consent, policy, now)
        if code is None and record.commitment and record.reviewer_id:
            entries.append(
                EligibleExample(
                    example_id=record.example_id,
                    version=record.version,
                    commitment=record.commitment,
                    reviewer_id=record.reviewer_id,
                    approval_event_id=record.event_id,
                    consent_id=record.consent_id,
                    consent_event_id=consent.event_id if consent else None,
                    stated_by=record.stated_by,
                    approval_gate=record.gate,
                )
            )
        else:
            out = LeftOutExample(example_id=record.example_id, version=record.version, code=code or "not-approved")
            ineligible.append(out)
    return entries, ineligible


async def _in_review(store: TenantStore, decided: Collection[str]) -> list[LeftOutExample]:
    """What was proposed and nobody has decided on yet."""
    ids = [relative.rpartition("/")[2] async for relative in store.list("proposals", "open")]
    names = [object_keys.proposal(example_id) for example_id in ids if example_id not in decided]
    found = await gathered(store.find_record(name, ProposalRecord) for name in names)
    return [
        LeftOutExample(example_id=record.example_id, version=record.version, code="in-review")
        for record, _ in found
        if record is not None
    ]


def _not_eligible(
    record: ExampleRecord, consent: ConsentRecord | None, policy: TenantPolicy, now: datetime
) -> str | None:
    """Why the example may not be trained on now, as a code; None where it may."""
    if record.status != "approved":
        return "back-in-review" if record.status == "returned" else record.status
    if consent is None:
        return "consent-missing" if policy.require_consent else None
    if consent.is_over(now):
        return "consent-over"
    if consent.granted:
        return None
    return "consent-missing" if consent.event_id is None else "consent-revoked"


async def require_still_eligible(
    store: TenantStore, policy: TenantPolicy, training_set: TrainingSet, now: datetime
) -> None:
    """Raises :class:`TrainingSetVoid` when any entry, as it was frozen, is not eligible any more."""
    left = {(entry.example_id, entry.version, entry.commitment) for entry in await eligible(store, policy, now)}
    for entry in training_set.entries:
        if (entry.example_id, entry.version, entry.commitment) not in left:
            raise TrainingSetVoid


def training_set_id(tenant: str, entries: Iterable[TrainingSetEntry]) -> str:
    """Digest over tenant and entries. Commitments are salted, so nothing can be guessed from it."""
    return sha256_hex(
        {
            "domain": TRAINING_SET_DOMAIN,
            "tenant": str(tenant),
            "entries": [entry.model_dump(mode="json") for entry in entries],
        }
    )


async def _record(store: TenantStore, relative: str) -> ExampleRecord:
    record, _ = await store.get_record(relative, ExampleRecord)
    return record


async def _consents(store: TenantStore, records: Iterable[ExampleRecord]) -> dict[str, ConsentRecord]:
    ids = sorted({record.consent_id for record in records if record.consent_id})
    return dict(zip(ids, await gathered(_consent(store, consent_id) for consent_id in ids), strict=True))


async def _consent(store: TenantStore, consent_id: str) -> ConsentRecord:
    held, _ = await store.find_record(object_keys.consent(consent_id), ConsentRecord)
    return held or ConsentRecord(consent_id=consent_id)


async def frozen_content(store: TenantStore, entry: EligibleExample) -> ExampleContent:
    """The text that the entry names. Raises :class:`TrainingSetVoid` where it was erased, and :class:`Refused`."""
    content, _ = await store.find_record(object_keys.content(entry.example_id, entry.version), ExampleContent)
    if content is None:
        raise TrainingSetVoid  # withdrawn between the listing and this read
    if content.commitment() != entry.commitment:
        raise Refused("commitment-mismatch", "refused: a stored example is not what its reviewer approved")
    return content
