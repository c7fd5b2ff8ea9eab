"""Reads the checkpoints that a witness of an audit log holds, from the files that are given out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.base.json_text import parse_json
from tenancy.audit.copy import load_copy
from tenancy.errors import Refused
from tenancy.evidence.envelopes import unverified


def read_held(path: Path) -> list[dict[str, Any]]:
    """The checkpoints of a file: one envelope, that of a certificate of purge, or those of a copy by ``sano audit
    export``. Raises :class:`Refused`.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise Refused("unreadable-file", f"refused: {path} cannot be read; give a checkpoint or a copy") from None
    try:
        envelope = parse_json(text)
    except ValueError:
        envelope = None
    if isinstance(envelope, dict) and "payload" in envelope:
        return [_of_certificate(envelope) or envelope]
    try:
        return [parse_json(stored.body) for stored in load_copy(path).checkpoints]
    except ValueError:
        raise Refused("no-audit-copy", f"refused: {path} holds no checkpoints that can be read") from None


def _of_certificate(envelope: dict[str, Any]) -> dict[str, Any] | None:
    """The checkpoint that a certificate of purge names; it has a signature of its own, which is checked."""
    try:
        named = unverified(envelope)["predicate"].get("audit_checkpoint")
    except (ValueError, KeyError, AttributeError):
        return None
    return named if isinstance(named, dict) else None
