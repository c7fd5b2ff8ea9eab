"""Replays messages of topics and redrives dead letters: planned first, with limits, resumable, reported."""
