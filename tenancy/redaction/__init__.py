"""Finds and replaces what identifies a person, before a text leaves the hospital's side and each time it is used."""
