"""Describes the record of a slow round over all tenants."""

from __future__ import annotations

from schemas.base.contract import Contract
from schemas.base.identifiers import TenantName
from schemas.base.timestamps import Timestamp


class RoundProgress(Contract):
    """How far the round is. ``after``: the last tenant that somebody has taken; absent: all are taken, or none yet."""

    began_at: Timestamp
    after: TenantName | None = None
