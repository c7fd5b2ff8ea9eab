"""Serves FHIR resources from memory, and notifies the FHIR source of what changes.

``python -m deploy.local.fhir_server`` is a stand-in for a hospital's server, on loopback, for trying the source out.
It validates nothing, gives each change a version and a time, and forgets everything when it ends. Its one subscription
sends id-only notifications of each write (Subscriptions R5 Backport, R4).
"""

from __future__ import annotations

import json
import re
import threading
import urllib.request
import uuid
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qsl

from deploy.local.ports import LOOPBACK

Json = dict[str, Any]

BASE_PATH = "/fhir"
SUBSCRIPTION = "local"
MOST_BYTES = 16_777_216
NOTIFY_SECONDS = 90.0
_NAME = re.compile(r"[A-Z][A-Za-z]{2,63}/[A-Za-z0-9.-]{1,64}")
_MEDIA_TYPES = ("application/fhir+json", "application/json")


class NoBundle(Exception):
    """Refuses a body that is neither a resource nor a Bundle of resources."""


@dataclass
class Held:
    """Resources by ``Type/id``, None for a deleted one, whose last version is among the ``histories``; ``events``: what
    each change was about, from number 1 on.
    """

    resources: dict[str, Json | None] = field(default_factory=dict)
    histories: dict[str, Json] = field(default_factory=dict)
    events: list[str] = field(default_factory=list)
    turn: threading.Lock = field(default_factory=threading.Lock)

    def write(self, sent: Any) -> range:
        """Take a resource, or the entries of a Bundle; the numbers of the events. Raises :class:`NoBundle`."""
        if not isinstance(sent, dict) or not isinstance(sent.get("resourceType"), str):
            raise NoBundle
        if sent["resourceType"] != "Bundle":
            return self._took([self._put(sent)])
        entries = [entry for entry in sent.get("entry") or [] if isinstance(entry, dict)]
        names = [self._put(entry["resource"]) for entry in entries if isinstance(entry.get("resource"), dict)]
        asked = [entry.get("request") or {} for entry in entries if "resource" not in entry]
        deleted = [str(request.get("url")) for request in asked if request.get("method") == "DELETE"]
        for name in deleted:
            self._end(name)
        return self._took([*names, *deleted])

    def delete(self, name: str) -> range:
        self._end(name)
        return self._took([name])

    def search(self, kind: str, parameters: Sequence[tuple[str, str]]) -> Json:
        """Those of a type of which each parameter names an element with that reference."""
        held = [one for name, one in self.resources.items() if one is not None and name.partition("/")[0] == kind]
        found = [one for one in held if all(_refers(one.get(name), value) for name, value in parameters)]
        return {"resourceType": "Bundle", "type": "searchset", "entry": [{"resource": one} for one in found]}

    def notification(self, numbers: range, kind: str = "event-notification") -> Json:
        """The Bundle that tells the subscriber of these events, by ids only."""
        parameters: list[Json] = [
            {"name": "subscription", "valueReference": {"reference": f"Subscription/{SUBSCRIPTION}"}},
            {"name": "status", "valueCode": "active"},
            {"name": "type", "valueCode": kind},
            {"name": "events-since-subscription-start", "valueString": str(len(self.events))},
        ]
        for number in numbers:
            about = {"name": "focus", "valueReference": {"reference": self.events[number - 1]}}
            part = [{"name": "event-number", "valueString": str(number)}, about]
            parameters.append({"name": "notification-event", "part": part})
        status = {"resourceType": "Parameters", "parameter": parameters}
        return {"resourceType": "Bundle", "type": "history", "entry": [{"resource": status}]}

    def _put(self, resource: Json) -> str:
        kind = resource.get("resourceType")
        name = f"{kind}/{resource.setdefault('id', str(uuid.uuid4()))}"
        if not _NAME.fullmatch(name):
            raise NoBundle
        if _said(self.resources.get(name)) != _said(resource):
            version = {"versionId": str(self.events.count(name) + 1), "lastUpdated": datetime.now(UTC).isoformat()}
            self.resources[name] = {**resource, "meta": {**_meta(resource), **version}}
        return name

    def _end(self, name: str) -> None:
        if (last := self.resources.get(name)) is not None:
            gone = {"request": {"method": "DELETE"}, "response": {"lastModified": datetime.now(UTC).isoformat()}}
            self.histories[name] = {"resourceType": "Bundle", "type": "history", "entry": [gone, {"resource": last}]}
        self.resources[name] = None

    def _took(self, names: Sequence[str]) -> range:
        first = len(self.events) + 1
        self.events += names
        return range(first, len(self.events) + 1)


def _said(resource: Json | None) -> Json | None:
    """Without what a server says about it."""
    return resource and {name: value for name, value in resource.items() if name != "meta"}


