"""A parser that no header can make fail.

FastStream's own parser decodes headers as UTF-8. When that raises, the message is neither acknowledged nor sought
back, and the next commit passes it: it is lost without a trace (reference/kafka.md 1.2). Here the framework only sees
an empty header list; the runtime decodes the original record itself, where a failure becomes a dead letter. This
also takes away ``reply_to``: a header with which a caller could make us publish to a topic of its choice.

Whatever the framework's parser still raises is the record's fault, and is said here to be: what any later step raises
is not ``unparsable``.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from aiokafka import ConsumerRecord
from faststream.message import StreamMessage

from consumers.runtime.poison import UNPARSABLE, Poison
from schemas.bus.envelope import Event, MalformedEvent, decode

Record: TypeAlias = ConsumerRecord
OriginalParser = Callable[[Any], Awaitable[StreamMessage[Any]]]


async def tolerant_parser(record: Record, original: OriginalParser) -> StreamMessage[Any]:
    """Parse without headers and keep the record as it came. Raises :class:`Poison` for what cannot be parsed."""
    bare = copy.copy(record)
    object.__setattr__(bare, "headers", ())
    try:
        message = await original(bare)
    except Exception as error:
        raise Poison(UNPARSABLE, type(error).__name__) from None
    message.raw_message = record
    return message


async def original_record(message: StreamMessage[Any]) -> Record:
    """No decoding by the framework: the handler gets the record, and what it means is the contract's business."""
    return message.raw_message


def event_of(record: Record) -> Event | None:
    """The event, as it was before its handler was called; None when the record is no event of the contract."""
    try:
        return decode(record.key, record.value, record.headers)
    except MalformedEvent:
        return None
