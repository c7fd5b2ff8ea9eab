"""Silences vLLM's loggers whose messages quote answers, schemas or patterns: in each of its processes."""

from __future__ import annotations

import logging

QUOTING = ("vllm.tool_parsers", "vllm.parser", "vllm.reasoning", "vllm.v1.structured_output")
"""Packages that log what they could not parse or compile, some as a traceback with the pattern in its last line."""


def silence() -> None:
    for name in QUOTING:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
