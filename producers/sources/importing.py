"""Imports a file of approvals, idempotently: sealed contents under the tenant's prefix, and events that refer to them.

Four passes, so that a file with one bad line leaves no trace: each line is validated alone, redacted, then held against
the tenant's data, and only then is anything written. Importing a file again has the same result: existing contents keep
their salt, so commitments and event ids are the same.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from producers.progress import Progress, each, silent
from producers.sources.approvals_file import NumberedLine, random_salt, read_approvals
from producers.sources.source import placed
from schemas.base.canonical import canonical_json
from schemas.base.contract import Contract
from schemas.base.identifiers import OpaqueId
from schemas.base.redaction import RedactionReport
from schemas.bus.content import ClaimCheck, Committed, ExampleContent
from schemas.bus.events import ConsentGranted, ExampleApproved
from schemas.bus.redaction import GateVerdict
from schemas.objects import object_keys
from schemas.objects.curation import ExampleRecord
from tenancy.bootstrap import Tenancy
from tenancy.errors import PreconditionFailed, Refused, Transient
from tenancy.lifecycle.terms import tenant_terms
from tenancy.platform.threads import REQUESTS
from tenancy.redaction.at_first_use import GateSource
from tenancy.redaction.terms import TenantTerms
from tenancy.storage.tenant_store import TenantStore
from tenancy.tenant_id import TenantId

DEADLINE_SECONDS = 60.0
"""An import writes for longer than a handler may. So it looks at the state every third of this, and each write is over
within this of the look before it: that is the time that a purge waits for writers that were alive at its fence
(``PlatformSettings.quiesce_seconds``)."""

ExampleStatus = Literal["new", "known", "already_decided"]

_EXAMPLE_ID_DOMAIN = b"sanolith/example-id/v1/"


class ImportedExample(Contract):
    """One example of the file, as it is known from here on."""

    example_id: OpaqueId
    version: int
    status: ExampleStatus


class Imported(Contract):
    """What an import came to: ``new`` examples, those ``known``, and those ``already_decided`` otherwise since.

    ``already_decided``: withdrawn, rejected, or approved in a later version. Nothing is sent for them.
    """

    examples: tuple[ImportedExample, ...]
    consents: tuple[OpaqueId, ...]
    redacted: int
    """Identifiers that placeholders stand for."""

    def count(self, status: ExampleStatus) -> int:
        return sum(example.status == status for example in self.examples)


@dataclass(frozen=True)
class _Example:
    line: NumberedLine
    example_id: str
    content: ExampleContent
    report: RedactionReport
    status: ExampleStatus = "new"

    @property
    def version(self) -> int:
        return self.line.approval.version

    @property
    def location(self) -> str:
        return object_keys.content(self.example_id, self.version)


async def import_approvals(
    path: Path,
    tenant: TenantId,
    tenancy: Tenancy,
    gate: GateSource,
    *,
    progress: Progress = silent,
    deadline_seconds: float = DEADLINE_SECONDS,
    stated_by: str | None = None,
) -> Imported:
    """Upload and publish every approval of ``path``, or nothing at all.

    What the gate finds is replaced by placeholders before anything is written. Nobody here reviews it: ``stated_by`` is
    the operator who states that this was done elsewhere.
    Consents are granted first, in their version 1: a consent that was revoked since stays revoked. Raises
    :class:`Refused` (``FILE:LINE: refused: why``), :class:`TenantFenced` and :class:`UnknownTenant`. After a
    :class:`Transient` error the same import, run again, does the rest. ``deadline_seconds``: the handlers' deadline.
    """
    lines = read_approvals(path)
    state = (await tenancy.active(tenant)).state
    store = await tenancy.store(tenant)
    if state.policy.require_consent:
        for line in lines:
            if line.approval.consent is None:
                raise line.refusal("no-consent", "consent is missing, and this tenant's policy requires it")
    identified, terms = _identified(lines, store), await tenant_terms(store)
    drafts = await each(identified, lambda of: _redacted(*of, gate, terms), what="redacting", progress=progress)
    examples = await each(drafts, lambda draft: _judged(draft, store), what="checking", progress=progress)

    upload = _Upload(tenancy, tenant, store, deadline_seconds)
    wanted = [example for example in examples if example.status != "already_decided"]
    sealed = await each(wanted, upload.sealed, what="sealing", progress=progress, at_once=REQUESTS)
    consents = list(dict.fromkeys(e.line.approval.consent for e in sealed if e.line.approval.consent is not None))
    await each(
        consents,
        lambda consent: tenancy.outbox.publish(tenant, ConsentGranted(consent_id=consent, version=1)),
        what="publishing consents",
        progress=progress,
    )
    await each(
        sealed,
        lambda e: tenancy.outbox.publish(tenant, _approved(e, stated_by)),
        what="publishing approvals",
        progress=progress,
        at_once=REQUESTS,
    )
    return Imported(
        examples=tuple(ImportedExample(example_id=e.example_id, version=e.version, status=e.status) for e in examples),
        consents=tuple(consents),
        redacted=sum(sum(example.report.counts.values()) for example in sealed),
    )


def derived_example_id(data_key: bytes, line: NumberedLine) -> str:
    """An id for a line that has none: the same for the same messages, and a guess at nothing without the data key."""
    chat = [message.model_dump() for message in line.approval.messages]
    mac = hmac.new(data_key, _EXAMPLE_ID_DOMAIN + canonical_json(chat), "sha256")
    return f"example-{mac.hexdigest()[:32]}"


def _identified(lines: Sequence[NumberedLine], store: TenantStore) -> list[tuple[NumberedLine, str]]:
    """Each line with its example's id: of what the file says, whatever the gate will find in it."""
    seen: dict[str, int] = {}
    found = []
    for line in lines:
        example_id = line.approval.example_id or derived_example_id(store.keys.data_key, line)
        if example_id in seen:
            raise line.refusal("repeated-line", f"it is the example of line {seen[example_id]} again; keep one of them")
        seen[example_id] = line.number
        found.append((line, example_id))
    return found


