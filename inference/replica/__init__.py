"""A replica's part in the installation: its agent on the bus, its lease, its entries in the audit logs."""
