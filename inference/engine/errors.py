"""Defines the engine's errors. No message holds a prompt, an answer or a caller's value."""

from __future__ import annotations


class EngineError(Exception):
    """Base of everything that :mod:`inference.engine.engine` raises on purpose."""


class EngineRefused(EngineError):
    """One request was refused; the engine goes on.

    ``status`` is the HTTP status to answer with, ``field`` the request field at fault when there is one.
    """

    def __init__(self, status: int, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.field = field


class AdapterWithdrawn(EngineRefused):
    """The adapter was retired, or the tenant is purged, while the request was answered. Never answered by another
    adapter instead.
    """

    def __init__(self) -> None:
        super().__init__(503, "the adapter serving this request was withdrawn; retry with the active adapter")


class AdapterNotLoaded(EngineRefused):
    """The adapter is not in the engine: load it first. 503, because the base model must not answer in its place."""

    def __init__(self) -> None:
        super().__init__(503, "the adapter is not loaded on this replica; try again")


class EngineDead(EngineRefused):
    """The engine process died, hangs, or is being stopped. It does not recover; another one is started."""

    def __init__(self) -> None:
        super().__init__(503, "this replica's engine has stopped; retry the request")


class ReadTooSlowly(EngineRefused):
    """More of a streamed answer waits for its reader than is kept, or more of all of its tenant's."""

    def __init__(self) -> None:
        super().__init__(408, "the answer was read too slowly, and the rest of it was dropped; read it as it comes")


class AdapterLoadFailed(EngineError):
    """vLLM would not take the adapter. Nothing of it is registered; the engine goes on with the others."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(f"adapter {digest} was not loaded: {reason}")
        self.digest = digest
        self.reason = reason


class EngineFull(EngineError):
    """As many adapters are loaded as the engine holds; evict one first."""

    def __init__(self, capacity: int) -> None:
        super().__init__(f"{capacity} adapters are loaded, the most that the engine holds; evict one first")
        self.capacity = capacity


class AdapterInUse(EngineError):
    """Eviction was asked for while requests of the adapter run: drain or abort them first.

    Evicting anyway would make the worker read the adapter's files again inside its next step, and a missing file
    there ends the engine for every tenant.
    """

    def __init__(self, digest: str, requests: int) -> None:
        super().__init__(f"adapter {digest} still has {requests} request(s) running; drain or abort them first")
        self.digest = digest
        self.requests = requests
