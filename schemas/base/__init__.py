"""Defines the contract's basic types: models, identifiers, numbers, timestamps, canonical JSON."""
