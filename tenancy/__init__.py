"""Implements the tenant boundary: identity, state, sealed storage, keys, leases, signatures. Imports only schemas."""
