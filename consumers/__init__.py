"""Handles events: one folder per consumer; ``runtime`` is the one copy of what all of them share."""

from tenancy.platform.collecting import collect_seldom

collect_seldom()  # before anything large is imported
