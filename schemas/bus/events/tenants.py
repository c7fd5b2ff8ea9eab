"""Defines the events of a tenant's life: onboarding, policy, exports, churn and purge."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base.identifiers import KeyThumbprint, OpaqueId, PurgeId, ReasonCode, Sha256Hex
from schemas.base.integers import Count, Version
from schemas.base.timestamps import Timestamp
from schemas.bus.events.base import TENANTS, EventData
from schemas.tenant.policy import TenantPolicy


class TenantOnboarded(EventData):
    """A tenant exists: its state, data key and key pair were created before this was published."""

    type = "sano.tenant.onboarded"
    topic = TENANTS

    policy: TenantPolicy
    public_key_thumbprint: KeyThumbprint = Field(
        description="RFC 7638 thumbprint of the public key that inline content is encrypted to"
    )
    requested_by: OpaqueId | None = Field(default=None, description="operator id; absent if none was given")

    def natural_key(self) -> str:
        return "onboarded"


class PolicyChanged(EventData):
    """The tenant's policy was replaced. The highest version wins, in any order of arrival."""

    type = "sano.tenant.policy_changed"
    topic = TENANTS
    identified_by = ("version",)

    version: Version = Field(ge=2, description="policy version; onboarding sets version 1")
    policy: TenantPolicy
    requested_by: OpaqueId | None = Field(default=None, description="operator id; absent if none was given")


class TenantChurned(EventData):
    """The contract ended. A purge follows automatically."""

    type = "sano.tenant.churned"
    topic = TENANTS

    requested_by: OpaqueId

    def natural_key(self) -> str:
        return "churned"


class ExportRequested(EventData):
    """The tenant requests its adapter, with manifest and list of examples."""

    type = "sano.export.requested"
    topic = TENANTS
    identified_by = ("export_id",)

    export_id: OpaqueId
    adapter_digest: Sha256Hex | None = Field(default=None, description="adapter to export; absent: the active one")
    requested_by: OpaqueId


class ExportReady(EventData):
    """The export is stored, sealed, under the tenant's ``exports/<id>/``."""

    type = "sano.export.ready"
    topic = TENANTS
    identified_by = ("export_id",)

    export_id: OpaqueId
    adapter_digest: Sha256Hex
    files: tuple[OpaqueId, ...]


class ExportAcknowledged(EventData):
    """The tenant took the export and verified that it is complete. A purge that made it need not wait longer."""

    type = "sano.export.acknowledged"
    topic = TENANTS
    identified_by = ("export_id",)

    export_id: OpaqueId
    adapter_digest: Sha256Hex
    acknowledged_by: OpaqueId


class PurgeRequested(EventData):
    """Command: remove everything of this tenant. Safe at any time and in any order."""

    type = "sano.purge.requested"
    topic = TENANTS
    identified_by = ("purge_id",)

    purge_id: PurgeId
    reason_code: ReasonCode
    requested_by: OpaqueId


class PurgeFenced(EventData):
    """The tenant is fenced: nothing can create data for it from here on. Replicas evict and acknowledge."""

    type = "sano.purge.fenced"
    topic = TENANTS
    identified_by = ("purge_id",)

    purge_id: PurgeId
    fenced_at: Timestamp
    deadline: Timestamp


class PurgeCompleted(EventData):
    """The purge is certified."""

    type = "sano.purge.completed"
    topic = TENANTS
    identified_by = ("purge_id",)

    purge_id: PurgeId
    objects_removed: Count
    residual: Count
    certificate_sha256: Sha256Hex


class PurgeAtRisk(EventData):
    """50 or 80 percent of the deletion SLA has passed and the purge is not certified."""

    type = "sano.purge.at_risk"
    topic = TENANTS
    identified_by = ("purge_id", "percent")

    purge_id: PurgeId
    percent: Literal[50, 80]


class PurgeOverdue(EventData):
    """The deletion SLA has passed and the purge is not certified."""

    type = "sano.purge.overdue"
    topic = TENANTS
    identified_by = ("purge_id",)

    purge_id: PurgeId
