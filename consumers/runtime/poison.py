"""Names why a message is dead-lettered, and whether we or its sender are at fault."""

from __future__ import annotations

from schemas.bus.envelope import Event
from tenancy.errors import ContentFree

UNKNOWN_READER = "unknown-reader"
"""It says that it was sent back for somebody who does not read its topic, so that nobody would handle it."""
BAD_KEY = "bad-key"
"""It names something by an id that no object may be called by."""
HANDLER_ERROR = "handler-error"
"""Something was raised that nobody foresaw."""
KEEPS_FAILING = "keeps-failing"
"""Its handling failed again and again although store, keys and bus answered."""
ENDS_ITS_PROCESS = "ends-its-process"
"""One process after another ended over its handling."""

KEY_MISSING = "key-missing"
"""The tenant's key is not there although the tenant is active: somebody removed it, and may bring it back."""

REFUSED_US = frozenset({"bus-refused", "object-store-refused", "kms-refused", KEY_MISSING})
"""Kafka, S3 or KMS refused what the handling asked of it, or had no key: rights, limits, a bucket, which somebody may
put right."""
OURS = frozenset({HANDLER_ERROR, KEEPS_FAILING, ENDS_ITS_PROCESS}) | REFUSED_US
"""Reasons that are a failure of this installation, and none of the event's."""


class Poison(ContentFree):
    """This message cannot be handled, now or later. It goes to the dead-letter topic under this code."""

    def __init__(self, code: str, detail: str, event: Event | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.event = event

    @property
    def is_ours(self) -> bool:
        """Whether it is a failure of ours: only such count towards stopping a consumer."""
        return self.code in OURS

    @property
    def may_pass(self) -> bool:
        """Whether it may be put right from outside, and was not tried again yet."""
        return self.code in REFUSED_US
