"""Runs a Kubernetes control plane without a node: etcd, the API server and some controllers, on this machine."""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.local.ports import LOOPBACK, free_ports
from deploy.local.processes import ChildProcess, Command, start
from deploy.local.settings import inherited_environment

READY_SECONDS = 120.0
CONTROLLERS = "job-controller,ttl-after-finished-controller,disruption-controller"
AUDITED = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "resources": [{"group": "batch", "resources": ["jobs"]}]}, {"level": "None"}],
}
Manifest = dict[str, Any]


@dataclass(frozen=True)
class ControlPlane:
    """One that runs. Whoever asks through this may do anything; an account may do what it was given."""

    url: str
    home: Path
    client: httpx.Client

    def ask(self, method: str, path: str, body: Any = None, **query: str) -> Any:
        """Raises :class:`httpx.HTTPStatusError`, with what the server said."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        answer = self.client.request(method, path, params=query, headers={"Content-Type": kind}, json=body)
        if answer.is_error:
            raise httpx.HTTPStatusError(answer.text, request=answer.request, response=answer)
        return answer.json()

    def account(self, namespace: str, name: str) -> Path:
        """The folder of a service account as a pod has it. ``name`` is one of those that the plane was started with."""
        folder = self.home / f"account-{name}"
        folder.mkdir(exist_ok=True)
        (folder / "token").write_text((self.home / f"{name}.token").read_text())
        (folder / "ca.crt").write_text((self.home / "certificates" / "apiserver.crt").read_text())
        (folder / "namespace").write_text(namespace)
        return folder

    def audited(self) -> list[Manifest]:
        """The requests that concerned Jobs, in their order."""
        lines = (self.home / "audit.log").read_text().splitlines()
        return [json.loads(line) for line in lines if line.endswith("}")]


@contextmanager
def control_plane(program: Path, home: Path, accounts: dict[str, str]) -> Iterator[ControlPlane]:
    """``accounts``: the namespaces of service accounts by their names."""
    etcd_port, peer_port, port = free_ports(3)
    etcd, peer, url = f"http://{LOOPBACK}:{etcd_port}", f"http://{LOOPBACK}:{peer_port}", f"https://{LOOPBACK}:{port}"
    admin = secrets.token_hex(16)
    _write_tokens(home, admin, accounts)
    _write_service_account_key(home / "service-accounts.pem")
    (home / "audit.json").write_text(json.dumps(AUDITED))
    with ExitStack() as running:

        def launched(part: str, *options: str) -> ChildProcess:
            environment = {**inherited_environment(), "TMPDIR": str(home), "GOGC": "200"}
            command = Command(part, [str(program), part, *options], home / f"{part}.log", environment, cwd=home)
            child = start(command, tie_to_parent=True)
            running.callback(child.kill)
            return child

        launched(
            "etcd",
            f"--data-dir={home}/etcd",
            "--unsafe-no-fsync",
            "--log-level=error",
            f"--listen-client-urls={etcd}",
            f"--advertise-client-urls={etcd}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
        )
        server = launched(
            "kube-apiserver",
            f"--etcd-servers={etcd}",
            f"--bind-address={LOOPBACK}",
            f"--secure-port={port}",
            f"--cert-dir={home}/certificates",
            f"--token-auth-file={home}/tokens.csv",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://localhost",
            f"--service-account-key-file={home}/service-accounts.pem",
            f"--service-account-signing-key-file={home}/service-accounts.pem",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-policy-file={home}/audit.json",
            f"--audit-log-path={home}/audit.log",
            "--profiling=false",
        )
        client = running.enter_context(_client(url, admin, home, server))
        (home / "kubeconfig").write_text(_kubeconfig(url, admin, home))
        launched(
            "kube-controller-manager",
            f"--kubeconfig={home}/kubeconfig",
            f"--controllers={CONTROLLERS}",
            "--leader-elect=false",
            "--secure-port=0",
            "--profiling=false",
        )
        yield ControlPlane(url, home, client)


@contextmanager
def _client(url: str, token: str, home: Path, server: ChildProcess) -> Iterator[httpx.Client]:
    """For the server, once it is ready."""
    authorities = home / "certificates" / "apiserver.crt"
    server.wait_ready(authorities.exists, READY_SECONDS)
    context = ssl.create_default_context(cafile=authorities)
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, verify=context, headers=headers, timeout=30, trust_env=False) as client:

        def is_ready() -> bool:
            try:
                return client.get("/readyz").is_success
            except httpx.TransportError:
                return False

        server.wait_ready(is_ready, READY_SECONDS)
        yield client


def _write_tokens(home: Path, admin: str, accounts: dict[str, str]) -> None:
    lines = [f'{admin},admin,admin,"system:masters"']
    for name, namespace in accounts.items():
        token = secrets.token_hex(16)
        (home / f"{name}.token").write_text(token)
        groups = f"system:serviceaccounts,system:serviceaccounts:{namespace}"
        lines.append(f'{token},system:serviceaccount:{namespace}:{name},{name},"{groups}"')
    (home / "tokens.csv").write_text("\n".join(lines))


def _write_service_account_key(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))


def _kubeconfig(url: str, token: str, home: Path) -> str:
    cluster = {"server": url, "certificate-authority": str(home / "certificates" / "apiserver.crt")}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": "admin", "user": {"token": token}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "admin"}}],
            "current-context": "tests",
        }
    )
