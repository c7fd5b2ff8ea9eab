"""A whole replica with the real engine, as an attacker finds it: one process on a port, watched from outside.

It has as many file descriptors as a careless operator leaves it, and a watch on its event loop. Three tenants have an
adapter each, of which two fit into the engine; one has none.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from deploy.local.processes import ChildProcess
from deploy.local.services import INFERENCE
from deploy.local.settings import LocalSettings
from deploy.local.stack import LocalStack
from deploy.local.stack_file import StackFile
from inference.engine.processes import descendants
from producers.commands.onboarding import onboard
from producers.operations.topics import apply_topics
from producers.operations.trust_admin import ensure_keys
from producers.settings import OperatorSettings
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import key_file
from schemas.models.adapter_files import linear_shapes
from schemas.models.model_digest import model_digest
from schemas.tenant.policy import TenantPolicy
from tenancy.bootstrap import open_tenancy, signer
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import Signer
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer
from tests.attack import loop_watch, watched_replica
from tests.attack.loop_watch import Gap
from tests.attack.wire import Got, exchange, request
from tests.bench import published
from tests.bench.drawn_adapters import Drawing
from tests.fixtures.markers import Place
from tests.fixtures.otlp_sink import OtlpSink, otlp_sink
from tests.fixtures.raw_bytes import files

WITH_ADAPTERS = (TenantId("attack-one"), TenantId("attack-two"), TenantId("attack-three"))
PLAIN = TenantId("attack-none")
DESCRIPTORS = 256
SPREAD = 0.15
"""Of the adapters' random weights: so large that each answers differently from the others from the first words on."""
MODEL_LENGTH = 512
SMALL = {
    "SANO_KV_CACHE_GIB": "0.25",
    "SANO_MAX_LORAS": "2",
    "SANO_MAX_CPU_LORAS": "2",
    "SANO_MAX_LORA_RANK": "16",
    "SANO_MAX_MODEL_LEN": str(MODEL_LENGTH),
    "SANO_MAX_NUM_SEQS": "16",
    "OTEL_BSP_SCHEDULE_DELAY": "500",
    "OTEL_METRIC_EXPORT_INTERVAL": "2000",
}
BACK_SECONDS = 240.0
"""So long a replica may take until it answers again after its engine has died: the engine starts in half a minute."""


