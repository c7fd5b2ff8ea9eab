"""Builds the page's application: routes, guards, sessions, and one page for everything that goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Lifespan

from producers.review_page import compliance, queue, signing_in
from producers.review_page.guards import Guards
from producers.review_page.page import FOLDER, ForgedForm, LateForm, Page, WrongRole, told
from producers.review_page.people import NotSignedIn
from producers.review_page.rates import TooOften
from tenancy.errors import KeyDestroyed, ObjectNotFound, Refused, TenantFenced, Transient, UnknownTenant
from tenancy.platform.logs import SCOPE, error_location

logger = logging.getLogger(f"{SCOPE}.review")

COOKIE = "__Host-sano-review"
"""A name that browsers take only with Secure, without a domain, and for the whole host."""
NOT_FOUND = ("not-open", "unknown-adapter", "unknown-document", "no-certificate", "no-receipt")


def build(page: Page, url: str, session_secret: str, lifespan: Lifespan[Any] | None = None) -> FastAPI:
    """The application. ``url`` is its address as browsers see it."""
    app = FastAPI(openapi_url=None, lifespan=lifespan)
    app.router.redirect_slashes = False  # a redirect would lead to whatever host the request names
    app.state.page = page
    app.include_router(signing_in.router)
    app.include_router(queue.router)
    app.include_router(compliance.router)
    app.mount("/static", StaticFiles(directory=FOLDER / "static"))
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    app.add_middleware(
        SessionMiddleware,
        secret_key=session_secret,
        session_cookie=COOKIE,
        max_age=int(page.limits.idle_seconds),
        same_site="lax",  # an identity provider's redirect back is a navigation from another site
        https_only=True,
    )
    app.add_middleware(Guards, url=url)
    return app


async def _not_signed_in(_: Request, __: Exception) -> Response:
    return RedirectResponse("/sign-in", 303)


async def _not_found(request: Request, _: Exception) -> Response:
    return told(request, 404, "Not found", "There is nothing here that you may see.")


async def _refused(request: Request, error: Exception) -> Response:
    if getattr(error, "code", "") in NOT_FOUND:
        return await _not_found(request, error)
    what = str(error).removeprefix("refused: ")
    if isinstance(error, TenantFenced | KeyDestroyed | UnknownTenant):
        return told(request, 410, "Nothing is left", f"{what[:1].upper()}{what[1:]}.")
    return told(request, 409, "Not possible", f"{what[:1].upper()}{what[1:]}.")


def _sentence(status: int, heading: str, what: str) -> Callable[[Request, Exception], Any]:
    async def answer(request: Request, _: Exception) -> Response:
        return told(request, status, heading, what)

    return answer


async def _failed(request: Request, error: Exception) -> Response:
    logger.error("request failed", extra={"error": error_location(error)})
    return told(request, 500, "That failed", "Nothing was changed, as far as we know. Try again.")


_ANSWERS: dict[type[Exception], Callable[[Request, Exception], Any]] = {
    NotSignedIn: _not_signed_in,
    RequestValidationError: _not_found,
    ObjectNotFound: _not_found,
    HTTPException: _not_found,
    Refused: _refused,
    WrongRole: _sentence(403, "Not for your role", "Your role does not include this."),
    ForgedForm: _sentence(403, "Form not accepted", "Your session may have ended. Sign in and try again."),
    LateForm: _sentence(408, "Too slow", "The form did not come to its end. Send it again."),
    TooOften: _sentence(429, "Too many requests", "Wait a minute, then try again."),
    Transient: _sentence(503, "Not now", "A part that is needed does not answer. Try again in a moment."),
    Exception: _failed,
}
