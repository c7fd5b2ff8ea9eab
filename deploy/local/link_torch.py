"""Links the CPU build of torch that this Python already has: ``python link_torch.py SITE_PACKAGES torch.txt``

Run by the Python that the environment is made from, before anything is installed there. Links torch's files into
SITE_PACKAGES, where pip finds the requirement satisfied, and prints what it linked. Links nothing when there is no
torch, another version, or a GPU build, whose libraries are other packages. Standard library only.
"""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path


def pinned(requirements: Path) -> str:
    """The version in the line ``torch==VERSION``."""
    lines = requirements.read_text().splitlines()
    return next(line.strip().removeprefix("torch==") for line in lines if line.startswith("torch=="))


def installed(wanted: str) -> Distribution | None:
    """torch when its version is ``wanted``, in whatever build."""
    try:
        found = distribution("torch")
    except PackageNotFoundError:
        return None
    return found if found.version.partition("+")[0] == wanted else None


def is_cpu_build(torch: Distribution) -> bool:
    """Reads torch/version.py: importing torch would take seconds and may fail for reasons of its own."""
    namespace: dict[str, object] = {}
    exec(Path(str(torch.locate_file("torch/version.py"))).read_text(), namespace)  # noqa: S102 - torch's own file
    return namespace.get("cuda") is None and namespace.get("hip") is None and namespace.get("xpu") is None


def link(found: Distribution, site_packages: Path) -> None:
    tops = {file.parts[0] for file in found.files or [] if file.parts[0] not in ("..", "__pycache__")}
    for top in sorted(tops):
        (site_packages / top).symlink_to(Path(str(found.locate_file(top))).resolve())


def main(site_packages: Path, requirements: Path) -> None:
    torch = installed(pinned(requirements))
    if torch is None or not is_cpu_build(torch):
        return
    link(torch, site_packages)
    print(f"torch {torch.version}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
