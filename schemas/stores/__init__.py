"""Registers every place that can hold tenant data."""
