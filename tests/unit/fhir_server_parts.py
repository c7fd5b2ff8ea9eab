"""A FHIR server of tests: resources, searches, earlier events, and tokens for who signs with the registered key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import httpx
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey

from producers.sources.fhir.mapping import FhirMapping
from producers.sources.fhir.positions import Positions
from producers.sources.fhir.receiving import Receiver
from producers.sources.fhir.routes import PATH, Endpoint
from producers.sources.fhir.server import FhirServer
from producers.sources.fhir.smart import BackendService
from tenancy.bus import RecordingPublisher
from tests.unit.fhir_parts import MAPPING, Json, proposer

BASE = "https://ehr.example/fhir"
TOKEN_URL = "https://ehr.example/token"
BEARER = "secret-of-the-subscription"
SUBSCRIPTION = "sub-1"


@dataclass
class Ehr:
    """``events``: what each number is about. ``status``: answered to everything when it is set."""

    resources: dict[str, Json] = field(default_factory=dict)
    events: dict[int, list[str]] = field(default_factory=dict)
    key: ECKey = field(default_factory=lambda: ECKey.generate_key("P-384", {"kid": "k1"}))
    asked: list[str] = field(default_factory=list)
    tokens: int = 0
    needs_token: bool = False
    status: int | None = None
    unsearched: frozenset[str] = frozenset()
    histories: dict[str, Json] = field(default_factory=dict)

    def put(self, *resources: Json) -> None:
        for resource in resources:
            self.resources[f"{resource['resourceType']}/{resource['id']}"] = resource

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.answer))

    def backend(self, client: httpx.AsyncClient, **said: Any) -> BackendService:
        return BackendService(client, BASE, "client-1", self.key, "system/*.rs", **said)

    def answer(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        self.asked.append(url.removeprefix(BASE))
        if self.status is not None:
            return httpx.Response(self.status)
        if url == f"{BASE}/.well-known/smart-configuration":
            return httpx.Response(200, json={"token_endpoint": TOKEN_URL})
        if url == TOKEN_URL:
            return self._token(parse_qs(request.content.decode()))
        if self.needs_token and request.headers.get("authorization") != f"Bearer token-{self.tokens}":
            return httpx.Response(401)
        path, _, query = url.removeprefix(f"{BASE}/").partition("?")
        if request.method == "POST" and path.endswith("/_search"):
            path, query = path.removesuffix("/_search"), request.content.decode()
        if path.endswith("/$events"):
            said = {name: values[0] for name, values in parse_qs(query).items()}
            first, last = int(said["eventsSinceNumber"]), int(said["eventsUntilNumber"])
            held = {number: focus for number, focus in self.events.items() if first <= number <= last}
            return httpx.Response(200, json=notification(held, kind="query-event"))
        if path.endswith("/_history"):
            return httpx.Response(200, json=self.histories[path]) if path in self.histories else httpx.Response(404)
        if query and path in self.unsearched:
            return httpx.Response(403)
        if query:
            name, value = next((name, values[0]) for name, values in parse_qs(query).items())
            found = [
                one for one in self.resources.values() if one.get("resourceType") == path and _matches(one, name, value)
            ]
            entries = [{"resource": one} for one in found]
            whole = {"resourceType": "Bundle", "type": "searchset", "entry": entries}
            return httpx.Response(200, json=whole if request.method == "POST" else _page(found, url))
        if path not in self.resources:
            return httpx.Response(404)
        return httpx.Response(200, json=self.resources[path]) if self.resources[path] else httpx.Response(410)

    def _token(self, form: dict[str, list[str]]) -> httpx.Response:
        token = jwt.decode(form["client_assertion"][0], self.key, algorithms=["ES384"])
        claims = token.claims
        assert (claims["iss"], claims["sub"], claims["aud"]) == ("client-1", "client-1", TOKEN_URL)
        assert claims["exp"] - claims["iat"] <= 300
        assert token.header["kid"] == "k1"
        assert form["scope"] == ["system/*.rs"]
        self.tokens += 1
        return httpx.Response(200, json={"access_token": f"token-{self.tokens}", "expires_in": 300})


def _matches(resource: Json, name: str, value: str) -> bool:
    said = resource.get(name)
    if name == "identifier":
        return value in [f"{one['system']}|{one['value']}" for one in said or []]
    return any(
        isinstance(one, dict) and one.get("reference") == value
        for one in [said, *(said if isinstance(said, list) else [])]
    )


def _page(found: Sequence[Json], url: str) -> Json:
    """One at a time, so that whoever stops at the first page is found out."""
    base, _, number = url.partition("&page=")
    at = int(number or 0)
    link = [{"relation": "next", "url": f"{base}&page={at + 1}"}] if at + 1 < len(found) else []
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "link": link,
        "entry": [{"resource": r} for r in found[at : at + 1]],
    }


def notification(
    events: dict[int, list[str]],
    *resources: Json,
    kind: str = "event-notification",
    since_start: int | None = None,
    subscription: str = SUBSCRIPTION,
) -> Json:
    """As an R4 server sends it."""
    last = max(events, default=0) if since_start is None else since_start
    parameters: list[Json] = [
        {"name": "subscription", "valueReference": {"reference": f"{BASE}/Subscription/{subscription}"}},
        {"name": "topic", "valueCanonical": "https://ehr.example/topics/answers"},
        {"name": "status", "valueCode": "active"},
        {"name": "type", "valueCode": kind},
        {"name": "events-since-subscription-start", "valueString": str(last)},
    ]
    for number, focus in events.items():
        part: list[Json] = [{"name": "event-number", "valueString": str(number)}]
        part += [{"name": "focus", "valueReference": {"reference": f"{BASE}/{name}"}} for name in focus]
        parameters.append({"name": "notification-event", "part": part})
    entries: list[Json] = [{"resource": {"resourceType": "Parameters", "parameter": parameters}}]
    entries += [{"fullUrl": f"{BASE}/{one['resourceType']}/{one['id']}", "resource": one} for one in resources]
    return {"resourceType": "Bundle", "type": "history", "entry": entries}


@dataclass
class Source:
    """The source, with fakes of the server that it reads and of the bus."""

    ehr: Ehr = field(default_factory=Ehr)
    bus: RecordingPublisher = field(default_factory=RecordingPublisher)
    positions: Positions = field(default_factory=Positions)
    key: OKPKey | None = None
    body_bytes: int = 100_000
    take_seconds: float = 20.0
    mapping: FhirMapping = MAPPING

    def __post_init__(self) -> None:
        client = self.ehr.client()
        authorization = self.ehr.backend(client) if self.ehr.needs_token else None
        server = FhirServer(client, BASE, authorization)
        self.receiver: Receiver | None = Receiver(proposer(self.bus, self.key), self.mapping, server, self.positions)
        app = Endpoint(lambda: self.receiver, BEARER, self.body_bytes, self.take_seconds).app()
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://source")

    async def send(self, body: Any, **headers: str) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {BEARER}", "Content-Type": "application/fhir+json", **headers}
        return await self.client.post(PATH, content=content, headers=sent)

    def types(self) -> list[str]:
        return [event.type.removeprefix("sano.") for event in self.bus.events]


def reasons(answer: httpx.Response) -> list[str]:
    """The codes of an OperationOutcome."""
    said = answer.json()
    assert said["resourceType"] == "OperationOutcome"
    return [issue["details"]["coding"][0]["code"] for issue in said["issue"]]
