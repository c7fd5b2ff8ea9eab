"""Checks the files of models and adapters without a tensor library."""
