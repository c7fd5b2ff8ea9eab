"""Connects a replica to the installation: its agent on the bus, its lease, its entries in the audit logs."""
