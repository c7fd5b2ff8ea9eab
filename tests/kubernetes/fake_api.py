"""The part of the Kubernetes API that concerns Jobs, in memory, over TLS. The contract suite runs on it and on the real
API server alike (tests/contract/worker_jobs.py).
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deploy.local.ports import LOOPBACK
from tests.fixtures.certificates import certificate

NAMESPACE = "sanolith"
Manifest = dict[str, Any]


@dataclass
class FakeApi:
    """``answers``: what it says instead of obeying, while there is something."""

    account: Path
    url: str = ""
    token: str = "token-1"
    held: dict[str, Manifest] = field(default_factory=dict)
    answers: tuple[int, Manifest] | None = None
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def jobs(self) -> dict[str, Manifest]:
        return dict(self.held)

    def end(self, name: str, condition: str) -> None:
        """Make the Job ``Complete`` or ``Failed``."""
        self.held[name]["status"] = {"conditions": [{"type": condition, "status": "True"}]}

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Manifest) -> tuple[int, Manifest]:
        name = path.removeprefix(f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs").strip("/")
        if self.answers is not None:
            return self.answers
        if method == "GET" and not name:
            (label,) = query["labelSelector"]
            return 200, {"items": [job for job in self.held.values() if label in job["metadata"]["labels"]]}
        if method == "POST":
            return self._created(body)
        if name not in self.held:
            return 404, {"reason": "NotFound"}
        if method == "DELETE":
            if body["preconditions"]["uid"] != self.held[name]["metadata"]["uid"]:
                return 409, {"reason": "Conflict"}
            del self.held[name]
            return 200, {"status": "Success"}
        return 200, self.held[name]

    def _created(self, job: Manifest) -> tuple[int, Manifest]:
        name = job["metadata"]["name"]
        if name in self.held:
            return 409, {"reason": "AlreadyExists"}
        number = str(next(self._numbers))
        meta = {**job["metadata"], "uid": f"uid-{number}", "resourceVersion": number}
        self.held[name] = {**job, "metadata": meta, "status": {}}
        return 201, self.held[name]


@contextmanager
def fake_api(folder: Path) -> Iterator[FakeApi]:
    """Serve it, with a service account in ``folder``."""
    certificate(folder, "ca", None)
    (folder / "ca.pem").rename(folder / "ca.crt")
    api = FakeApi(folder)
    (folder / "token").write_text(api.token)
    (folder / "namespace").write_text(NAMESPACE)

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            url = urlsplit(self.path)
            given = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers["Authorization"] == f"Bearer {api.token}":
                body = json.loads(given) if given else {}
                status, said = api.answer(self.command, url.path, parse_qs(url.query), body)
            else:
                status, said = 401, {"reason": "Unauthorized"}
            content = json.dumps(said).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "ca.crt", folder / "ca.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    api.url = f"https://localhost:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
