"""Measures what answers say when facts change: with documents and without, with an adapter and without."""
