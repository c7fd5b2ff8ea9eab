"""Embeds vLLM as a replica's one engine, which serves adapters by their digest.

It knows adapters, not tenants. Its user has authenticated the caller, decided which adapter may answer, checked the
adapter's files, and keeps them in place while the adapter is loaded (vLLM rereads them after it dropped its copy).
Everything runs on one event loop; the engine itself runs in processes of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
from starlette.datastructures import State

from inference.engine import quiet
from inference.engine.config import EngineConfig, prepare_environment, serving_arguments
from inference.engine.errors import AdapterNotLoaded, EngineDead
from inference.engine.in_flight import EventStream, Flight, Flights, result_of
from inference.engine.loaded_adapters import Eviction, LoadedAdapters, Verify
from inference.engine.ports import UNBOUNDED
from inference.engine.processes import end, of_engine
from inference.engine.request_fields import chat_fields, completion_fields, prompt_count
from inference.engine.step_times import Stepped, StepTimes
from inference.engine.stream_usage import Computed, StreamUsage
from inference.engine.vllm_errors import (
    error_events,
    refusal,
    refusal_of_event,
    refusal_of_exception,
    refusal_of_response,
)
from inference.engine.watched_llm import WatchedLlm
from tenancy.platform.logs import SCOPE

logger = logging.getLogger(f"{SCOPE}.inference")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Engine:
    """See the module. Call :meth:`start` before anything else and :meth:`close` at the end."""

    def __init__(self, config: EngineConfig, stepped: Stepped = lambda _owner, _seconds, _cached: None) -> None:
        self._config = config
        self._stepped = stepped
        self._llm: Any = None
        self._answering: WatchedLlm | None = None
        self._ending: asyncio.Task[None] | None = None
        self._serving: Any = None
        self._flights = Flights(self._abort)
        self._adapters: LoadedAdapters | None = None
        # Noted while they live: afterwards nothing tells whose they were.
        self._processes: set[psutil.Process] = set()

    async def start(self) -> None:
        """Start vLLM's processes and load the base model: about a minute on CPU, off the event loop.

        Cancelled, it waits until they are there, ends them, and raises ``CancelledError``.
        """
        prepare_environment(self._config)
        # Importing vLLM alone takes ten seconds, so that too is done in threads: probes are answered meanwhile.
        arguments = await asyncio.to_thread(serving_arguments, self._config)
        # A state of its own: vLLM's serving objects are not reachable from the routes of any app.
        serving = State()
        try:
            await self._vllm_started(arguments)
            self._answering = WatchedLlm(self._llm, self._config.answer_seconds, self._hung)
            if not all(await self._answering.collective_rpc("keep_adapters_off_base_requests")):
                raise RuntimeError("this backend's LoRA kernels may apply an adapter to base requests; use CUDA or CPU")
            if not all(await self._answering.collective_rpc("adapts_no_vocabulary")):
                raise RuntimeError("vLLM gives this base model's vocabulary slots for adapters, which are not safe")
            await self._answering.collective_rpc("compile_nothing_on_a_processor")
            watch_steps(self._llm, self._flights, self._stepped)
            init_app_state = await asyncio.to_thread(_imported_init_app_state)
            await init_app_state(self._llm, serving, arguments, await self._llm.get_supported_tasks())
        except BaseException:
            await self.close()
            raise
        self._adapters = LoadedAdapters(
            self._answering,
            serving.openai_serving_models.lora_requests,
            capacity=self._config.max_cpu_loras,
            running=self._flights.count,
        )
        self._serving = serving

    async def _vllm_started(self, arguments: argparse.Namespace) -> None:
        starting = asyncio.create_task(asyncio.to_thread(self._start_vllm, arguments))
        try:
            await asyncio.shield(starting)
        except asyncio.CancelledError:
            # A thread cannot be cancelled, and it starts processes: they can be ended once it is over.
            await asyncio.gather(starting, return_exceptions=True)
            raise
        self._processes = await asyncio.to_thread(of_engine, self._llm)

    async def close(self) -> None:
        """End the running requests, then the engine's processes. A second time only what the first could not end."""
        if self._llm is not None:
            await self._flights.end_all()
            llm, self._llm, self._serving, self._adapters, self._answering = self._llm, None, None, None, None
            self._processes |= await asyncio.to_thread(of_engine, llm)
            try:
                await asyncio.to_thread(llm.shutdown)
            finally:
                await self._end_processes()
            del llm
            gc.collect()  # vLLM's objects are a cycle; collected at the interpreter's end they print a traceback
        await self._end_processes()

    @property
    def has_ended(self) -> bool:
        """After :meth:`close`, which may be called again: whether no process of it runs, and so nothing is held."""
        return self._llm is None and not self._processes

    async def _end_processes(self) -> None:
        if self._processes:
            self._processes = await asyncio.to_thread(end, self._processes)
        if self._processes:
            logger.error("engine processes not ended", extra={"processes": len(self._processes)})

    def is_healthy(self) -> bool:
        """Started, and neither errored nor hung. Such an engine never recovers; another is started."""
        return self._serving is not None and self._is_alive()

    def _is_alive(self) -> bool:
        return self._answering is not None and not self._answering.errored

    def _hung(self) -> None:
        """Nobody is left waiting for an engine that has stopped."""
        self._ending = asyncio.create_task(self._flights.end_all())

    async def require_answer(self) -> None:
        """Ask the engine, which answers between two steps. Raises :class:`EngineDead` where it does not."""
        await self._loaded_adapters().listed()

    def loaded(self) -> tuple[str, ...]:
        """Digests that requests can name now."""
        return self._loaded_adapters().names() if self.is_healthy() else ()

    async def listed(self) -> tuple[str, ...]:
        """Digests that vLLM itself lists: :meth:`LoadedAdapters.listed`."""
        return await self._loaded_adapters().listed()

    def inflight(self, digest: str) -> int:
        """How many requests of the adapter run, from admission until the engine has ended them."""
        return self._flights.count(digest)

    async def abort_all(self, digest: str) -> int:
        """End the adapter's running requests and no others; returns how many there were.

        When it returns the engine has been told to abort and :meth:`inflight` counts none of them. It does not stop
        new ones: the caller has stopped admitting before.
        """
        return await self._flights.abort(digest)

    def inflight_of(self, owner: str) -> int:
        """How many requests of the owner run, by its adapters and by the base model."""
        return self._flights.count_of(owner)

    async def abort_all_of(self, owner: str) -> int:
        """End the owner's running requests and no others, as :meth:`abort_all` does an adapter's."""
        return await self._flights.abort_of(owner)

    async def load(self, digest: str, directory: Path, verify: Verify) -> None:
        """Load the adapter in ``directory`` under the name ``digest``: :meth:`LoadedAdapters.load`."""
        if not _NAME.fullmatch(digest) or digest == self._config.served_name:
            raise ValueError("an adapter's name must be its digest, and not the base model's name")
        await self._loaded_adapters().load(digest, directory, verify)

    async def evict(self, digest: str, *, scrub: bool) -> Eviction:
        """Take the adapter out of the engine: :meth:`LoadedAdapters.evict`."""
        return await self._loaded_adapters().evict(digest, scrub=scrub)

    async def reset_prefix_cache(self) -> bool:
        """Drop all cached blocks if nothing runs: :meth:`LoadedAdapters.reset_prefix_cache`."""
        return await self._loaded_adapters().reset_prefix_cache()

    async def chat(
        self,
        body: Mapping[str, Any],
        *,
        owner: str,
        adapter: str | None,
        cache_salt: str,
        request_id: str,
        context_tokens: int = UNBOUNDED,
        priority: int = 0,
        usage: Computed | None = None,
    ) -> dict[str, Any] | EventStream:
        """Answer an OpenAI chat request: the response as JSON, or a stream of server-sent events.

        ``adapter`` is a loaded digest, or ``None`` for the base model. It, the salt and the id take the place of
        whatever the caller's body says. ``owner`` is whose request it is. ``cache_salt`` is 1 to 128
        hexadecimal digits; ``request_id`` is unique among the running ones; ``context_tokens`` is what a prompt and
        its answer may have together, where that is less than the engine takes; of requests that wait in the engine the
        one of the lowest ``priority`` is next; ``usage`` is told what was computed for a whole answer, also where its
        caller does not wait for it. Raises :class:`EngineRefused`, for a stream too as long as no event has been made.
        """
        model = self._admit(adapter, request_id)
        fields = chat_fields(body, model=model, cache_salt=cache_salt, request_id=request_id, priority=priority)
        from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest

        flight = Flight(request_id, adapter, [f"chatcmpl-{request_id}"], owner)
        chat = self._serving.openai_serving_chat
        create = self._within(context_tokens, chat, chat.render_chat_request, chat.create_chat_completion)
        flight.usage = usage
        return await self._answer(flight, create, self._request(ChatCompletionRequest, fields), StreamUsage(body))

    async def completion(
        self,
        body: Mapping[str, Any],
        *,
        owner: str,
        adapter: str | None,
        cache_salt: str,
        request_id: str,
        context_tokens: int = UNBOUNDED,
        priority: int = 0,
        usage: Computed | None = None,
    ) -> dict[str, Any] | EventStream:
        """Answer an OpenAI completion request. As :meth:`chat`."""
        model = self._admit(adapter, request_id)
        fields = completion_fields(body, model=model, cache_salt=cache_salt, request_id=request_id, priority=priority)
        from vllm.entrypoints.openai.completion.protocol import CompletionRequest

        ids = [f"cmpl-{request_id}-{index}" for index in range(prompt_count(fields["prompt"]))]
        flight = Flight(request_id, adapter, ids, owner)
        completion = self._serving.openai_serving_completion
        render = completion.render_completion_request
        create = self._within(context_tokens, completion, render, completion.create_completion)
        flight.usage = usage
        return await self._answer(flight, create, self._request(CompletionRequest, fields), StreamUsage(body))

    def _admit(self, adapter: str | None, request_id: str) -> str:
        """The name vLLM knows the model by. From here to Flights.start there is no await: between this check and the
        count that an eviction looks at, nothing else runs."""
        self.require_running()
        if not _NAME.fullmatch(request_id):
            raise ValueError("request_id must be up to 128 letters, digits, dots, dashes or underscores")
        if adapter is None:
            return self._config.served_name
        if adapter not in self._loaded_adapters().names():
            raise AdapterNotLoaded
        return adapter

    def _request(self, model: type[Any], fields: dict[str, Any]) -> Any:
        try:
            return model(**fields)
        except Exception as error:
            # Not chained: the cause holds the caller's values, and a log of it would print them.
            raise refusal_of_exception(error, self._config.max_model_len) from None

    def _within(
        self,
        context_tokens: int,
        serving: Any,
        render: Callable[[Any], Awaitable[Any]],
        create: Callable[[Any], Awaitable[Any]],
    ) -> Callable[[Any], Awaitable[Any]]:
        """``create``, which refuses a request that does not fit so many tokens. The engine itself has one bound for
        all: its prompt is made into tokens once more than needed, for tenants that have a smaller one.
        """
        if context_tokens >= self._config.max_model_len:
            return create

        async def bounded(request: Any) -> Any:
            rendered = await render(request)
            if not isinstance(rendered, tuple | list):
                return rendered  # vLLM's refusal
            inputs = rendered[1] if isinstance(rendered, tuple) else rendered
            left = context_tokens - max(serving._extract_prompt_len(each) for each in inputs)
            asked = getattr(request, "max_completion_tokens", None) or request.max_tokens
            if left < 1 or (asked or 0) > left:
                raise refusal(400, "max_tokens", context_tokens)
            if asked is None:
                request.max_tokens = left
            return await create(request)

        return bounded

    async def _answer(
        self, flight: Flight, create: Callable[[Any], Awaitable[Any]], request: Any, usage: StreamUsage
    ) -> dict[str, Any] | EventStream:
        if not request.stream:
            work = self._complete(create, request)
            response: dict[str, Any] = await result_of(self._flights, flight, self._flights.start(flight, work))
            return response
        stream = EventStream(self._flights, flight, usage)
        first = asyncio.Event()
        task = self._flights.start(flight, self._pump(create, request, stream, first))
        task.add_done_callback(stream.ended)
        task.add_done_callback(lambda _task: first.set())
        try:
            await first.wait()
        except asyncio.CancelledError:
            await stream.aclose()
            raise
        if task.done():
            # Ended already: a refusal before the first event is raised; a short answer lies complete in the stream.
            await result_of(self._flights, flight, task)
        return stream

    async def _complete(self, create: Callable[[Any], Awaitable[Any]], request: Any) -> dict[str, Any]:
        result = await self._create(create, request)
        body: dict[str, Any] = result.model_dump(mode="json")
        return body

    async def _pump(
        self, create: Callable[[Any], Awaitable[Any]], request: Any, stream: EventStream, first: asyncio.Event
    ) -> None:
        try:
            async with contextlib.aclosing(await self._create(create, request)) as events:
                async for event in events:
                    if refused := refusal_of_event(event, self._config.max_model_len):
                        raise refused
                    stream.put(event.encode())
                    if not first.is_set():
                        first.set()
        except Exception as error:
            refused = refusal_of_exception(error, self._config.max_model_len)
            if not first.is_set():
                raise refused from None
            stream.put(*error_events(refused))

    async def _create(self, create: Callable[[Any], Awaitable[Any]], request: Any) -> Any:
        from vllm.entrypoints.serve.engine.protocol import ErrorResponse

        try:
            # Without the HTTP request: vLLM takes priority, session and engine rank from its headers.
            result = await create(request)
        except Exception as error:
            raise refusal_of_exception(error, self._config.max_model_len) from None
        if isinstance(result, ErrorResponse):
            raise refusal_of_response(result, self._config.max_model_len)
        return result

    async def _abort(self, engine_ids: list[str]) -> None:
        if self._is_alive():
            await self._llm.abort(engine_ids)

    def _loaded_adapters(self) -> LoadedAdapters:
        self.require_running()
        if self._adapters is None:
            raise EngineDead
        return self._adapters

    def require_running(self) -> None:
        """Raises :class:`EngineDead` where it has not been started, or is not healthy."""
        if not self.is_healthy():
            raise EngineDead

    def _start_vllm(self, arguments: argparse.Namespace) -> None:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM

        self._llm = AsyncLLM.from_engine_args(AsyncEngineArgs.from_cli_args(arguments))
        quiet.silence()  # now, since vLLM configures its loggers anew when it starts


def watch_steps(llm: Any, flights: Flights, stepped: Stepped) -> None:
    """Look at the outputs of each step before vLLM does: it drops which request had how much of it."""
    times = StepTimes(stepped, flights.running)
    flights.on_busy, flights.on_idle = times.busy, times.idle
    process = llm.output_processor.process_outputs

    def watched(outputs: Any, at: float | None = None, *more: Any, **named: Any) -> Any:
        times.step(outputs, at)
        return process(outputs, at, *more, **named)

    llm.output_processor.process_outputs = watched


def _imported_init_app_state() -> Callable[..., Awaitable[None]]:
    from vllm.entrypoints.launchers.api_server.app_state import init_app_state

    initialiser: Callable[..., Awaitable[None]] = init_app_state
    return initialiser
