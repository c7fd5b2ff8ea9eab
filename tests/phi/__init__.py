"""Generates clinicians' texts with identifiers whose places are known, and texts that hold none."""
