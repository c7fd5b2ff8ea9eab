"""Decides by an event's signature whether its consumer may believe it: the one place where consumers verify.

A wrong signature is always refused. An absent one is refused for the types that only services and operators publish
once the installation says that all of them sign, and for the other types where the tenant's policy asks for signatures;
until then it is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from consumers.runtime.parsing import Record
from consumers.runtime.settings import ConsumerSettings
from schemas.bus.envelope import Event
from schemas.bus.publishers import ONLY_OURS
from tenancy.bootstrap import trust
from tenancy.errors import UnknownTenant
from tenancy.evidence.event_signatures import UNSIGNED, EventVerifier, NotBelieved
from tenancy.evidence.trust import Trust
from tenancy.state.registry import StateRegistry
from tenancy.tenant_id import TenantId

LOG_APPEND_TIME = 1
"""The record's timestamp is the broker's. Ours are all so; another topic's would be its publisher's word."""


@dataclass(frozen=True)
class Signatures:
    """Verifies events. ``are_required``: of services and operators, unless those without one are counted."""

    verifier: EventVerifier
    are_required: bool = False

    @classmethod
    def of(cls, settings: ConsumerSettings) -> Signatures:
        """By the keys of the trust file. Raises :class:`Refused`."""
        return cls(EventVerifier(trust(settings)), are_required=settings.unsigned_events == "refused")

    async def believed(self, event: Event, record: Record, states: StateRegistry) -> bool:
        """Whether the event is signed; False for one that may be taken without. Raises :class:`NotBelieved`, and what
        reading the tenant's policy raises.
        """
        if self._is_signed(event, record):
            return True
        await self._require_none(event, states)
        return False

    async def believed_run(self, run: Sequence[Event], records: Sequence[Record], states: StateRegistry) -> list[bool]:
        """Of each of the run that is believed, from the first on, whether it is signed.

        The tenant's policy is read once for all of them, which are of one tenant and of one type.
        """
        believed: list[bool] = []
        for event, record in zip(run, records, strict=False):
            try:
                is_signed = self._is_signed(event, record)
                if not is_signed and all(believed):
                    await self._require_none(event, states)
            except NotBelieved:
                break
            believed.append(is_signed)
        return believed

    def _is_signed(self, event: Event, record: Record) -> bool:
        appended_at = None
        if record.timestamp_type == LOG_APPEND_TIME:
            appended_at = datetime.fromtimestamp(record.timestamp / 1000, UTC)
        return self.verifier.publisher(event, record.value, record.headers, appended_at=appended_at) is not None

    async def _require_none(self, event: Event, states: StateRegistry) -> None:
        if isinstance(event.data, ONLY_OURS):
            is_required = self.are_required
        else:
            is_required = await self._policy_asks(event, states)
        if is_required:
            raise NotBelieved(UNSIGNED, "refused: the event is not signed")

    async def _policy_asks(self, event: Event, states: StateRegistry) -> bool:
        try:
            policy = (await states.read(TenantId(event.subject))).state.policy
        except UnknownTenant:
            return self.are_required
        asks = policy.require_signed_publishers
        return self.are_required if asks is None else asks


TRUSTING_NOBODY = Signatures(EventVerifier(Trust.of()))
"""Takes what is not signed, and nothing that is."""
