"""The search for planted markers finds them in every form that it says it does, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
import os
from pathlib import Path

import pytest

from tests.fixtures.markers import forms, new_marker, search
from tests.fixtures.otlp_sink import otlp_sink
from tests.fixtures.raw_bytes import codecs, files

MARKER = new_marker()
STORED = {
    "plain": f"… {MARKER} …".encode(),
    "upper case": MARKER.upper().encode(),
    "utf-16-le": f"a{MARKER}b".encode("utf-16-le"),
    "utf-16-be": f"a{MARKER}b".encode("utf-16-be"),
    "hex": b"xx" + MARKER.encode().hex().encode(),
    "upper-case hex": MARKER.encode().hex().upper().encode(),
    "JSON": json.dumps({"text": f"Frau Müller {MARKER}"}).encode(),
    "JSON escapes": "".join(f"\\u{ord(letter):04x}" for letter in MARKER).encode(),
    "gzip": b"before" + gzip.compress(f"within {MARKER}".encode()) + b"after",
    "gzip of base64": gzip.compress(base64.b64encode(f"a{MARKER}".encode())),
    "reversed": MARKER[::-1].encode(),
    **{
        f"base64 {before}/{after}": base64.b64encode(b"x" * before + MARKER.encode() + b"y" * after)
        for before in range(7)
        for after in range(3)
    },
    **{f"urlsafe {before}": base64.urlsafe_b64encode(b"\xff" * before + MARKER.encode()) for before in range(3)},
}


@pytest.mark.parametrize("how", STORED)
def test_a_marker_is_found_however_it_is_stored(how: str) -> None:
    assert search(MARKER, [("somewhere", STORED[how])])


@pytest.mark.parametrize("how", STORED)
def test_another_marker_is_not_found_there(how: str) -> None:
    assert search(new_marker(), [("somewhere", STORED[how])]) == []


def test_a_name_is_searched_too() -> None:
    assert search(MARKER, [(f"/tmp/{MARKER}/x", b"")])


def test_noise_gives_no_hit_and_no_error() -> None:
    assert search(MARKER, [("noise", os.urandom(2**20) + b"\x1f\x8b\x08" + os.urandom(100))]) == []
    assert min(map(len, forms(MARKER).values())) >= 20, "a short form would be found by chance"


def test_files_are_read_without_their_holes_and_with_the_names_of_folders(tmp_path: Path) -> None:
    (tmp_path / MARKER).mkdir()
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(64 * 2**20)
        file.seek(32 * 2**20)
        file.write(MARKER.encode())
    (tmp_path / "link").symlink_to(f"/nowhere/{MARKER}")
    found = dict(files(tmp_path))
    assert len(found[str(tmp_path / "sparse")]) < 2**20
    places = {hit.place for hit in search(MARKER, found.items())}
    assert places == {str(tmp_path / name) for name in (MARKER, "sparse", "link")}


def test_a_compressed_batch_is_told_from_one_in_clear() -> None:
    def batch(codec: int) -> bytes:
        tail = bytes(4) + b"\x02" + bytes(4) + codec.to_bytes(2, "big") + bytes(40)
        return bytes(8) + len(tail).to_bytes(4, "big") + tail

    assert codecs(batch(0) + batch(0) + bytes(100)) == {0}
    assert codecs(batch(0) + batch(2)) == {0, 2}
    with pytest.raises(ValueError, match="format"):
        codecs(batch(0).replace(b"\x02", b"\x01", 1))


def test_the_collector_keeps_what_it_is_sent() -> None:
    import urllib.request

    with otlp_sink() as sink:
        for body, headers in ((MARKER.encode(), {}), (gzip.compress(MARKER.encode()), {"Content-Encoding": "gzip"})):
            request = urllib.request.Request(f"{sink.url}/v1/traces", data=body, headers=headers)  # noqa: S310
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            assert opener.open(request).status == 200
        assert len(search(MARKER, sink.places("traces"))) == 2
        assert sink.places("metrics") == []
