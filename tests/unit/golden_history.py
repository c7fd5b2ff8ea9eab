"""Every version of the golden schemas that was ever committed, read from git."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

GOLDEN = "schemas/golden"

WITHOUT_BOUNDS = (
    "c17864fe6cd2b7879f9ed366f10082d10c0d313b",  # adapter.activated
    "37646da3544176fde99cce77c45b4637b7fca657",  # adapter.activated
    "1da3a960711d9302626f6bd5ef4edb64296b1b26",  # adapter.ready
    "6e30728ce15c2677d0b4a8ff42e0d9204cc7aae4",  # adapter.rolledback
    "b2969deec6766488146bc43b4b61b56c4eeb35b9",  # adapter.rolledback
    "ef3089ec7b8eceb65107d48d3a4d4051b6477c72",  # adapter.rolledback
    "9c68bfbf7b6d64038afcd65c8fe6b8186e240673",  # consent.granted
    "76c89d415517af4bcf09d91561e58d5c0c71211b",  # consent.revoked
    "8b7ffdaf4d395b223ade7b7453bf1d36055ab2b2",  # document.removed
    "616ef2cedad67ee212a4cd5cdd612f76840dd44f",  # document.upserted
    "96465e548bc80acd2bd5d0f352a56ab11523e3c9",  # example.approved
    "e9b1f47a8f3958f394d7c74e97c2b97e096165c2",  # example.rejected
    "d638230543eb3984521d44f4b52e81afc834654e",  # purge.at_risk
    "723d0e8b9e6d3530728fa9e2784893f1dbda2e24",  # purge.completed
    "f63e48a0a28855d10c4ae936413b5e78bd3879c2",  # purge.fenced
    "4a3df9ba9ac83f0494e240dcec9532164a48eda6",  # purge.overdue
    "4d8238ae10d8ce02424f4374f38f3a3d32a4f5dc",  # purge.requested
    "759fb543ea36c102be81c40a2a67391cd1e3339f",  # tenant.onboarded
    "6f8e83ff4977118537ba213f763b8f387b60ea03",  # tenant.onboarded
    "2444eb983e4e947b0ad93a8d1377f6b32cf71761",  # tenant.onboarded
    "06b076b338e1327251ac1cb176bd695115afcae4",  # tenant.onboarded
    "450feb7a430843a4941543819275ad710f4529c5",  # tenant.onboarded
    "59e3df3b3c3f31c04d857ff3bb7357c5c7aaf673",  # tenant.onboarded
    "1f9014b01721763222e4fe1f37854051ec74f33b",  # tenant.onboarded
    "81f8e2184e1ba346995ae696a259d39bd013dc48",  # tenant.onboarded
    "f99156f417617cdb168a27a59e1a50daf280d861",  # tenant.onboarded
    "500b9d5efcf95b565a843e095f11d298a2c97734",  # training.completed
    "b746135b20eb487b7800257cf7c2f7ba858d36a3",  # training.failed
    "6f91102078dd43c4090fd574868f5f079fdbbd17",  # training.requested
    "763a3cc5aa0476745c9f51a11b5bb7664ad610a7",  # training.requested
    "97d08d7f43cdca878a970f1739ceca521f8c37aa",  # training.requested
    "cff1d354737f89a57bbb676fbbaf6eb13aa569e8",  # training.requested
    "b88bf8243e25af2d3d12940d72e80d219650e5a6",  # training.started
    "d56148aef9d1a0fd1c7ccd568f469f46d5281d7a",  # usage.recorded
    "7a4b153f75bac0587fd20443188fd41a8f021423",  # usage.recorded
)
"""They took numbers that have no canonical form, purges' ids that name no object, and no target module."""

WITH_VOCABULARY = (
    "f6900ea995d38f42f8d2352bdfd652ba7b389f5e",  # tenant.onboarded
    "d29eab8c30255768644dfbf696e46e053b8495bf",  # training.requested
    "e433b42507c0dd1ba33913f5870e227945d04758",  # tenant.onboarded, with descriptions
    "b56c5718213df0d7ad39f7069636531f8ffce4f2",  # training.requested, with descriptions
    "90a10b3587b621c0a4d71f07cd5d2e47747ab558",  # tenant.policy_changed, with descriptions
)
"""They took the embedding and the head of the vocabulary as target modules."""

NEVER_PUBLISHED: dict[str, str] = {
    "a1d17cf5a013ea673c43e6bcb2b07b50c3028f71": "adapter.activated said rev before activation, before 0.1.0",
    "b6f4e4a1a90e32dd861515577a97bc1e36893ee1": "adapter.rolledback said rev before activation, before 0.1.0",
    **dict.fromkeys(
        ("add0edc735b7b1012bace4318da373216622be35", "e3f301ded74c36a4ae193dac67736546789b8ddb"),
        "document.upserted named an example before 0.1.0",
    ),
    **dict.fromkeys(WITHOUT_BOUNDS, "bounds of numbers, purges' ids and target modules came before 0.1.0"),
    **dict.fromkeys(WITH_VOCABULARY, "the vocabulary was excluded from target modules before 0.1.0"),
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
