"""Parses one file in a process that may be killed: ``python -m … KIND CPU_SECONDS MEMORY_BYTES``, the file on stdin.

A small file can unpack to gigabytes, name a million pages or nest without end, and its parsers are other people's. The
kernel bounds what they take here; whatever exceeds that ends this process, and nothing else. What is read goes out as
one line of JSON, a refusal too.
"""

from __future__ import annotations

import os
import sys
from typing import BinaryIO

from pydantic import Field

from producers.sources.documents.blocks import Block
from producers.sources.documents.parsing import parsed
from schemas.base.contract import Contract
from schemas.bus.content import DOCUMENT_BLOCKS
from tenancy.errors import Refused
from tenancy.platform.process_bounds import bound_memory, bound_processor


class Parsed(Contract):
    """What was read, or the code of a refusal and its sentence."""

    blocks: tuple[Block, ...] = Field(default=(), max_length=DOCUMENT_BLOCKS)
    refusal: tuple[str, str] | None = None


def main() -> None:
    kind, cpu_seconds, memory_bytes = sys.argv[1:]
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what parsers print is no answer
    bound_memory(int(memory_bytes))
    bound_processor(int(cpu_seconds))
    try:
        said = answered(kind, sys.stdin.buffer)
    except MemoryError:
        os._exit(1)  # as if the kernel had ended it; there may be no memory for more
    answer.write(said.model_dump_json().encode())
    answer.close()
    os._exit(0)  # a large page takes seconds to take apart


def answered(kind: str, file: BinaryIO) -> Parsed:
    """Raises :class:`MemoryError`."""
    try:
        return Parsed(blocks=parsed(kind, file.read()))
    except Refused as refused:
        return Parsed(refusal=(refused.code, str(refused)))


if __name__ == "__main__":
    main()