@dataclass
class Stand:
    """The running replica. ``digests``: each tenant's own active adapter, absent for one that has none."""

    local: LocalStack
    stack: StackFile
    sink: OtlpSink
    loop_file: Path
    token_signer: Signer
    digests: dict[TenantId, str]

    @property
    def process(self) -> ChildProcess:
        return self.local.service(INFERENCE.name)

    @property
    def port(self) -> int:
        return urlsplit(self.stack.inference_url).port or 0

    @property
    def health_port(self) -> int:
        """Health and metrics have a port of their own where the stack file names one."""
        return urlsplit(self.stack.inference_health_url).port or 0

    def token(self, tenant: TenantId) -> str:
        return TokenIssuer(self.token_signer).issue(tenant)

    def bearer(self, tenant: TenantId) -> tuple[str, str]:
        return "Authorization", f"Bearer {self.token(tenant)}"

    async def ask(self, tenant: TenantId, route: str, seconds: float = BACK_SECONDS, /, **body: object) -> Got:
        """One honest request to ``chat/completions``, ``completions`` …"""
        sent = request("POST", f"/v1/{route}", [self.bearer(tenant)], json.dumps(body).encode())
        return await exchange(self.port, [sent], "POST", seconds=seconds)

    async def health(self, seconds: float = 10.0) -> Got:
        """What a probe of the operator's sees."""
        return await exchange(self.health_port, [request("GET", "/health/live", [])], seconds=seconds)

    async def served(self, tenant: TenantId, seconds: float = BACK_SECONDS) -> Got:
        """Ask until the tenant gets an answer again, with the patience of a client that heeds Retry-After."""
        until = time.monotonic() + seconds
        while True:
            with suppress(TimeoutError):
                prompt = {"prompt": "The liver", "max_tokens": 2, "temperature": 0}
                got = await self.ask(tenant, "completions", 60.0, **prompt)
                if got.status == 200 or time.monotonic() >= until:
                    return got
            if time.monotonic() >= until:
                return Got(None)
            await asyncio.sleep(1.0)

    def engines(self) -> frozenset[int]:
        """The engine's processes: another set than before means that it was started anew."""
        found = set()
        for pid in descendants(self.process.pid):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().startswith("VLLM"):
                    found.add(pid)
        return frozenset(found)

    def resident_mebibytes(self) -> float:
        """What the replica's own process holds in memory, the engine's left out."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def log_bytes(self) -> int:
        return self.process.command.log.stat().st_size

    def gaps(self, since: float) -> list[Gap]:
        return loop_watch.gaps(self.loop_file, since)

    def said(self) -> Iterator[Place]:
        """Everything that the replica and its engine say of themselves, but for the metrics, which are asked for."""
        yield from files(self.local.folders.logs, self.loop_file)
        yield from self.sink.places("traces")
        yield from self.sink.places("metrics")

    async def metrics(self) -> Place:
        got = await exchange(self.health_port, [request("GET", "/metrics", [])])
        return "/metrics", got.body


@contextmanager
def standing(home: Path, base_model: Path) -> Iterator[Stand]:
    """Start everything, with adapters, and wait until each tenant was answered once."""

    def apply(bootstrap_servers: str) -> None:
        asyncio.run(apply_topics({"bootstrap_servers": bootstrap_servers}))

    loop_file = home / "loop.jsonl"
    home.mkdir(parents=True, exist_ok=True)
    with otlp_sink() as sink:
        environment = {
            **SMALL,
            "SANO_OTLP_ENDPOINT": sink.url,
            watched_replica.LOOP_FILE: str(loop_file),
            watched_replica.DESCRIPTORS: str(DESCRIPTORS),
        }
        service = replace(INFERENCE, module=watched_replica.__name__)
        local = LocalStack(
            home,
            settings=LocalSettings(base_model=str(base_model)),
            apply_topics=apply,
            make_keys=ensure_keys,
            services=(service,),
            extra_env=environment,
            tie_to_parent=True,
        )
        try:
            stack = local.up()
            settings = settings_of(stack)
            digests = asyncio.run(_tenants(stack, settings, home / "adapters"))
            stand = Stand(local, stack, sink, loop_file, signer(settings, Purpose.TOKEN), digests)
            for tenant in (*WITH_ADAPTERS, PLAIN):
                got = asyncio.run(stand.served(tenant))
                assert got.status == 200, f"{tenant} is not served: {got.status}"
            yield stand
        finally:
            local.down()


def settings_of(stack: StackFile) -> OperatorSettings:
    names = set(StackFile.model_fields) & set(OperatorSettings.model_fields)
    return OperatorSettings(**stack.model_dump(include=names))


def manifest_signer(settings: OperatorSettings) -> Signer:
    """What the training service of this stack would sign with."""
    assert settings.trust_file is not None
    key = LocalKey.read(key_file(settings.trust_file.parent, Purpose.MANIFEST, "training"), "the stack")
    return Signer.of(Purpose.MANIFEST, key)


async def _tenants(stack: StackFile, settings: OperatorSettings, folder: Path) -> dict[TenantId, str]:
    drawing = Drawing(linear_shapes(Path(stack.base_model)), rank=16, spread=SPREAD)
    found = {}
    async with open_tenancy(settings, "test") as tenancy:
        await onboard(tenancy, PLAIN, TenantPolicy())
        digest = await asyncio.to_thread(model_digest, Path(stack.base_model))
        for number, tenant in enumerate(WITH_ADAPTERS):
            await onboard(tenancy, tenant, TenantPolicy())
            adapter = folder / str(number)
            await asyncio.to_thread(drawing.write, adapter)
            found[tenant] = await published.publish(tenancy, manifest_signer(settings), tenant, digest, adapter)
    return found
