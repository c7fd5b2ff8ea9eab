"""Opens the content that an event of an example or a document refers to, and seals it where its version lies."""

from __future__ import annotations

from typing import TypeVar

from schemas.bus.content import (
    ClaimCheck,
    Committed,
    CommittedDocument,
    CommittedInline,
    DocumentClaimCheck,
    DocumentContent,
    ExampleContent,
    InlineContent,
)
from tenancy.errors import Refused
from tenancy.storage.tenant_store import TenantStore

ContentT = TypeVar("ContentT", ExampleContent, DocumentContent)


async def received(
    store: TenantStore,
    location: str,
    model: type[ContentT],
    committed: Committed | CommittedDocument | CommittedInline,
    own: ClaimCheck | DocumentClaimCheck | None,
    *,
    otherwise: str,
) -> ContentT:
    """The content: out of the event, or uploaded to ``location`` before, which ``own`` is the claim check for.

    Raises :class:`Refused`: ``foreign-claim-check``, ``no-content``, and ``commitment-mismatch`` for what is not what
    ``otherwise`` says that it has to be.
    """
    reference = committed.reference
    if isinstance(reference, InlineContent):
        content = store.keys.decrypt_inline(reference.jwe, model)
    else:
        if reference != own:
            kind = "document" if isinstance(reference, DocumentClaimCheck) else "example"
            raise Refused("foreign-claim-check", f"refused: the claim check names another {kind}")
        held, _ = await store.find_record(location, model)
        if held is None:
            raise Refused("no-content", "refused: the claim check names content that was not uploaded")
        content = held
    if content.commitment() != committed.commitment:
        raise Refused("commitment-mismatch", f"refused: the content is not what {otherwise}")
    return content


async def seal_once(store: TenantStore, location: str, content: ExampleContent | DocumentContent) -> None:
    """Write the content, or find it there. Raises :class:`Refused` for a version that has other content."""
    if not await store.put_if_absent(location, content):
        held, _ = await store.get_record(location, type(content))
        if held.commitment() != content.commitment():
            raise Refused("content-exists", "refused: this version has other content already")
