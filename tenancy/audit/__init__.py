"""The tenants' audit logs: hash chains with signed checkpoints, written, copied and verified."""
