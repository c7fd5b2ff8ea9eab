"""Decides whose request the engine takes next, so that every tenant that asks gets its weighted share of it.

The virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI '24, Algorithm 2), with
weights. A tenant's counter is the service it was given, divided by its weight:

- cost (section 3): ``h(n_p, n_q) = w_p n_p + w_q n_q`` for n_p input and n_q output tokens, with w_p = 1 and w_q = 2;
- admission: the first request of the waiting tenant with the smallest counter, ``c_i += w_p n_p / weight_i``;
- output, as it comes: ``c_i += w_q n_q / weight_i``;
- lift, when a tenant begins to wait: ``c_i = max(c_i, min of c_j over the tenants that wait)``, or, where none waits,
  over the tenant that waited last. Nobody saves up service while it asks for nothing.

While two tenants wait, their counters differ by at most ``w_p L_input + w_q L_output P`` for P places (their Lemma 4.3
has the same terms): who is ahead was behind when it was last admitted.

What the paper does not have: adapters. The engine takes ``slots`` different ones into a batch and passes over requests
whose adapter has none (vLLM's scheduler), for as long as others go on coming. So a request whose adapter finds no slot
is not given to the engine. Others may overtake it as long as their counter is at most ``overtaking`` above its own,
which keeps the batch full; after that nobody does, adapters run out, and their slot is free. That adds
``overtaking`` to the bound above.

And some requests wait in the engine itself, so that no place is empty while one is on its way there. A tenant whose
turn it is, and that has nothing in the engine, need not wait behind those: the last ``kept`` places are for such
tenants, and ``engine_order`` puts them ahead of the others. A place that becomes free is a kept one first (trunk
reservation, of telephone networks). A request is overtaken in the engine by fewer than have a place there.

Pure: no clock, nothing waits in here.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from tenancy.tenant_id import TenantId

INPUT_COST = 1.0
OUTPUT_COST = 2.0
OVERTAKING = 8
"""Bounds by how much others overtake a request without a slot: an eighth of the engine's context, as output; 256 tokens
of 2,048. More overtaking keeps batches fuller, and makes the wait for a slot longer.
"""
MORE = 8
"""Requests beyond a full batch: an eighth of it, at least one, waits in the engine, and as many more are kept."""
FEW = 64
"""Tenants of which the counter is kept before it is looked at which need not be."""


@dataclass(frozen=True)
class Capacity:
    """Bounds the requests that the engine holds: ``places`` sequences, of ``slots`` adapters. The last ``kept`` places
    are for tenants that have nothing there. ``overtaking`` is in cost.
    """

    places: int
    slots: int
    overtaking: float
    kept: int = 0

    @classmethod
    def of(cls, batch: int, slots: int, context: int) -> Capacity:
        """For an engine with ``batch`` sequences in one batch, of ``context`` tokens each."""
        more = max(1, batch // MORE)
        return cls(batch + 2 * more, slots, overtaking=OUTPUT_COST * context / OVERTAKING, kept=more)


@dataclass(frozen=True)
class Share:
    """A tenant's weight, and how many of its requests the engine may have at once: its policy's."""

    weight: int = 1
    at_once: int = 64


@dataclass(eq=False)
class Turn:
    """One request, from when it begins to wait. ``places``: how many sequences it asks for. Of those that wait in the
    engine, the one of the lowest ``engine_order`` is next.
    """

    tenant: TenantId
    adapter: str | None
    places: int
    prompt_tokens: int
    output_tokens: int = 0
    is_running: bool = False
    engine_order: int = 0


@dataclass(eq=False)
class _Tenant:
    counter: float = 0.0
    share: Share = field(default_factory=Share)
    waiting: deque[Turn] = field(default_factory=deque)
    running: int = 0
    asked_at: int = 0
    is_forgotten: bool = False

    @property
    def is_idle(self) -> bool:
        return not self.waiting and not self.running


class FairQueue:
    """What waits for the engine and what it has. Call :meth:`next` after every :meth:`wait` and every :meth:`end`,
    until it returns None.
    """

    def __init__(self, capacity: Capacity) -> None:
        self._capacity = capacity
        self._free = capacity.places
        self._admitted = 0
        self._tenants: dict[TenantId, _Tenant] = {}
        self._adapters: dict[str, int] = {}  # in the engine, with the number of their requests
        self._left_last = _Tenant()
        self._asked = 0  # a clock of its own: what came first is what has the smaller number
        self._in_hand = 0
        self._sweep_at = FEW

    def wait(self, turn: Turn, share: Share) -> None:
        """Put the request behind those of its tenant. The share is the tenant's from now on."""
        # One that asks for more than there is gets all that is not kept.
        turn.places = min(turn.places, self._capacity.places - self._capacity.kept)
        tenant = self._tenants.setdefault(turn.tenant, _Tenant())
        tenant.share = share
        if not tenant.waiting:
            tenant.counter = max(tenant.counter, self._floor())
            self._asked += 1
            tenant.asked_at = self._asked
        tenant.waiting.append(turn)
        self._in_hand += 1

    def waiting(self, tenant: TenantId) -> int:
        """How many of the tenant's requests wait."""
        held = self._tenants.get(tenant)
        return 0 if held is None else len(held.waiting)

    def counter(self, tenant: TenantId) -> float:
        """The service that the tenant was given, by its weight, as far as it counts still."""
        held = self._tenants.get(tenant)
        return 0.0 if held is None else held.counter

    def next(self) -> Turn | None:
        """Admit the next request and charge its input; None where none may be admitted now."""
        may_overtake_until: float | None = None
        for tenant in sorted((each for each in self._tenants.values() if each.waiting), key=_order):
            turn = tenant.waiting[0]
            if tenant.running >= tenant.share.at_once:
                continue
            if may_overtake_until is not None and tenant.counter > may_overtake_until:
                return None
            if turn.places > self._free - (self._capacity.kept if tenant.running else 0):
                return None  # smaller ones that overtook it would keep it waiting for ever
            if self._has_slot(turn.adapter):
                self._admit(tenant, turn)
                return turn
            if may_overtake_until is None:
                may_overtake_until = tenant.counter + self._capacity.overtaking
        return None

    def _has_slot(self, adapter: str | None) -> bool:
        return adapter is None or adapter in self._adapters or len(self._adapters) < self._capacity.slots

    def _admit(self, tenant: _Tenant, turn: Turn) -> None:
        tenant.waiting.popleft()
        self._left(tenant)
        self._admitted += 1
        turn.engine_order = self._admitted + (self._capacity.places if tenant.running else 0)
        tenant.running += 1
        self._free -= turn.places
        if turn.adapter is not None:
            self._adapters[turn.adapter] = self._adapters.get(turn.adapter, 0) + 1
        turn.is_running = True
        tenant.counter += INPUT_COST * turn.prompt_tokens / tenant.share.weight

    def charge(self, turn: Turn, prompt_tokens: int, output_tokens: int) -> None:
        """Note what a running request has used until now. Its input was charged as it was guessed to be."""
        tenant = self._tenants.get(turn.tenant)
        if tenant is None or not turn.is_running:
            return
        used = INPUT_COST * (prompt_tokens - turn.prompt_tokens) + OUTPUT_COST * (output_tokens - turn.output_tokens)
        tenant.counter += used / tenant.share.weight
        turn.prompt_tokens, turn.output_tokens = prompt_tokens, output_tokens

    def end(self, turn: Turn) -> None:
        """The request has been answered, or was given up: waiting or running. Does nothing the second time."""
        tenant = self._tenants.get(turn.tenant)
        if tenant is None:
            return
        if turn.is_running:
            self._in_hand -= 1
            turn.is_running = False
            tenant.running -= 1
            self._free += turn.places
            if turn.adapter is not None:
                self._adapters[turn.adapter] -= 1
                if not self._adapters[turn.adapter]:
                    del self._adapters[turn.adapter]
        elif turn in tenant.waiting:
            self._in_hand -= 1
            tenant.waiting.remove(turn)
            self._left(tenant)
        if tenant.is_forgotten and tenant.is_idle:
            del self._tenants[turn.tenant]
        self._forget_idle()

    def forget(self, tenant: TenantId) -> list[Turn]:
        """Let the tenant's requests wait no more, and return them. Its counter goes with the last that runs."""
        held = self._tenants.get(tenant)
        if held is None:
            return []
        given_up = list(held.waiting)
        held.waiting.clear()
        self._in_hand -= len(given_up)
        held.is_forgotten = True
        if held.is_idle:
            del self._tenants[tenant]
        return given_up

    def _left(self, tenant: _Tenant) -> None:
        """After one of its requests has left the queue."""
        if not tenant.waiting:
            self._left_last = tenant
        else:
            self._asked += 1
            tenant.asked_at = self._asked

    def _floor(self) -> float:
        waiting = [each.counter for each in self._tenants.values() if each.waiting]
        return min(waiting) if waiting else self._left_last.counter

    def _forget_idle(self) -> None:
        """Keep no counter that would be lifted anyway, and none at all while nobody asks for anything."""
        if not self._in_hand:
            self._tenants.clear()
            self._left_last = _Tenant()
        elif len(self._tenants) > self._sweep_at:
            floor = self._floor()
            for name in [n for n, each in self._tenants.items() if each.is_idle and each.counter <= floor]:
                del self._tenants[name]
            self._sweep_at = max(FEW, 2 * len(self._tenants))


def _order(tenant: _Tenant) -> tuple[float, int, int]:
    """Who is even goes by what it has running, and then by who has waited longer for its turn."""
    return tenant.counter, tenant.running, tenant.asked_at
