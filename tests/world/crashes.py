"""A process that dies at its n-th effect, right before or right after it."""

from __future__ import annotations

from dataclasses import dataclass, field


class SimulatedCrash(BaseException):
    """SIGKILL in one process of the world: no handler may catch it."""


@dataclass
class CrashAt:
    """Counts every effect and, once, dies at one of them. Without a position it only records."""

    position: int | None = None
    when: str = "before"
    effects: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    """Whose effect each of ``effects`` is, as far as :meth:`of` was asked for an observer."""
    has_crashed: bool = False

    def before(self, effect: str, process: str = "") -> None:
        self.effects.append(effect)
        self.processes.append(process)
        self._crash_if("before")

    def after(self, effect: str) -> None:
        self._crash_if("after")

    def of(self, process: str) -> ProcessObserver:
        """An observer of one process, which dies in its turn."""
        return ProcessObserver(self, process)

    def _crash_if(self, when: str) -> None:
        if not self.has_crashed and self.position == len(self.effects) - 1 and self.when == when:
            self.has_crashed = True
            raise SimulatedCrash(self.effects[-1])


@dataclass(frozen=True)
class ProcessObserver:
    """Tells :class:`CrashAt` whose effects they are."""

    crash: CrashAt
    process: str

    def before(self, effect: str) -> None:
        self.crash.before(effect, self.process)

    def after(self, effect: str) -> None:
        self.crash.after(effect)
