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
class Texts:
    """Texts in memory: as bytes, one behind the other, so that they can be overwritten, and where each ends."""

    joined: NDArray[np.uint8]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, texts: Sequence[str]) -> Texts:
        encoded = [text.encode() for text in texts]
        whole = np.frombuffer(b"".join(encoded), np.uint8).copy()  # its own memory, which can be overwritten
        return cls(whole, np.cumsum([0, *map(len, encoded)], dtype=np.int64))

    @classmethod
    def merged(cls, parts: Sequence[Texts]) -> Texts:
        sizes = np.concatenate([[0], *(np.diff(part.ends) for part in parts)])
        return cls(np.concatenate([part.joined for part in parts]), np.cumsum(sizes))

    def __getitem__(self, row: int) -> str:
        return self.joined[int(self.ends[row]) : int(self.ends[row + 1])].tobytes().decode()

    def kept(self, rows: NDArray[np.bool_]) -> Texts:
        sizes = np.diff(self.ends)
        ends = np.cumsum(np.concatenate([[0], sizes[rows]]), dtype=np.int64)
        return Texts(self.joined[np.repeat(rows, sizes)], ends)


@dataclass(frozen=True)
class Segment:
    """Passages in memory; vectors have length 1."""

    documents: tuple[tuple[str, int], ...]
    owners: NDArray[np.int32]
    vectors: Vectors
    postings: Postings
    paths: Texts
    texts: Texts

    def __len__(self) -> int:
        return len(self.owners)

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return sum(array.nbytes for array in self._arrays())

    def passage(self, row: int) -> Passage:
        document_id, version = self.documents[int(self.owners[row])]
        return Passage(document_id, version, self.paths[row], self.texts[row])

    def passages(self) -> list[Passage]:
        return [self.passage(row) for row in range(len(self))]

    def overwrite(self) -> None:
        """Leave nothing of it in memory: what was read from it before is its reader's."""
        for array in self._arrays():
            array.fill(0)

    def _arrays(self) -> list[NDArray[Any]]:
        parts = (self.postings, self.paths, self.texts)
        return [self.owners, self.vectors, *(getattr(part, field.name) for part in parts for field in fields(part))]


def made(passages: Sequence[Passage], vectors: Vectors) -> Segment:
    """A segment of these passages; row ``i`` of ``vectors`` is that of passage ``i``."""
    documents = tuple(dict.fromkeys((passage.document_id, passage.version) for passage in passages))
    numbers = {document: number for number, document in enumerate(documents)}
    return Segment(
        documents=documents,
        owners=np.array([numbers[passage.document_id, passage.version] for passage in passages], np.int32),
        vectors=vectors,
        postings=Postings.of([passage.said for passage in passages]),
        paths=Texts.of([passage.path for passage in passages]),
        texts=Texts.of([passage.text for passage in passages]),
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
        paths=Texts.merged([part.paths for part in parts]),
        texts=Texts.merged([part.texts for part in parts]),
    )


def _kept(segment: Segment, staying: NDArray[np.bool_]) -> Segment:
    """The passages of the documents that stay."""
    rows = staying[segment.owners]
    return Segment(
        documents=tuple(document for document, stays in zip(segment.documents, staying, strict=True) if stays),
        owners=(np.cumsum(staying) - 1)[segment.owners[rows]].astype(np.int32),
        vectors=segment.vectors[rows],
        postings=segment.postings.kept(rows),
        paths=segment.paths.kept(rows),
        texts=segment.texts.kept(rows),
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
        "paths": segment.paths.joined,
        "path_ends": segment.paths.ends,
        "texts": segment.texts.joined,
        "text_ends": segment.texts.ends,
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
                paths=Texts(arrays["paths"], arrays["path_ends"]),
                texts=Texts(arrays["texts"], arrays["text_ends"]),
            )
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise SealBroken(f"it is no segment of an index ({type(error).__name__})") from None
