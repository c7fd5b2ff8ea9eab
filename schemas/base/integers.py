"""Whole numbers that every reader of JSON takes for the same number.

From 2**53 on readers of JSON round (RFC 7493, 2.2), and RFC 8785 has no integers: what holds a larger one cannot be
signed, and so neither trained on nor certified.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

GREATEST = 2**53 - 1

Count = Annotated[int, Field(ge=0, le=GREATEST)]
Ordinal = Annotated[int, Field(ge=1, le=GREATEST)]
Version = Ordinal
"""Of a decision, a consent or a document, counted from 1 by whoever decides. It is a part of object keys."""
Amount = Annotated[float, Field(ge=0.0, le=GREATEST)]
"""Of what is added up: no sum of such is too large for a number."""
