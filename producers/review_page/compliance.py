"""Routes of compliance: adapters, documents, consents, withdrawals, purges, and the audit log's answers.

No text of an example is here, and every document is checked by the functions of ``sano verify`` and ``sano audit``.
"""

from __future__ import annotations

import asyncio
from pathlib import Path as FilePath
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from starlette.responses import Response

from producers.queries import audit_log
from producers.queries.adapters import adapters
from producers.queries.agreement import agreement
from producers.queries.audit_copy import read_copy
from producers.queries.consents import consents
from producers.queries.document_lineage import document_lineage, named_set
from producers.queries.lineage import lineage
from producers.queries.purges import certificate, purges_of
from producers.queries.ratings import ratings_of
from producers.queries.tenants import tenant as tenant_view
from producers.queries.withdrawals import withdrawal_receipt, withdrawals
from producers.review_page.page import Compliance, ThePage, shown
from schemas.base.identifiers import OPAQUE_ID_PATTERN, PURGE_ID_PATTERN, SHA256_PATTERN
from schemas.base.json_text import parse_json
from tenancy.audit.verification import verify_copy
from tenancy.evidence.verification import checked

router = APIRouter(prefix="/compliance")

SHOWN_ENTRIES = 200
SHOWN_DOCUMENTS = 100
SHOWN_CONSENTS = 200
"""And examples that wait for one."""
SHOWN_WITHDRAWALS = 100
CONSENTS_PLACE = rf"{OPAQUE_ID_PATTERN[:-1]}(?:/waiting/{OPAQUE_ID_PATTERN[1:-1]})?$"
WITHDRAWALS_PLACE = rf"^(?:open|closed)/{OPAQUE_ID_PATTERN[1:]}"
KIND_PATTERN = r"^[a-z_.]{1,64}$"


@router.get("")
async def overview(request: Request, page: ThePage, person: Compliance) -> Response:
    view = await tenant_view(page.tenancy, person.tenant)
    published = await adapters(page.tenancy, person.tenant)
    return shown(request, "compliance.html", view=view, adapters=published[::-1])


@router.get("/adapters/{digest}")
async def adapter(
    request: Request, page: ThePage, person: Compliance, digest: Annotated[str, Path(pattern=SHA256_PATTERN)]
) -> Response:
    made = await lineage(page.tenancy, person.tenant, digest, page.verifier)
    rated = await ratings_of(page.tenancy, person.tenant, digest)
    return shown(request, "lineage.html", made=made, rated=rated)


@router.get("/documents")
async def list_documents(
    request: Request,
    page: ThePage,
    person: Compliance,
    behind: Annotated[str | None, Query(pattern=OPAQUE_ID_PATTERN)] = None,
) -> Response:
    state, held, _ = await named_set(page.tenancy, person.tenant)
    left = sorted(name for name in held.documents if name > (behind or ""))
    documents = {name: held.documents[name] for name in left[:SHOWN_DOCUMENTS]}
    following = left[SHOWN_DOCUMENTS - 1] if len(left) > SHOWN_DOCUMENTS else None
    return shown(request, "documents.html", state=state, documents=documents, behind=behind, following=following)


@router.get("/documents/{document_id}")
async def document(
    request: Request, page: ThePage, person: Compliance, document_id: Annotated[str, Path(pattern=OPAQUE_ID_PATTERN)]
) -> Response:
    found = await document_lineage(page.tenancy, person.tenant, document_id)
    return shown(request, "document.html", found=found)


@router.get("/consents")
async def list_consents(
    request: Request,
    page: ThePage,
    person: Compliance,
    behind: Annotated[str | None, Query(pattern=CONSENTS_PLACE)] = None,
) -> Response:
    found = await consents(page.tenancy, person.tenant, behind=behind or "", most=SHOWN_CONSENTS)
    return shown(request, "consents.html", consents=found.views, behind=behind, following=found.following)


@router.get("/withdrawals")
async def list_withdrawals(
    request: Request,
    page: ThePage,
    person: Compliance,
    behind: Annotated[str | None, Query(pattern=WITHDRAWALS_PLACE)] = None,
) -> Response:
    found = await withdrawals(page.tenancy, person.tenant, behind=behind or "", most=SHOWN_WITHDRAWALS)
    return shown(
        request,
        "withdrawals.html",
        views=found.views,
        unreadable=found.unreadable,
        behind=behind,
        following=found.following,
    )


@router.get("/withdrawals/{withdrawal_id}/receipt")
async def receipt(
    page: ThePage, person: Compliance, withdrawal_id: Annotated[str, Path(pattern=OPAQUE_ID_PATTERN)]
) -> Response:
    return _file(await withdrawal_receipt(page.tenancy, person.tenant, withdrawal_id), f"{withdrawal_id}.receipt.json")


@router.get("/purges")
async def list_purges(request: Request, page: ThePage, person: Compliance) -> Response:
    found = await purges_of(page.tenancy, person.tenant)
    return shown(request, "purges.html", views=found.views, unreadable=found.unreadable)


@router.get("/purges/{purge_id}")
async def verified(
    request: Request, page: ThePage, person: Compliance, purge_id: Annotated[str, Path(pattern=PURGE_ID_PATTERN)]
) -> Response:
    """The certificate, checked here and now; what it proves and what it does not."""
    body = await certificate(page.tenancy, person.tenant, purge_id)
    verdict = checked(FilePath(f"{purge_id}.certificate.json"), parse_json(body), page.verifier)
    return shown(request, "certificate.html", purge_id=purge_id, verdict=verdict)


@router.get("/purges/{purge_id}/certificate")
async def download(
    page: ThePage, person: Compliance, purge_id: Annotated[str, Path(pattern=PURGE_ID_PATTERN)]
) -> Response:
    return _file(await certificate(page.tenancy, person.tenant, purge_id), f"{purge_id}.certificate.json")


@router.get("/audit")
async def audit(
    request: Request,
    page: ThePage,
    person: Compliance,
    kind: Annotated[str | None, Query(pattern=KIND_PATTERN)] = None,
) -> Response:
    await page.tenancy.states.read(person.tenant)
    async with page.long_work.of(person.tenant):
        copy = await read_copy(page.tenancy, person.tenant)
        # A long log takes seconds, in which other people's pages go on.
        verdict = await asyncio.to_thread(verify_copy, copy, page.verifier, (), page.sign_seconds)
        entries = await asyncio.to_thread(audit_log.entries_of, copy)
        kinds = sorted({entry.kind for entry in entries})
        chosen = audit_log.selected(entries, kind=kind)
        resolved = await audit_log.names(
            page.tenancy, person.tenant, await audit_log.pseudonyms(page.tenancy, person.tenant)
        )
        latest = [audit_log.shown(entry, resolved) for entry in chosen[: -SHOWN_ENTRIES - 1 : -1]]
    return shown(request, "audit.html", verdict=verdict, entries=latest, total=len(chosen), kind=kind, kinds=kinds)


@router.get("/agreement")
async def show_agreement(request: Request, page: ThePage, person: Compliance) -> Response:
    async with page.long_work.of(person.tenant):
        found = await agreement(page.tenancy, person.tenant)
    return shown(request, "agreement.html", found=found)


def _file(body: bytes, name: str) -> Response:
    """A file to keep. Its name is made of an id, whose shape holds no quote."""
    return Response(
        body, media_type="application/json", headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
