"""``sano keys`` by the command, and what ``sano tenant show`` tells a publisher from outside."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from joserfc.jwk import OKPKey

from tenancy.evidence.keys import LocalKey
from tests.unit.cli.command import TENANT, Sano, error_line, shape
from tests.unit.operator_parts import Parts


def test_a_registered_publisher_is_told_the_whole_id_of_its_key(sano: Sano, tmp_path: Path) -> None:
    key = LocalKey.generate().public_key
    path = tmp_path / "acme.pub.pem"
    path.write_bytes(key.pem())
    command = ("keys", "register", "acme-ehr", "--key", str(path), "--tenant", TENANT)
    assert "Missing option '--type'" in error_line(sano(*command), 2)
    assert "sano.example.praised is no event type" in error_line(sano(*command, "--type", "sano.example.praised"), 2)
    said = sano(*command, "--type", "sano.example.proposed").output
    assert f" {key.key_id} of acme-ehr" in said
    assert key.key_id in json.dumps(shape(sano("keys", "list", "--json")))


def test_the_thumbprint_that_a_publisher_compares_is_shown(sano: Sano, parts: Parts) -> None:
    thumbprint = OKPKey.import_key(dict(asyncio.run(parts.tenancy.keys.public_key(TENANT)))).thumbprint()
    assert shape(sano("tenant", "show", TENANT, "--json"))["public_key_thumbprint"] == thumbprint
    assert thumbprint in sano("tenant", "show", TENANT).output


def test_a_rotated_key_is_made_beside_the_trust_file_and_a_revoked_one_counts_no_more(
    sano: Sano, tmp_path: Path
) -> None:
    assert "--publisher" in error_line(sano("keys", "rotate", "event"), 2), "an event key is somebody's"

    def certificate_keys() -> dict[str, str]:
        listed = shape(sano("keys", "list", "--json"))
        return {row["key"]["key_id"]: row["state"] for row in listed if row["key"]["purpose"] == "certificate"}

    (old,) = certificate_keys()
    made = tmp_path / "next.pem"
    assert f"{made} is the new key for certificates" in sano("keys", "rotate", "certificate", "--out", str(made)).output
    new = LocalKey.read(made, "--out").public_key.key_id
    assert made.stat().st_mode & 0o077 == 0
    assert certificate_keys().keys() == {old, new}
    assert "is revoked" in sano("keys", "revoke", old).output
    assert certificate_keys()[old] == "revoked"
