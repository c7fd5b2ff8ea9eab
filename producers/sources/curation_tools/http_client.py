"""Asks a curation tool over HTTP. What it answers is never repeated in an error or a log: it holds texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from schemas.base.json_text import parse_json
from tenancy.errors import Refused, Transient
from tenancy.platform.http_bodies import PLAIN, BodyTooLong, bounded_answer

LARGEST_ANSWER = 32 * 1024 * 1024
REFRESH = "/api/token/refresh/"


class ToolUnavailable(Transient):
    """The tool did not answer, or said that it cannot now."""


@dataclass
class PersonalAccessToken:
    """Label Studio's: ``access`` is what it gave last, for five minutes."""

    token: str = field(repr=False)
    access: str = field(default="", repr=False)


@dataclass(frozen=True)
class ToolClient:
    """``client`` has the tool's address, and the token's header where it needs no other; it follows no redirect."""

    client: httpx.AsyncClient
    token: PersonalAccessToken | None = None

    async def get(self, path: str, params: Mapping[str, str | int] | None = None) -> Any | None:
        """The JSON; None where there is no such thing. Raises :class:`ToolUnavailable` and :class:`Refused`."""
        return await self._asked("GET", path, params=dict(params or {}))

    async def post(self, path: str, body: Any) -> Any | None:
        """As :meth:`get`."""
        return await self._asked("POST", path, json=body)

    async def _asked(self, method: str, path: str, **how: Any) -> Any | None:
        status, answer = await self._authorized(method, path, **how)
        if status == 404:
            return None
        if status >= 300:
            raise _tool_refused(status)
        return answer

    async def _authorized(self, method: str, path: str, **how: Any) -> tuple[int, Any]:
        """A request that its access token is refused for is made again, with a new one."""
        if self.token is None:
            return await self._sent(method, path, **how)
        if self.token.access:
            status, answer = await self._sent(method, path, headers=_bearer(self.token.access), **how)
            if status != 401:
                return status, answer
        self.token.access = await self._new_access(self.token.token)
        return await self._sent(method, path, headers=_bearer(self.token.access), **how)

    async def _new_access(self, token: str) -> str:
        status, answer = await self._sent("POST", REFRESH, json={"refresh": token})
        if status >= 300:
            raise _tool_refused(status)
        access = answer.get("access") if isinstance(answer, dict) else None
        if not isinstance(access, str) or not access.isascii() or not access.isprintable():
            raise unreadable()
        return access

    async def _sent(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, **how: Any
    ) -> tuple[int, Any]:
        """Status, and the JSON of an answer that is no refusal."""
        try:
            async with self.client.stream(method, path, headers={**PLAIN, **(headers or {})}, **how) as response:
                status = response.status_code
                if status == 429 or status >= 500:
                    raise ToolUnavailable(f"the curation tool answered {status}")
                if status >= 300:
                    return status, None
                return status, parse_json(await bounded_answer(response, LARGEST_ANSWER))
        except BodyTooLong:
            raise Refused("tool-refused", "refused: the curation tool's answer is too large") from None
        except httpx.HTTPError as error:
            raise ToolUnavailable(f"the curation tool did not answer ({type(error).__name__})") from None
        except ValueError:
            raise unreadable() from None


def _bearer(access: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {access}"}


def _tool_refused(status: int) -> Refused:
    why = f"refused: the curation tool answered {status}; see to its address and the token's rights"
    return Refused("tool-refused", why)


def unreadable() -> Refused:
    return Refused("unreadable-record", "refused: the curation tool's answer is not of the documented shape")
