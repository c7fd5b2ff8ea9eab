"""Reads HTML, and Markdown by way of HTML. Nothing that a page names is fetched, and no script is looked at."""

from __future__ import annotations

from collections.abc import Iterator

from bs4 import BeautifulSoup
from bs4.element import Comment, NavigableString, PageElement, Tag
from markdown_it import MarkdownIt

from producers.sources.documents.blocks import Block, rows, text, titled

_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_SILENT = ("script", "style", "template", "noscript", "head", "svg", "iframe", "object")
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
                yield from rows([[c.get_text(" ") for c in row.find_all(("td", "th"))] for row in part.find_all("tr")])
            else:
                waiting += [None, *reversed(part.contents)]
    yield from text("".join(words))
