"""Handles events: one folder per consumer; ``runtime`` is the one copy of what all of them share."""
