"""The loop that ``retrieval`` measures ours against: NumPy and bm25s, joined by reciprocal rank fusion.

It runs in an environment of its own and imports nothing of ours. It has one tenant, all of whose documents are in
force, in clear and in one piece: nothing is sealed, replaced, evicted or filtered. Reads the folder that it is given,
then a line for each search (the number of a query), and writes a line of JSON for each.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import bm25s
import numpy as np

FUSION, CANDIDATES, TOP_K = 60, 50, 4


def main() -> None:
    folder = Path(sys.argv[1])
    texts = json.loads((folder / "texts.json").read_text())
    queries = json.loads((folder / "queries.json").read_text())
    vectors, asked = np.load(folder / "vectors.npy"), np.load(folder / "queries.npy")
    began = time.process_time()
    tokens = bm25s.tokenize(texts, stopwords=None, show_progress=False)
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index(tokens, show_progress=False)
    say({"indexed": time.process_time() - began})
    for line in sys.stdin:
        number = int(line)
        began = time.process_time()
        rows = searched(index, vectors, queries[number], asked[number])
        say({"milliseconds": (time.process_time() - began) * 1000, "rows": rows})


def searched(index: Any, vectors: Any, query: str, vector: Any) -> list[int]:
    cosines = vectors @ vector
    near = np.argpartition(-cosines, CANDIDATES)[:CANDIDATES]
    near = near[np.argsort(-cosines[near])]
    tokens = bm25s.tokenize([query], stopwords=None, show_progress=False, return_ids=False)
    said, scores = index.retrieve(tokens, k=CANDIDATES, show_progress=False)
    fused: dict[int, float] = {}
    for ranking in (near, said[0][scores[0] > 0]):
        for rank, row in enumerate(ranking.tolist(), 1):
            fused[row] = fused.get(row, 0.0) + 1 / (FUSION + rank)
    return sorted(fused, key=lambda row: (-fused[row], row))[:TOP_K]


def say(said: dict[str, Any]) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
