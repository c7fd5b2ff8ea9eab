"""Names what a key may sign. A module of its own, so that the command starts without pydantic."""

from __future__ import annotations

from enum import StrEnum


class Purpose(StrEnum):
    """What a key may sign, and nothing else."""

    TOKEN = "token"  # noqa: S105 - the name of a purpose
    MANIFEST = "manifest"
    RECEIPT = "receipt"
    AUDIT = "audit"
    CERTIFICATE = "certificate"
    EVENT = "event"
