"""Defines what can go wrong while the local stack starts or stops. Each message is one line that says what to do."""

from __future__ import annotations

from pathlib import Path


class LocalStackError(Exception):
    """Base of every error of ``deploy.local``; the command line prints it as one line and exits with 1."""


class AlreadyUp(LocalStackError):
    def __init__(self, names: list[str]) -> None:
        super().__init__(f"already up ({', '.join(names)}); run `sano down` first")


class NotUp(LocalStackError):
    def __init__(self, stack_file: Path) -> None:
        super().__init__(f"the local stack is not up (no {stack_file}); run `sano up` first")


class StackBusy(LocalStackError):
    def __init__(self) -> None:
        super().__init__("another `sano up` or `sano down` is at work in this folder; wait for it and try again")


class WrongSettings(LocalStackError):
    def __init__(self, wrong: list[str]) -> None:
        super().__init__(f"{', '.join(wrong)}; put it right or unset it, and try again")


class UnreadableStackFile(LocalStackError):
    def __init__(self, stack_file: Path) -> None:
        super().__init__(
            f"{stack_file} is not a stack file of this version; run `sano down`, which stops what was started from "
            "this folder and removes the file, then `sano up`"
        )


class StackFileOutOfReach(LocalStackError):
    def __init__(self, stack_file: Path, why: str | None) -> None:
        super().__init__(
            f"{stack_file} cannot be read ({why}); run this as the user who ran `sano up` here, or remove it if nobody "
            "did"
        )


class ProcessExited(LocalStackError):
    def __init__(self, name: str, exit_code: int, log: Path) -> None:
        super().__init__(f"{name} ended with status {exit_code} while it started; its log is {log}")


class NotReady(LocalStackError):
    def __init__(self, name: str, seconds: float, log: Path) -> None:
        super().__init__(f"{name} was not ready within {seconds:g} s; its log is {log}")


class NotStopped(LocalStackError):
    def __init__(self, names: list[str]) -> None:
        super().__init__(f"still running after SIGKILL: {', '.join(names)}; run `sano down` again")


class ToolMissing(LocalStackError):
    def __init__(self, tool: str, needed_for: str) -> None:
        super().__init__(f"`{tool}` is not on PATH and {needed_for} needs it; install it and try again")


class JavaTooOld(LocalStackError):
    def __init__(self, version: int, oldest: int) -> None:
        super().__init__(
            f"Apache Kafka needs Java {oldest} and `java` is {version}; put a newer one first on PATH and try again"
        )


class KafkaDownloadFailed(LocalStackError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"Maven could not fetch Apache Kafka: {reason}; check that Maven reaches its repository")


class BaseModelMissing(LocalStackError):
    def __init__(self, reason: str) -> None:
        super().__init__(f"no base model ({reason}); run `make setup`, or point SANO_BASE_MODEL at a model folder")


class UnknownService(LocalStackError):
    def __init__(self, name: str, known: list[str]) -> None:
        super().__init__(f"no service {name!r} was started here; there are {', '.join(known) or 'none'}")
