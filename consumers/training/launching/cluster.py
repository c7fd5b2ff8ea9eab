"""Asks the API server of the cluster that this pod runs in about Jobs of its own namespace.

Each request is made with the token and the authorities that the kubelet keeps fresh beside the process: both rotate.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tenancy.errors import Transient
from tenancy.storage.http_client import HttpClient

CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 10.0

Manifest = dict[str, Any]
"""A Kubernetes object, as its JSON is read."""


class ClusterUnavailable(Transient):
    """The API server does not answer, or refuses the request: rights, a quota, an object that it does not take."""


class AlreadyThere(Exception):
    """An object of this name exists."""


@dataclass(frozen=True)
class Cluster:
    """``account``: the folder of the pod's service account, with ``token``, ``ca.crt`` and ``namespace``.

    Every call raises :class:`ClusterUnavailable`.
    """

    url: str
    account: Path

    async def jobs(self, label: str) -> list[Manifest]:
        """All Jobs that have this label."""
        answer = await self._ask("GET", f"?{urlencode({'labelSelector': label})}")
        found: list[Manifest] = (answer or {}).get("items", [])
        return found

    async def job(self, name: str) -> Manifest | None:
        return await self._ask("GET", f"/{quote(name)}")

    async def create_job(self, job: Manifest) -> None:
        """Raises :class:`AlreadyThere`."""
        await self._ask("POST", "?fieldValidation=Strict", job)

    async def delete_job(self, job: Manifest) -> None:
        """Delete this Job and its pods, and none that has taken its name since."""
        meta = job["metadata"]
        preconditions = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
        await self._ask(
            "DELETE",
            f"/{quote(meta['name'])}",
            {"propagationPolicy": "Background", "preconditions": preconditions},
        )

    async def _ask(self, method: str, path: str, body: Manifest | None = None) -> Manifest | None:
        """The answer's object; None where there is no such one, nor one that a precondition is true of."""
        try:
            token, namespace = (self.account / "token").read_text(), (self.account / "namespace").read_text().strip()
            context = ssl.create_default_context(cafile=self.account / "ca.crt")
            # Authorities of many clusters lack an extension that Python 3.13 began to demand.
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        except OSError as error:  # SSLError is one
            raise ClusterUnavailable(f"no service account at {self.account} ({type(error).__name__})") from None
        client = HttpClient(context, CONNECT_SECONDS, ANSWER_SECONDS)
        headers = {"Authorization": f"Bearer {token.strip()}", "Accept": "application/json"}
        headers |= {"Content-Type": "application/json"} if body is not None else {}
        url = f"{self.url}/apis/batch/v1/namespaces/{quote(namespace)}/jobs{path}"
        try:
            answer = await client.ask(method, url, headers, b"" if body is None else json.dumps(body).encode())
        finally:
            await client.aclose()
        if answer is None:
            raise ClusterUnavailable("the Kubernetes API does not answer")
        said = _json(answer.content)
        if answer.status_code == 409 and method == "POST":
            raise AlreadyThere
        if answer.status_code == 404 or (answer.status_code == 409 and method == "DELETE"):
            return None
        if answer.status_code >= 300 or said is None:
            raise ClusterUnavailable(f"the Kubernetes API answered {method} with {answer.status_code}{_why(said)}")
        return said


def _json(content: bytes) -> Manifest | None:
    try:
        read = json.loads(content)
    except ValueError:
        return None
    return read if isinstance(read, dict) else None


def _why(said: Manifest | None) -> str:
    """The reason's code, and which fields are wrong: the message would repeat the command line."""
    status = said or {}
    causes = (status.get("details") or {}).get("causes") or []
    fields = sorted({str(cause["field"]) for cause in causes if cause.get("field")})
    reason = f" {status['reason']}" if status.get("reason") else ""
    return f"{reason}: {', '.join(fields)}" if fields else reason
