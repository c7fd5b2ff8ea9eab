"""Results as JSON files, as a table, and in the marked region of docs/benchmarks.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).with_name("results")
DOCUMENT = ROOT / "docs" / "benchmarks.md"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def keep(result: dict[str, Any], beside: str = "") -> None:
    """Write ``tests/bench/results/<entry>.json``, or into the folder ``beside`` these."""
    folder = RESULTS / beside
    folder.mkdir(exist_ok=True)
    (folder / f"{result['entry']}.json").write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")


def kept(names: list[str]) -> list[dict[str, Any]]:
    """The kept results of these entries, in this order; one that was never kept is left out."""
    paths = [RESULTS / f"{name}.json" for name in names]
    return [json.loads(path.read_text()) for path in paths if path.exists()]


def show(results: list[dict[str, Any]]) -> None:
    """Print the headline numbers, and below them what was measured beside."""
    console = Console(width=150)
    table = Table("entry", "ours", "peer", "ratio", "ratio by round", "better", title="ours against a named peer")
    for result in results:
        table.add_row(*_headline(result))
    console.print(table)
    for result in results:
        beside = Table("measure", "median", "min", "max", title=f"{result['entry']}: measured beside")
        for name, measured in result["more"].items():
            beside.add_row(name, *(_number(measured[key], measured["unit"]) for key in ("median", "min", "max")))
        if result["more"]:
            console.print(beside)
        console.print_json(data=result["facts"])


def update_document(results: list[dict[str, Any]]) -> bool:
    """Replace what stands between the markers. False where the file or its markers are missing."""
    if not DOCUMENT.exists():
        return False
    text = DOCUMENT.read_text()
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        return False
    DOCUMENT.write_text(f"{before}{begin}\n\n{_markdown(results)}\n{end}{after}")
    return True


def _markdown(results: list[dict[str, Any]]) -> str:
    lines = [
        "| entry | ours | peer | ratio (ours : peer) | ratio by round | better |",
        "|---|---|---|---|---|---|",
        *(f"| {' | '.join(_headline(result))} |" for result in results),
        "",
    ]
    for result in results:
        lines += _section(result)
    return "\n".join(lines)


def _section(result: dict[str, Any]) -> list[str]:
    machine, versions = result["machine"], result["versions"]
    rows: list[str] = []
    lines = [
        f"### {result['entry']}",
        "",
        result["question"],
        "",
        f"- Ours ({result['ours']['name']}): {result['ours']['work']}",
        f"- Peer ({result['peer']['name']}): {result['peer']['work']}",
        f"- {len(result['ours']['values'])} rounds on {machine['cores']} cores of {machine['processor']}, load average "
        f"{machine['load_average'][0]} when it ended, {result['measured_at'][:10]}. "
        + ", ".join(f"{name} {number}" for name, number in versions.items())
        + ".",
        "",
    ]
    for name, measured in result["more"].items():
        cells = (_number(measured[key], measured["unit"]) for key in ("median", "min", "max"))
        rows.append(f"| {name} | {' | '.join(cells)} |")
    if rows:
        lines += ["| measure | median | min | max |", "|---|---|---|---|", *rows, ""]
    lines += [f"- {name}: {_fact(value)}" for name, value in result["facts"].items()]
    return [*lines, ""]


def _headline(result: dict[str, Any]) -> list[str]:
    low, high = result["ratio_spread"]
    sides = [
        f"{_number(result[side]['median'], result[side]['unit'])} "
        f"({_number(result[side]['min'], '')}–{_number(result[side]['max'], '')})"
        for side in ("ours", "peer")
    ]
    return [result["entry"], *sides, f"{result['ratio']:.2f}", f"{low:.2f}–{high:.2f}", result["better"]]


def _number(value: float, unit: str) -> str:
    text = f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{text} {unit}".rstrip()


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_fact(each)}" for name, each in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value}"
