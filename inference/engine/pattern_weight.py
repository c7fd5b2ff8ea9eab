"""Weighs a regular expression by its nested repetitions, which make each token of an answer dearer than the last.

xgrammar follows all ways to read what was written so far. Of ``(a{1,30}){1,30}`` these are a thousand at most; of three
stars around each other there are more with every token, in the loop of the engine that all tenants share.
"""

from __future__ import annotations

import re

MAX_WEIGHT = 1024
UNBOUNDED = 32
"""What ``*`` and ``+`` count: two of them around each other stay cheap, three do not (measured over 300 tokens)."""

# A class without an end is one part up to there, or each of many would be read to the end of all.
_PARTS = re.compile(r"\\.|\[(?:\\.|[^\]\\])*+\]?|\{(?P<least>\d+)(?P<comma>,(?P<most>\d*))?\}|.", re.DOTALL)


def weight(pattern: str) -> int:
    """The largest product of repetitions around each other."""
    heaviest, last = [1], 1  # of each open group what it holds so far; and of what was read last
    for part in _PARTS.finditer(pattern):
        text = part[0]
        if text == "(":
            heaviest.append(1)
            last = 1
        elif text == ")":
            last = heaviest.pop() if len(heaviest) > 1 else last
            heaviest[-1] = max(heaviest[-1], last)
        elif text in ("*", "+") or part["least"] is not None:
            last *= _times(part)
            heaviest[-1] = max(heaviest[-1], last)
        elif text != "?":
            last = 1
    return max(heaviest)


def _times(part: re.Match[str]) -> int:
    if part["least"] is None or (part["comma"] and not part["most"]):
        return UNBOUNDED
    return max(1, int((part["most"] or part["least"])[:9]))
