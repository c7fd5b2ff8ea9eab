"""Seals what the database keeps of a passage, under a key derived from the tenant's data key.

The database holds no word: titles, paths and texts are ciphertext, and a term is a keyed hash of its id. It tells which
passages share a term and how often, not which word that is. Vectors are numbers in clear, since the database compares
them: see docs/threat-model.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tenancy.knowledge.segments import Passage, Segment
from tenancy.knowledge.terms import term_id, words
from tenancy.storage.derived_keys import derived_key
from tenancy.storage.keys import TenantKeys
from tenancy.storage.sealing import open_sealed, seal
from tenancy.tenant_id import TenantId

PURPOSE = b"sanolith/knowledge-database/v1"
MOST_OFTEN = 2**15 - 1

Terms = tuple[list[int], list[int]]
"""The hashes of a passage's terms, each once, and how often each stands there."""


@dataclass(frozen=True)
class IndexKey:
    """Opens what is sealed of one tenant's index, and nothing else of it."""

    tenant: TenantId
    texts: bytes = field(repr=False)
    terms: bytes = field(repr=False)

    @classmethod
    def of(cls, keys: TenantKeys) -> IndexKey:
        texts, terms = (derived_key(keys.data_key, PURPOSE + part) for part in (b"/texts", b"/terms"))
        return cls(keys.tenant, texts, terms)

    def sealed_title(self, document_id: str, version: int, title: str) -> bytes:
        return seal(self.texts, self._name(document_id, version, "title"), title.encode())

    def title(self, document_id: str, version: int, sealed: bytes) -> str:
        """Raises :class:`SealBroken`."""
        return open_sealed(self.texts, self._name(document_id, version, "title"), sealed).decode()

    def sealed_passage(self, passage: Passage) -> bytes:
        said = json.dumps([passage.path, passage.text]).encode()
        return seal(self.texts, self._name(passage.document_id, passage.version, "passage"), said)

    def passage(self, document_id: str, version: int, sealed: bytes) -> Passage:
        """Raises :class:`SealBroken`."""
        path, text = json.loads(open_sealed(self.texts, self._name(document_id, version, "passage"), sealed))
        return Passage(document_id, version, path, text)

    def hashed(self, term: int) -> int:
        """64 bits with a sign, as the database has them."""
        made = hashlib.blake2b(term.to_bytes(8, "little"), key=self.terms, digest_size=8).digest()
        return int.from_bytes(made, "little", signed=True)

    def of_question(self, text: str) -> list[int]:
        """The terms of a question, each once."""
        return list(dict.fromkeys(self.hashed(term_id(word)) for word in words(text)))

    def of_segment(self, segment: Segment) -> list[Terms]:
        """Those of each passage, by their hashes: in an order that says nothing of the text."""
        postings = segment.postings
        hashes = np.array([self.hashed(int(term)) for term in postings.terms], np.int64)
        terms = np.repeat(hashes, np.diff(postings.starts))
        order = np.lexsort((terms, postings.rows))
        ends = np.cumsum(np.bincount(postings.rows, minlength=len(segment)))[:-1]
        counts = np.minimum(postings.counts, MOST_OFTEN).astype(int)
        split = zip(np.split(terms[order], ends), np.split(counts[order], ends), strict=True)
        return [(own.tolist(), often.tolist()) for own, often in split]

    def _name(self, document_id: str, version: int, kind: str) -> str:
        return f"knowledge-database/{self.tenant}/{document_id}/{version}/{kind}"


def in_words(vector: Sequence[float] | NDArray[np.float32]) -> str:
    """A vector as pgvector reads it. Segments have half precision, which seven digits give back as it was."""
    return f"[{','.join(f'{value:.7g}' for value in vector)}]"
