"""Starts a serving replica: ``python -m inference.app``.

vLLM's processes are spawned and import this module anew before they import vLLM: nothing may start outside ``main``,
and what is imported there they do without.
"""

from __future__ import annotations


def main() -> None:
    from inference.wiring import main as serve

    serve()


if __name__ == "__main__":
    main()
