"""Defines a segment: passages with their vectors and terms, as one bundle of arrays that is sealed as a whole.

The bundle is NumPy's own format of several arrays, read without pickle. A segment holds no passage that does not count:
where a document is replaced or removed its segment is written anew without it, vectors and all, so nothing of it stays
in the bucket or in a replica.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from tenancy.embedding.port import Vectors
from tenancy.errors import SealBroken
from tenancy.knowledge.terms import Postings, firsts

FORMAT = 1


@dataclass(frozen=True)
class Passage:
    """One passage: ``path`` are the titles that it stands under, from the document's own on."""

    document_id: str
    version: int
    path: str
    text: str

    @property
    def said(self) -> str:
        """What is embedded and searched."""
        return f"{self.path}\n{self.text}"


@dataclass(frozen=True)
class Segment:
    """Passages in memory. Texts are bytes, so that they can be overwritten; vectors have length 1."""

    documents: tuple[tuple[str, int], ...]
    owners: NDArray[np.int32]
    vectors: Vectors
    postings: Postings
    paths: NDArray[np.uint8]
    path_ends: NDArray[np.int64]
    texts: NDArray[np.uint8]
    text_ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return sum(array.nbytes for array in self._arrays())

    def passage(self, row: int) -> Passage:
        document_id, version = self.documents[int(self.owners[row])]
        path, text = _item(self.paths, self.path_ends, row), _item(self.texts, self.text_ends, row)
        return Passage(document_id, version, path, text)

    def passages(self) -> list[Passage]:
        return [self.passage(row) for row in range(len(self))]

    def overwrite(self) -> None:
        """Leave nothing of it in memory: what was read from it before is its reader's."""
        for array in self._arrays():
            array.fill(0)

    def _arrays(self) -> list[NDArray[Any]]:
        own = [self.owners, self.vectors, self.paths, self.path_ends, self.texts, self.text_ends]
        return [*own, *(getattr(self.postings, field.name) for field in fields(self.postings))]


def made(passages: Sequence[Passage], vectors: Vectors) -> Segment:
    """A segment of these passages; row ``i`` of ``vectors`` is that of passage ``i``."""
    documents = tuple(dict.fromkeys((passage.document_id, passage.version) for passage in passages))
    numbers = {document: number for number, document in enumerate(documents)}
    paths, path_ends = _joined([passage.path for passage in passages])
    texts, text_ends = _joined([passage.text for passage in passages])
    return Segment(
        documents=documents,
        owners=np.array([numbers[passage.document_id, passage.version] for passage in passages], np.int32),
        vectors=vectors,
        postings=Postings.of([passage.said for passage in passages]),
        paths=paths,
        path_ends=path_ends,
        texts=texts,
        text_ends=text_ends,
    )


def merged(segments: Sequence[Segment], without: Collection[str] = ()) -> Segment | None:
    """One segment of all their passages but those of these documents; None where no passage is left.

    Arrays are cut and joined: no text is read anew, which would take most of the time of a replaced document.
    """
    parts = []
    for segment in segments:
        staying = np.array([name not in without for name, _ in segment.documents], bool)
        if staying.all():
            parts.append(segment)
        elif staying.any():
            parts.append(_kept(segment, staying))
    if len(parts) < 2:
        return parts[0] if parts else None
    starts = firsts(len(part.documents) for part in parts)
    return Segment(
        documents=tuple(document for part in parts for document in part.documents),
        owners=np.concatenate([part.owners + np.int32(first) for part, first in zip(parts, starts, strict=True)]),
        vectors=np.concatenate([part.vectors for part in parts]),
        postings=Postings.joined([part.postings for part in parts]),
        paths=np.concatenate([part.paths for part in parts]),
        path_ends=_ends_joined([part.path_ends for part in parts]),
        texts=np.concatenate([part.texts for part in parts]),
        text_ends=_ends_joined([part.text_ends for part in parts]),
    )


def _kept(segment: Segment, staying: NDArray[np.bool_]) -> Segment:
    """The passages of the documents that stay."""
    rows = staying[segment.owners]
    paths, path_ends = _items_kept(segment.paths, segment.path_ends, rows)
    texts, text_ends = _items_kept(segment.texts, segment.text_ends, rows)
    return Segment(
        documents=tuple(document for document, stays in zip(segment.documents, staying, strict=True) if stays),
        owners=(np.cumsum(staying) - 1)[segment.owners[rows]].astype(np.int32),
        vectors=segment.vectors[rows],
        postings=segment.postings.kept(rows),
        paths=paths,
        path_ends=path_ends,
        texts=texts,
        text_ends=text_ends,
    )


def packed(segment: Segment) -> bytes:
    """The bundle. Vectors are stored in half precision, which moves a cosine by less than a thousandth."""
    postings = segment.postings
    header = {"format": FORMAT, "documents": [list(document) for document in segment.documents]}
    arrays: dict[str, NDArray[Any]] = {
        "header": np.frombuffer(json.dumps(header).encode(), np.uint8),
        "owners": segment.owners,
        "vectors": segment.vectors.astype(np.float16),
        "terms": postings.terms,
        "starts": postings.starts,
        "rows": postings.rows,
        "counts": np.minimum(postings.counts, 65_535).astype(np.uint16),
        "lengths": postings.lengths,
        "paths": segment.paths,
        "path_ends": segment.path_ends,
        "texts": segment.texts,
        "text_ends": segment.text_ends,
    }
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **cast(Any, arrays))
    return out.getvalue()


def unpacked(body: bytes) -> Segment:
    """Raises :class:`SealBroken` for what is no bundle of this format."""
    try:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            if header["format"] != FORMAT:
                raise ValueError("another format")
            return Segment(
                documents=tuple((str(name), int(version)) for name, version in header["documents"]),
                owners=arrays["owners"],
                vectors=arrays["vectors"].astype(np.float32),
                postings=Postings(
                    terms=arrays["terms"],
                    starts=arrays["starts"],
                    rows=arrays["rows"],
                    counts=arrays["counts"].astype(np.float32),
                    lengths=arrays["lengths"],
                ),
                paths=arrays["paths"],
                path_ends=arrays["path_ends"],
                texts=arrays["texts"],
                text_ends=arrays["text_ends"],
            )
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise SealBroken(f"it is no segment of an index ({type(error).__name__})") from None


def _joined(texts: Sequence[str]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    encoded = [text.encode() for text in texts]
    whole = np.frombuffer(b"".join(encoded), np.uint8).copy()  # its own memory, which can be overwritten
    return whole, np.cumsum([0, *map(len, encoded)], dtype=np.int64)


def _item(joined: NDArray[np.uint8], ends: NDArray[np.int64], row: int) -> str:
    return joined[int(ends[row]) : int(ends[row + 1])].tobytes().decode()


def _items_kept(
    joined: NDArray[np.uint8], ends: NDArray[np.int64], rows: NDArray[np.bool_]
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    sizes = np.diff(ends)
    return joined[np.repeat(rows, sizes)], np.cumsum(np.concatenate([[0], sizes[rows]]), dtype=np.int64)


def _ends_joined(ends: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.cumsum(np.concatenate([[0], *(np.diff(one) for one in ends)]), dtype=np.int64)
