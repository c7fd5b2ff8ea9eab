"""Asks a server for JSON, within a bound of bytes. Nothing of an answer or an address gets into an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from schemas.base.json_text import parse_json
from tenancy.errors import Transient
from tenancy.platform.http_bodies import PLAIN, BodyCompressed, BodyTooLong, bounded_answer

MOST_BYTES = 16 * 1024 * 1024


class ServerUnavailable(Transient):
    """The FHIR server did not answer, or not with what was asked for; asking again later may succeed."""


async def json_answer(
    client: httpx.AsyncClient, method: str, url: str, headers: Mapping[str, str] | None = None, **more: Any
) -> tuple[int, Any]:
    """Status and JSON; None in its place where the answer is none. Raises :class:`ServerUnavailable`."""
    try:
        async with client.stream(method, url, headers={**PLAIN, **(headers or {})}, **more) as answer:
            body = await bounded_answer(answer, MOST_BYTES)
    except BodyCompressed:
        return answer.status_code, None
    except BodyTooLong:
        raise ServerUnavailable(f"the FHIR server's answer is longer than {MOST_BYTES} bytes") from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise ServerUnavailable(f"the FHIR server does not answer ({type(error).__name__})") from None
    try:
        return answer.status_code, parse_json(body)
    except ValueError:
        return answer.status_code, None
