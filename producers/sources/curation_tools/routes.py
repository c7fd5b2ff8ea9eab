"""Takes a tool's webhooks: checks who sends them, notes which record changed, drops the rest, and answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Lifespan

from producers.sources.curation_tools.receiver import Receiver
from producers.sources.curation_tools.webhooks import Sender
from tenancy.errors import Refused
from tenancy.platform.clock import Clock, utc_now
from tenancy.platform.http_bodies import BodyTooLong, bounded_body

PATH = "/curation/webhooks"
BODY_SECONDS = 30.0
"""So long a body may take, whose sender is known at its end: strangers could have every connection otherwise."""


@dataclass(frozen=True)
class Endpoint:
    """``receiver``: None while the work behind the routes begins; the reconciliation finds what came meanwhile."""

    receiver: Callable[[], Receiver | None]
    sender: Sender
    body_bytes: int = 8_388_608
    clock: Clock = utc_now

    def app(self, lifespan: Lifespan[Starlette] | None = None) -> Starlette:
        app = Starlette(routes=[Route(PATH, self._answered, methods=["POST"])], lifespan=lifespan)
        app.router.redirect_slashes = False
        return app

    async def _answered(self, request: Request) -> Response:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await bounded_body(request.stream(), self.body_bytes)
            self.sender.require_signed(request.headers, body, self.clock())
            changed = self.sender.changed(body)
        except BodyTooLong:
            return Response(status_code=413)
        except ClientDisconnect:
            return Response(status_code=400)
        except TimeoutError:
            return Response(status_code=408)
        except Refused as refusal:
            return Response(status_code=401 if refusal.code == "bad-signature" else 400)
        if (receiver := self.receiver()) is None:
            return Response(status_code=503, headers={"Retry-After": "5"})
        receiver.note(changed)
        return Response(status_code=204)
