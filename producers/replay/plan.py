"""Defines a replay's plan: what would be sent, pinned, counted and hashed. Nothing is sent without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, Field, ValidationError

from producers.replay.log import PartitionRange
from producers.replay.selection import Selection
from schemas.base.canonical import canonical_json, sha256_hex
from schemas.base.contract import Contract
from schemas.base.identifiers import EventTypeName, OpaqueId, TenantName
from schemas.base.json_text import parse_json
from tenancy.errors import Refused
from tenancy.platform.given_files import read_given, writing


class PlannedRange(PartitionRange):
    """A range that was read, and the first offset in it that the selection yields."""

    first: int | None = None


class ExcludedTenant(Contract):
    """A tenant whose events are left out since it is purged or being purged."""

    tenant: TenantName
    status: Literal["purging", "purged"]
    events: int = Field(ge=1)


class ReplayPlan(Contract):
    """What a replay is. ``messages`` counts what would be sent; the rest says what is left out and why."""

    version: Literal["sanolith.replay-plan.v1"] = "sanolith.replay-plan.v1"
    replay_id: OpaqueId
    made_at: AwareDatetime
    made_by: OpaqueId
    selection: Selection
    ranges: tuple[PlannedRange, ...]
    messages: int = Field(ge=0)
    topics: dict[str, int]
    types: dict[EventTypeName, int]
    tenants: int = Field(ge=0)
    excluded: tuple[ExcludedTenant, ...]
    unreadable: int = Field(ge=0)
    too_large: int = Field(ge=0, description="dead letters that do not hold their messages")
    repeated: int = Field(ge=0, description="events that come a second time in the ranges, and are sent once")
    redriven: int = Field(ge=0, description="dead letters that were sent again already")

    def sha256(self) -> str:
        """The hash that a run must name: over the canonical JSON (RFC 8785) of all of this."""
        return sha256_hex(self.model_dump(mode="json"))


def write_plan(path: Path, plan: ReplayPlan) -> None:
    """Write the plan and its hash as canonical JSON. Raises :class:`Refused` where a file is there already."""
    body = canonical_json({"plan": plan.model_dump(mode="json"), "sha256": plan.sha256()})
    with writing(path, "; name another file with --out"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(body + b"\n")


def read_plan(path: Path) -> ReplayPlan:
    """Raises :class:`Refused` for what is no plan, or not the one that was written."""
    body = read_given(path, "no-plan", "")
    try:
        held = parse_json(body)
        plan = ReplayPlan.model_validate_json(json.dumps(held["plan"]))
        sha256 = held["sha256"]
    except (ValueError, ValidationError, KeyError, TypeError):
        raise Refused("no-plan", f"refused: {path} is no plan; `sano replay plan` writes one") from None
    try:
        is_same = plan.sha256() == sha256
    except ValueError:  # a number that canonical JSON has no form for, and so no plan of ours holds
        is_same = False
    if not is_same:
        raise Refused("plan-changed", f"refused: {path} is not what was planned: its hash is another; plan anew")
    return plan


def require_hash(plan: ReplayPlan, given: str) -> None:
    """Raises :class:`Refused` unless ``given`` is the plan's hash, or its first 8 digits or more."""
    if not plan.sha256().startswith(given):
        raise Refused("other-plan", "refused: this is the hash of another plan; look at the plan that you mean to run")
