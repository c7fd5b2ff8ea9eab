"""Reads Label Studio's tasks and their annotations by id, over its REST API (1.20 and later).

Source: https://api.labelstud.io: tasks/get, tasks/list. A project's labelling configuration has a ``TextArea`` for the
answer and ``Choices`` for the verdict and for the reason of a rejection; their names are settings.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from producers.sources.curation_tools.fields import Fields, list_of, reason_of, text_of, verdict_of
from producers.sources.curation_tools.http_client import ToolClient, unreadable
from producers.sources.curation_tools.records import Annotation, Record
from schemas.base.timestamps import moment

PAGE = 100


@dataclass(frozen=True)
class LabelStudio:
    """One project."""

    client: ToolClient
    project: str
    fields: Fields
    name: str = "label-studio"

    async def record(self, record_id: str) -> Record | None:
        if not (record_id.isascii() and record_id.isdigit()):
            return None
        task = await self.client.get(f"/api/tasks/{record_id}/")
        if task is None:
            return None
        try:
            if str(task["project"]) != self.project:
                return None
            if str(task["id"]) != record_id:
                raise unreadable()
            return self._record(task)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise unreadable() from None

    def _record(self, task: dict[str, Any]) -> Record:
        data = task["data"]
        return Record(
            record_id=str(task["id"]),
            updated_at=moment(task["updated_at"]),
            question=text_of(data.get(self.fields.question)),
            answer=text_of(data.get(self.fields.answer)),
            author=text_of(data.get(self.fields.author)),
            consent=text_of(data.get(self.fields.consent)),
            # A skipped task is an annotation that was cancelled: nobody said anything.
            annotations=tuple(self._annotation(one) for one in task["annotations"] if not one["was_cancelled"]),
        )

    def _annotation(self, one: dict[str, Any]) -> Annotation:
        given = {result["from_name"]: result["value"] for result in one["result"]}
        by = one["completed_by"]  # an id, or the user where fields are expanded
        verdict = verdict_of(_choice(given.get(self.fields.verdict)), self.fields)
        return Annotation(
            annotator=text_of(by["id"] if isinstance(by, dict) else by),
            at=moment(one["updated_at"]),
            answer="\n".join(text_of(text) for text in given.get(self.fields.answer, {}).get("text", ())),
            verdict=verdict,
            reason_code=reason_of(_choice(given.get(self.fields.reason))),
        )

    async def changed(self, since: datetime | None) -> list[str]:
        """The latest first, so that only what changed is listed."""
        query = json.dumps({"ordering": ["-tasks:updated_at"]})
        found: list[str] = []
        page = 1
        while True:
            params: dict[str, str | int] = {"project": self.project, "page": page, "page_size": PAGE, "query": query}
            listed = await self.client.get("/api/tasks/", params)
            try:
                listed_tasks = list_of((listed or {})["tasks"])
                tasks = [(text_of(task["id"]), moment(task["updated_at"])) for task in listed_tasks]
                total = int(text_of((listed or {})["total"]))
            except (KeyError, TypeError, ValueError):
                raise unreadable() from None
            found += [record_id for record_id, at in tasks if since is None or at >= since]
            is_past = since is not None and any(at < since for _, at in tasks)
            if is_past or not tasks or page * PAGE >= total:
                return found
            page += 1


def _choice(value: dict[str, Any] | None) -> str:
    choices = (value or {}).get("choices") or [""]
    return text_of(choices[0])
