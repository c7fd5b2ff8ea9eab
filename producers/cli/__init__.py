"""Implements the ``sano`` command: parses, calls, prints. Commands import heavy modules lazily, so that it starts fast."""
