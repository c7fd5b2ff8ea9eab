"""Records what each tenant used, and writes the audit logs: decisions and effects in the order of their arrival."""
