"""Renders the registry of stores as a page: ``python -m schemas.stores.page`` writes ``docs/stores.md``."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

from schemas.stores.registry import of_medium
from schemas.stores.store import Medium, Protection, Store

PAGE = Path(__file__).parents[2] / "docs" / "stores.md"

_INTRODUCTION = """# Stores

Lists every place that can hold tenant data: who empties it, how that is verified, and the worst-case survival there.
Generated from `schemas/stores/` by `python -m schemas.stores.page`; do not edit by hand.

A store that is not in the registry must not exist. `tests/invariants/test_declared.py` and `test_declared_tables.py`
fail on an object, a topic, a module that writes files, a table in a service's memory, a cache or a signed URL that no
entry covers, and check that the purge empties every store that says so. `tests/e2e/test_canary.py` does the same to the
real processes: it plants markers in every input of two tenants, runs the whole loop, purges one, and searches the raw
bytes of every medium.

"""
_PARTS: tuple[tuple[str, str, tuple[Medium, ...]], ...] = (
    (
        "The bucket and the keys",
        "All versions, delete markers and open uploads count. A key that two stores cover belongs to the more specific "
        "one.",
        ("object-store", "key-material"),
    ),
    (
        "The database of large indexes",
        "Only where one is set. Its backups and its write-ahead log are the operator's.",
        ("database",),
    ),
    ("The bus", "Opaque ids and salted commitments, until the topic's retention.", ("bus", "bus-metadata")),
    (
        "Replicas and processes",
        "In clear while in use, and gone with the process at the latest.",
        ("engine", "process-memory", "replica-files", "worker-scratch"),
    ),
    (
        "Telemetry and caches",
        "Declared to hold nothing of any tenant, and searched for it.",
        ("telemetry", "package-cache"),
    ),
    (
        "What operators hold, and what lies outside",
        "This system writes some of it and cannot empty any of it by itself.",
        ("local-stack", "operator-files", "outside"),
    ),
)
_PROTECTION: dict[Protection, str] = {
    "tenant-key": "sealed under the tenant's key",
    "provider-key": "encrypted by the object store",
    "references": "ids, codes, commitments",
    "references-or-ciphertext": "ids, codes, commitments, ciphertext to the tenant's key",
    "as-sent": "as sent",
    "clear": "in clear",
    "no-tenant-data": "nothing of a tenant",
}


def page() -> str:
    """The whole page."""
    parts = [f"## {title}\n\n{about}\n\n{_table(of_medium(*media))}" for title, about, media in _PARTS]
    return _INTRODUCTION + "\n".join(parts)


def _table(stores: Iterable[Store]) -> str:
    lines = [
        "| store | where | holds | protection | emptied by | shown by | survives |",
        "|---|---|---|---|---|---|---|",
    ]
    for store in stores:
        cells = (
            store.name,
            store.where,
            store.holds,
            _PROTECTION[store.protection],
            f"{store.purger.who}: {store.purger.how}",
            f"{store.probe.evidence}: {store.probe.how}",
            _survival(store),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _survival(store: Store) -> str:
    if store.survives == "kept":
        return f"kept: {store.kept_because}"
    if store.survives == "until-purge":
        return "until the purge"
    settings = [f"`SANO_{name.upper()}`" for name in store.survives_settings]
    return " + ".join([*([_words(store.survives)] if store.survives or not settings else []), *settings])


def _words(time: timedelta) -> str:
    minutes = int(time.total_seconds()) // 60
    found = ((minutes // 1440, "d"), (minutes // 60 % 24, "h"), (minutes % 60, "min"))
    return " ".join(f"{count} {unit}" for count, unit in found if count) or "no time"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
