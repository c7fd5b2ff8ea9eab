"""Runs consumers: acknowledgement, retry, dead letters, parsing, outcomes, liveness, traces, metrics: once, for all."""
