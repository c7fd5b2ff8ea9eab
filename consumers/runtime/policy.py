"""Defines how a consumer handles events: timeouts, retries and budgets, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from consumers.runtime.lane import LaneLimits
from consumers.runtime.runs import LONG_RUN

AROUND_A_HANDLING_SECONDS = 240.0
"""For what comes before and after a handler: the note in the bucket, the outcome, asking whether store, keys and bus
answer, the dead letter and the pause, each of which may wait for its own timeouts."""

AROUND_A_REVOCATION_SECONDS = 20.0
"""For what comes after the handlings in hand when partitions move: outcomes, the commit, and the notes."""

LANES = LaneLimits(side_by_side=32, records=10_000, bytes=64 * 2**20, run=LONG_RUN)


@dataclass(frozen=True)
class HandlingPolicy:
    """Bounds of one handling.

    ``deadline_seconds`` is enforced. Polling goes on meanwhile; only a process whose event loop is blocked misses it,
    and is evicted after ``max_poll_interval_ms``. ``rebalance_timeout_ms`` and ``graceful_stop_seconds`` are longer
    than the deadline, so that what is in hand can end and be committed before its partition moves.

    ``deliveries``: so often an event may fail while store, keys and bus answer before it is passed over. With the
    pause after each this is a minute for one that fails at once, and 8 times the deadline plus pauses for one that
    hangs.

    ``ended_processes``: so many processes may end over an event, one after another and in the midst of its handling.
    The ones before an event was noted, and was tried alone, may be two more.

    ``lanes``: half as many side by side as the object store's client has threads, since runs use several. What does not
    fit into memory is left on the broker by the lanes with most of it, so that nobody waits behind it.

    ``fetch_wait_ms``: how long a broker holds a fetch that finds no record. A longer wait costs an idle process less
    and delays a takeover of partitions, since a broker answers the requests of one connection in order.
    """

    deadline_seconds: float = 60.0
    attempts: int = 5
    backoff_seconds: float = 0.2
    backoff_limit_seconds: float = 5.0
    redelivery_pause_seconds: float = 2.0
    deliveries: int = 8
    ended_processes: int = 5
    consecutive_failures_before_stop: int = 50
    lanes: LaneLimits = LANES
    session_timeout_ms: int = 45_000
    fetch_wait_ms: int = 500

    @property
    def max_poll_interval_ms(self) -> int:
        """The deadline and :data:`AROUND_A_HANDLING_SECONDS`; Kafka's own default at the default deadline."""
        return int((self.deadline_seconds + AROUND_A_HANDLING_SECONDS) * 1000)

    @property
    def heartbeat_interval_ms(self) -> int:
        """At most a third of the session, so that one lost heartbeat ends nothing."""
        return min(3_000, self.session_timeout_ms // 3)

    @property
    def rebalance_timeout_ms(self) -> int:
        return int((self.deadline_seconds + AROUND_A_REVOCATION_SECONDS) * 1000)

    @property
    def graceful_stop_seconds(self) -> float:
        return self.deadline_seconds + 15


HANDLING = HandlingPolicy()
