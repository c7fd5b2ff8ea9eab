"""Replaying what topics hold, and redriving dead letters: planned first, with limits, resumable, reported."""