def _meta(resource: Json) -> Json:
    meta = resource.get("meta")
    return meta if isinstance(meta, dict) else {}


def _refers(said: Any, value: str) -> bool:
    many = said if isinstance(said, list) else [said]
    return any(isinstance(one, dict) and str(one.get("reference", "")).endswith(value) for one in many)


@dataclass(frozen=True)
class Notifying:
    """Where the source listens, and the token that it wants."""

    url: str
    bearer: str = field(repr=False)

    def send(self, body: Json) -> tuple[int, list[Json]]:
        """The status of the source's answer, 0 where there is none, and the errors that it names."""
        headers = {"Authorization": f"Bearer {self.bearer}", "Content-Type": "application/fhir+json"}
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)  # noqa: S310 - loopback, http
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=NOTIFY_SECONDS) as answer:
                return int(answer.status), _errors(answer.read())
        except HTTPError as error:
            return error.code, _errors(error.read())
        except (URLError, OSError):
            return 0, []


def _errors(outcome: bytes) -> list[Json]:
    """The issues of an OperationOutcome that are errors."""
    try:
        return [issue for issue in json.loads(outcome)["issue"] if issue["severity"] == "error"]
    except (ValueError, KeyError, TypeError):
        return []


def server(port: int, held: Held, notifying: Notifying) -> ThreadingHTTPServer:
    """The server at ``/fhir``, which also says at ``/health/ready`` that it is there."""

    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            if path == "/health/ready":
                return self._say(200, {})
            name = path.removeprefix(f"{BASE_PATH}/")
            with held.turn:
                if name == f"Subscription/{SUBSCRIPTION}/$events":
                    asked = dict(parse_qsl(query))
                    numbers = range(
                        max(1, int(asked.get("eventsSinceNumber", 1))),
                        min(len(held.events), int(asked.get("eventsUntilNumber", len(held.events)))) + 1,
                    )
                    return self._say(200, held.notification(numbers, "query-event"))
                if name.endswith("/_history"):
                    history = held.histories.get(name.removesuffix("/_history"))
                    return self._say(200 if history else 404, history or _outcome("none"))
                if query:
                    return self._say(200, held.search(name, parse_qsl(query)))
                found = held.resources.get(name)
                return self._say(200 if found else 410 if name in held.resources else 404, found or _outcome("none"))

        def do_POST(self) -> None:
            self._write(self._body())

        do_PUT = do_POST

        def do_DELETE(self) -> None:
            name = self.path.removeprefix(f"{BASE_PATH}/")
            with held.turn:
                if name not in held.resources:
                    return self._say(404, _outcome("not there"))
                numbers = held.delete(name)
            return self._notified(numbers)

        def _body(self) -> Any:
            length = int(self.headers.get("Content-Length") or 0)
            media = (self.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
            if media not in _MEDIA_TYPES or not 0 < length <= MOST_BYTES:
                return None
            try:
                return json.loads(self.rfile.read(length))
            except ValueError:
                return None

        def _write(self, sent: Any) -> None:
            try:
                with held.turn:
                    numbers = held.write(sent)
            except NoBundle:
                return self._say(400, _outcome("send a resource or a Bundle, as application/fhir+json"))
            return self._notified(numbers)

        def _notified(self, numbers: range) -> None:
            """Tell the source, outside the turn: it reads while it is told."""
            if not numbers:
                return self._say(200, _outcome("nothing in it"))
            with held.turn:
                body = held.notification(numbers)
            status, errors = notifying.send(body)
            if status == 200:
                return self._say(200, _outcome(f"changes that the source was told of: {len(numbers)}", errors))
            what = f"kept; the source answered {status or 'nothing'} and asks again at the next change"
            return self._say(502, _outcome(what, errors))

        def _say(self, status: int, body: Mapping[str, Any]) -> None:
            content = json.dumps(body).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/fhir+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """No line per request: paths name patients."""

    return ThreadingHTTPServer((LOOPBACK, port), Handler)


def _outcome(what: str, errors: Sequence[Json] = ()) -> Json:
    said = {"severity": "information", "code": "informational", "diagnostics": what}
    return {"resourceType": "OperationOutcome", "issue": [said, *errors]}


def main() -> None:
    parser = ArgumentParser(description="FHIR resources in memory, on 127.0.0.1 only.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--notify-port", type=int, required=True, help="of the FHIR source")
    parser.add_argument("--token-file", type=Path, required=True, help="what notifications carry")
    told = parser.parse_args()
    notifying = Notifying(
        f"http://{LOOPBACK}:{told.notify_port}/fhir/notifications", told.token_file.read_text(encoding="utf-8").strip()
    )
    server(told.port, Held(), notifying).serve_forever()


if __name__ == "__main__":
    main()
