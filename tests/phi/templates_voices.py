"""Templates in the voices of people who write to and about patients, kept apart from those the gate was written on.

They are looked at seldom and last: portal messages, triage shorthand, pharmacists, discharge notes, requests for
imaging, nurses' handoffs, social workers, laboratories, billing. Medicine stands in them as it was written.
Every second template nobody looked at while the gate was written.
"""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
WITH = (_HERE / "voices_with.txt").read_text("utf-8").splitlines()
CLEAN = (_HERE / "voices_clean.txt").read_text("utf-8").splitlines()
