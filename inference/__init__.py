"""Serves adapters over the base model: the engine and the API before it."""

from tenancy.platform.collecting import collect_seldom

collect_seldom()  # before anything large is imported
