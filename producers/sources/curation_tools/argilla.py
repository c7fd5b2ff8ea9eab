"""Reads Argilla's records and their responses by id, over the REST API of its server (2.x).

Source: the server's OpenAPI document (``/api/v1/docs``) and argilla-server's schemas of records and responses. A
dataset has fields for question and answer, a text question for the answer, and label questions for verdict and reason.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from producers.sources.curation_tools.fields import Fields, list_of, reason_of, text_of, verdict_of
from producers.sources.curation_tools.http_client import ToolClient, unreadable
from producers.sources.curation_tools.records import Annotation, Record
from schemas.base.timestamps import moment

PAGE = 200
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


@dataclass(frozen=True)
class Argilla:
    """One dataset. Responses that are drafts or discarded say nothing."""

    client: ToolClient
    dataset: str
    fields: Fields
    name: str = "argilla"

    async def record(self, record_id: str) -> Record | None:
        if _UUID.fullmatch(record_id) is None:
            return None
        record = await self.client.get(f"/api/v1/records/{record_id}")
        if record is None:
            return None
        try:
            if record["dataset_id"] != self.dataset:
                return None
            if record["id"] != record_id:
                raise unreadable()
            return self._record(record)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise unreadable() from None

    def _record(self, record: dict[str, Any]) -> Record:
        data = record["fields"]
        metadata = record.get("metadata") or {}
        return Record(
            record_id=record["id"],
            updated_at=_changed_at(record),
            question=text_of(data.get(self.fields.question)),
            answer=text_of(data.get(self.fields.answer)),
            author=text_of(metadata.get(self.fields.author)),
            consent=text_of(metadata.get(self.fields.consent)),
            annotations=tuple(
                self._annotation(one) for one in record.get("responses") or () if one["status"] == "submitted"
            ),
        )

    def _annotation(self, one: dict[str, Any]) -> Annotation:
        values = {name: text_of(value["value"]) for name, value in (one.get("values") or {}).items()}
        return Annotation(
            annotator=text_of(one["user_id"]),
            at=_time(one["updated_at"]),
            answer=values.get(self.fields.answer, ""),
            verdict=verdict_of(values.get(self.fields.verdict, ""), self.fields),
            reason_code=reason_of(values.get(self.fields.reason, "")),
        )

    async def changed(self, since: datetime | None) -> list[str]:
        """Of all records: the server does not sort them by the times of their responses."""
        found: list[str] = []
        offset = 0
        while True:
            listed = await self.client.get(
                f"/api/v1/datasets/{self.dataset}/records",
                {"include": "responses", "offset": offset, "limit": PAGE},
            )
            try:
                items = list_of((listed or {})["items"])
                found += [text_of(one["id"]) for one in items if since is None or _changed_at(one) >= since]
            except (KeyError, TypeError, ValueError):
                raise unreadable() from None
            if len(items) < PAGE:
                return found
            offset += PAGE


def _changed_at(record: dict[str, Any]) -> datetime:
    times = [record["updated_at"], *(one["updated_at"] for one in record.get("responses") or ())]
    return max(map(_time, times))


def _time(text: str) -> datetime:
    """The server writes UTC without a zone."""
    try:
        return moment(text)
    except ValueError:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
