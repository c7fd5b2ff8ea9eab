"""Reads what operators look at, without opening an example's text."""
