"""Texts, exports, replicas and purge records: what is created and removed in a tenant's life."""
