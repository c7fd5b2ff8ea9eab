"""Wires the knowledge consumer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from consumers.knowledge.embedding import require_installed
from consumers.knowledge.handlers import on_document, on_documents
from consumers.knowledge.ports import KnowledgePorts
from consumers.knowledge.settings import KnowledgeSettings
from consumers.runtime.dispatch import Handlers, on
from consumers.runtime.runs import InRuns
from consumers.runtime.service import serve
from consumers.runtime.share import Share
from schemas.bus import events
from tenancy.bootstrap import Tenancy
from tenancy.embedding.at_first_use import EmbedderAtFirstUse
from tenancy.knowledge.database.connection import opened
from tenancy.platform.settings import loaded_or_exit, refusal_exits
from tenancy.redaction.at_first_use import AtFirstUse
from tenancy.redaction.standard import standard_gate
from tenancy.service.periodic import Periodic

HANDLERS: Handlers[KnowledgePorts] = dict(
    [
        on(events.DocumentUpserted, InRuns(on_document, on_documents)),
        on(events.DocumentRemoved, InRuns(on_document, on_documents)),
    ]
)


def main() -> None:
    settings = loaded_or_exit(KnowledgeSettings)
    with refusal_exits():
        require_installed(settings)

    @asynccontextmanager
    async def ports(tenancy: Tenancy, share: Share) -> AsyncIterator[tuple[KnowledgePorts, Sequence[Periodic]]]:
        async with AsyncExitStack() as stack:
            embedder = EmbedderAtFirstUse(settings, settings.work_dir / "models", stack)
            database = await stack.enter_async_context(opened(settings))
            yield KnowledgePorts(tenancy, embedder, AtFirstUse(standard_gate), database), ()

    serve("knowledge", settings=settings, topics=(events.KNOWLEDGE,), handlers=HANDLERS, ports=ports)


if __name__ == "__main__":
    main()
