"""Answers the FHIR server's notifications. A 2xx means that the bus has what they hold; errors are OperationOutcomes.

Nothing of a notification is repeated in an answer or in the log.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from producers.sources.fhir.notification import Malformed, read_notification
from producers.sources.fhir.receiving import Receiver
from schemas.base.json_text import parse_json
from tenancy.errors import Refused, Transient
from tenancy.platform.http_bodies import BodyTooLong, bounded_body
from tenancy.platform.logs import SCOPE, error_location

logger = logging.getLogger(f"{SCOPE}.fhir")

CODES = "https://sanolith.example/fhir/refusals"
MEDIA_TYPES = {"application/fhir+json", "application/json"}
PATH = "/fhir/notifications"
TAKE_SECONDS = 60.0
"""So long one notification may take."""


@dataclass(frozen=True)
class Endpoint:
    """``receiver``: None while the work behind the routes begins."""

    receiver: Callable[[], Receiver | None]
    bearer: str = field(repr=False)
    body_bytes: int = 4_194_304
    take_seconds: float = TAKE_SECONDS

    def app(self, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
        app = Starlette(routes=[Route(PATH, self._answered, methods=["POST"])], lifespan=lifespan)
        app.router.redirect_slashes = False
        return app

    async def _answered(self, request: Request) -> Response:
        try:
            answer = await self._taken(request)
        except Malformed as malformed:
            answer = outcome(422, "structure", malformed.code)
        except (Transient, TimeoutError):
            answer = outcome(503, "transient", "not-now", headers={"Retry-After": "5"})
        except ClientDisconnect:
            answer = outcome(400, "incomplete", "cut-off")
        except Exception as error:
            logger.error("notification failed", extra={"error": error_location(error)})
            answer = outcome(500, "exception", "internal-error")
        logger.info("answered", extra={"status": answer.status_code})
        return answer

    async def _taken(self, request: Request) -> Response:
        said = request.headers.get("authorization", "")
        if not hmac.compare_digest(said.encode(), f"Bearer {self.bearer}".encode()):
            return outcome(401, "login", "not-authenticated", headers={"WWW-Authenticate": "Bearer"})
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in MEDIA_TYPES:
            return outcome(415, "not-supported", "not-json")
        try:
            body = parse_json((await bounded_body(request.stream(), self.body_bytes)).decode("utf-8"))
        except BodyTooLong:
            return outcome(413, "too-long", "too-large")
        except ValueError:
            return outcome(400, "structure", "bad-json")
        notification = read_notification(body)
        receiver = self.receiver()
        if receiver is None:
            return outcome(503, "transient", "not-now", headers={"Retry-After": "5"})
        async with asyncio.timeout(self.take_seconds):
            refused = await receiver.take(notification)
        for refusal in refused:
            logger.warning("resource refused", extra={"reason": refusal.code})
        return outcome(200, "informational", "taken", refused)


def outcome(
    status: int, code: str, reason: str, refused: Sequence[Refused] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """An OperationOutcome of codes, with the refusals of resources, whose words quote nothing of them."""
    issues: list[dict[str, Any]] = [
        {**_issue("error", "invalid", refusal.code), "diagnostics": str(refusal)} for refusal in refused
    ]
    if not issues:
        issues = [_issue("information" if status == 200 else "error", code, reason)]
    body = json.dumps({"resourceType": "OperationOutcome", "issue": issues})
    return Response(body, status, headers=headers, media_type="application/fhir+json")


def _issue(severity: str, code: str, reason: str) -> dict[str, Any]:
    return {"severity": severity, "code": code, "details": {"coding": [{"system": CODES, "code": reason}]}}
