"""Implements the ``sano`` command: parses, calls, prints. Commands import heavy modules lazily, for a fast start."""
