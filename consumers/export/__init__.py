"""Exports adapters to the tenants that own them, with manifest and list of examples."""
