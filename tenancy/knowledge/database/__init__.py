"""A tenant's index in PostgreSQL with pgvector, for tenants whose documents are too many for a replica's memory."""
