"""Defines what lies in the bucket: object keys, tenants' states, and the records under them."""
