"""Reads HTML, and Markdown by way of HTML. Nothing that a page names is fetched, and no script is looked at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

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
                yield from _table(part)
            else:
                waiting += [None, *reversed(part.contents)]
    yield from text("".join(words))


def _table(table: Tag) -> Iterator[Block]:
    """Names of columns are the rows of ``thead`` and of ``th`` alone that come first, behind the table's own title."""
    grid: list[list[str]] = []
    headers, is_marked = 0, False
    for row, tags, cells in _rows(table):
        is_across = len(cells) == 1 and len(tags) == 1 and _span(tags[0], "colspan") > 1
        is_header = bool(tags) and (_section(row) == "thead" or all(cell.name == "th" for cell in tags))
        if is_across and not grid:
            yield from text(cells[0])
            continue
        headers += is_header and not is_across and headers == len(grid)
        is_marked = is_marked or any(cell.name == "th" for cell in tags)
        grid.append(cells)
    yield from rows(grid, headers or (0 if is_marked else None))


def _rows(table: Tag) -> Iterator[tuple[Tag, Sequence[Tag], list[str]]]:
    """Each row with the tags of its cells, and what its columns say, those too that a cell above or to the left spans.
    A cell that is alone says it once.
    """
    reaching: dict[int, tuple[int, str]] = {}  # by column: rows that a cell above still spans, and what it says
    group: Tag | None = None
    for row in table.find_all("tr"):
        if row.parent is not group:  # no cell reaches further than its thead, tbody or tfoot
            group, reaching = row.parent, {}
        said: dict[int, str] = {column: above for column, (_, above) in reaching.items()}
        reaching = {column: (rows - 1, above) for column, (rows, above) in reaching.items() if rows > 1}
        tags = row.find_all(("td", "th"))
        if len(tags) == 1 and not said and _span(tags[0], "rowspan") == 1:
            yield row, tags, [tags[0].get_text(" ")]
            continue
        column = 0
        for cell in tags:
            while column in said:
                column += 1
            down, words = _span(cell, "rowspan"), cell.get_text(" ")
            for place in range(column, min(column + _span(cell, "colspan"), _MOST_COLUMNS)):
                said[place] = words
                if down > 1:
                    reaching[place] = (down - 1, words)
        yield row, tags, [said.get(place, "") for place in range(max(said, default=-1) + 1)]


def _section(row: Tag) -> str:
    section = row.find_parent(("thead", "tbody", "tfoot", "table"))
    return section.name if section is not None else ""


def _span(cell: Tag, name: str) -> int:
    """As HTML has it: what is no number is 1, and a ``rowspan`` of 0 reaches to the end of its group."""
    said = str(cell.get(name, "1")).strip()
    span = int(said) if said.isdecimal() and len(said) < 6 else 1
    return span or (1 if name == "colspan" else 65_534)
