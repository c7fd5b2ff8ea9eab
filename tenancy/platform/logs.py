"""Says what may be logged of an error: never its text, unless it is one of ours."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tenancy.errors import ContentFree

SCOPE = "sanolith"
"""The root of our loggers, and the name of our tracer and meter."""
FRAMES_SHOWN = 6


@contextmanager
def trouble_logged(
    logger: logging.Logger, message: str, *, but: tuple[type[Exception], ...] = (), **ids: str
) -> Iterator[None]:
    """Logs what fails and goes on: one tenant's trouble must not hold up those listed behind it.

    The next look or round tries again. ``but``: what goes through.
    """
    try:
        yield
    except but:
        raise
    except Exception as error:
        logger.error(message, extra={**ids, "error": error_location(error)})


def error_location(error: BaseException) -> str:
    """An error's type and the lines that it came through. Its text is left out: it may quote what it failed on."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES_SHOWN:]
    lines = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {lines}"


def safe_message(error: BaseException) -> str:
    """What may be logged of an error: the text of one of ours, which is free of content, else its location."""
    return str(error) if isinstance(error, ContentFree) else error_location(error)
