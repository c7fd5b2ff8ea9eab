"""Takes one notification: fills the gap before it, reads what it is about, and publishes what that holds.

It is accepted only once Kafka has acknowledged all of it. A resource that cannot be read is refused for good and holds
up nothing; a server that does not answer holds up the notification, which its sender sends again.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from producers.sources.fhir.candidates import MOST_TURNS, Finder, identifiers
from producers.sources.fhir.importing import CONVERSATIONS, FhirResources, no_owner
from producers.sources.fhir.mapping import FhirMapping, texts, values
from producers.sources.fhir.notification import Malformed, Notification, NotificationEvent, read_notification
from producers.sources.fhir.positions import Positions
from producers.sources.fhir.resources import Held, Resource, Resources, former, relative, stand_in, validated
from producers.sources.fhir.server import Deleted, FhirServer, NoSearch
from producers.sources.proposed import propose
from producers.sources.proposing import Proposer
from producers.sources.source import placed
from tenancy.errors import Refused
from tenancy.platform.logs import SCOPE

logger = logging.getLogger(f"{SCOPE}.fhir")

MOST_AT_ONCE = 500
"""Earlier events that are asked for in one request."""


@dataclass(frozen=True)
class Receiver:
    """One tenant's notifications. Those of one subscription are taken one after another."""

    proposer: Proposer
    mapping: FhirMapping
    server: FhirServer
    positions: Positions
    _turns: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))

    async def take(self, notification: Notification) -> list[Refused]:
        """Publish what it is about; what was refused for good. Raises :class:`~tenancy.errors.Transient`."""
        async with self._turns[notification.subscription]:
            known = self.positions.get(notification.subscription)
            if notification.kind == "handshake" and notification.since_start == 0:
                known = 0  # the subscription began anew, and counts anew
                self.positions.put(notification.subscription, known)
            first, last = _range(notification)
            refused = await self._gap(notification.subscription, (known or 0) + 1, first - 1)
            refused += await self._taken(await self._with_focus(notification))
            if last > (known or 0):
                self.positions.put(notification.subscription, last)
            return refused

    async def _gap(self, subscription: str, first: int, last: int) -> list[Refused]:
        """Take the events that no notification brought. What the server has no more is said, and is lost."""
        refused = []
        while first <= last:
            until = min(last, first + MOST_AT_ONCE - 1)
            earlier = await self._events(subscription, first, until)
            found = [event for event in earlier.events if first <= event.number <= until]
            missing = until - first + 1 - len({event.number for event in found})
            logger.warning("gap", extra={"events": until - first + 1, "missing": missing})
            refused += await self._taken(Notification("query-event", subscription, None, tuple(found), earlier.entries))
            self.positions.put(subscription, until)
            first = until + 1
        return refused

    async def _with_focus(self, notification: Notification) -> Notification:
        """The notification with what its events are about, where its payload is empty."""
        bare = [event.number for event in notification.events if not event.focus]
        if not bare:
            return notification
        said = await self._events(notification.subscription, bare[0], bare[-1])
        with_focus = {event.number: event for event in said.events if event.focus}
        events = tuple(with_focus.get(event.number, event) for event in notification.events)
        return Notification(
            notification.kind, notification.subscription, notification.since_start, events, notification.entries
        )

    async def _events(self, subscription: str, first: int, last: int) -> Notification:
        try:
            return read_notification(await self.server.events(subscription, first, last))
        except Malformed:
            logger.error("the server's $events is no notification")
            return Notification("query-event", subscription, None)

    async def _taken(self, notification: Notification) -> list[Refused]:
        names = _names(notification.events, self.mapping.types)
        if not names:
            return []
        look = _Look(self.server, self.mapping)
        await asyncio.to_thread(look.add_entries, notification.entries)  # megabytes of them take seconds
        names += [held.name for held in look.resources.of_type("Consent") if held.name not in names]
        found = [held for name in names if (held := await look.of(name)) is not None]
        finder = Finder(look.resources, self.mapping, self.proposer.key, self.proposer.tenant)
        conversations = [held for held in found if held.type in CONVERSATIONS]
        source = FhirResources(finder, conversations, self.proposer.clock(), look.deleted)
        made = await propose(self.proposer, source)
        return [*look.refused, *made.refused]


def _range(notification: Notification) -> tuple[int, int]:
    """The numbers of the first event that it brings and of the last one that there is."""
    if notification.events:
        return notification.events[0].number, notification.events[-1].number
    last = notification.since_start or 0
    return last + 1, last


def _names(events: Sequence[NotificationEvent], types: frozenset[str]) -> list[str]:
    """``Type/id`` of what the events are about, once each, of the types that are read."""
    names = dict.fromkeys(relative(focus) for event in events for focus in event.focus)
    return [name for name in names if name.partition("/")[0] in types]


def _is_patient(resource: Any) -> bool:
    return isinstance(resource, dict) and resource.get("resourceType") == "Patient"


def _literal(value: str) -> str:
    """A value in a search, in which these have a meaning."""
    return re.sub(r"([\\|,$])", r"\\\1", value)


