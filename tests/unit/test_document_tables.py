"""What a row of a document's table says: its own values, under names that are those of its columns, or under none.

A row is found and cited by itself. A name from another row would make it say what the document does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import docx
import pytest
from docx.oxml import OxmlElement
from docx.oxml.ns import qn

from producers.sources.documents import html_text
from producers.sources.documents.blocks import Block, rows
from producers.sources.documents.docx_file import docx_blocks
from producers.sources.documents.html_text import html_blocks, markdown_blocks
from producers.sources.documents.pdf_file import _Names, _page, _Table


def said(blocks: Iterator[Block]) -> list[str]:
    return [block.text for block in blocks]


def pdf(*pages: str) -> list[str]:
    names = _Names()
    parts = [part for page in pages for part in _page(page.strip("\n").splitlines())]
    found = [said(rows(part.rows, names.of(part))) if isinstance(part, _Table) else [part] for part in parts]
    return [line for lines in found for line in lines]


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
        (
            "<thead><tr><th>Drug</th><th>Dose</th></tr><tbody><tr><td>Warfarin</td><td>3 mg</td></tr>",
            ["Drug: Warfarin; Dose: 3 mg"],
        ),
        ("<tr><th>Drug</th><th>Dose</th></tr><tr><th>Warfarin</th><th>3 mg</th></tr>", ["Drug: Warfarin; Dose: 3 mg"]),
        (
            "<tr><th colspan=2>Formulary</th></tr><tr><th>Drug</th><th>Dose</th></tr>"
            "<tr><th colspan=2>Anticoagulants</th></tr><tr><td>Warfarin</td><td>3 mg</td></tr>"
            "<tr><th colspan=2>Antiplatelets</th></tr><tr><td>Aspirin</td><td>75 mg</td></tr>",
            [
                *("Formulary", "Anticoagulants", "Drug: Warfarin; Dose: 3 mg"),
                *("Antiplatelets", "Drug: Aspirin; Dose: 75 mg"),
            ],
        ),
        (
            "<thead><tr><th rowspan=2>Drug</th><th>Dose</th></tr></thead>"
            "<tbody><tr><td rowspan=3>Apixaban</td><td>5 mg</td></tr><tr><td>2.5 mg</td></tr></tbody>"
            "<tbody><tr><td>Warfarin</td><td>by INR</td></tr></tbody>",
            ["Drug: Apixaban; Dose: 5 mg", "Drug: Apixaban; Dose: 2.5 mg", "Drug: Warfarin; Dose: by INR"],
        ),
        (
            "<tr><td>Chaplain</td><td>via switchboard</td></tr><tr><td>ICU</td><td>4711</td></tr>",
            ["Chaplain; via switchboard", "ICU; 4711"],
        ),
        (
            "<tr><th>Generic name</th><td>Apixaban</td></tr><tr><th>Dose</th><td>5 mg</td></tr>",
            ["Generic name; Apixaban", "Dose; 5 mg"],
        ),
        (
            "<tr><th>Restricted</th><th>Drug</th></tr><tr><td>R</td><td>Meropenem</td></tr>"
            "<tr><td></td><td>Amoxicillin</td></tr>",
            ["Restricted: R; Drug: Meropenem", "Drug: Amoxicillin"],
        ),
    ],
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


def test_a_long_remark_over_many_rows_is_said_once() -> None:
    remark = "Ask the pharmacist before it is given by another route. " * 5
    spanned = f"<tr><td>A</td><td>1</td><td rowspan=50>{remark}</td></tr>" + "<tr><td>B</td><td>2</td></tr>" * 49
    lines = said(html_blocks(f"<table>{spanned}</table>".encode()))
    assert [remark.strip() in line for line in lines] == [True, *[False] * 49]


@pytest.mark.parametrize("table", ["", "<tr></tr>", "<tr></tr><tr></tr>", "<tr><td></td></tr><tr><td>x</td></tr>"])
def test_a_table_without_cells_says_nothing(table: str) -> None:
    assert said(html_blocks(f"<table>{table}</table>y".encode())) == (["x", "y"] if "x" in table else ["y"])


def test_a_span_without_end_costs_no_more_than_a_table_has() -> None:
    wide = "<tr><td colspan=99999 rowspan=0>x</td><td>y</td></tr>" * 200
    assert len(said(html_blocks(f"<table>{wide}</table>".encode()))) <= 200
    assert html_text._MOST_COLUMNS == 100


def test_rows_of_a_pdf_with_an_empty_or_a_wrapped_cell_stay_below_their_columns() -> None:
    assert pdf(
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
        "Drug: Rivaroxaban; Dose: 20 mg; Renal: 15 mg",
        "if below 50 ml/min",
        "Drug: Edoxaban; Dose: 60 mg; Renal: 30 mg",
    ]


def test_a_line_of_a_pdf_without_its_first_cell_is_said_of_no_row() -> None:
    """Where cells stand in the middle of their rows, it is the row below that it belongs to."""
    assert pdf("Drug          Dose\nApixaban      5 mg\n              15 mg for 21 days\nRivaroxaban   then 20 mg") == [
        "Drug: Apixaban; Dose: 5 mg",
        "15 mg for 21 days",
        "Drug: Rivaroxaban; Dose: then 20 mg",
    ]


def test_as_many_cells_as_columns_have_no_names_where_they_stand_elsewhere() -> None:
    assert pdf("            Adult dose   Child dose\nAspirin     300 mg\nIbuprofen   400 mg")[1:] == [
        "Aspirin; 300 mg",
        "Ibuprofen; 400 mg",
    ]
    shifted = "Drug        Dose        Renal dose\nApixaban    5 mg   twice daily\nHeparin     1 unit      none"
    assert pdf(shifted)[1:] == ["Apixaban; 5 mg; twice daily", "Heparin; 1 unit; none"]


FIRST = "Drug          Dose\nApixaban      5 mg\nDabigatran    110 mg\n"
LATER = "Warfarin      by INR\nHeparin       5000 units"
FOUND = ["Drug: Apixaban; Dose: 5 mg", "Drug: Dabigatran; Dose: 110 mg"]


@pytest.mark.parametrize(
    ("pages", "later"),
    [
        ((FIRST, LATER), ["Warfarin; by INR", "Heparin; 5000 units"]),
        ((FIRST, "Trust\nFormulary\n" + LATER), ["Trust Formulary", "Warfarin; by INR", "Heparin; 5000 units"]),
        ((f"{FIRST}\nPage\n\nof 9", LATER), ["Page", "of 9", "Warfarin; by INR", "Heparin; 5000 units"]),
        ((f"{FIRST}Injections\n{LATER}",), ["Injections", "Warfarin; by INR", "Heparin; 5000 units"]),
        ((FIRST, f"Drug          Dose\n{LATER}"), ["Drug: Warfarin; Dose: by INR", "Drug: Heparin; Dose: 5000 units"]),
    ],
)
def test_a_table_of_a_pdf_that_goes_on_has_no_names_but_those_that_are_said_again(
    pages: tuple[str, ...], later: list[str]
) -> None:
    assert pdf(*pages) == [*FOUND, *later]


def test_a_running_header_of_a_pdf_names_no_columns() -> None:
    head = "Trust Formulary      Version 4.2\n"
    assert pdf(head + FIRST, head + LATER)[-2:] == ["Warfarin; by INR", "Heparin; 5000 units"]


def test_a_line_of_a_pdf_that_stands_below_two_columns_is_given_no_name() -> None:
    assert pdf("Drug     Dose     Max\nApixaban   5 mg     10 mg\nDabigatran in renal failure   110 mg")[1:] == [
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
    for place, value in ((0, "1"), (1, "0")):
        mark = OxmlElement("w:tblHeader")
        mark.set(qn("w:val"), value)
        table.rows[place]._tr.get_or_add_trPr().append(mark)
    made.save(str(marked))
    assert said(docx_blocks(marked.read_bytes())) == [
        "Drug: Apixaban; Route: oral; Note: a",
        "Drug: Apixaban; Route: tube; Note: b",
        "Ask pharmacy",
    ]
    assert said(docx_blocks(unmarked.read_bytes())) == said(docx_blocks(marked.read_bytes())), (
        "so called as columns are"
    )


def test_a_table_of_word_of_which_all_rows_or_none_are_marked_loses_no_row(tmp_path: Path) -> None:
    for value in ("0", "1"):
        made = docx.Document()
        table = made.add_table(2, 2)
        for row, words in zip(table.rows, [("Warfarin", "3 mg"), ("Heparin", "5000 units")], strict=True):
            mark = OxmlElement("w:tblHeader")
            mark.set(qn("w:val"), value)
            row._tr.get_or_add_trPr().append(mark)
            for cell, word in zip(row.cells, words, strict=True):
                cell.text = word
        made.save(str(tmp_path / "a.docx"))
        assert said(docx_blocks((tmp_path / "a.docx").read_bytes())) == ["Warfarin; 3 mg", "Heparin; 5000 units"]
