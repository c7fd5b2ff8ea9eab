"""Writes down that what asks for a purge became a dead letter, so that its tenant does not stay active unseen.

A dead letter fences nobody: what it says was not accepted, and perhaps nobody can read it. It opens a purge all the
same, with a deadline and the warnings of every other, until a command that is accepted takes its place.
"""

from __future__ import annotations

import re

from consumers.purge.fence import asked
from consumers.purge.handlers import PurgePorts
from consumers.runtime.parsing import Record
from consumers.runtime.poison import Poison
from schemas.base.identifiers import TENANT_ID_PATTERN
from schemas.bus.derived_commands import churn_purge_id
from schemas.bus.events import PurgeRequested, TenantChurned
from tenancy.errors import UnknownTenant
from tenancy.tenant_id import TenantId

ASKS = (TenantChurned.type, PurgeRequested.type)
UNKNOWN = "unknown"
"""Who asked, and why."""


async def on_dead_letter(record: Record, poison: Poison, ports: PurgePorts) -> None:
    """Open a purge of the tenant, unless one is open that was asked for so. Called before the letter is written.

    One for each tenant, under the id that its churn has, and from now on: into a message that is not accepted anybody
    can write any id and any time.
    """
    event_type, tenant = _asked(record)
    if event_type not in ASKS or tenant is None:
        return
    tenancy = ports.tenancy
    try:
        state = (await tenancy.states.read(tenant)).state
    except UnknownTenant:
        return
    if state.status != "active":
        return
    now = tenancy.clock()
    command = PurgeRequested(purge_id=churn_purge_id(tenant), requested_by=UNKNOWN, reason_code=UNKNOWN)
    opening = asked(state, command, now, now)
    await ports.driver.records.create(opening.evolve(dead_letter=poison.code))


def _asked(record: Record) -> tuple[str, TenantId | None]:
    """The type and the tenant that the headers name, whatever else is wrong with the message."""
    said = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    named = said.get("ce_subject") or (record.key or b"").decode(errors="replace")
    tenant = TenantId(named) if re.fullmatch(TENANT_ID_PATTERN, named) else None
    return said.get("ce_type", ""), tenant
