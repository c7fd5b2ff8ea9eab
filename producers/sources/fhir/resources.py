"""Holds resources by their references, each validated before it is taken: R4B, which R4 resources satisfy."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ValidationError

from schemas.base.integers import GREATEST
from tenancy.errors import Refused

Resource = Mapping[str, Any]

ID = re.compile(r"[A-Za-z0-9.-]{1,64}")
NAME = re.compile(rf"[A-Z][A-Za-z]{{2,63}}/{ID.pattern}")
_REFERENCE = re.compile(rf"(?:^|/)({NAME.pattern})(?:/_history/{ID.pattern})?$")


@dataclass(frozen=True)
class Held:
    """A resource and its name: ``Type/id``, or the ``fullUrl`` of an entry whose resource has no id yet."""

    name: str = field(repr=False)
    body: Resource = field(repr=False)
    where: str = ""

    @property
    def type(self) -> str:
        return str(self.body["resourceType"])


@dataclass
class Resources:
    """What one input holds, or what was read for one notification. ``deleted``: names of what the server has no more,
    and where that is said.
    """

    deleted: dict[str, str] = field(default_factory=dict, repr=False)
    _by_name: dict[str, Held] = field(default_factory=dict)
    _names: dict[str, str] = field(default_factory=dict)

    def add(self, resource: Resource, full_url: str | None = None, where: str = "") -> Held:
        """Take a resource that was validated; a later version takes the place of an earlier one.

        Raises :class:`Refused` where nothing names it.
        """
        has_id = isinstance(resource.get("id"), str) and ID.fullmatch(resource["id"])
        name = f"{resource['resourceType']}/{resource['id']}" if has_id else full_url
        if not name:
            raise Refused("no-id", "refused: it has neither an id nor a fullUrl, so nothing can name it")
        if full_url:
            self._names[full_url] = name
        held = Held(name, resource, where)
        known = self._by_name.get(name)
        if known is None or version_of([known.body]) <= version_of([resource]):
            self._by_name[name] = held
        return held

    def get(self, reference: str) -> Held | None:
        return self._by_name.get(self.named(reference))

    def named(self, reference: str) -> str:
        """The one name of what a reference points to, however it is written."""
        return self._names.get(reference) or relative(reference)

    def of_type(self, kind: str) -> Iterator[Held]:
        return (held for held in list(self._by_name.values()) if held.type == kind)


def relative(reference: str) -> str:
    """``Type/id`` of a reference to a server's resource, absolute or of one version; others as they are."""
    found = _REFERENCE.search(reference)
    return found[1] if found else reference


def validated(resource: Any, types: frozenset[str]) -> Resource | None:
    """The resource, or None where its type is not read. Raises :class:`Refused`, which quotes nothing of it."""
    if not isinstance(resource, dict) or not isinstance(resource.get("resourceType"), str):
        raise Refused("not-fhir", "refused: it is no FHIR resource; a JSON object with a resourceType is one")
    kind = resource["resourceType"]
    if kind not in types:
        return None
    model: type[BaseModel] = getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
    try:
        model.model_validate(resource)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise Refused("bad-resource", f"refused: {kind}: {_in_words(problem['type'], problem['loc'])}") from None
    except Exception:  # the library's own validators raise others too
        raise Refused("bad-resource", f"refused: {kind}: it is not valid FHIR R4B") from None
    return resource


def stand_in(resource: Any) -> Resource | None:
    """What stands for a resource that is not valid, where a permit could be all that is left without it: a Consent that
    denies, a Patient whose identifiers name denials only. None for anything else, and where nobody is named.
    """
    if not isinstance(resource, dict):
        return None
    if resource.get("resourceType") == "Patient":
        return former(resource)
    return _denial(resource) if resource.get("resourceType") == "Consent" else None


def former(patient: Resource) -> Resource:
    """Mark every identifier of a damaged or deleted Patient as an old one, by which nothing is permitted."""
    given, meta = patient.get("identifier"), patient.get("meta")
    held = [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
    texts = [{name: one.get(name) for name in ("system", "value")} for one in held]
    return {
        "resourceType": "Patient",
        "id": patient.get("id"),
        "meta": meta if isinstance(meta, dict) else {},
        "identifier": [{**one, "use": "old"} for one in texts if all(isinstance(text, str) for text in one.values())],
    }


def _denial(resource: Resource) -> Resource | None:
    patient, meta = resource.get("patient"), resource.get("meta")
    reference = patient.get("reference") if isinstance(patient, dict) else None
    if not isinstance(reference, str) or not reference.isprintable():  # nothing else has looked at it
        return None
    return {
        "resourceType": "Consent",
        "id": resource.get("id"),
        "meta": {"lastUpdated": meta.get("lastUpdated") if isinstance(meta, dict) else None},
        "status": "active",
        "patient": {"reference": reference},
        "provision": {"type": "deny"},
    }


def _in_words(kind: str, where: tuple[int | str, ...]) -> str:
    """A key of the input's own making is not repeated."""
    if kind == "extra_forbidden":
        return f"{_path(where[:-1])} holds an element that FHIR R4B has not"
    if kind.endswith("missing"):
        return f"{_path(where)} is missing"
    return f"{_path(where)} is not what FHIR R4B has there"


def _path(where: tuple[int | str, ...]) -> str:
    known = [part for part in where if isinstance(part, int) or re.fullmatch(r"[A-Za-z_]{1,40}", part)]
    said = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in known).lstrip(".")
    return said or "the resource"


def version_of(chain: list[Resource]) -> int:
    """The version of what is made of these together: it rises when one of them does.

    From ``meta.versionId`` where all are numbers, else from the latest ``meta.lastUpdated``; 1 where there is neither.
    """
    metas = [resource.get("meta") or {} for resource in chain]
    numbers = [str(meta.get("versionId", "")) for meta in metas]
    if all(re.fullmatch(r"[1-9][0-9]{0,11}", number) for number in numbers):
        return 1 + sum(int(number) - 1 for number in numbers)
    moments = [moment(meta.get("lastUpdated")) for meta in metas]
    return max((milliseconds(at) for at in moments if at is not None), default=1)


def moment(said: Any, *, at_end: bool = False) -> datetime | None:
    """An instant or a FHIR dateTime, of which the less exact ones mean their first moment, or with ``at_end`` their
    last one. Without a zone it is UTC.
    """
    if not isinstance(said, str) or not said:
        return None
    try:
        if len(said) >= len("2026-01-01T00"):
            at = datetime.fromisoformat(said)
            return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)
        year, month, day = (*(int(part) for part in said.split("-")), 1, 1)[:3]
        first = datetime(year, month, day, tzinfo=UTC)
        return _next(first, said.count("-")) if at_end else first
    except (ValueError, OverflowError):
        return None


def _next(first: datetime, dashes: int) -> datetime:
    """The moment at which a year, a month or a day is over."""
    if dashes == 0:
        return first.replace(year=first.year + 1)
    if dashes == 1:
        return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return first + timedelta(days=1)


def milliseconds(at: datetime) -> int:
    return min(max(1, int(at.timestamp() * 1000)), GREATEST)
