"""A replica's memory, and the files that it opens, hold no key but those that it signs with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from deploy.local.services import SERVICES, Folders, member_environment, service_command, service_environment
from producers.operations.trust_admin import ensure_keys
from schemas.evidence.trust import ROOT_PUBLIC_FILE, SIGNS, TRUST_FILE, key_file
from tests.unit.stack_parts import stack_of

BOUND_SECONDS = 60
STARTED = """
import json, sys
opened = []
sys.addaudithook(lambda event, found: opened.append(str(found[0])) if event == "open" else None)
from inference.wiring import Replica
from inference.settings import InferenceSettings
from schemas.evidence.purposes import Purpose
from tenancy.bootstrap import signer
from tenancy.service.telemetry import configure_telemetry
replica = Replica(InferenceSettings(), configure_telemetry("inference", None))
signers = *replica.keys.signers.values(), signer(replica.settings, Purpose.EVENT)
assert all(each.key_id for each in signers)
print(json.dumps(opened), flush=True)
sys.stdin.read()
"""


def memory(pid: int) -> Iterator[bytes]:
    """What the process can read of its own, region by region."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as held:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            if (found := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)) is not None:
                begin, end = (int(number, 16) for number in found.groups())
                held.seek(begin)
                try:
                    yield held.read(end - begin)
                except OSError:
                    continue  # of the kernel's own


def forms(path: Path) -> tuple[bytes, bytes]:
    """A private key as its bytes, and as its file says it."""
    key = load_pem_private_key(path.read_bytes(), None)
    assert isinstance(key, Ed25519PrivateKey)
    return key.private_bytes_raw(), path.read_bytes().splitlines()[1]


def test_a_replica_reads_its_own_keys_and_no_other_is_in_its_memory(tmp_path: Path) -> None:
    folders = Folders(tmp_path / ".sano")
    ensure_keys(folders.keys)
    service = next(service for service in SERVICES if service.name == "inference")
    environment = service_environment(member_environment({}, folders), stack_of(folders), embedded_store=False)
    own = {key_file(folders.keys, purpose, "inference") for purpose in SIGNS["inference"]}
    private = {path for path in folders.keys.glob("*.pem") if ".pub" not in path.name}
    assert own < private
    with subprocess.Popen(
        [sys.executable, "-c", STARTED],
        env=service_command(service, 8081, environment, folders).env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as replica:
        assert replica.stdout is not None
        opened = {Path(name) for name in json.loads(replica.stdout.readline())}
        held = {path for region in memory(replica.pid) for path in private if any(f in region for f in forms(path))}
        replica.communicate(timeout=BOUND_SECONDS)
    public = {folders.keys / TRUST_FILE, folders.keys / ROOT_PUBLIC_FILE}
    assert {path for path in opened if path.parent == folders.keys} == own | public
    assert held == own
