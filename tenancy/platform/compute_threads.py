"""Sets how compute threads wait for each other: libgomp reads it from the environment only, when torch is imported.

A step has thousands of short barriers. Threads that spin long at one take the core from the thread that they wait for,
where cores are shared; and where none spins at all, each barrier costs a wake-up. Measured in ``make bench``
(``training_step``).
"""

from __future__ import annotations

THREADS = {"GOMP_SPINCOUNT": "1000"}
"""Set where the environment says nothing else."""
