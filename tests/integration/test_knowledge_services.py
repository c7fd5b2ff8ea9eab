"""A tenant whose index lies in PostgreSQL, on real Kafka and the real consumers: what they leave in the database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import pytest

from inference.knowledge.database_search import DatabaseSearch
from producers.commands.onboarding import onboard
from producers.queries.document_lineage import DocumentLineage, document_lineage, published_set
from schemas.bus import events
from schemas.bus.content import CommittedDocument, DocumentBlock, DocumentClaimCheck, DocumentContent
from schemas.objects import object_keys
from schemas.objects.state import KnowledgeState
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import Tenancy
from tenancy.errors import TenantFenced
from tenancy.knowledge.database.connection import Database
from tenancy.knowledge.database.tables import held
from tenancy.knowledge.search import Question
from tenancy.tenant_id import TenantId
from tests.contract.searched_indexes import admitted
from tests.fixtures import raw_bytes
from tests.fixtures.embedders import WordEmbedder
from tests.fixtures.markers import new_marker, search
from tests.fixtures.platform import Platform, eventually
from tests.fixtures.postgres import Postgres

pytestmark = [pytest.mark.kafka, pytest.mark.slow]

TENANT = TenantId("in-postgres")
POLICY = TenantPolicy(knowledge_index="postgres")
SERVICES = ("knowledge", "purge")


@pytest.fixture
def services(platform: Platform, database_url: str) -> Iterator[Platform]:
    """Those that need the database have it."""
    for name in SERVICES:
        platform.restart(name, None, SANO_KNOWLEDGE_DATABASE_URL=database_url)
    yield platform
    for name in SERVICES:
        platform.restart(name)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url) as opened:
        yield opened


async def upserted(tenancy: Tenancy, name: str, text: str) -> events.DocumentUpserted:
    content = DocumentContent(title=text, blocks=(DocumentBlock(kind="text", text=text),), salt="5" * 64)
    store = await tenancy.store(TENANT)
    await store.put_record(object_keys.document(name, 1), content)
    reference = DocumentClaimCheck(document_id=name, version=1)
    committed = CommittedDocument(reference=reference, commitment=content.commitment())
    return events.DocumentUpserted(document_id=name, version=1, content=committed)


async def test_documents_come_and_go_and_a_purge_leaves_no_row_and_no_byte(
    services: Platform, database: Database, postgres: Postgres
) -> None:
    word, embedder = new_marker(), WordEmbedder()
    kept, removed = f"kept-{new_marker()}", f"removed-{new_marker()}"
    async with services.tenancy() as tenancy:
        replica = DatabaseSearch(tenancy, database, admitted, patience_seconds=60.0)

        async def published(documents: int) -> KnowledgeState | None:
            state = (await tenancy.states.read(TENANT)).state.knowledge
            return state if state is not None and state.documents == documents else None

        async def found() -> list[str]:
            state = await eventually(lambda: published_now(), "there is a set")
            vector = (await embedder.embed([word], "query")).vectors[0]
            question = Question(word, vector, embedder.name, datetime.now(UTC), 4)
            return sorted(one.passage.document_id for one in (await replica.search(TENANT, state, question)).found)

        async def published_now() -> KnowledgeState | None:
            return (await tenancy.states.read(TENANT)).state.knowledge

        async def size() -> int | None:
            there = await held(database, TENANT)
            return None if there is None else there[0]

        await onboard(tenancy, TENANT, POLICY)
        for name in (kept, removed):
            await tenancy.outbox.publish(TENANT, await upserted(tenancy, name, f"The house word is {word}."))
        await eventually(lambda: published(2), "both are indexed")
        assert await found() == [kept, removed]
        await tenancy.outbox.publish(TENANT, events.DocumentRemoved(document_id=removed, version=1))

        async def taken_out() -> bool | None:
            return await size() == 1 or None

        async def both_said() -> DocumentLineage | None:
            found = await document_lineage(tenancy, TENANT, removed)
            return found if len(found.said) == 2 else None

        await eventually(taken_out, "the consumer took it out, and nobody asked")
        traced = await eventually(both_said, "the audit log has both events")
        assert [(one.said, one.standing) for one in traced.said] == [("upserted", "over"), ("removed", "counts")]
        assert (traced.status, traced.segment, traced.sealed_texts) == ("removed", None, ())
        whole = await published_set(tenancy, TENANT)
        assert [one.document_id for segment in whole.segments for one in segment.holds] == [kept]
        assert await found() == [kept]
        postgres.flush()
        places = list(raw_bytes.files(postgres.data))
        assert search(kept, places), "or the search is blind"
        assert search(word, places) == []

        await tenancy.outbox.publish(TENANT, events.TenantChurned(requested_by="op"))

        async def purged() -> bool | None:
            return (await tenancy.states.read(TENANT)).state.status == "purged" or None

        await eventually(purged, "the purge was certified")
        with pytest.raises(TenantFenced):
            await document_lineage(tenancy, TENANT, removed)
        assert await size() is None
        postgres.flush()
        assert search(kept, raw_bytes.files(postgres.data)) == []
