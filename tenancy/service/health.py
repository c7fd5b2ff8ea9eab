"""Answers the health routes and the metrics of a service, on a port of the platform's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

from tenancy.service.telemetry import Telemetry

OPEN_METRICS = "application/openmetrics-text"


def health_app(
    telemetry: Telemetry,
    is_alive: Callable[[], bool],
    is_ready: Callable[[], Any],
    lifespan: Lifespan[Starlette] | None = None,
) -> Starlette:
    """Answers ``/health/live``, ``/health/ready`` and ``/metrics``, and no other path."""

    async def live(_: Request) -> Response:
        return JSONResponse({"alive": is_alive()}, 200 if is_alive() else 503)

    async def ready(_: Request) -> Response:
        is_up = bool(await is_ready())
        return JSONResponse({"ready": is_up}, 200 if is_up else 503)

    async def metrics(request: Request) -> Response:
        # Of what is asked for, the kind is all that is passed on: choose_encoder raises for versions that are none.
        accepted = {each.partition(";")[0].strip() for each in request.headers.get("accept", "").split(",")}
        encode, content_type = choose_encoder(OPEN_METRICS if OPEN_METRICS in accepted else "")
        return Response(encode(telemetry.registry), headers={"Content-Type": content_type})

    routes = [Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics)]
    app = Starlette(routes=routes, lifespan=lifespan)
    app.router.redirect_slashes = False  # a redirect would lead to whatever host the request names
    return app
