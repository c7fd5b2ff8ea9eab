"""Keeps the index of each tenant's documents: chunks, embeds, and publishes what can be retrieved."""
