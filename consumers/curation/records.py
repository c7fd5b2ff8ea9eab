"""Reads and writes the records of examples, proposals and consents: one conditional write each."""

from __future__ import annotations

from typing import TypeGuard

from schemas.objects import object_keys
from schemas.objects.curation import ConsentRecord, ExampleRecord
from schemas.objects.proposals import OpenProposal, ProposalRecord
from tenancy.errors import PreconditionFailed, Transient
from tenancy.storage.tenant_store import TenantStore


async def read_example(store: TenantStore, example_id: str) -> tuple[ExampleRecord | None, str | None]:
    """The latest decision on an example and its ETag, or two times None."""
    return await store.find_record(object_keys.example(example_id), ExampleRecord)


async def write_example(store: TenantStore, record: ExampleRecord, etag: str | None) -> None:
    """Write it over what was read. Raises :class:`Transient` where that has changed since."""
    await _write(store, object_keys.example(record.example_id), record, etag)


def is_decided(record: ExampleRecord | None, version: int) -> TypeGuard[ExampleRecord]:
    """Tell whether there is a record that decides this version: see :meth:`ExampleRecord.decides`."""
    return record is not None and record.decides(version)


async def read_proposal(store: TenantStore, example_id: str) -> tuple[ProposalRecord | None, str | None]:
    """The highest version that was proposed and the record's ETag, or two times None."""
    return await store.find_record(object_keys.proposal(example_id), ProposalRecord)


async def write_proposal(store: TenantStore, record: ProposalRecord, etag: str | None) -> str:
    """Write it over what was read; the new ETag. Raises :class:`Transient` where that has changed since."""
    return await _write(store, object_keys.proposal(record.example_id), record, etag)


async def mark_open(store: TenantStore, record: ProposalRecord, before: ProposalRecord | None) -> None:
    """Put a proposal into the reviewers' queue, ahead of its record, in place of the version ``before`` it."""
    await store.put_if_absent(record.mark, OpenProposal(example_id=record.example_id))
    if before is not None and before.mark != record.mark:
        await store.erase(before.mark)


async def unmark_decided(store: TenantStore, decided: ExampleRecord) -> None:
    """Remove an example that was decided elsewhere from the reviewers' queue, where it would stay."""
    record, _ = await read_proposal(store, decided.example_id)
    if record is not None and decided.decides(record.version):
        await store.erase(record.mark)


async def read_consent(store: TenantStore, consent_id: str) -> tuple[ConsentRecord, str | None]:
    """The latest word on a consent and its ETag; one that nobody has spoken of is not granted."""
    held, etag = await store.find_record(object_keys.consent(consent_id), ConsentRecord)
    return held or ConsentRecord(consent_id=consent_id), etag


async def write_consent(store: TenantStore, record: ConsentRecord, etag: str | None) -> None:
    """Write it over what was read. Raises :class:`Transient` where that has changed since."""
    await _write(store, object_keys.consent(record.consent_id), record, etag)


async def _write(
    store: TenantStore, relative: str, record: ExampleRecord | ProposalRecord | ConsentRecord, etag: str | None
) -> str:
    try:
        return await store.put_record(relative, record, if_absent=etag is None, if_match=etag)
    except PreconditionFailed:
        # Another delivery of this tenant's events wrote in between; handled again, this one sees what it wrote.
        raise Transient("a decision's record changed during the handling") from None
