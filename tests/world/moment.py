"""A world at one moment, which it can be set back to again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from schemas.bus.envelope import Event
from tests.world.world import World


@dataclass(frozen=True)
class Timestamp:
    """What lay in the bucket and on the bus."""

    objects: Mapping[str, list[Any]]
    topics: Mapping[str, list[Event[Any]]]

    @classmethod
    def of(cls, world: World) -> Timestamp:
        return cls(
            {key: list(versions) for key, versions in world.memory.objects.items()},
            {name: list(log) for name, log in world.bus.topics.items()},
        )

    def again(self, world: World) -> None:
        """Set the world back. What is to come then was never seen by any of its processes."""
        world.memory.objects = {key: list(versions) for key, versions in self.objects.items()}
        world.bus.topics = {name: list(log) for name, log in self.topics.items()}
        for tenancy in world.tenancies:
            if tenancy.audit_announcer is not None:
                tenancy.audit_announcer._announced.clear()
