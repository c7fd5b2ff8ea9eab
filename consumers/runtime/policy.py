"""How a consumer handles events: bounds and budgets, as one value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class HandlingPolicy:
    """Bounds of one handling.

    ``deadline_seconds`` is enforced and lies far below ``max_poll_interval_ms``: aiokafka evicts a member whose
    handler is slower and runs the event again elsewhere. ``rebalance_timeout_ms`` is longer than the deadline, so
    that a running handler can finish and commit before its partition moves.
    """

    deadline_seconds: float = 60.0
    attempts: int = 5
    backoff_seconds: float = 0.2
    backoff_limit_seconds: float = 5.0
    redelivery_pause_seconds: float = 2.0
    consecutive_failures_before_stop: int = 50
    session_timeout_ms: int = 45_000
    heartbeat_interval_ms: int = 3_000
    max_poll_interval_ms: int = 300_000
    rebalance_timeout_ms: int = 70_000
    graceful_stop_seconds: float = 75.0


HANDLING = HandlingPolicy()
