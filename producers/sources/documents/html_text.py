"""Reads HTML, and Markdown by way of HTML. Nothing that a page names is fetched, and no script is looked at."""

from __future__ import annotations

from collections.abc import Iterator

from bs4 import BeautifulSoup
from bs4.element import Comment, NavigableString, PageElement, Tag
from markdown_it import MarkdownIt

from producers.sources.documents.blocks import Block, rows, text, titled

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SILENT = ("script", "style", "template", "noscript", "head", "svg", "iframe", "object")
_MOST_COLUMNS = 100
"""What a cell spans, or a row holds, beyond them is left out: one tag can say that it spans any number."""

_BLOCKS = frozenset(_HEADINGS) | {
    *("address", "article", "aside", "blockquote", "body", "br", "dd", "details", "div", "dl", "dt", "fieldset"),
    *("figcaption", "figure", "footer", "form", "header", "hr", "html", "li", "main", "nav", "ol", "p", "pre"),
    *("section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"),
}


def markdown_blocks(source: str) -> Iterator[Block]:
    """CommonMark with tables. HTML in it is read as HTML."""
    return _soup_blocks(BeautifulSoup(MarkdownIt("commonmark").enable("table").render(source), "html.parser"))


def html_blocks(source: bytes) -> Iterator[Block]:
    """A page in the encoding that it names itself, else UTF-8."""
    return _soup_blocks(BeautifulSoup(source, "html.parser"))


def _soup_blocks(soup: BeautifulSoup) -> Iterator[Block]:
    for silent in soup.find_all(_SILENT):
        silent.decompose()
    # What a reader of the page does not see, an index must not say: it is where instructions to models are hidden.
    for hidden in soup.find_all(_is_hidden):
        hidden.decompose()
    yield from _blocks(soup)


def _is_hidden(tag: Tag) -> bool:
    style = "".join(str(tag.get("style", "")).lower().split())
    return tag.has_attr("hidden") or "display:none" in style or "visibility:hidden" in style


def _blocks(root: Tag) -> Iterator[Block]:
    """In reading order: what stands between blocks is a paragraph. Iterative, since a page may nest without end."""
    words: list[str] = []
    waiting: list[PageElement | None] = [root]
    while waiting:
        part = waiting.pop()
        if part is None:  # a block ends here
            yield from text("".join(words))
            words.clear()
        elif isinstance(part, NavigableString):
            if not isinstance(part, Comment):
                words.append(str(part))
        elif isinstance(part, Tag):
            if part.name not in _BLOCKS:
                waiting += reversed(part.contents)
                continue
            yield from text("".join(words))
            words.clear()
            if part.name in _HEADINGS:
                yield from titled(_HEADINGS[part.name], part.get_text(" "))
            elif part.name == "table" and not part.find("table"):
                yield from rows(*_grid(part))
            else:
                waiting += [None, *reversed(part.contents)]
    yield from text("".join(words))


def _grid(table: Tag) -> tuple[list[list[str]], int | None]:
    """The cells of each row, those that reach into it from above or from its left too, and how many rows name columns:
    those of ``thead`` and of ``th`` alone at the beginning. None where no row says so.
    """
    grid: list[list[str]] = []
    reaching: dict[int, tuple[int, str]] = {}  # by column: rows that a cell above still spans, and what it says
    headers = 0
    for number, row in enumerate(table.find_all("tr")):
        cells = row.find_all(("td", "th"))
        if headers == number and cells and (row.find_parent("thead") or all(cell.name == "th" for cell in cells)):
            headers += 1
        if len(cells) == 1 and _span(cells[0], "colspan") > 1 and not reaching:
            grid.append([cells[0].get_text(" ")])  # a line across the table
            continue
        said: dict[int, str] = {column: above for column, (_, above) in reaching.items()}
        reaching = {column: (rows - 1, above) for column, (rows, above) in reaching.items() if rows > 1}
        column = 0
        for cell in cells:
            while column in said:
                column += 1
            down, words = _span(cell, "rowspan"), cell.get_text(" ")
            for column in range(column, min(column + _span(cell, "colspan"), _MOST_COLUMNS)):  # noqa: B020
                said[column] = words
                if down > 1:
                    reaching[column] = (down - 1, words)
        grid.append([said.get(column, "") for column in range(max(said, default=-1) + 1)])
    return grid, headers or None


def _span(cell: Tag, name: str) -> int:
    """As HTML has it: what is no number is 1, and a ``rowspan`` of 0 reaches to the end."""
    said = str(cell.get(name, "1")).strip()
    span = int(said) if said.isdecimal() and len(said) < 6 else 1
    return span or (1 if name == "colspan" else 65_534)
