"""Defines the port of search: what retrieval asks of whatever holds a tenant's index.

The set that the tenant's state names is the only truth of which documents count. A database follows it as a replica's
memory does: it takes in a set's sealed segments when the tenant first asks, answers for that set and no other, and
gives the tenant up when told to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from schemas.objects.state import KnowledgeState
from tenancy.errors import Transient
from tenancy.knowledge.search import Found, Question
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class Searched:
    """What was found, best first, and the titles of its documents by their ids."""

    found: Sequence[Found]
    titles: Mapping[str, str]


class IndexNotReady(Transient):
    """The tenant's index is being filled, or finds no room yet. ``seconds``: when to ask again."""

    reason = "not-ready"

    def __init__(self, seconds: float) -> None:
        super().__init__("the tenant's index cannot be searched yet")
        self.seconds = seconds


class PassageSearch(Protocol):
    async def search(self, tenant: TenantId, state: KnowledgeState, question: Question) -> Searched:
        """Search the set that ``state`` names or, where that was replaced and erased meanwhile, the one of now.

        Raises :class:`Refused`, :class:`Transient` (:class:`IndexNotReady` where it knows when to ask again) or
        :class:`ObjectNotFound` where the tenant's documents cannot be searched.
        """
        ...
