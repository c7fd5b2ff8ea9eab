"""Accesses the object store, and seals objects in it under a tenant's key."""
