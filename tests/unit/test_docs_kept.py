"""What pages say of the code as a whole: which tests show an invariant, what is published, what the log may lack."""

from __future__ import annotations

import json
import re
from pathlib import Path

from consumers.ledger.audit_facts import AUDITED
from inference.replica.load_audit import AUDIT_SECONDS, LOADED, WAITING
from schemas.bus.events import EVENT_TYPES
from tests.unit.test_docs import page, rows, section, ticked

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
INVARIANTS = sorted(path.name for path in (ROOT / "tests" / "invariants").glob("test_*.py"))


def test_an_invariant_cites_the_tests_that_bear_its_name() -> None:
    """``tests/invariants/test_fail_closed.py`` stands with *Fail closed*."""
    found = rows(section(page("README.md"), "## What is guaranteed, and how that is tested"))
    named = {match[1]: cited for said, cited in found if (match := re.match(r"\*\*\d+\. ([^.*]+)\.", said))}
    by_file = {f"test_{name.split(' for ever')[0].lower().replace(' ', '_')}.py": name for name in named}
    for file in by_file.keys() & set(INVARIANTS):
        assert f"`tests/invariants/{file}`" in named[by_file[file]], file
    assert {"test_bound.py", "test_fail_closed.py", "test_fenced.py", "test_quiet.py"} <= by_file.keys()


def test_no_page_says_of_a_published_type_that_nothing_publishes_it() -> None:
    parts = (ROOT / part for part in ("consumers", "inference", "producers", "tenancy"))
    source = "".join(path.read_text(encoding="utf-8") for part in parts for path in part.rglob("*.py"))
    made = {model.type for model in EVENT_TYPES.values() if re.search(rf"\b{model.__name__}\(", source)}
    assert "sano.adapter.retired" in made
    for path in PAGES:
        for sentence in re.split(r"(?<=\.)\s", path.read_text(encoding="utf-8")):
            if "nothing publishes" in sentence:
                assert not made & set(ticked(sentence)), f"{path.name}: {sentence}"


def test_the_page_on_the_audit_log_says_at_its_top_what_may_be_missing() -> None:
    """What the ledger enters comes again until it is entered; what replicas note in memory does not."""
    top = section(page("docs/audit.md"), "## What is recorded").split("| kinds |")[0]
    assert LOADED in ticked(top)
    assert "sano_inference_unaudited_loads_total" in ticked(top)
    assert (AUDIT_SECONDS, WAITING) == (2.0, 1000)
    assert "two seconds" in top
    assert "a thousand" in top


def test_the_page_on_the_audit_log_lists_every_kind_of_event_that_is_entered() -> None:
    table = section(page("docs/audit.md"), "## What is recorded")
    kinds = {model.type.removeprefix("sano.") for model in AUDITED}
    others = {kind for kind in kinds if kind.startswith("purge.")}  # "and the other events of a purge"
    assert kinds - others - set(ticked(table)) == set()


def test_the_page_on_redaction_gives_the_figures_that_the_bench_kept() -> None:
    kept = json.loads((ROOT / "tests" / "bench" / "results" / "redaction.json").read_text(encoding="utf-8"))
    table = rows(section(page("docs/redaction.md"), "## How good it is"))
    given = {ticked(line[0])[0]: line for line in table if ticked(line[0])}
    measured = {name.removesuffix(", gate"): facts for name, facts in kept["facts"].items() if name.endswith(", gate")}
    assert given.keys() == measured.keys()
    for name, facts in measured.items():
        told = (f"{facts['identifiers']:,}", f"{facts['recall']:.3f}")
        assert tuple(given[name][1:3]) == told, name
        shares = (f"{facts['texts with a miss']:.1%}", f"{facts['clean texts touched']:.1%}")
        assert tuple(given[name][4:6]) == shares, name
