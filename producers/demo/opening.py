"""Opens the demo on the hospital's side: raw conversations of a FHIR export and of an HL7 feed are redacted in the
source, proposed, and approved by a reviewer on the page."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from html import unescape
from pathlib import Path

import httpx

from deploy.local.ports import LOOPBACK
from producers.demo import ward
from producers.queries.proposals import ProposalView, open_proposals
from producers.queries.waiting import until
from producers.review_page.web import COOKIE
from producers.sources.approvals_file import read_approvals
from producers.sources.fhir.importing import FhirFiles
from producers.sources.fhir.mapping import read_mapping
from producers.sources.mllp.conversations import Codes
from producers.sources.mllp.framing import END, framed
from producers.sources.mllp.listener import Listener
from producers.sources.mllp.taking import taking
from producers.sources.proposed import propose_whole
from producers.sources.proposing import Proposer, public_key_of
from producers.sources.source_key import SourceKey
from schemas.bus.content import ChatMessage
from schemas.bus.events import ConsentGranted
from tenancy.bootstrap import Tenancy
from tenancy.errors import Refused
from tenancy.redaction.port import RedactionGate
from tenancy.tenant_id import TenantId

SECONDS = 120.0
SOURCES = {"fhir": len(ward.FHIR_CASES), "hl7": len(ward.HL7_CASES)}

Conversations = dict[str, tuple[ChatMessage, ...]]


def split(approvals: Path, rest: Path) -> Conversations:
    """The conversations that the ward's systems hold; ``rest`` gets the lines of all others, to be imported."""
    found: Conversations = {}
    others = list[bytes]()
    with approvals.open("rb") as lines:
        for raw, line in zip(lines, read_approvals(approvals), strict=True):
            if line.approval.example_id in ward.EXAMPLES:
                found[line.approval.example_id] = line.approval.messages
            else:
                others.append(raw)
    rest.write_bytes(b"".join(others))
    return found


async def proposer_of(tenancy: Tenancy, tenant: TenantId, gate: RedactionGate) -> Proposer:
    """What a source at the hospital proposes with: the tenant's public key, and a key of its own."""
    public = public_key_of(await tenancy.keys.public_key(tenant))
    key = SourceKey(secrets.token_bytes(32))
    return Proposer(tenant, public, key, gate, tenancy.publisher, tenancy.outbox.source, tenancy.clock)


async def export_read(proposer: Proposer, conversations: Conversations, scratch: Path) -> None:
    """The FHIR Bundle, in a file that is the hospital's and goes with it. Raises :class:`Refused`."""
    file = scratch / "ward.fhir.json"
    try:
        await asyncio.to_thread(file.write_text, json.dumps(ward.bundle(conversations)))
        source = FhirFiles([file], read_mapping(), proposer.key, proposer.tenant, proposer.clock())
        await propose_whole(proposer, source)
    finally:
        file.unlink(missing_ok=True)


async def feed_sent(proposer: Proposer, conversations: Conversations) -> None:
    """The HL7 messages, over an MLLP connection, each once the one before it is acknowledged. Raises
    :class:`Refused`."""
    patient = (ward.PATIENTS[1].record_number, ward.AUTHORITY)
    consent = proposer.key.consent_id(proposer.tenant, patient)
    await proposer.publish(ConsentGranted(consent_id=consent, version=1))
    async with Listener(taking(proposer, Codes())).listening(LOOPBACK, 0) as port, asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(LOOPBACK, port)
        try:
            for message in ward.messages(conversations):
                writer.write(framed(message))
                if b"MSA|AA|" not in await reader.readuntil(END):
                    raise Refused("not-accepted", "the HL7 source did not accept a message")
        finally:
            writer.close()


async def proposed(tenancy: Tenancy, tenant: TenantId) -> list[ProposalView]:
    """What waits for reviewers, once all of it does. Raises :class:`~producers.queries.waiting.WaitedTooLong`."""

    async def look() -> list[ProposalView] | None:
        views = await open_proposals(tenancy, tenant)
        return views if len(views) >= sum(SOURCES.values()) else None

    return await until(look, what="the proposals of both sources", timeout_seconds=SECONDS)


async def decided(tenancy: Tenancy, tenant: TenantId) -> None:
    """Return once nothing waits. Raises :class:`~producers.queries.waiting.WaitedTooLong`."""

    async def look() -> bool | None:
        return None if await open_proposals(tenancy, tenant) else True

    await until(look, what="the decision on every proposal", timeout_seconds=SECONDS)


@dataclass
class Reviewer:
    """A person at the review page: its forms with the token of the page that was looked at last. The session's cookie
    is sent by hand, since clients of loopback without TLS keep a Secure one to themselves."""

    client: httpx.AsyncClient
    pages: list[str] = field(default_factory=list, repr=False)
    _cookie: str = field(default="", repr=False)

    async def sign_in(self, link: str) -> None:
        """By a one-time link, as ``sano review link`` prints it."""
        await self._asked("POST", "/sign-in/link", {"link": link.partition("#")[2]})

    async def approve_all(self, approved: Callable[[], None]) -> int:
        """Open the queue, and approve every example of it after looking at it; how many there were."""
        queue = await self._asked("GET", "/queue")
        names = re.findall(r'href="/examples/([^"]+)"', queue)
        for name in names:
            page = await self._asked("GET", f"/examples/{name}")
            self.pages.append(page)
            form = {key: _hidden(page, key) for key in ("token", "version")}
            await self._asked("POST", f"/examples/{name}/approve", form)
            approved()
        return len(names)

    async def _asked(self, method: str, path: str, form: dict[str, str] | None = None) -> str:
        answer = await self.client.request(method, path, data=form, headers={"Cookie": f"{COOKIE}={self._cookie}"})
        if answer.status_code not in (200, 303):
            raise Refused("page-refused", f"the review page answered {answer.status_code}")
        self._cookie = answer.cookies.get(COOKIE) or self._cookie
        return answer.text


def _hidden(page: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]+)"', page)
    if found is None:
        raise Refused("page-refused", "the review page shows no form to approve")
    return unescape(found[1])
