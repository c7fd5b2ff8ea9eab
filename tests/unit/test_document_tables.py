"""What a row of a document's table says: its own values, under names that are those of its columns, or under none.

A row is found and cited by itself. A name from another row would make it say what the document does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docx
import pytest
from docx.oxml import OxmlElement

from producers.sources.documents import html_text
from producers.sources.documents.blocks import Block, rows
from producers.sources.documents.docx_file import docx_blocks
from producers.sources.documents.html_text import html_blocks, markdown_blocks
from producers.sources.documents.pdf_file import _page, _Table


def said(blocks: Iterator[Block]) -> list[str]:
    return [block.text for block in blocks]


def page(lines: str, before: _Table | None = None) -> list[str]:
    parts = list(_page(lines.strip("\n").splitlines(), before))
    return [
        row for part in parts for row in (said(rows(part.rows, part.headers)) if isinstance(part, _Table) else [part])
    ]


@pytest.mark.parametrize(
    ("page_source", "expected"),
    [
        (
            "<tr><th>Drug</th><th>Route</th><th>Dose</th></tr>"
            "<tr><td rowspan=2>Apixaban</td><td>oral</td><td>5 mg</td></tr><tr><td>tube</td><td>2.5 mg</td></tr>",
            ["Drug: Apixaban; Route: oral; Dose: 5 mg", "Drug: Apixaban; Route: tube; Dose: 2.5 mg"],
        ),
        (
            "<tr><th rowspan=2>Drug</th><th colspan=2>Dose</th></tr><tr><th>adult</th><th>child</th></tr>"
            "<tr><td>Paracetamol</td><td>1 g</td><td>15 mg/kg</td></tr>"
            "<tr><td>Ibuprofen</td><td colspan=2>10 mg/kg</td></tr>",
            [
                "Drug: Paracetamol; Dose adult: 1 g; Dose child: 15 mg/kg",
                "Drug: Ibuprofen; Dose adult: 10 mg/kg; Dose child: 10 mg/kg",
            ],
        ),
        (
            "<tr><td>Ward 3</td><td>1234</td></tr><tr><td>Ward 4</td><td>5678</td></tr>",
            ["Ward 3; 1234", "Ward 4; 5678"],
        ),
        ("<tr><td>Drug</td><td>Dose</td></tr><tr><td>Apixaban</td><td>5 mg</td></tr>", ["Drug: Apixaban; Dose: 5 mg"]),
        (
            "<tr><td>Warfarin</td><td>oral</td></tr><tr><td>Heparin</td><td>IV</td></tr>",
            ["Warfarin; oral", "Heparin; IV"],
        ),
        (
            "<thead><tr><td>Drug</td><td>Note</td></tr></thead><tr><td colspan=2>Anticoagulants</td></tr>"
            "<tr><td>Warfarin</td><td>by INR</td></tr>",
            ["Anticoagulants", "Drug: Warfarin; Note: by INR"],
        ),
    ],
    ids=["rowspan", "two rows of names", "no names", "names that nothing marks", "words alone", "a line across"],
)
def test_a_row_of_html_has_what_spans_it_and_only_names_of_columns(page_source: str, expected: list[str]) -> None:
    assert said(html_blocks(f"<table>{page_source}</table>".encode())) == expected


def test_a_row_without_its_first_cell_goes_on_with_the_row_above() -> None:
    table = ["| Drug | Route | Dose |", "|-|-|-|", "| Apixaban | oral | 5 mg |", "| | tube | 2.5 mg |"]
    table.append("| Warfarin | oral | by INR |")
    assert said(markdown_blocks("\n".join(table))) == [
        "Drug: Apixaban; Route: oral; Dose: 5 mg | Route: tube; Dose: 2.5 mg",
        "Drug: Warfarin; Route: oral; Dose: by INR",
    ]


def test_a_span_without_end_costs_no_more_than_a_table_has() -> None:
    wide = "<tr><td colspan=99999 rowspan=0>x</td><td>y</td></tr>" * 200
    assert len(said(html_blocks(f"<table>{wide}</table>".encode()))) <= 200
    assert html_text._MOST_COLUMNS == 100


def test_rows_of_a_pdf_with_an_empty_or_a_wrapped_cell_stay_below_their_columns() -> None:
    assert page(
        """
Drug            Dose            Renal
Apixaban        5 mg            2.5 mg
Dabigatran                      110 mg
Rivaroxaban     20 mg           15 mg
                                if below 50 ml/min
Edoxaban        60 mg           30 mg
"""
    ) == [
        "Drug: Apixaban; Dose: 5 mg; Renal: 2.5 mg",
        "Drug: Dabigatran; Renal: 110 mg",
        "Drug: Rivaroxaban; Dose: 20 mg; Renal: 15 mg | Renal: if below 50 ml/min",
        "Drug: Edoxaban; Dose: 60 mg; Renal: 30 mg",
    ]


def test_a_table_of_a_pdf_that_goes_on_has_no_names_but_those_that_are_said_again() -> None:
    first = "Drug        Dose\nApixaban    5 mg\n"
    [before] = [part for part in _page(first.splitlines(), None) if isinstance(part, _Table)]
    assert page("Warfarin    by INR\nHeparin     5000 units", before) == ["Warfarin; by INR", "Heparin; 5000 units"]
    assert page("Drug        Dose\nHeparin     5000 units", before) == ["Drug: Heparin; Dose: 5000 units"]
    assert page(f"{first}Injections\nWarfarin    by INR\nHeparin     5000 units") == [
        "Drug: Apixaban; Dose: 5 mg",
        "Injections",
        "Warfarin; by INR",
        "Heparin; 5000 units",
    ]
    assert page(f"{first}\nTelephones\nof the wards\nWard        Phone\nICU         4711") == [
        "Drug: Apixaban; Dose: 5 mg",
        "Telephones of the wards",
        "Ward: ICU; Phone: 4711",
    ]


def test_a_line_of_a_pdf_that_stands_below_two_columns_is_given_no_name() -> None:
    assert page("Drug     Dose     Max\nApixaban   5 mg     10 mg\nDabigatran in renal failure   110 mg")[1:] == [
        "Dabigatran in renal failure; 110 mg"
    ]


def test_a_table_of_word_names_its_columns_where_it_is_marked_so_and_has_what_is_merged(tmp_path: Path) -> None:
    made = docx.Document()
    table = made.add_table(4, 3)
    for number, row in enumerate([("Drug", "Route", "Note"), ("Apixaban", "oral", "a"), ("", "tube", "b")]):
        for cell, words in zip(table.rows[number].cells, row, strict=True):
            cell.text = words
    table.cell(1, 0).merge(table.cell(2, 0))
    table.cell(3, 0).merge(table.cell(3, 2)).text = "Ask pharmacy"
    unmarked, marked = tmp_path / "unmarked.docx", tmp_path / "marked.docx"
    made.save(str(unmarked))
    table.rows[0]._tr.get_or_add_trPr().append(OxmlElement("w:tblHeader"))
    made.save(str(marked))
    assert said(docx_blocks(marked.read_bytes())) == [
        "Drug: Apixaban; Route: oral; Note: a",
        "Drug: Apixaban; Route: tube; Note: b",
        "Ask pharmacy",
    ]
    assert said(docx_blocks(unmarked.read_bytes())) == [
        "Drug; Route; Note",
        "Apixaban; oral; a",
        "Apixaban; tube; b",
        "Ask pharmacy",
    ]
