"""Which adapters a replica holds: fetched and checked, loaded on demand, unloaded when idle, removed for good."""
