"""Keeps the signing keys: ``sano keys list``, ``init``, ``rotate``, ``register``, ``revoke``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from producers.cli.options import JsonOption
from producers.cli.output import print_rows, short
from producers.cli.platform import platform
from schemas.evidence.purposes import Purpose

if TYPE_CHECKING:
    from producers.operations.trust_admin import TrustDesk

app = typer.Typer(help="The keys that sign, one for each purpose.", no_args_is_help=True)


@app.command("list")
def list_keys(context: typer.Context, json: JsonOption = False) -> None:
    """List every key of the trust file, those in use first."""
    from producers.operations.trust_admin import views
    from tenancy.bootstrap import trust
    from tenancy.platform.clock import utc_now

    found = views(trust(platform(context).settings()).file, utc_now())
    print_rows(
        found,
        {
            "key": lambda view: short(view.key.key_id),
            "purpose": lambda view: view.key.purpose,
            "of": lambda view: view.key.speaks_for.publisher if view.key.speaks_for else "-",
            "algorithm": lambda view: view.key.algorithm,
            "state": lambda view: view.state,
            "from": lambda view: view.key.valid_from,
            "until": lambda view: view.key.valid_until,
            "revoked": lambda view: view.key.revoked_at,
        },
        empty="the trust file lists no key",
        json=json,
    )


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where the keys are to lie.")]) -> None:
    """Make every key and the trust file.

    What is there already stays. `sano up` does it for the local stack.
    """
    from producers.operations.trust_admin import ensure_keys

    ensure_keys(folder)
    typer.echo(f"{folder} holds the keys; give each process its own and take root.pem away")


@app.command()
def rotate(
    context: typer.Context,
    purpose: Annotated[Purpose, typer.Argument(help="What the key signs.")],
    publisher: Annotated[
        str | None, typer.Option("--publisher", help="Whose event key: a service, or operators.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", help="The new key: a PEM file, or kms: and its id. Made if absent.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where a key that is made goes; beside the trust file if absent.")
    ] = None,
    overlap_hours: Annotated[
        float, typer.Option("--overlap-hours", min=0.0, max=8760.0, help="So long the old key may still sign.")
    ] = 24.0,
) -> None:
    """Replace a key; what the old one signed stays good.

    Processes take the trust file up by themselves, and the key where its file is replaced.
    """
    from datetime import timedelta

    from producers.operations.trust_admin import write_key
    from schemas.evidence.trust import SIGNS, key_file
    from tenancy.bootstrap import signing_key
    from tenancy.evidence.keys import LocalKey

    if (purpose is Purpose.EVENT) != (publisher in SIGNS):
        names = ", ".join(SIGNS)
        raise typer.BadParameter(f"goes with event keys, and with no others: one of {names}", param_hint="--publisher")
    desk, settings = _desk(context), platform(context).settings()
    new = LocalKey.generate() if key is None else signing_key(key, "--key", settings.s3_timeout_seconds)
    made = desk.rotate(new, purpose, publisher, timedelta(hours=overlap_hours))
    # The trust file first: by the time that anything is signed with the new key, everybody can look it up.
    if isinstance(new, LocalKey) and key is None:
        path = out or key_file(desk.path.parent, purpose, publisher or "")
        write_key(path, new)
        typer.echo(f"{path} is the new key for {purpose}s, {short(made.key_id)}")
    else:
        typer.echo(f"the trust file has the key {short(made.key_id)} for {purpose}s")


@app.command()
def register(
    context: typer.Context,
    publisher: Annotated[str, typer.Argument(help="A name for the publisher.")],
    key: Annotated[Path, typer.Option("--key", help="Its public key, PEM.")],
    event_type: Annotated[list[str], typer.Option("--type", help="It publishes this type; may be repeated.")],
    tenant: Annotated[
        list[str] | None, typer.Option("--tenant", help="It speaks for this tenant; may be repeated. All if absent.")
    ] = None,
) -> None:
    """Let a publisher from outside sign its events."""
    from pydantic import ValidationError

    from schemas.bus.events import EVENT_TYPES
    from schemas.evidence.trust import SpeaksFor
    from tenancy.errors import Refused
    from tenancy.evidence.given_keys import read_public_key

    if unknown := sorted(set(event_type).difference(EVENT_TYPES)):
        raise typer.BadParameter(f"{', '.join(unknown)} is no event type", param_hint="--type")
    try:
        speaks_for = SpeaksFor(
            publisher=publisher, tenants=tuple(tenant) if tenant else None, event_types=tuple(event_type)
        )
    except ValidationError:
        raise Refused("bad-publisher", "refused: this is no name of a publisher, or of a tenant") from None
    made = _desk(context).register(read_public_key(key, "--key"), speaks_for)
    typer.echo(f"the trust file has the key {made.key_id} of {publisher}")


@app.command()
def revoke(
    context: typer.Context,
    key: Annotated[str, typer.Argument(help="The key's id, or its beginning.")],
    at: Annotated[
        datetime | None,
        typer.Option("--at", help="The earliest time at which somebody else may have had it; now if absent. UTC."),
    ] = None,
) -> None:
    """Let a key count for nothing from a time on."""
    from datetime import UTC

    from tenancy.platform.clock import utc_now

    revoked = _desk(context).revoke(key, at.replace(tzinfo=UTC) if at else utc_now())
    typer.echo(f"{short(revoked.key_id)} is revoked from {revoked.revoked_at} on; rotate {revoked.purpose} next")


def _desk(context: typer.Context) -> TrustDesk:
    from producers.operations.trust_admin import TrustDesk
    from tenancy.bootstrap import signing_key
    from tenancy.errors import Refused

    settings = platform(context).settings()
    if settings.trust_file is None or settings.trust_root_key is None:
        why = "refused: only the root key changes the trust file; set SANO_TRUST_FILE and SANO_TRUST_ROOT_KEY"
        raise Refused("no-root-key", why)
    root = signing_key(settings.trust_root_key, "SANO_TRUST_ROOT_KEY", settings.s3_timeout_seconds)
    return TrustDesk(settings.trust_file, root)
