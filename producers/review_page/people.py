"""Knows who is signed in: one role, bound to one tenant, for a bounded time, in a signed cookie.

The cookie is all there is of a session, so any process of the page can serve it, and none keeps state. What is kept is
only which sessions somebody signed out of (:mod:`tenancy.state.spent`): a copy of such a cookie is refused too.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import MutableMapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast, get_args

from schemas.base.identifiers import OpaqueId
from tenancy.errors import Refused
from tenancy.tenant_id import TenantId

Role = Literal["reviewer", "compliance"]
ROLES: tuple[str, ...] = get_args(Role)
RENEWED_AFTER_SECONDS = 30
REMEMBERED = 16
"""Reviews that a session remembers, so that what curation has not taken yet is not offered again."""

Session = MutableMapping[str, Any]


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in. ``id`` is opaque. ``authored_as``: the ids that sources give the same person."""

    tenant: TenantId
    id: OpaqueId
    role: Role
    authored_as: tuple[OpaqueId, ...] = ()

    def wrote(self, author_id: OpaqueId | None) -> bool:
        return author_id in (self.id, *self.authored_as)


@dataclass(frozen=True)
class Limits:
    """How long a session lasts: unused, and at all."""

    idle_seconds: float
    whole_seconds: float


class NotSignedIn(Exception):
    """Nobody is signed in, or not any more."""


def role_of(said: object) -> Role:
    """Raises :class:`Refused` for what is no role."""
    if said not in ROLES:
        raise Refused("bad-role", "refused: the role is reviewer or compliance, and one of them only")
    return cast(Role, said)


def begin(session: Session, person: Person, now: datetime, limits: Limits) -> None:
    """Sign somebody in. Whatever the browser held before is gone, so that no session is fixed from outside."""
    session.clear()
    session.update(
        tenant=str(person.tenant),
        id=person.id,
        role=person.role,
        authored_as=person.authored_as,
        token=secrets.token_urlsafe(24),
        name=secrets.token_hex(16),
        ends=int(now.timestamp() + limits.whole_seconds),
        seen=now.timestamp(),
        done=[],
    )


def name_of(session: Session) -> str:
    """The session's own id, which is no person's."""
    return str(session["name"])


def ends_of(session: Session) -> int:
    """When it ends, however much it is used, in seconds since 1970."""
    return int(session["ends"])


def signed_in(session: Session, now: datetime, limits: Limits) -> Person:
    """Who the cookie says is signed in. Raises :class:`NotSignedIn`, and then the session is over."""
    try:
        person = Person(
            TenantId(session["tenant"]), session["id"], role_of(session["role"]), tuple(session["authored_as"])
        )
        left, idle = ends_of(session) - now.timestamp(), now.timestamp() - session["seen"]
    except (KeyError, TypeError, ValueError, Refused):
        raise NotSignedIn from None
    if left <= 0 or idle >= limits.idle_seconds:
        session.clear()
        raise NotSignedIn
    if idle >= RENEWED_AFTER_SECONDS:
        session["seen"] = now.timestamp()
    return person


def is_genuine(session: Session, said: object) -> bool:
    """Whether a form was made for this session, and so by this page: the token against forged requests is in it."""
    token = session.get("token")
    return isinstance(said, str) and isinstance(token, str) and hmac.compare_digest(said.encode(), token.encode())


def remember(session: Session, example_id: str, version: int) -> None:
    """Note what this session has just decided or edited."""
    session["done"] = [*session.get("done", []), f"{example_id}/{version}"][-REMEMBERED:]


def remembers(session: Session, example_id: str, version: int) -> bool:
    return f"{example_id}/{version}" in session.get("done", [])
