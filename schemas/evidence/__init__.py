"""Defines what is signed or hash-chained: in-toto statements and audit entries."""
