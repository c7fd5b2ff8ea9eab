"""Why a purge stands still for now."""

from __future__ import annotations


class Waiting(Exception):
    """The purge cannot go on before something else happens: an acknowledgement, a release, or time."""
