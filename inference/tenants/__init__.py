"""Decides what a verified tenant may ask for: binding, admission, usage."""
