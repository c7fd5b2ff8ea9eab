"""Wraps vLLM behind one narrow interface. Workers import modules of it, so nothing heavy is imported here."""
