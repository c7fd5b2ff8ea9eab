"""Benchmarks: ours against a named peer, in the same run, on the same parts. ``python -m tests.bench``."""
