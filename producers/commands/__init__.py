"""Executes operators' commands: events, and swaps of a tenant's state."""
