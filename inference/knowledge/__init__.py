"""Retrieves from a tenant's documents: its index in this replica's memory, the passages in a prompt, and citations."""
