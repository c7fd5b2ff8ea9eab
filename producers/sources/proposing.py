"""Redacts candidates, encrypts them to the tenant, and proposes them for review.

It needs the tenant's public key and no other right: no master key, no data key, no bucket. The order is what keeps a
raw text in this process: redact, then encrypt, then publish; whatever fails before the last leaves nothing anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from joserfc.errors import JoseError
from joserfc.jwk import OKPKey
from pydantic import ValidationError

from producers.sources.settings import SourceSettings
from producers.sources.source import Candidate
from producers.sources.source_key import SourceKey
from schemas.base.json_text import parse_json
from schemas.bus.content import CommittedInline, ExampleContent, InlineContent
from schemas.bus.envelope import Event
from schemas.bus.events import EventData, ExampleProposed, SourceKind
from schemas.bus.redaction import Redaction
from tenancy.bus import Publisher
from tenancy.errors import Refused
from tenancy.platform.clock import Clock, utc_now
from tenancy.redaction.port import RedactionGate
from tenancy.redaction.shifted_dates import DateShift
from tenancy.redaction.terms import TenantTerms
from tenancy.storage.keys import encrypt_inline
from tenancy.tenant_id import TenantId


@dataclass(frozen=True)
class Proposer:
    """Proposes one tenant's candidates. ``source`` is the ``ce_source`` of its events. ``terms`` are the tenant's own,
    where the process may read them.

    ``shift_dates``: dates are moved, by another secret distance in each example, and stay in order; else they go.
    """

    tenant: TenantId
    public_key: OKPKey
    key: SourceKey = field(repr=False)
    gate: RedactionGate
    publisher: Publisher
    source: str
    clock: Clock = utc_now
    terms: TenantTerms | None = field(default=None, repr=False)
    shift_dates: bool = False

    async def propose(self, kind: SourceKind, candidate: Candidate) -> ExampleProposed:
        """Publish the candidate, redacted and encrypted. Returns once the bus has acknowledged it.

        Raises :class:`Refused` for what is no example or too long, and :class:`BusUnavailable`: then it may be there,
        and proposing it again is the same event.
        """
        data = await asyncio.to_thread(self.proposal, kind, candidate)
        await self.publish(data)
        return data

    async def publish(self, data: EventData) -> None:
        """Publish what was made before. Raises :class:`BusUnavailable`."""
        await self.publisher.publish(Event(subject=self.tenant, data=data, time=self.clock(), source=self.source))

    def proposal(self, kind: SourceKind, candidate: Candidate) -> ExampleProposed:
        """The event's data. Blocks for as long as the gate looks at the text."""
        example_id = candidate.example_id or self.key.opaque_id("example", self.tenant, candidate.natural_key)
        dates = DateShift(self.key.date_seed(self.tenant, example_id)) if self.shift_dates else None
        redacted = self.gate.redact(candidate.messages, terms=self.terms, dates=dates)
        salt = self.key.salt(self.tenant, example_id, candidate.version, redacted.messages)
        try:
            content = ExampleContent(messages=redacted.messages, salt=salt)
        except ValidationError:
            raise Refused(
                "bad-candidate", "refused: it is no conversation of 2 to 64 turns that ends with an answer"
            ) from None
        return ExampleProposed(
            example_id=example_id,
            version=candidate.version,
            source=kind,
            author_id=candidate.author_id,
            consent_id=candidate.consent_id,
            provenance_ids=candidate.provenance_ids,
            redaction=Redaction.of(redacted.report),
            content=CommittedInline(
                reference=InlineContent(jwe=encrypt_inline(self.public_key, content)),
                commitment=content.commitment(),
            ),
        )


@dataclass(frozen=True)
class ProposerKeys:
    """What a source that is a service proposes with, read at its start: then a wrong file ends it in one line."""

    settings: SourceSettings
    public_key: OKPKey
    key: SourceKey = field(repr=False)

    @classmethod
    def of(cls, settings: SourceSettings) -> ProposerKeys:
        """Raises :class:`Refused` for a file that is not what it should be."""
        return cls(settings, read_public_key(settings.source_jwk_file), SourceKey.read(settings.source_key_file))

    def proposer(self, gate: RedactionGate, publisher: Publisher, source: str) -> Proposer:
        return Proposer(
            TenantId(self.settings.source_tenant),
            self.public_key,
            self.key,
            gate,
            publisher,
            source,
            shift_dates=self.settings.source_dates == "shifted",
        )


def public_key_of(jwk: Mapping[str, str]) -> OKPKey:
    """A tenant's public key. Raises :class:`Refused` for what is none, and for a private one."""
    try:
        key = OKPKey.import_key(dict(jwk))
    except (JoseError, ValueError, TypeError, KeyError):
        raise _not_a_key() from None
    if key.is_private or key.curve_name != "X25519":
        raise _not_a_key()
    return key


def read_public_key(path: Path) -> OKPKey:
    """The JWK in a file. Raises :class:`Refused`."""
    try:
        jwk = parse_json(path.read_text())
    except (OSError, ValueError):
        raise _not_a_key() from None
    if not isinstance(jwk, dict):
        raise _not_a_key()
    return public_key_of(jwk)


def _not_a_key() -> Refused:
    return Refused(
        "bad-jwk", "refused: that is not a tenant's public key; it is an X25519 JWK without its private half"
    )
