"""Defines the demo's tenants, and collects the acts' results for each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.services import PROJECT_ROOT
from producers.demo.questions import Answered
from producers.sources.importing import Imported
from schemas.evidence.statements import TrainingManifest
from schemas.models.heldout import HeldoutQuestion
from tenancy.tenant_id import TenantId

DATA = PROJECT_ROOT / "deploy" / "local" / "data"


@dataclass
class Tenant:
    """One tenant of the demo and what the acts found out about it."""

    id: TenantId
    dataset: str
    token: str
    opened: frozenset[str] = frozenset()
    """Examples that came from the ward's systems, and were approved on the review page."""
    imported: Imported | None = None
    digest: str = ""
    manifest: TrainingManifest | None = None
    base: Answered | None = None
    own: Answered | None = None
    stored: Path | None = None
    exported: Path | None = None
    exported_examples: int = 0
    other: float = 0.0
    usage: dict[str, float] = field(default_factory=dict)
    questions: list[HeldoutQuestion] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.approvals = DATA / f"{self.dataset}.train.jsonl"

    @property
    def heldout(self) -> Path:
        return DATA / f"{self.dataset}.heldout.jsonl"


@dataclass
class Tenants:
    """Two with data and contrasting house rules, one without."""

    oncology: Tenant
    paediatrics: Tenant
    newcomer: Tenant

    def __iter__(self) -> Iterator[Tenant]:
        return iter((self.oncology, self.paediatrics))
