"""Defines the error by which a purge waits."""

from __future__ import annotations


class Waiting(Exception):
    """The purge cannot go on before something else happens: an acknowledgement, a release, or time."""
