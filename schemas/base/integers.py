"""Bounds integers so that every JSON reader parses the same number.

From 2**53 on JSON readers round (RFC 7493, 2.2), and RFC 8785 has no integers: a document with a larger one cannot be
signed, and so neither trained on nor certified.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

GREATEST = 2**53 - 1

Count = Annotated[int, Field(ge=0, le=GREATEST)]
Ordinal = Annotated[int, Field(ge=1, le=GREATEST)]
Version = Ordinal
"""Version of a decision, consent or document, counted from 1 by its author. It is part of object keys."""
Amount = Annotated[float, Field(ge=0.0, le=GREATEST)]
"""A summable amount, bounded so that JSON readers lose no precision."""
