"""The registry of every place that can hold tenant data."""
