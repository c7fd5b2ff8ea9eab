"""Appends to a tenant's audit log exactly once, from any number of processes, with a constant number of requests.

An object, ``audit/<tenant>/entries/<seq>``, holds one entry or a segment of several, one a line, and is named by the
first. It is created if absent: the process that creates it owns the position, and a segment is there as a whole or not
at all. The next object lies behind the last entry of the one before. An occurrence is identified by its id, for an
event the event's id. Its claim, ``audit/<tenant>/claims/<occurrence>``, is created if absent too, and gives the
occurrence its one tag and the one position of the object in which the entry with that tag lies or is to be written. A
claim moves to another position, by compare-and-swap, only after an object without its tag was seen at its current one.
Objects never change, so the tag can no longer be written there: an occurrence is entered at most once, however often it
is delivered and wherever a process dies. The next delivery continues from the claim.

Claims are an index and not evidence: they are the only objects that name an event, and are erased once no topic can
still hold events of a purged tenant. The head is a hint of where the log ends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Literal

from pydantic import ValidationError

from schemas.base.contract import ModelT, read_tolerant
from schemas.evidence.audit import (
    Actor,
    AuditClaim,
    AuditEntry,
    AuditHead,
    body_sha256,
    entry_bytes,
    genesis,
    segment_bytes,
    segment_lines,
)
from schemas.objects import object_keys
from tenancy.errors import AuditBroken, AuditContended, ContendedState, ObjectNotFound, PreconditionFailed
from tenancy.platform.clock import Clock, random_nonce, utc_now
from tenancy.platform.concurrency import RUN_AT_ONCE, gathered
from tenancy.state.open_work import Announcer
from tenancy.storage.cas_record import CasRecord
from tenancy.storage.objects import ObjectStore, erase_prefix
from tenancy.tenant_id import TenantId

APPEND_ATTEMPTS = 48

CLAIM = "an event's claim"

Facts = dict[str, str | int]

Hint = tuple[AuditHead, str | None]
"""A head and its ETag, None where none lies there."""


@dataclass(frozen=True)
class AuditRecord:
    """What is to be entered. ``occurrence`` identifies it: the same one is entered once."""

    occurrence: str
    kind: str
    time: datetime
    actor: Actor
    facts: Facts = field(default_factory=dict)
    recorded_while: Literal["active", "purging", "purged"] = "active"


@dataclass(frozen=True)
class Appended:
    """An entry, and whether this call made it. ``hint``: where the log ended when this call saw it last."""

    entry: AuditEntry
    is_new: bool
    hint: Hint


@dataclass(frozen=True)
class _End:
    """The last entry that is known to exist, or the genesis at position 0."""

    seq: int
    sha256: str


@dataclass(frozen=True)
class _Found:
    """The entries of an object that was read."""

    entries: tuple[AuditEntry, ...]
    end: _End

    def tagged(self, tag: str) -> AuditEntry | None:
        return next((entry for entry in self.entries if entry.tag == tag), None)


@dataclass(frozen=True)
class AuditLog:
    """The audit logs of all tenants. Whoever enters something announces it, so that it is signed in time.

    ``announcer``: of the process, where it enters much.
    """

    objects: ObjectStore
    clock: Clock = utc_now
    announcer: Announcer | None = None

    async def append(self, tenant: TenantId, record: AuditRecord, *, is_repeated: bool = False) -> Appended:
        """Enter ``record``, or find where it was entered before.

        Four requests where nobody else appends at the same time, and one a minute to announce it; four for a
        repetition, and a few more for each entry that got in between. Raises :class:`AuditContended` when that goes
        on, and :class:`AuditBroken` when an entry is missing, or when an entry or the claim was not written by this
        system. Who enters the same thing again and again says ``is_repeated``: a repetition then is reads only.
        """
        head, head_etag = await self.hint(tenant)
        end = _End(head.seq, head.entry_sha256)
        known = await self._claim(tenant, record.occurrence) if is_repeated else None
        claim, claim_etag, must_look = known or await self._claimed(tenant, record.occurrence, end.seq + 1)
        for _ in range(APPEND_ATTEMPTS):
            there = await self._read(tenant, claim.position) if must_look else None
            if there is None:
                if end.seq != claim.position - 1:
                    if not must_look:
                        must_look = True  # another delivery has moved the claim there
                        continue
                    end = await self._end_before(tenant, claim.position, end)
                made = self._made(tenant, record, claim.tag, end)
                body = entry_bytes(made)
                await self.announce(tenant)
                try:
                    await self.objects.put(object_keys.audit_entry(tenant, claim.position), body, if_absent=True)
                except PreconditionFailed:
                    must_look = True
                    continue
                entered = _End(claim.position, body_sha256(body))
                return Appended(made, True, await self._advanced(tenant, entered, head, head_etag))
            if (entry := there.tagged(claim.tag)) is not None:
                return Appended(entry, False, await self._advanced(tenant, there.end, head, head_etag))
            end = await self._last(tenant, max(there.end, end, key=lambda known: known.seq))
            claim, claim_etag = await self._moved(tenant, record.occurrence, claim, claim_etag, end.seq + 1)
            must_look = False
        raise AuditContended

    async def announce(self, tenant: TenantId) -> None:
        """Say that there is something to sign: before an entry is written."""
        await (self.announcer or Announcer(self.objects, "audit")).announce(tenant)

    async def append_run(
        self, tenant: TenantId, records: Sequence[AuditRecord], hint: Hint | None = None
    ) -> list[Appended]:
        """Enter these, each another occurrence, in their order and as if one after another.

        One segment where nobody else appends at the same time: three requests, and a claim for each record, side by
        side. A repetition is found where its claim says. Everything is appended one after another where somebody else's
        entry got in between. ``hint``: read just now, beside something else.
        """
        head, head_etag = hint = hint or await self.hint(tenant)
        end = _End(head.seq, head.entry_sha256)
        position = end.seq + 1
        claiming = (self._claimed(tenant, record.occurrence, position) for record in records)
        claims = [claim for claim, *_ in await gathered(claiming, at_once=RUN_AT_ONCE)]
        made: dict[str, AuditEntry] = {}
        lines: list[bytes] = []
        for record, claim in zip(records, claims, strict=True):
            if claim.position == position:  # its own, or one that a delivery has left that died before the segment
                made[claim.tag] = self._made(tenant, record, claim.tag, end)
                lines.append(entry_bytes(made[claim.tag]))
                end = _End(end.seq + 1, body_sha256(lines[-1]))
        if lines:
            await self.announce(tenant)
            try:
                await self.objects.put(object_keys.audit_entry(tenant, position), segment_bytes(lines), if_absent=True)
            except PreconditionFailed:
                made = {}
            else:
                hint = await self._advanced(tenant, end, head, head_etag)
        earlier = sorted({claim.position for claim in claims if claim.position != position})
        found = dict(zip(earlier, await gathered(self._read(tenant, place) for place in earlier), strict=True))
        appended = []
        for record, claim in zip(records, claims, strict=True):
            there = found.get(claim.position)
            entry = made.get(claim.tag) or (there.tagged(claim.tag) if there else None)
            is_new = claim.tag in made
            appended.append(Appended(entry, is_new, hint) if entry else await self.append(tenant, record))
        return appended

    async def head(self, tenant: TenantId) -> AuditHead | None:
        """Where the tenant's log ends and which checkpoint is its latest; None when nothing was entered yet.

        A hint: an entry that is being appended may be missing. A checkpoint that it names exists.
        """
        head, etag = await self.hint(tenant)
        return None if etag is None else head

    async def claim(self, tenant: TenantId, occurrence: str) -> AuditClaim | None:
        """Under which tag and where an occurrence is or will be entered; None when it is not known here.

        Raises :class:`AuditBroken`.
        """
        known = await self._claim(tenant, occurrence)
        return None if known is None else known[0]

    async def entered(self, tenant: TenantId, occurrence: str) -> AuditEntry | None:
        """The entry of an occurrence; None where it is not entered yet. Raises :class:`AuditBroken`."""
        claim = await self.claim(tenant, occurrence)
        there = None if claim is None else await self._read(tenant, claim.position)
        return there.tagged(claim.tag) if claim and there else None

    async def note_refusal(self, tenant: TenantId, event_id: str, entry: AuditEntry) -> None:
        """Have :meth:`refusal` find what :meth:`append` entered of an event. What was noted first stays."""
        claim = AuditClaim(tag=entry.tag, position=entry.seq)
        key = object_keys.audit_claim(tenant, _refusal(event_id))
        with suppress(PreconditionFailed):
            await self.objects.put(key, claim.model_dump_json().encode(), if_absent=True)

    async def refusal(self, tenant: TenantId, event_id: str) -> AuditEntry | None:
        """The entry that says that an event was refused; None where none is noted. Raises :class:`AuditBroken`."""
        return await self.entered(tenant, _refusal(event_id))

    async def forget_claims(self, tenant: TenantId) -> None:
        """Erase which event each entry was. An event that is delivered after that would be entered again."""
        await erase_prefix(self.objects, object_keys.audit_claims_prefix(tenant))

    async def caught_up_head(self, tenant: TenantId) -> Hint:
        """The head, brought up to the last entry that exists, and the ETag of the hint it was made from."""
        head, etag = await self.hint(tenant)
        end = await self._last(tenant, _End(head.seq, head.entry_sha256))
        if end.seq == head.seq:
            return head, etag
        return head.evolve(**self._reaching(end)), etag

    async def hint(self, tenant: TenantId) -> Hint:
        """The head as it lies there, that of an empty log where there is none, and its ETag."""
        try:
            stored = await self.objects.get(object_keys.audit_head(tenant))
        except ObjectNotFound:
            return AuditHead(entry_sha256=genesis(tenant)), None
        try:
            return read_tolerant(AuditHead, stored.body), stored.etag
        except ValidationError:  # somebody wrote over it: it is found again from the entries
            return AuditHead(entry_sha256=genesis(tenant)), stored.etag

    async def _claim(self, tenant: TenantId, occurrence: str) -> tuple[AuditClaim, str, bool] | None:
        """The claim that is there, its ETag, and that it was there."""
        try:
            stored = await self.objects.get(object_keys.audit_claim(tenant, occurrence))
        except ObjectNotFound:
            return None
        return _readable(AuditClaim, stored.body, CLAIM), stored.etag, True

    async def _claimed(self, tenant: TenantId, occurrence: str, position: int) -> tuple[AuditClaim, str, bool]:
        """The claim, its ETag, and whether it was there before."""
        key = object_keys.audit_claim(tenant, occurrence)
        claim = AuditClaim(tag=random_nonce(), position=position)
        with suppress(PreconditionFailed):
            return claim, await self.objects.put(key, claim.model_dump_json().encode(), if_absent=True), False
        return await self._others_claim(tenant, occurrence)

    async def _moved(
        self, tenant: TenantId, occurrence: str, claim: AuditClaim, etag: str, position: int
    ) -> tuple[AuditClaim, str]:
        """The claim at another position, or where another delivery of the same occurrence has moved it."""
        key = object_keys.audit_claim(tenant, occurrence)
        moved = claim.evolve(position=position)
        with suppress(PreconditionFailed):
            return moved, await self.objects.put(key, moved.model_dump_json().encode(), if_match=etag)
        return (await self._others_claim(tenant, occurrence))[:2]

    async def _others_claim(self, tenant: TenantId, occurrence: str) -> tuple[AuditClaim, str, bool]:
        """The claim that somebody else has put."""
        known = await self._claim(tenant, occurrence)
        if known is None:  # and that was erased since, with all claims of the tenant
            raise AuditContended
        return known

    async def _read(self, tenant: TenantId, position: int) -> _Found | None:
        """The object at ``position``, where the one before ends."""
        try:
            body = (await self.objects.get(object_keys.audit_entry(tenant, position))).body
        except ObjectNotFound:
            return None
        lines = segment_lines(body)
        entries = tuple(_readable(AuditEntry, line, f"entry {position + at}") for at, line in enumerate(lines))
        return _Found(entries, _End(position + len(lines) - 1, body_sha256(lines[-1])))

    async def _end_before(self, tenant: TenantId, position: int, known: _End) -> _End:
        """The last entry before ``position``, at which there is no object, though it was claimed: no claim points
        further than one past the end of the log.
        """
        end = known if known.seq >= position else await self._last(tenant, known, position)
        if end.seq != position - 1:
            raise AuditBroken(f"entry {min(end.seq + 1, position)}")
        return end

    async def _last(self, tenant: TenantId, known: _End, before: int | None = None) -> _End:
        """The last entry that exists, or that exists before a position, looked for from one that does."""
        while known.seq + 1 != before and (found := await self._read(tenant, known.seq + 1)) is not None:
            known = found.end
        return known

    def _made(self, tenant: TenantId, record: AuditRecord, tag: str, before: _End) -> AuditEntry:
        return AuditEntry(
            tenant=tenant,
            seq=before.seq + 1,
            previous=before.sha256,
            tag=tag,
            kind=record.kind,
            time=record.time,
            recorded_at=self.clock(),
            recorded_while=record.recorded_while,
            actor=record.actor,
            facts=record.facts,
        )

    async def _advanced(self, tenant: TenantId, end: _End, head: AuditHead, etag: str | None) -> Hint:
        """The head, once it says that the log reaches at least to ``end``."""
        update = self._reaching(end)
        return await self.rewrite_head(
            tenant, head, etag, lambda held: held.evolve(**update) if held.seq < end.seq else held
        )

    def _reaching(self, end: _End) -> dict[str, object]:
        return {"seq": end.seq, "entry_sha256": end.sha256, "moved_at": self.clock()}

    async def rewrite_head(
        self, tenant: TenantId, head: AuditHead, etag: str | None, change: Callable[[AuditHead], AuditHead]
    ) -> Hint:
        """Change the hint by compare-and-swap. After some lost races it is left as others wrote it."""
        key = object_keys.audit_head(tenant)
        record = CasRecord(
            partial(self.hint, tenant),
            lambda held, etag: self.objects.put(
                key, held.model_dump_json().encode(), if_absent=etag is None, if_match=etag
            ),
        )
        with suppress(ContendedState):
            head, etag, _ = await record.swap(change, base=(head, etag))
            return head, etag
        return await self.hint(tenant)


def _refusal(event_id: str) -> str:
    """The occurrence under which an event's refusal is found. It is entered under its outcome's, of one delivery."""
    return f"{event_id}.refusal"


def _readable(model: type[ModelT], body: bytes, what: str) -> ModelT:
    try:
        return read_tolerant(model, body)
    except ValidationError:
        raise AuditBroken(what) from None