@dataclass
class _Look:
    """Reads what a notification is about, and what is needed to understand that."""

    server: FhirServer
    mapping: FhirMapping
    resources: Resources = field(default_factory=Resources)
    refused: list[Refused] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def add_entries(self, entries: Sequence[dict[str, Any]]) -> None:
        for number, entry in enumerate(entries, 1):
            where = f"entry {number}"
            try:
                if "resource" in entry:
                    url = entry.get("fullUrl")
                    if not _is_patient(entry["resource"]):  # whose identifiers are read as they are now
                        self._add(entry["resource"], where, url if isinstance(url, str) else None)
            except Refused as refusal:
                self.refused.append(placed(where, refusal))

    def _add(self, resource: Any, where: str, full_url: str | None = None) -> None:
        try:
            read = validated(resource, self.mapping.types | {"Binary"})
        except Refused as refusal:
            read = stand_in(resource)
            if read is None:
                raise
            self.refused.append(refusal)
        if read is not None:
            self.resources.add(read, full_url, where)

    async def of(self, name: str) -> Held | None:
        """The resource, with what it refers to; None where it was refused, which is noted."""
        try:
            held = await self._held(name)
            match held.type:
                case "Communication":
                    await self._thread(held)
                case "DocumentReference":
                    await self._attachments(held.body)
                case "Consent" if self.mapping.consent is not None:
                    for reference in texts(self.mapping.consent.consent, held.body)[:1]:
                        await self._patients_consents(reference)
                case "Patient" if self.mapping.consent is not None:  # whose identifier may be another's by now
                    await self._patients_consents(name)
            if held.type in CONVERSATIONS:
                await self._patient(held)
                await self._provenances(name)
            return held
        except Deleted:
            self.deleted.append(name)
            if name.startswith("Consent/"):
                self.refused.append(no_owner())
        except Refused as refusal:
            self.refused.append(refusal)
        return None

    async def _held(self, name: str) -> Held:
        held = self.resources.get(name)
        if held is None:
            self._add(await self._read(name), name.partition("/")[0])
            held = self.resources.get(name)
        if held is None:
            raise Refused("not-there", "refused: the server has something else under its name")
        return held

    async def _read(self, name: str) -> Any:
        """A Consent that the server deleted is read from its history, inactive since then: it says whose it was."""
        try:
            return await self.server.read(name)
        except Deleted:
            ended = await self.server.before_deletion(name) if name.startswith("Consent/") else None
            if ended is None:
                raise
            return {**ended, "status": "inactive"}

    async def _thread(self, held: Held) -> None:
        mapping = self.mapping.communication
        for _ in range(MOST_TURNS):
            before = texts(mapping.earlier, held.body) if mapping is not None else []
            if not before:
                return
            held = await self._held(self.resources.named(before[0]))

    async def _attachments(self, body: Resource) -> None:
        mapping = self.mapping.document_reference
        for attachment in values(mapping.attachment, body) if mapping is not None else []:
            url = attachment.get("url") if isinstance(attachment, dict) else None
            if isinstance(url, str) and "data" not in attachment:
                await self._held(relative(url))

    async def _patients_consents(self, reference: str) -> None:
        """All of the patient's Consents, or a permit could be published over a deny that was not looked at."""
        for patient in await self._same_patient(reference):
            for resource in await self.server.search("Consent", {"patient": patient}):
                self._add(resource, "Consent")

    async def _same_patient(self, reference: str) -> list[str]:
        """The Patient, and where the mapping names an identifier every other who has or had one of the same, and so on:
        one may permit what another denies.
        """
        names, said = [relative(reference)], self.mapping.patient
        if said is None:
            return names
        looked_for: set[str] = set()
        for name in names:  # which grows meanwhile
            patient = await self._known(name)
            held = set() if patient is None else set(identifiers(patient.body, said, also_former=True))
            for value in sorted(held - looked_for):
                looked_for.add(value)
                asked = {"identifier": f"{said.system}|{_literal(value)}"}
                found = await self.server.search("Patient", asked, in_address=False)
                names += [other for one in found if (other := f"Patient/{one.get('id')}") not in names]
        return names

    async def _patient(self, held: Held) -> None:
        said = self.mapping.conversation(held.type)
        if self.mapping.patient is not None and said is not None:
            for reference in texts(said.consent, held.body)[:1]:
                await self._known(reference)

    async def _known(self, reference: str) -> Held | None:
        """The Patient, as it last was where the server deleted it. None where it cannot be had, which is said where its
        identifier is asked for.
        """
        name = self.resources.named(reference)
        try:
            return await self._held(name)
        except Deleted:
            ended = await self.server.before_deletion(name)
            return None if ended is None else self.resources.add(former(ended))
        except Refused:
            return None

    async def _provenances(self, name: str) -> None:
        if self.mapping.provenance is None:
            return
        try:
            found = await self.server.search("Provenance", {"target": name})
        except NoSearch:  # of Consents that holds up the notification; nobody's rights hang on this
            logger.warning("the server does not let Provenance be searched; leave it out of the mapping")
            return
        for resource in found:
            self._add(resource, "Provenance")
