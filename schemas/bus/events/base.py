"""Names the topics and defines what every event's data has: its type, its topic and its natural key.

Two publications with the same type, tenant and natural key are one event: the three determine ``ce_id``.
"""

from __future__ import annotations

from typing import Any, ClassVar

from schemas.base.contract import Contract

TENANTS = "sano.tenants.v1"
CURATION = "sano.curation.v1"
TRAINING = "sano.training.v1"
ADAPTERS = "sano.adapters.v1"
REPLICAS = "sano.replicas.v1"
KNOWLEDGE = "sano.knowledge.v1"
USAGE = "sano.usage.v1"
OUTCOMES = "sano.outcomes.v1"


EVENT_TYPES: dict[str, type[EventData]] = {}


class EventData(Contract):
    """Base of all event data. Subclasses define their type, topic and natural key."""

    type: ClassVar[str]
    topic: ClassVar[str]
    identified_by: ClassVar[tuple[str, ...]]
    """The fields that make up the natural key."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        EVENT_TYPES[cls.type] = cls

    def natural_key(self) -> str:
        """What identifies this occurrence among the tenant's events of this type."""
        return "|".join(str(getattr(self, name)) for name in self.identified_by)
