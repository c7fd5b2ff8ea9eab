"""Signs in the operators' name what is sent again without a signature that consumers still believe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from producers.replay.selection import Candidate
from schemas.bus.signatures import SIGNATURE, Unsignable
from tenancy.bus import RawMessage
from tenancy.evidence.event_signatures import EventSigner, EventVerifier, NotBelieved


@dataclass(frozen=True)
class Vouching:
    """An operator's word that events were published by who may: they are from before events were signed, or their key
    was revoked after the broker had them. A wrong signature is nothing that anybody can vouch for, and stays.
    """

    verifier: EventVerifier
    signer: EventSigner

    async def signed(self, candidate: Candidate, message: RawMessage) -> RawMessage:
        """The message as consumers will believe it, where it can be vouched for. Raises what signing raises."""
        is_signed = any(name == SIGNATURE for name, _ in message.headers)
        if is_signed and (self._holds(candidate, None) or not self._holds(candidate, candidate.message.time)):
            return message
        own = [header for header in message.headers if header[0] != SIGNATURE]
        try:
            header = await self.signer.header(message.topic, message.value, own)
        except Unsignable:
            return message
        return replace(message, headers=[*own, header])

    def _holds(self, candidate: Candidate, appended_at: datetime | None) -> bool:
        message = candidate.message
        try:
            self.verifier.publisher(candidate.event, message.value, message.headers, appended_at=appended_at)
        except NotBelieved:
            return False
        return True
