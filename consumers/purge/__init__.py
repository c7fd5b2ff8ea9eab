"""Purges tenants: fence, shred, evict, delete, verify, certify. Every step is idempotent; any process may take it."""
