"""Translates access control entries to Kafka's words and numbers, and judges which are surplus.

An entry that the contract does not grant is surplus only if it permits more than a look: at our topics and consumer
groups, to the cluster itself, or in transactions. Every other entry is ignored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from schemas.bus.access import SERVICES, Grant, Right, grants
from schemas.bus.topics import TOPICS

RESOURCES = {2: "topic", 3: "group", 4: "cluster", 5: "transactional-id", 6: "delegation-token", 7: "user"}
OPERATIONS = {
    2: "all",
    3: "read",
    4: "write",
    5: "create",
    6: "delete",
    7: "alter",
    8: "describe",
    9: "cluster-action",
    10: "describe-configs",
    11: "alter-configs",
    12: "idempotent-write",
    13: "create-tokens",
    14: "describe-tokens",
    15: "two-phase-commit",
}
DENY, ALLOW = 2, 3
LITERAL, PREFIXED = 3, 4
EVERYBODY = "User:*"

_LOOKS = {"describe", "describe-configs"}
_OF_THE_CLUSTER = {"all", "create", "alter", "alter-configs", "cluster-action"}
_TOPICS = {Grant(resource="topic", name=name, operation="describe") for name in TOPICS}
_GROUPS = {grant for service in SERVICES for grant in grants(service) if grant.resource == "group"}


@dataclass(frozen=True)
class Entry:
    """One entry as the brokers keep it."""

    principal: str
    resource: str
    name: str
    operation: str
    host: str = "*"
    is_prefix: bool = False
    is_denial: bool = False

    def __str__(self) -> str:
        """As :class:`Grant`'s, without the principal."""
        where = "" if self.host == "*" else f" from {self.host}"
        return f"{self.operation} {self.resource} {self.name}{'*' if self.is_prefix else ''}{where}"

    def gives(self, right: Right) -> bool:
        """Whether it is the entry of this right. One for a single host is: whoever narrowed it meant that."""
        own = (self.principal, self.resource, self.name, self.operation, self.is_prefix)
        return own == (right.principal, right.resource, right.name, right.operation, right.is_prefix)

    def overlaps(self, grant: Grant) -> bool:
        """Whether some resource is named by both."""
        if self.resource != grant.resource:
            return False
        if (self.name == "*" and not self.is_prefix) or self.name == grant.name:
            return True
        return (self.is_prefix and grant.name.startswith(self.name)) or (
            grant.is_prefix and self.name.startswith(grant.name)
        )

    def is_within(self, right: Right) -> bool:
        """Whether it gives no more than this right: the right itself, or one group of those that a prefix names."""
        is_part = self.name == right.name and not self.is_prefix
        is_part = is_part or (right.is_prefix and self.name.startswith(right.name))
        return is_part and (self.principal, self.resource, self.operation) == (
            right.principal,
            right.resource,
            right.operation,
        )


def missing(rights: Iterable[Right], entries: Collection[Entry]) -> tuple[Right, ...]:
    """What the contract gives and no entry does. What a wider entry gives too is missing: that one is to go."""
    allowing = [entry for entry in entries if not entry.is_denial]
    return tuple(right for right in rights if not any(entry.gives(right) for entry in allowing))


def surplus(rights: Collection[Right], entries: Iterable[Entry], administrators: Collection[str]) -> Iterator[Entry]:
    """Each entry that weakens the wall."""
    ours = {right.principal for right in rights}
    for entry in entries:
        if entry.is_denial or entry.principal in administrators or any(entry.is_within(right) for right in rights):
            continue
        if _weakens(entry, ours):
            yield entry


def _weakens(entry: Entry, ours: Collection[str]) -> bool:
    if entry.resource == "cluster":
        return entry.operation in _OF_THE_CLUSTER
    if entry.operation in _LOOKS:
        return False
    if entry.resource == "transactional-id":  # one left open on a topic holds up everybody who reads it
        return entry.principal in {*ours, EVERYBODY}
    return any(entry.overlaps(grant) for grant in (*_TOPICS, *_GROUPS))
