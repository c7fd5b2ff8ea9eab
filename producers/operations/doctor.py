"""Checks that everything a command needs is there: one check per part, each with a remedy."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import httpx

from producers.operations.access_admin import apply_access
from producers.operations.principals import principals
from producers.operations.topics import apply_topics
from producers.operations.trust_admin import unsound_keys
from producers.queries.purges_due import purges_due
from producers.settings import STACK_FILE, OperatorSettings, is_local_bus
from schemas.base.contract import Contract
from schemas.bus.publishers import OPERATORS
from schemas.bus.retention import kept
from schemas.evidence.trust import SIGNS
from schemas.objects import object_keys
from tenancy.bootstrap import master_key, open_store, signer, trust
from tenancy.errors import Refused, Transient
from tenancy.knowledge.database.connection import opened
from tenancy.knowledge.database.settings import no_database
from tenancy.platform.clock import utc_now
from tenancy.storage.probes import probed

INFERENCE_SECONDS = 5.0
LEAST_EXTENSION = (0, 8)
"""Of pgvector: since then a search goes on where what it finds is filtered out."""
SHOWN = 3
"""Of the rights that differ; `sano topics apply --dry-run` shows all."""


class Check(Contract):
    """One part's state. ``remedy`` says what to do when it is not ``ok``."""

    part: str
    ok: bool
    detail: str
    remedy: str | None = None


async def diagnose(load: Callable[[], OperatorSettings]) -> list[Check]:
    """Every check, in the order in which failures explain each other. Raises nothing that a check can say."""
    try:
        settings = load()
    except Refused as refusal:
        return [Check(part="settings", ok=False, detail=str(refusal), remedy="run `sano up` here, or set SANO_*")]
    checks: list[tuple[str, Callable[[OperatorSettings], Awaitable[str]], str]] = [
        ("object store", _object_store, "check SANO_S3_ENDPOINT_URL, SANO_S3_BUCKET and the credentials"),
        ("master key", _master_key, "set SANO_KMS_KEY_ID or SANO_MASTER_KEY_FILE"),
        ("signing keys", _signing_keys, "see `sano keys list`, and Signing keys in docs/operations.md"),
        ("bus", _bus, "check SANO_KAFKA_BOOTSTRAP_SERVERS, then run `sano topics apply`"),
        ("access control", _access, "run `sano topics apply` as a super user; kafka-acls removes what is surplus"),
        ("inference", _inference, "see .sano/logs/inference.log, or set SANO_INFERENCE_HEALTH_URL"),
    ]
    if settings.knowledge_database_url is not None:
        checks.append(("database of indexes", _database, "see Larger indexes in docs/knowledge.md"))
    found = [Check(part="settings", ok=True, detail=f"read from SANO_* and {STACK_FILE}, where there is one")]
    for part, check, remedy in checks:
        found.append(await _checked(part, check(settings), remedy))
        if part == "object store" and found[-1].ok:
            found += await _lacks(settings)
    if all(check.ok for check in found if check.part == "object store"):
        found.append(await _checked("purges", _purges(settings), "see `sano purges`, and Purges in docs/operations.md"))
    return found


async def _checked(part: str, check: Awaitable[str], remedy: str) -> Check:
    try:
        return Check(part=part, ok=True, detail=await check)
    except (Refused, Transient) as error:
        return Check(part=part, ok=False, detail=str(error), remedy=remedy)


async def _object_store(settings: OperatorSettings) -> str:
    async with open_store(settings) as store:
        async for _ in store.keys(object_keys.REGISTRY_PREFIX):
            return f"bucket {settings.s3_bucket} answers"
    return f"bucket {settings.s3_bucket} answers; no tenant is in it yet"


async def _lacks(settings: OperatorSettings) -> list[Check]:
    """One check for each guarantee that the object store does not give; one that it gives them all."""
    remedy = "use a server that gives it: see docs/object-stores.md"
    lacking, names = [], []
    async with open_store(settings) as store:
        async for found in probed(store, f"doctor-{secrets.token_hex(8)}"):
            names.append(found.name)
            if found.lack is not None:
                lacking.append(Check(part=f"object store: {found.name}", ok=False, detail=found.lack, remedy=remedy))
    return lacking or [Check(part="object store: guarantees", ok=True, detail=f"it gives {', '.join(names)}")]


