"""Acknowledgement, retry, dead letters, tolerant parsing, outcomes, liveness, traces and metrics: once, for all."""
