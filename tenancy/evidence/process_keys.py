"""Holds the keys of one process: what it verifies with, and what it signs with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.evidence.purposes import Purpose
from tenancy.errors import Refused
from tenancy.evidence.signer import Signer
from tenancy.evidence.trust import Trust


@dataclass(frozen=True, eq=False)
class ProcessKeys:
    """``signers`` are those that the process needs, and no others: whoever takes it can sign nothing else."""

    trust: Trust
    signers: Mapping[Purpose, Signer]

    def signer(self, purpose: Purpose) -> Signer:
        """Raises :class:`Refused`."""
        try:
            return self.signers[purpose]
        except KeyError:
            raise Refused("no-signing-key", f"refused: this process has no key for {purpose}s") from None
