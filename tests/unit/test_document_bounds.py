"""Small files that unpack to a lot: each costs its own process the bound, and the operator one line."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import docx
import pytest

from producers.sources.documents.reading import MAX_FILE_BYTES, Bounds, read_document
from tenancy.errors import Refused

LITTLE_TIME = Bounds(cpu_seconds=1, memory_bytes=4 * 1024**3)
LITTLE_MEMORY = Bounds(cpu_seconds=60, memory_bytes=64 * 1024**2)


def pdf(*objects: bytes) -> bytes:
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    xref = b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n%s" % (len(objects) + 1, xref) + trailer


def page_without_end() -> bytes:
    drawn = zlib.compress(b"BT /F1 9 Tf 9 9 Td (a) Tj ET\n" * 1_000_000)
    return pdf(
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream" % (len(drawn), drawn),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Courier >>",
    )


def zip_bomb(folder: Path) -> bytes:
    """A document of 60 MB of empty paragraphs in less than 1 MB."""
    plain, packed = folder / "plain.docx", folder / "packed.docx"
    docx.Document().save(str(plain))
    with zipfile.ZipFile(plain) as made, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb:
        for entry in made.infolist():
            body = made.read(entry)
            if entry.filename == "word/document.xml":
                body = body.replace(b"<w:sectPr", b"<w:p/>" * 10_000_000 + b"<w:sectPr")
            bomb.writestr(entry.filename, body)
    return packed.read_bytes()


BOMBS: dict[str, tuple[Callable[[Path], bytes], Bounds]] = {
    "nested.html": (lambda _: b"<div>" * 1_000_000, LITTLE_MEMORY),
    "page.pdf": (lambda _: page_without_end(), LITTLE_MEMORY),
    "packed.docx": (zip_bomb, LITTLE_MEMORY),
    "table.html": (lambda _: b"<table><tr>" + b"<td>" * 4_000_000, LITTLE_TIME),
    "emphasis.md": (lambda _: b"*a **a " * 1_000_000, LITTLE_TIME),
}


@pytest.mark.parametrize("name", BOMBS)
async def test_a_file_that_takes_too_much_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    body, bounds = BOMBS[name]
    path.write_bytes(body(tmp_path))
    assert path.stat().st_size < MAX_FILE_BYTES
    with pytest.raises(Refused) as refused:
        await read_document(path, bounds=bounds)
    assert refused.value.code == "document-too-costly"
    most = f"{bounds.cpu_seconds} s of a core or {bounds.memory_bytes // 2**20} MiB"
    assert str(refused.value) == (
        f"{path}: refused: reading it takes more than {most}; save it anew as text or HTML, or split it"
    )


async def test_a_file_whose_process_gets_no_core_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("x")
    with pytest.raises(Refused) as refused:
        await read_document(path, bounds=Bounds(seconds=0.001))
    assert refused.value.code == "document-too-costly"


async def test_what_has_no_end_is_not_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "a.txt"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, tmp_path / "absent.txt"):
        with pytest.raises(Refused, match="give a file") as refused:
            await read_document(path)
        assert refused.value.code == "unreadable-file"


async def test_a_link_is_not_followed_to_what_it_names(tmp_path: Path) -> None:
    """Whoever may put files where an operator adds them would have another tenant's answered from."""
    (tmp_path / "theirs.md").write_text("# Theirs")
    link = tmp_path / "ours.md"
    link.symlink_to("theirs.md")
    with pytest.raises(Refused, match="it is a link") as refused:
        await read_document(link)
    assert refused.value.code == "unreadable-file"


async def test_a_file_within_its_bounds_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_text("# Dose \u2264 5\n\n5 mg\n")
    document = await read_document(path)
    assert [(block.kind, block.level, block.text) for block in document.blocks] == [
        ("heading", 1, "Dose \u2264 5"),
        ("text", 1, "5 mg"),
    ]
    assert document.title == "Dose \u2264 5"
