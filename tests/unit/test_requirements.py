"""The pinned files install what pyproject.toml asks for; ``make lock`` writes them anew."""

from __future__ import annotations

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy.local.lock import NO_DEPENDENCIES, REQUIREMENTS, declared


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


def test_every_line_is_one_exact_version() -> None:
    for name, version in pinned_versions().items():
        assert str(Requirement(f"{name}=={version}").specifier) == f"=={version}"


def test_what_comes_with_one_build_of_torch_or_breaks_another_is_not_pinned() -> None:
    pins = pinned_versions()
    assert [
        name for name in pins if name.startswith(("nvidia-", "cuda-")) or name in ("torchaudio", "torchcodec")
    ] == []
    assert "+" not in pins["torch"]
    assert set(NO_DEPENDENCIES) <= set(pins)
