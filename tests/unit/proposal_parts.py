"""Parts of the tests of proposals: what a source publishes that has no keys, and curation on fakes."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from joserfc.jwk import OKPKey

from consumers.curation.app import handlers_with
from consumers.runtime.runs import InRuns
from schemas.bus import events
from schemas.bus.content import ChatMessage, CommittedInline, ExampleContent, InlineContent
from schemas.bus.envelope import DataT, Event
from schemas.bus.outcome import Outcome
from schemas.bus.redaction import Redaction
from tenancy.storage.keys import encrypt_inline
from tenancy.tenant_id import TenantId
from tests.fixtures.gates import GATE, gate_of_tests
from tests.unit.operator_parts import Parts

HANDLERS = handlers_with(gate_of_tests)


def content(question: str = "May [PATIENT-1] have it?", answer: str = "No.", salt: str | None = None) -> ExampleContent:
    return ExampleContent(
        messages=(ChatMessage(role="user", content=question), ChatMessage(role="assistant", content=answer)),
        salt=salt or secrets.token_hex(32),
    )


@dataclass
class Review:
    """A tenant's proposals and reviews, published and handled one after another as on one partition."""

    parts: Parts
    tenant: TenantId
    log: list[Event] = field(default_factory=list)

    async def proposed(
        self, example_id: str = "e1", text: ExampleContent | None = None, version: int = 1, **said: Any
    ) -> Event[events.ExampleProposed]:
        made = text or content()
        key = OKPKey.import_key(dict(await self.parts.tenancy.keys.public_key(self.tenant)))
        data = events.ExampleProposed(
            example_id=example_id,
            version=version,
            redaction=Redaction.of(GATE.redact(made.messages).report),
            content=CommittedInline(
                reference=InlineContent(jwe=encrypt_inline(key, made)), commitment=made.commitment()
            ),
            **{"source": "file", "consent_id": None, **said},
        )
        return self.event(data)

    def reviewed(
        self, of: Event[events.ExampleProposed], reviewer: str, verdict: str = "approved", **said: Any
    ) -> Event[events.ExampleReviewed]:
        data = {
            "example_id": of.data.example_id,
            "version": of.data.version,
            "reviewer_id": reviewer,
            "verdict": verdict,
            "reason_code": "wrong-answer" if verdict == "rejected" else None,
            "commitment": of.data.content.commitment,
            **said,
        }
        return self.event(events.ExampleReviewed.model_validate(data))

    def event(self, data: DataT) -> Event[DataT]:
        self.parts.now += timedelta(seconds=1)
        return Event(subject=self.tenant, data=data, time=self.parts.now, source="/test")

    async def handle(self, *made: Event) -> list[Outcome]:
        """Handle these, and then what curation published because of them, as the topic would bring it."""
        outcomes = [await HANDLERS[type(event.data)](event, self.parts.tenancy) for event in made]
        while self.parts.publisher.events:
            event = self.parts.publisher.events.pop(0)
            self.log.append(event)
            if type(event.data) in HANDLERS:
                await HANDLERS[type(event.data)](event, self.parts.tenancy)
        return outcomes

    async def handle_run(self, *run: Event[events.ExampleProposed]) -> list[Outcome]:
        """Offer these at once; the outcomes of those that were taken. What curation published is handled after it."""
        handler = HANDLERS[events.ExampleProposed]
        assert isinstance(handler, InRuns)
        outcomes = list(await handler.several(run, self.parts.tenancy))
        await self.handle()
        return outcomes

    async def text_versions(self, example_id: str = "e1") -> list[str]:
        store = await self.parts.tenancy.store(self.tenant)
        return [name async for name in store.list("contents", example_id)]
