"""Defines the content of examples and documents, and the references by which events point to it without carrying it."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from schemas.base.canonical import commitment
from schemas.base.contract import Contract
from schemas.base.identifiers import CompactJwe, OpaqueId, Sha256Hex
from schemas.base.integers import Version

TURN_CHARACTERS = 32_768


class ChatMessage(Contract):
    """One turn in the OpenAI chat format."""

    role: Literal["system", "user", "assistant"]
    content: str = Field(min_length=1, max_length=TURN_CHARACTERS)


class ExampleContent(Contract):
    """Content to train on. It exists only sealed in the tenant's prefix, or encrypted to the tenant's public key."""

    messages: tuple[ChatMessage, ...] = Field(min_length=2, max_length=64)
    salt: str = Field(pattern=r"^[0-9a-f]{64}$", description="32 random bytes in hex: the key of the commitment")

    @model_validator(mode="after")
    def _ends_with_an_answer(self) -> ExampleContent:
        roles = [message.role for message in self.messages]
        if roles[-1] != "assistant" or "user" not in roles:
            raise ValueError("messages must hold a user turn and end with an assistant turn")
        return self

    def commitment(self) -> str:
        """HMAC of the messages under the example's own salt, in hex."""
        return commitment(bytes.fromhex(self.salt), self.chat())

    def chat(self) -> list[dict[str, Any]]:
        """The messages as plain JSON objects."""
        return [{"role": message.role, "content": message.content} for message in self.messages]


class ClaimCheck(Contract):
    """A claim check: the content was uploaded, sealed, to the tenant's prefix before the event was published."""

    kind: Literal["claim-check"] = "claim-check"
    example_id: OpaqueId
    version: Version


class InlineContent(Contract):
    """The content as a compact JWE (RFC 7516) to the tenant's public key, for publishers that cannot upload."""

    kind: Literal["jwe"] = "jwe"
    jwe: CompactJwe


ContentReference = ClaimCheck | InlineContent


class Committed(Contract):
    """A content reference and the commitment that the reviewer's approval is bound to."""

    reference: ContentReference = Field(discriminator="kind")
    commitment: Sha256Hex


class CommittedInline(Contract):
    """Content that only the tenant's key opens, and the commitment to it: what a source publishes for review."""

    reference: InlineContent
    commitment: Sha256Hex


BLOCK_CHARACTERS = 32_768
DOCUMENT_BLOCKS = 20_000


class DocumentBlock(Contract):
    """A part of a document, in reading order. A table's row is one block: ``column: value`` pairs, joined by ``; ``."""

    kind: Literal["heading", "text", "row"]
    level: int = Field(default=1, ge=1, le=6, description="of a heading")
    text: str = Field(min_length=1, max_length=BLOCK_CHARACTERS)


class DocumentContent(Contract):
    """A document of changing facts. It exists as :class:`ExampleContent` does: sealed, or encrypted to the tenant."""

    title: str = Field(min_length=1, max_length=300)
    blocks: tuple[DocumentBlock, ...] = Field(min_length=1, max_length=DOCUMENT_BLOCKS)
    salt: str = Field(pattern=r"^[0-9a-f]{64}$", description="32 random bytes in hex: the key of the commitment")

    def commitment(self) -> str:
        """HMAC of title and blocks under the document's own salt, in hex."""
        return commitment(bytes.fromhex(self.salt), self.said())

    def said(self) -> dict[str, Any]:
        """Everything but the salt: two uploads of one text differ in that alone."""
        return self.model_dump(mode="json", exclude={"salt"})


class DocumentClaimCheck(Contract):
    """A claim check: this version was uploaded, sealed, to the tenant's ``knowledge/`` before the event."""

    kind: Literal["claim-check"] = "claim-check"
    document_id: OpaqueId
    version: Version


class CommittedDocument(Contract):
    """A reference to a document's content, and the commitment to it."""

    reference: DocumentClaimCheck | InlineContent = Field(discriminator="kind")
    commitment: Sha256Hex
