"""A published adapter becomes the active one, as the tenant's policy says."""
