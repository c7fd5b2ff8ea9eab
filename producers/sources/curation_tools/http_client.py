"""Asks a curation tool over HTTP. What it answers is never repeated in an error or a log: it holds texts."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from schemas.base.json_text import parse_json
from tenancy.errors import Refused, Transient
from tenancy.platform.http_bodies import BodyTooLong, bounded_body

LARGEST_ANSWER = 32 * 1024 * 1024


class ToolUnavailable(Transient):
    """The tool did not answer, or said that it cannot now."""


@dataclass(frozen=True)
class ToolClient:
    """``client`` has the tool's address and the token's header; it follows no redirect."""

    client: httpx.AsyncClient

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any | None:
        """The JSON; None where there is no such thing. Raises :class:`ToolUnavailable` and :class:`Refused`."""
        return await self._asked("GET", path, params=dict(params or {}))

    async def post(self, path: str, body: Any) -> Any | None:
        """As :meth:`get`."""
        return await self._asked("POST", path, json=body)

    async def _asked(self, method: str, path: str, **how: Any) -> Any | None:
        try:
            async with self.client.stream(method, path, **how) as response:
                body = await bounded_body(response.aiter_bytes(), LARGEST_ANSWER)
                status = response.status_code
                if status == 404:
                    return None
                if status == 429 or status >= 500:
                    raise ToolUnavailable(f"the curation tool answered {status}")
                if status >= 300:
                    why = f"refused: the curation tool answered {status}; see to its address and the token's rights"
                    raise Refused("tool-refused", why)
                return parse_json(body)
        except BodyTooLong:
            raise Refused("tool-refused", "refused: the curation tool's answer is too large") from None
        except httpx.HTTPError as error:
            raise ToolUnavailable(f"the curation tool did not answer ({type(error).__name__})") from None
        except ValueError:
            raise unreadable() from None


class PersonalAccessToken(httpx.Auth):
    """Label Studio's: it gives access tokens of five minutes, and a request that one is refused for is made again."""

    def __init__(self, token: str, tool_url: str) -> None:
        self._token = token
        self._refresh_url = f"{tool_url.rstrip('/')}/api/token/refresh/"
        self._access = ""

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        refused = bool(self._access)
        if self._access:
            request.headers["Authorization"] = f"Bearer {self._access}"
            refused = (yield request).status_code == 401
        if refused or not self._access:
            asked = yield httpx.Request("POST", self._refresh_url, json={"refresh": self._token})
            self._access = str(httpx.Response(200, content=await asked.aread()).json().get("access", ""))
            request.headers["Authorization"] = f"Bearer {self._access}"
            yield request


def unreadable() -> Refused:
    return Refused("unreadable-record", "refused: the curation tool's answer is not of the documented shape")
