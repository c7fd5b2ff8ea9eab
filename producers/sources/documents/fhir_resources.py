"""Reads documents out of FHIR files: each MedicationKnowledge and each DocumentReference (R4B) is one.

A resource that says of itself that it counts no more withdraws its document. What is about a patient is refused: it is
no knowledge of the house.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable
from pathlib import Path

from producers.sources.documents.medication import Json, concept, medication_blocks, name_of
from producers.sources.documents.parsing import within_bounds
from producers.sources.documents.reading import (
    ParseBody,
    ReadDocument,
    opened,
    parse_body,
    read_document,
    titled,
)
from producers.sources.fhir.files import read_files
from producers.sources.fhir.resources import Held, Resources
from producers.sources.source import placed
from tenancy.errors import Refused

SUFFIXES = (".json", ".ndjson")
DOCUMENTS = ("MedicationKnowledge", "DocumentReference")
_NAMED = ("Medication", "Substance", "DetectedIssue", "Organization")
"""What documents refer to, and what is said by its name."""

_KINDS = {
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/html": ".html",
    "application/pdf": ".pdf",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": ".docx",
}
_GONE = {"inactive", "superseded", "entered-in-error"}


async def read_documents(path: Path, title: str | None = None) -> list[ReadDocument]:
    """The documents of a file: those of its resources where it is of FHIR, else one. Raises :class:`Refused`."""
    is_fhir = path.suffix.lower() in SUFFIXES
    return await fhir_documents(path, title) if is_fhir else [await read_document(path, title)]


async def fhir_documents(path: Path, title: str | None = None, parse: ParseBody = parse_body) -> list[ReadDocument]:
    """Every document of the file, medications first. Raises :class:`Refused` for the first that cannot be read."""
    opened(path).close()
    resources, refused = await asyncio.to_thread(read_files, [path], frozenset({*DOCUMENTS, *_NAMED}))
    if refused:
        raise refused[0]
    documents = []
    for held in _found(path, resources):
        try:
            documents.append(await _read(held, resources, title, parse))
        except Refused as refusal:
            raise placed(held.where, refusal) from None
    return documents


def _found(path: Path, resources: Resources) -> list[Held]:
    found = [held for kind in DOCUMENTS for held in resources.of_type(kind)]
    if not found:
        raise Refused("empty-document", f"refused: {path} holds no {' and no '.join(DOCUMENTS)}")
    return found


async def _read(held: Held, resources: Resources, title: str | None, parse: ParseBody) -> ReadDocument:
    body = held.body
    if body.get("modifierExtension") or body.get("implicitRules"):
        raise Refused("modified", "refused: a modifierExtension or implicitRules may change what it means")
    if body.get("status") in _GONE or body.get("docStatus") in ("entered-in-error", "preliminary"):
        return ReadDocument(held.name, (), held.name)
    if held.type == "MedicationKnowledge":
        blocks = tuple(within_bounds(medication_blocks(body, _names(body, resources))))
        if not blocks:
            raise Refused("empty-document", "refused: it says nothing")
        return titled(held.name, title or name_of(body), blocks)
    kind, content = _attached(body, resources)
    called = title or body.get("description") or concept(body.get("type")) or None
    return titled(held.name, called, await parse(kind, content))


def _names(body: Json, resources: Resources) -> Callable[[Json], str]:
    """Names of what its references point to: as they say themselves, or as the resource does, within it or the file."""
    contained = {f"#{one.get('id')}": one for one in body.get("contained", ())}

    def named(reference: Json) -> str:
        if said := reference.get("display"):
            return str(said)
        to = str(reference.get("reference", ""))
        held = resources.get(to)
        resource = contained.get(to) or (held.body if held is not None else {})
        return concept(resource.get("code")) or str(resource.get("name") or resource.get("detail") or "")

    return named


def _attached(body: Json, resources: Resources) -> tuple[str, bytes]:
    """The kind and the bytes of the first attachment that can be read: several are one text in several formats.
    Raises :class:`Refused`."""
    if body.get("subject"):
        raise Refused("about-somebody", "refused: it is about somebody, and no document of the house; leave it out")
    for content in body.get("content", ()):
        attachment = content["attachment"]
        held = None if "data" in attachment else resources.get(str(attachment.get("url", "")))
        where = attachment if held is None else held.body
        declared = str(attachment.get("contentType") or where.get("contentType") or "")
        media, _, parameters = declared.lower().partition(";")
        kind, encoding = _KINDS.get(media.strip()), parameters.strip().removeprefix("charset=").strip('"')
        if kind is None or "data" not in where:
            continue
        if encoding not in ("", "utf-8", "us-ascii"):
            raise Refused("unreadable-attachment", "refused: its attachment is not UTF-8; save it in that encoding")
        try:
            return kind, base64.b64decode(where["data"], validate=True)
        except (binascii.Error, ValueError):
            raise Refused("unreadable-attachment", "refused: its attachment is not base64") from None
    kinds = ", ".join(_KINDS)
    why = f"refused: it has no attachment of {kinds} whose data is in it, or in a Binary of the file"
    raise Refused("no-attachment", why)
