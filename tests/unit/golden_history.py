"""Every version of the golden schemas that was ever committed, read from git."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

GOLDEN = "schemas/golden"

NEVER_PUBLISHED: dict[str, str] = {
    "a1d17cf5a013ea673c43e6bcb2b07b50c3028f71": "adapter.activated said rev before activation, before 0.1.0",
    "b6f4e4a1a90e32dd861515577a97bc1e36893ee1": "adapter.rolledback said rev before activation, before 0.1.0",
}
"""Git's ids of committed versions that nobody outside ever got. Add one only before the release that it is in."""


@dataclass(frozen=True)
class EarlierVersion:
    """One golden file as one or more commits had it; ``commit`` is the latest of them."""

    commit: str
    name: str
    content: str


@dataclass(frozen=True)
class History:
    """What the clone knows. ``is_complete`` is false where there is no repository or it is shallow."""

    earlier: tuple[EarlierVersion, ...]
    is_complete: bool


def history(root: Path) -> History:
    """Every committed version of every ``*.schema.json`` that differs from the file in the working tree, or that
    has no file there any more. Topics are replayed, so each of them counts, not only the latest.
    """
    if not (root / ".git").exists():
        return History((), is_complete=False)
    seen: set[tuple[str, str]] = set()
    earlier = []
    for commit in _git(root, "rev-list", "HEAD", "--", GOLDEN).split():
        for line in _git(root, "ls-tree", "-r", commit, "--", f"{GOLDEN}/").splitlines():
            blob, path = line.split()[2], line.partition("\t")[2]
            name = Path(path).name
            if not name.endswith(".schema.json") or (name, blob) in seen or blob in NEVER_PUBLISHED:
                continue
            seen.add((name, blob))
            content = _git(root, "cat-file", "blob", blob)
            present = root / GOLDEN / name
            if not present.is_file() or present.read_text(encoding="utf-8") != content:
                earlier.append(EarlierVersion(commit, name, content))
    is_shallow = _git(root, "rev-parse", "--is-shallow-repository").strip() == "true"
    return History(tuple(earlier), is_complete=not is_shallow)


def _git(root: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-C", str(root), "-c", "core.quotePath=off", *arguments], check=True, capture_output=True, text=True
    ).stdout
