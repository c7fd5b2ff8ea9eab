"""Loads adapters into vLLM under their digest as name, and removes them in the order that is safe."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.engine.errors import AdapterInUse, AdapterLoadFailed, EngineDead, EngineFull
from schemas.models.adapter_files import CONFIG_FILE, WEIGHTS_FILE

# A prefix cache can be reset only while no request holds a block. On a busy replica that moment may not come: the
# attempts are bounded and the result says what happened.
_RESET_ATTEMPTS = 20
_RESET_PAUSE_SECONDS = 0.1

Verify = Callable[[], Awaitable[None]]
"""Finishes the checks of an adapter's files. Raises where the adapter must not be served."""

_IDS = itertools.count(1)
"""Never given again, an id being the workers' key for the adapter: nor to the engine that follows a dead one."""


@dataclass(frozen=True)
class Eviction:
    """What an eviction did, as observed and not as intended.

    ``slot_overwritten``: every worker read its free slots back as zero and has none assigned to the adapter.
    ``prefix_cache_reset``: all cached blocks were dropped; False also where no reset was asked for. Blocks of an
    evicted adapter cannot be found again in either case: their key holds its digest and a secret salt.
    ``remaining``: the digests that the engine itself lists afterwards.
    """

    digest: str
    was_loaded: bool
    slot_overwritten: bool
    prefix_cache_reset: bool
    remaining: tuple[str, ...]


class LoadedAdapters:
    """``llm`` is vLLM's AsyncLLM, ``names`` the registry that its serving classes look adapters up in, ``capacity``
    its ``max_cpu_loras``, and ``running`` counts the running requests of an adapter.
    """

    def __init__(
        self,
        llm: Any,
        names: dict[str, Any],
        *,
        capacity: int,
        running: Callable[[str], int],
    ) -> None:
        self._llm = llm
        self._names = names
        self._capacity = capacity
        self._running = running
        # One load or eviction at a time: a load stops every tenant's decoding while it lasts, and an eviction's
        # steps must not be interleaved with a load of the same adapter.
        self._changing = asyncio.Lock()
        # Digest -> vLLM's integer id, from before add_lora until after remove_lora. An adapter can be here and no
        # longer have a name (its eviction was interrupted); it cannot have a name without being here.
        self._ids: dict[str, int] = {}
        # Every id that the engine may still list: also of adapters that it was told to remove.
        self._digests: dict[int, str] = {}

    def names(self) -> tuple[str, ...]:
        """Digests that requests can name now."""
        return tuple(self._names)

    async def load(self, digest: str, directory: Path, verify: Verify) -> None:
        """Load the adapter in ``directory``, and ``verify`` its files meanwhile; does nothing if it is loaded.

        The name is registered only after vLLM has taken the adapter and ``verify`` has returned. Raises what that
        raises, :class:`AdapterLoadFailed` (nothing of it stays in either case), :class:`EngineFull` and
        :class:`EngineDead`.
        """
        async with self._changing:
            if digest in self._names:
                return
            if digest in self._ids:  # left over from an interrupted load or eviction
                await self._remove(digest)
            if len(self._ids) >= self._capacity:
                # vLLM would drop its least recently used adapter by itself and, since it stays registered, read its
                # files again in the middle of a step.
                raise EngineFull(self._capacity)
            await self._add(digest, directory, verify)

    async def evict(self, digest: str, *, scrub: bool) -> Eviction:
        """Take the adapter out, in the one order that cannot end the engine for everybody: forget the name, remove it
        from the workers, overwrite its slot, reset the prefix cache.

        The caller has stopped admitting for it and has drained or aborted; :class:`AdapterInUse` otherwise. With
        ``scrub`` (a purge) the weights are overwritten and the prefix cache is reset; without, the adapter only makes
        room. Its files may be deleted when this has returned. Idempotent: may be called again after any interruption.
        """
        async with self._changing:
            # No await between the check and forgetting the name: a request admitted in between would lose its adapter.
            running = self._running(digest)
            if running:
                raise AdapterInUse(digest, running)
            self._names.pop(digest, None)
            was_loaded = digest in self._ids
            overwritten = False
            if scrub:
                overwritten = await self._remove_and_overwrite(digest)
            elif was_loaded:
                await self._remove(digest)
        # Outside of the lock: waiting for an idle moment must not hold up other tenants' loads.
        reset = await self.reset_prefix_cache() if scrub else False
        return Eviction(digest, was_loaded, overwritten, reset, await self.listed())

    async def reset_prefix_cache(self) -> bool:
        """Drop all cached blocks, if a moment without running requests comes within about two seconds.

        Running requests are left alone: True only when vLLM reports that nothing was in use and everything dropped.
        """
        for attempt in range(_RESET_ATTEMPTS):
            if attempt:
                await asyncio.sleep(_RESET_PAUSE_SECONDS)
            if await self._llm.reset_prefix_cache():
                return True
        return False

    async def _add(self, digest: str, directory: Path, verify: Verify) -> None:
        from vllm.lora.request import LoRARequest

        if missing := [name for name in (CONFIG_FILE, WEIGHTS_FILE) if not (directory / name).is_file()]:
            # vLLM falls back to pickled weights where the safetensors file is absent.
            raise AdapterLoadFailed(digest, f"{' and '.join(missing)} not found in its directory")
        if len(self._digests) > 2 * self._capacity:
            await self.listed()  # loads that fail leave an id each, and no eviction may come that lists them
        lora_id = next(_IDS)
        request = LoRARequest(lora_name=digest, lora_int_id=lora_id, lora_path=str(directory))
        self._ids[digest] = lora_id
        self._digests[lora_id] = digest
        loading: Coroutine[Any, Any, bool] = self._llm.add_lora(request)
        verified, added = await asyncio.gather(verify(), loading, return_exceptions=True)
        if self._llm.errored and isinstance(added, Exception):
            raise EngineDead from added
        if added is True and verified is None:
            self._names[digest] = request
            return
        # vLLM can fail after it has registered the adapter, with part of its weights in a slot.
        await self._remove_and_overwrite(digest)
        if isinstance(verified, BaseException):
            raise verified
        if isinstance(added, BaseException):
            raise AdapterLoadFailed(digest, "vLLM refused its rank, target modules or tensor shapes") from added
        raise AdapterLoadFailed(digest, "vLLM did not register it")

    async def _remove(self, digest: str) -> None:
        await self._llm.remove_lora(self._ids[digest])
        del self._ids[digest]

    async def _remove_and_overwrite(self, digest: str) -> bool:
        # For an adapter that is gone already an id that none has: the free slots are overwritten all the same.
        lora_id = self._ids.get(digest) or next(_IDS)
        answers = await self._llm.collective_rpc("forget_lora_and_overwrite", args=(lora_id,))
        self._ids.pop(digest, None)
        return bool(answers) and all(answer["slots_clear"] for answer in answers)

    async def listed(self) -> tuple[str, ...]:
        """The digests that vLLM itself lists, also one that requests cannot name any more. Ids that it does not list
        are forgotten, but for those of adapters that were put in while it was asked. They are not given again all the
        same.
        """
        ids = set(await self._llm.list_loras())
        self._digests = {i: digest for i, digest in self._digests.items() if i in ids or i in self._ids.values()}
        return tuple(sorted(self._digests.get(lora_id, f"unknown-{lora_id}") for lora_id in ids))
