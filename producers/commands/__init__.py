"""What operators ask for: events, and swaps of a tenant's state."""
