"""Reads resources of the one server that the settings name; a notification's own addresses are never followed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import httpx

from producers.sources.fhir.answers import ServerUnavailable, json_answer
from producers.sources.fhir.resources import ID
from producers.sources.fhir.smart import BackendService
from tenancy.errors import Refused

ACCEPT = "application/fhir+json"
MOST_PAGES = 50
GONE, NOT_THERE = 410, 404
NO_OPERATION = {400, 404, 405, 501}


class NoSearch(ServerUnavailable):
    """The server does not search these resources, or not for us."""


class Deleted(Refused):
    """The server had the resource, and deleted it."""


@dataclass(frozen=True)
class FhirServer:
    """``base_url`` without a slash at its end. ``authorization``: None where the server asks for none."""

    client: httpx.AsyncClient
    base_url: str
    authorization: BackendService | None = None

    async def read(self, name: str) -> Any:
        """The resource of a ``Type/id``. Raises :class:`Refused` where it is not there, and Transient."""
        kind, _, number = name.partition("/")
        if not kind.isalpha() or not ID.fullmatch(number):
            raise Refused("bad-reference", "refused: a reference names no resource of the server")
        status, answer = await self._asked(f"{self.base_url}/{kind}/{number}")
        if status == GONE:
            raise Deleted("deleted", f"refused: {kind}: the server deleted it")
        if status == NOT_THERE:
            raise Refused("not-there", f"refused: {kind}: the server does not have it")
        if status != httpx.codes.OK or not isinstance(answer, dict):
            raise ServerUnavailable(f"the FHIR server does not let {kind} be read (status {status})")
        if answer.get("resourceType") != kind:
            raise Refused("not-there", f"refused: {kind}: the server has something else under its name")
        return answer

    async def before_deletion(self, name: str) -> dict[str, Any] | None:
        """A deleted resource as it last was, with the time of its deletion as its own; None where the server keeps no
        history. ``name`` was read before. Raises :class:`Transient`.
        """
        status, answer = await self._asked(f"{self.base_url}/{name}/_history")
        if status in NO_OPERATION or status in (httpx.codes.FORBIDDEN, GONE):
            return None
        if status != httpx.codes.OK or not isinstance(answer, dict):
            raise ServerUnavailable(f"the FHIR server does not give a resource's history (status {status})")
        entries = [entry for entry in answer.get("entry") or [] if isinstance(entry, dict)]
        versions = [entry["resource"] for entry in entries if isinstance(entry.get("resource"), dict)]
        if not versions or f"{versions[0].get('resourceType')}/{versions[0].get('id')}" != name:
            return None
        said, meta = [entry.get("response") for entry in entries if "resource" not in entry], versions[0].get("meta")
        ends = [one["lastModified"] for one in said if isinstance(one, dict) and one.get("lastModified")]
        known = meta if isinstance(meta, dict) else {}
        return {**versions[0], "meta": {**known, "lastUpdated": ends[0]} if ends else known}

    async def search(self, kind: str, parameters: Mapping[str, str], *, in_address: bool = True) -> list[Any]:
        """Every resource of this type that the search finds, page by page. Raises :class:`NoSearch` and Transient.

        ``in_address``: without it the parameters are sent as a form, and so are in no log of addresses.
        """
        form = None if in_address else parameters
        url = f"{self.base_url}/{kind}?{urlencode(parameters)}" if in_address else f"{self.base_url}/{kind}/_search"
        found: list[Any] = []
        for _ in range(MOST_PAGES):
            status, answer = await self._asked(url, form)
            form = None
            if status in NO_OPERATION or status == httpx.codes.FORBIDDEN:
                raise NoSearch(f"the FHIR server does not let {kind} be searched (status {status})")
            if status != httpx.codes.OK or not isinstance(answer, dict) or answer.get("resourceType") != "Bundle":
                raise ServerUnavailable(f"the FHIR server does not let {kind} be searched (status {status})")
            entries = [entry for entry in answer.get("entry") or [] if isinstance(entry, dict)]
            resources = [entry["resource"] for entry in entries if isinstance(entry.get("resource"), dict)]
            found += [resource for resource in resources if resource.get("resourceType") == kind]
            links = [link for link in answer.get("link") or [] if isinstance(link, dict)]
            following = [link.get("url") for link in links if link.get("relation") == "next"]
            if not following:
                return found
            if not isinstance(following[0], str) or not self._is_own(following[0]):
                raise ServerUnavailable("the FHIR server's next page is at another server")
            url = following[0]
        raise ServerUnavailable(f"a search has more than {MOST_PAGES} pages")

    async def events(self, subscription: str, first: int, last: int) -> Any:
        """The notification of earlier events (``$events``); None of a server that has no such operation.

        Raises :class:`Transient`.
        """
        asked = urlencode({"eventsSinceNumber": first, "eventsUntilNumber": last, "content": "id-only"})
        status, answer = await self._asked(f"{self.base_url}/Subscription/{subscription}/$events?{asked}")
        if status in NO_OPERATION:
            return None
        if status != httpx.codes.OK:
            raise ServerUnavailable(f"the FHIR server does not give earlier events (status {status})")
        return answer

    def _is_own(self, url: str) -> bool:
        return url.startswith((f"{self.base_url}/", f"{self.base_url}?"))

    async def _asked(self, url: str, form: Mapping[str, str] | None = None) -> tuple[int, Any]:
        method, more = ("GET", {}) if form is None else ("POST", {"data": form})
        if self.authorization is None:
            return await json_answer(self.client, method, url, headers={"Accept": ACCEPT}, **more)
        token = await self.authorization.token()
        for last in (False, True):
            headers = {"Accept": ACCEPT, "Authorization": f"Bearer {token}"}
            status, answer = await json_answer(self.client, method, url, headers=headers, **more)
            if status != httpx.codes.UNAUTHORIZED or last:
                break
            token = await self.authorization.token(refused=token)
        return status, answer