async def _redacted(line: NumberedLine, example_id: str, gate: GateSource, terms: TenantTerms) -> _Example:
    messages = line.approval.messages
    try:
        found = await asyncio.to_thread(lambda: gate().redact(messages, terms=terms))
    except Refused as refusal:
        raise placed(f"{line.path}:{line.number}", refusal) from None
    return _Example(line, example_id, ExampleContent(messages=found.messages, salt=random_salt()), found.report)


async def _judged(draft: _Example, store: TenantStore) -> _Example:
    """The draft against what the tenant holds. Raises :class:`Refused` where they differ."""
    (record, _), (held, _) = await asyncio.gather(
        store.find_record(object_keys.example(draft.example_id), ExampleRecord),
        store.find_record(draft.location, ExampleContent),
    )
    if record is not None:
        if record.status == "withdrawn" or record.version > draft.version:
            return replace(draft, status="already_decided")
        if record.version == draft.version and record.status in ("rejected", "returned"):
            return replace(draft, status="already_decided")
        _require_same_approval(draft, record)
    return draft if held is None else _with_content(draft, held)


def _require_same_approval(draft: _Example, record: ExampleRecord) -> None:
    approval = draft.line.approval
    known, given = (record.reviewer_id, record.consent_id), (approval.reviewer, approval.consent)
    if record.version == draft.version and known != given:
        raise draft.line.refusal(
            "approved-otherwise",
            f"version {draft.version} has another reviewer or consent; give the new approval a higher version",
        )


def _with_content(draft: _Example, held: ExampleContent) -> _Example:
    """The draft with the content that is there, salt and all."""
    # An id that was derived is of this very text, whatever an earlier gate made of it.
    if held.messages != draft.content.messages and draft.line.approval.example_id is not None:
        raise draft.line.refusal(
            "content-exists",
            f"version {draft.version} of this example has other messages, or was redacted otherwise; give these a "
            "higher version",
        )
    return replace(draft, content=held, status="known")


@dataclass
class _Upload:
    """Seals contents while the tenant is not fenced."""

    tenancy: Tenancy
    tenant: TenantId
    store: TenantStore
    deadline_seconds: float
    now: Callable[[], float] = time.monotonic
    _looked_at: float = -math.inf  # the state that the import began with may be old: checking the lines took its time

    async def sealed(self, example: _Example) -> _Example:
        """The example once its content lies under the tenant's prefix."""
        if self.now() - self._looked_at > self.deadline_seconds / 3:
            looked_at = self.now()
            await self.tenancy.active(self.tenant)
            self._looked_at = max(self._looked_at, looked_at)  # others look at the same time
        if example.status == "known":
            return example
        try:
            async with asyncio.timeout(self._looked_at + self.deadline_seconds - self.now()):
                await self.store.put_record(example.location, example.content, if_absent=True)
        except TimeoutError:
            raise Transient("the object store is too slow; the same import, run again, does the rest") from None
        except PreconditionFailed:
            # Another import of the same example came in between; its salt counts.
            held, _ = await self.store.find_record(example.location, ExampleContent)
            if held is None:
                raise Transient("an example was withdrawn during the import") from None
            return _with_content(example, held)
        return example


def _approved(example: _Example, stated_by: str | None) -> ExampleApproved:
    approval = example.line.approval
    return ExampleApproved(
        example_id=example.example_id,
        version=example.version,
        reviewer_id=approval.reviewer,
        consent_id=approval.consent,
        content=Committed(
            reference=ClaimCheck(example_id=example.example_id, version=example.version),
            commitment=example.content.commitment(),
        ),
        gate=GateVerdict(gate=example.report.gate, version=example.report.version, verdict="clean"),
        stated_by=stated_by,
    )
