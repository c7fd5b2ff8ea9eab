"""Embeds in this process with a model in the layout of the sentence-transformers library, offline.

Reads the layout itself (:mod:`tenancy.embedding.model_parts`). The library would bring scikit-learn and scipy, 200 MB
that transformers then imports in every process. A model of other parts is refused; it can be served elsewhere and asked
by :mod:`tenancy.embedding.remote`. torch and transformers are imported when a model is loaded, and not before.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tenancy.embedding.model_parts import ModelParts, read_json, unfit
from tenancy.embedding.port import Embedded, TextKind, TextTooLong, Vectors, unit_length
from tenancy.embedding.prompts import Prompts, kept_digest, prompts_of

BATCH = 16
"""Texts of similar length at once: some tens of milliseconds of one core, after which others have their turn."""

Precision = Literal["float32", "bfloat16"]
"""Of bfloat16 the tests allow a cosine to be 0.005 away from that of float32."""
PATTERNS = ("*.json", "*.txt", "*.model", "*.safetensors", "*/config.json", "*/model.safetensors")
"""The files of a model on a hub that are read here: weights as safetensors only."""


class SentenceTransformer:
    """Computes in one thread of its own, a batch at a time, so that the event loop goes on.

    And by that thread alone: several that share out a batch wait for each other awake. Beside other busy processes, two
    took 414 ms of processor time for a question's vector, and one 20 ms. More processes index more.
    """

    def __init__(
        self, model: Any, tokenizer: Any, parts: ModelParts, prompts: Prompts, *, name: str, longest: int
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._parts = parts
        self._prompts = prompts
        self._name = name
        self._longest = longest
        self._thread = ThreadPoolExecutor(1, "embedder", initializer=_compute_alone)

    @classmethod
    def load(
        cls, source: str, cache: Path, precision: Precision | None = None, prompts: Prompts | None = None
    ) -> SentenceTransformer:
        """From a folder, or from a hub by its id. Takes seconds. Raises :class:`Refused` for another kind of model.

        Without a ``precision`` it is the one that this processor is fastest at. ``prompts`` take the place of the
        model's own.
        """
        folder = Path(source)
        if not folder.is_dir():
            from huggingface_hub import snapshot_download

            folder = Path(snapshot_download(source, cache_dir=cache, allow_patterns=list(PATTERNS)))
        parts, asked_with = ModelParts.of(folder), {**_own_prompts(folder), **(prompts or {})}
        tokenizer, model = _loaded(folder, precision or _fastest())
        limits = (
            read_json(folder / "sentence_bert_config.json", {}).get("max_seq_length"),
            tokenizer.model_max_length,
            getattr(model.config, "max_position_embeddings", None),
        )
        longest = min(int(limit) for limit in limits if limit)
        name = f"sha256:{_digest(folder, asked_with)}"
        return cls(model, tokenizer, parts, asked_with, name=name, longest=longest)

    @property
    def name(self) -> str:
        """A digest of the weights and of the prompts of what is kept: a path says nothing of what lies in a folder."""
        return self._name

    @property
    def dimensions(self) -> int:
        return self._parts.dimensions(int(self._model.config.hidden_size))

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embedded:
        """See the port. Nothing is computed for any of the texts where one is too long."""
        loop, prompt = asyncio.get_running_loop(), self._prompts.get(kind, "")
        rows, unpooled = await loop.run_in_executor(self._thread, self._tokenized, prompt, texts)
        vectors = np.zeros((len(rows), self.dimensions), np.float32)
        # Of similar length together: a batch is as long as its longest text.
        order = sorted(range(len(rows)), key=lambda row: len(rows[row]))
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            some = [rows[row] for row in batch]
            vectors[batch] = await loop.run_in_executor(self._thread, self._vectors, some, unpooled)
        return Embedded(vectors, sum(len(row) for row in rows))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _tokenized(self, prompt: str, texts: Sequence[str]) -> tuple[list[list[int]], int]:
        """The tokens of each text behind the prompt, and how many tokens at its beginning are not pooled."""
        rows = self._token_ids([prompt + text for text in texts])
        for position, row in enumerate(rows):
            if len(row) > self._longest:
                raise TextTooLong(position, self._longest)
        return rows, 0 if self._parts.pools_prompt or not prompt else self._prompt_tokens(prompt)

    def _token_ids(self, texts: list[str]) -> list[list[int]]:
        return list(self._tokenizer(texts, truncation=False, verbose=False)["input_ids"]) if texts else []

    def _prompt_tokens(self, prompt: str) -> int:
        """Counts the special token that a text begins with, and not the one that ends it."""
        [ids] = self._token_ids([prompt])
        return len(ids) - (ids[-1] in self._tokenizer.all_special_ids)

    def _vectors(self, rows: list[list[int]], unpooled: int) -> Vectors:
        import torch

        padded = self._tokenizer.pad({"input_ids": rows}, padding=True, return_tensors="pt")
        with torch.inference_mode():
            tokens = self._model(**padded).last_hidden_state.float()
            mask = padded["attention_mask"].unsqueeze(-1).to(tokens.dtype)
            found = self._parts.vectors(tokens, mask, unpooled)
        return unit_length(found.numpy())


def _compute_alone() -> None:
    import torch

    torch.set_num_threads(1)


def _fastest() -> Precision:
    """bfloat16 where the processor multiplies it by itself: two to three times the texts a second. Elsewhere it is
    emulated, and slower."""
    import torch

    able = torch.cpu.get_capabilities()
    return "bfloat16" if able.get("amx_bf16") or able.get("avx512_bf16") else "float32"


def _loaded(folder: Path, precision: Precision) -> tuple[Any, Any]:
    """Tokenizer and model. Code that a model brings is not run, and weights that are missing are not made up."""
    from transformers import AutoModel, AutoTokenizer
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # it would stand amid a command's answer, and between the lines of a service's log
    how = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **how)
        model, loading = AutoModel.from_pretrained(
            folder, use_safetensors=True, dtype=precision, output_loading_info=True, **how
        )
    except ValueError:
        raise unfit("transformers does not know its kind, or only with code of its own, which is not run") from None
    if [name for name in loading["missing_keys"] if not name.startswith("pooler.")]:
        raise unfit("its weights are not those of its kind: some are missing")
    return tokenizer, model.eval()


def _own_prompts(folder: Path) -> Prompts:
    try:
        return prompts_of(read_json(folder / "config_sentence_transformers.json", {}))
    except KeyError:
        raise unfit("its default prompt is none of its prompts") from None


def _digest(folder: Path, prompts: Prompts) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    whole.update((kept_digest(prompts) or "").encode())
    return whole.hexdigest()
