"""Registers every place that can hold tenant data: who empties it, how that is verified, and worst-case survival.

A store that is not here must not exist: tests run everything and fail on an object, topic, directory or cache that no
entry covers (``tests/invariants/test_declared.py``). The purge's work and the certificate's words come from here.
"""

from __future__ import annotations

from datetime import timedelta

from schemas.base.canonical import sha256_hex
from schemas.stores.durable import DURABLE
from schemas.stores.processes import OF_PROCESSES
from schemas.stores.store import IN_BUCKET, LISTED, Medium, Store, StoreOutcome

STORES: dict[str, Store] = {store.name: store for store in (*DURABLE, *OF_PROCESSES)}


class UndeclaredStore(LookupError):
    """An object lies where no store is declared. The message holds only the first part of its name."""


def store_of_key(key: str, *, is_current: bool = True) -> Store:
    """The store that an object lies in: the most specific of those that cover its key.

    ``is_current``: whether it is the current version of its key. Raises :class:`UndeclaredStore`.
    """
    other = "superseded" if is_current else "current"
    covering = [store for store in STORES.values() if store.covers(key) and store.versions != other]
    if not covering:
        raise UndeclaredStore(f"{key.partition('/')[0]}/… is declared nowhere; add it to schemas/stores/registry.py")
    return max(covering, key=lambda store: len(store.where))


def of_medium(*media: Medium) -> tuple[Store, ...]:
    """The stores of these media, in the registry's order."""
    return tuple(store for store in STORES.values() if store.medium in media)


def is_emptied(store: Store) -> bool:
    """Whether a purge empties it, and lists it to show that."""
    return store.medium in LISTED and store.purger.method != "none"


def emptied() -> tuple[Store, ...]:
    """The stores that a purge empties itself."""
    return tuple(store for store in STORES.values() if is_emptied(store))


def swept() -> tuple[Store, ...]:
    """Those of them in the bucket."""
    return tuple(store for store in emptied() if store.medium in IN_BUCKET)


def kept() -> tuple[Store, ...]:
    """The stores that outlive a purge on purpose; each states why."""
    return tuple(store for store in STORES.values() if store.survives == "kept")


def may_stay(store: Store) -> bool:
    """Whether an installation may keep it on the bus without end: nothing in it can be read once the key is gone."""
    return store.medium == "bus" and store.protection in ("references", "references-or-ciphertext")


def outcome_of(store: Store) -> StoreOutcome:
    """The outcome for a tenant's data in the store once its purge is over, where no retention is set to unlimited."""
    if is_emptied(store):
        return "empty"
    if store.protection == "no-tenant-data":
        return "none-held"
    if store.survives == "kept":
        return "kept"
    if store.probe.evidence == "receipt":
        return "receipts"
    if store.medium == "bus" and isinstance(store.survives, timedelta):
        return "expires"
    if store.medium in ("process-memory", "worker-scratch"):
        return "ended"
    return "operator"


def registry_sha256() -> str:
    """Digest of what a certificate of purge is checked against: which stores there are, and the outcome of each.

    A certificate carries it, so that one made under another registry is recognized. The code's version does not
    suffice: the registry may change under one version.
    """
    return sha256_hex({store.name: [store.medium, outcome_of(store)] for store in STORES.values()})
