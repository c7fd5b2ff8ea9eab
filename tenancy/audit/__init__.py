"""Writes, copies and verifies tenants' audit logs: hash chains with signed checkpoints."""
