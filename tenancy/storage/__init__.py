"""The object store, and the sealing of what lies in it under a tenant's key."""
