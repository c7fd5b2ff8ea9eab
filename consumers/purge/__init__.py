"""Churn and purge: fence, shred, evict, delete, verify, certify. Every step is idempotent; anybody may take it."""
