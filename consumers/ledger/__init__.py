"""What each tenant used, and the audit logs: what was decided and done, in the order in which it was seen."""