async def _purges(settings: OperatorSettings) -> str:
    async with open_store(settings) as store:
        due = str(await purges_due(store, utc_now))
    if due:
        raise Refused("purges-due", f"refused: purges do not go on; {due}")
    return "every purge goes on, and nobody who is to be purged is active"


async def _master_key(settings: OperatorSettings) -> str:
    master = master_key(settings)
    await asyncio.to_thread(master.wrap, "doctor", bytes(32))
    return f"{master.key_id} wraps keys"


async def _signing_keys(settings: OperatorSettings) -> str:
    trusted = trust(settings)
    lacking, ending = unsound_keys(trusted.file, utc_now())
    if lacking or ending:
        raise Refused("keys-unsound", f"refused: {'; '.join((*lacking, *ending))}")
    for purpose in SIGNS[OPERATORS]:
        await asyncio.to_thread(signer, settings, purpose, trusted)
    return f"a key for each purpose in version {trusted.file.version} of the trust file, and ours are among them"


async def _bus(settings: OperatorSettings) -> str:
    topics = kept(settings.retention)
    reports = await apply_topics(settings.kafka_client(), topics, dry_run=True, shorten=False)
    if longer := [report.topic for report in reports if report.keeps_longer]:
        why = "keep events for longer than SANO_TOPIC_RETENTION says: certificates of purge would name too early a time"
        raise Refused("kept-longer", f"refused: {', '.join(longer)} {why}")
    lacking = [report.topic for report in reports if report.action != "unchanged"]
    if lacking:
        raise Refused("topics-differ", f"refused: {len(lacking)} of {len(reports)} topics are missing or differ")
    return f"all {len(reports)} topics are as the contract says; {_retention(settings)}"


def _retention(settings: OperatorSettings) -> str:
    """What the installation keeps for other than seven days, in words."""
    own = [
        f"{name} {'without end' if days == 'unlimited' else f'for {days} days'}"
        for name, days in sorted(settings.retention.items())
    ]
    return f"kept {', '.join(own)}, all others for 7 days" if own else "all are kept for 7 days"


async def _access(settings: OperatorSettings) -> str:
    report = await apply_access(settings.kafka_client(), principals(settings), dry_run=True)
    if not report.has_authorizer:
        if is_local_bus(settings):
            return "none, as on every local stack: whoever reaches the bus may speak for every tenant"
        why = "refused: the brokers have no authorizer: whoever reaches them may speak for every tenant"
        raise Refused("no-authorizer", why)
    wrong = [
        *(f"{right.principal} lacks {right}" for right in report.added),
        *(f"{found.principal} may {found.entry}" for found in report.surplus),
    ]
    if wrong:
        first = "; ".join(wrong[:SHOWN])
        counts = f"{len(report.added)} rights missing, {len(report.surplus)} surplus"
        raise Refused("access-differs", f"refused: {counts}: {first}{'; …' if len(wrong) > SHOWN else ''}")
    return f"all {report.rights} rights are as the contract says, and no others"


async def _database(settings: OperatorSettings) -> str:
    async with opened(settings) as database:
        if database is None:
            raise no_database()
        server, extension = await database.version()
    if extension is None or _number(extension) < LEAST_EXTENSION:
        found = "has no pgvector" if extension is None else f"has pgvector {extension}"
        least = ".".join(map(str, LEAST_EXTENSION))
        why = f"refused: its database {found}, and {least} is needed; a superuser runs CREATE EXTENSION vector"
        raise Refused("no-pgvector", why)
    return f"PostgreSQL {server} with pgvector {extension}"


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


async def _inference(settings: OperatorSettings) -> str:
    if settings.inference_health_url is None:
        raise Refused("no-inference", "refused: no URL of a replica's health routes is set")
    url = f"{settings.inference_health_url.rstrip('/')}/health/ready"
    try:
        async with httpx.AsyncClient(timeout=INFERENCE_SECONDS) as client:
            answer = await client.get(url)
    except httpx.HTTPError as error:
        raise Transient(f"{url} did not answer ({type(error).__name__})") from None
    if answer.status_code != 200:
        raise Transient(f"{url} answered {answer.status_code}")
    return f"{settings.inference_health_url} is ready"
