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
from schemas.envelope import event_id
from schemas.events import PurgeRequested, TenantChurned
from schemas.following import churn_purge_id
from schemas.identifiers import TENANT_ID_PATTERN
from tenancy.errors import UnknownTenant
from tenancy.tenant_id import TenantId

ASKS = (TenantChurned.type, PurgeRequested.type)
UNKNOWN = "unknown"
"""Who asked, or why, where the message does not say it so that it can be believed."""


async def on_dead_letter(record: Record, poison: Poison, ports: PurgePorts) -> None:
    """Open the purge that the message asks for, unless that one is open. Called before the letter is written.

    The clock starts now: into a message that is not accepted anybody can write any time.
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
    purge_id, requested_by, reason_code = churn_purge_id(tenant), UNKNOWN, UNKNOWN
    match poison.event.data if poison.event is not None else None:
        case PurgeRequested() as data:
            purge_id, requested_by, reason_code = data.purge_id, data.requested_by, data.reason_code
        case TenantChurned() as data:
            requested_by, reason_code = data.requested_by, "churned"
        case _ if event_type == PurgeRequested.type:
            purge_id = f"purge-{event_id(event_type, tenant, 'dead-letter')}"
    now = tenancy.clock()
    opening = asked(state, purge_id, now, now, requested_by, reason_code)
    await ports.driver.records.create(opening.model_copy(update={"dead_letter": poison.code}))


def _asked(record: Record) -> tuple[str, TenantId | None]:
    """The type and the tenant that the headers name, whatever else is wrong with the message."""
    said = {name: (value or b"").decode(errors="replace") for name, value in record.headers}
    named = said.get("ce_subject") or (record.key or b"").decode(errors="replace")
    tenant = TenantId(named) if re.fullmatch(TENANT_ID_PATTERN, named) else None
    return said.get("ce_type", ""), tenant
