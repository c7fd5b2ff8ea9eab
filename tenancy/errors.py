"""Defines the errors of the tenant boundary, by what the caller should do about them."""

from __future__ import annotations

from collections.abc import Iterable


class ContentFree(Exception):
    """Base of errors whose text quotes nothing that was stored or sent, so that it may be logged and published."""


class Transient(ContentFree):
    """Trying again later may succeed: a timeout, an unreachable service, a lost race that a retry settles."""


class Outage(Transient):
    """Something that an event needs besides store, keys and bus is out of reach: no event is passed over for that."""


class Refused(ContentFree):
    """Refused for ever as asked. ``code`` is for events and dead letters; the message carries no content."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class StoreUnavailable(Transient):
    """The object store did not answer, or asked us to slow down."""


class DeletionRefused(StoreUnavailable):
    """Some versions were kept by the object store (a lock, missing rights); the others of the request are gone.

    ``kept`` names the key of each version that is kept, and why, as a reason code.
    """

    def __init__(self, kept: Iterable[tuple[str, str]]) -> None:
        self.kept = tuple(kept)
        super().__init__(f"{len(self.kept)} versions were kept: {sorted({code for _, code in self.kept})}")


class BusUnavailable(Transient):
    """The message bus did not acknowledge."""


class MessageTooLarge(Refused):
    """The bus takes no message of this size."""

    def __init__(self) -> None:
        super().__init__("bus-refused", "refused: the bus takes no message as large as this one")


class ContendedState(Transient):
    """Too many concurrent swaps of one tenant's state; the event is handled again."""


class AuditContended(Transient):
    def __init__(self) -> None:
        super().__init__("too many others append to the tenant's audit log at once")


class ObjectNotFound(Exception):
    """No object under this key."""


class PreconditionFailed(Exception):
    """The object exists already, or is not the version that the caller read."""


class UnknownTenant(Refused):
    def __init__(self) -> None:
        super().__init__("unknown-tenant", "refused: no such tenant is onboarded")


class TenantFenced(Refused):
    """The tenant is being purged or was purged: nothing may create data for it, by any way, ever again."""

    def __init__(self) -> None:
        super().__init__("tenant-purged", "refused: the tenant is purged or being purged")


class Contradicted(Refused):
    """An event that comes again under the same id and says something else. The first word stands."""

    def __init__(self) -> None:
        super().__init__(
            "contradicted",
            "refused: an earlier event of the same id said otherwise, and stands; a new one needs a new id",
        )


class KeyDestroyed(Refused):
    def __init__(self) -> None:
        super().__init__("key-destroyed", "refused: the tenant's data key does not exist (any more)")


class SealBroken(Refused):
    """The bytes do not open under this tenant's key and this object's name."""

    def __init__(self, why: str) -> None:
        super().__init__("seal-broken", f"refused: a sealed object does not open: {why}")


class BadSignature(Refused):
    def __init__(self, why: str) -> None:
        super().__init__("bad-signature", f"refused: {why}")


class AuditBroken(Refused):
    """An object of the log is missing or was not written by this system. ``what`` says which one."""

    def __init__(self, what: str) -> None:
        super().__init__(
            "audit-broken",
            f"refused: {what} of the tenant's audit log is missing or was not written by this system; "
            "see `sano audit verify`",
        )
        self.what = what


class LeaseLost(Exception):
    """Another holder has, or may have, the lease. Whatever was not published must not be published."""


class LeaseHeld(Exception):
    """Another holder's lease is alive, on this run or on another one of the tenant."""
