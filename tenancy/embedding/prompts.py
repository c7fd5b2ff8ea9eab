"""Reads which prompt a model has for which text: words before it that the model was trained with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tenancy.embedding.port import TextKind

Prompts = Mapping[TextKind, str]
"""The prompt before a text of each kind. A kind that is absent has none."""

OF_PASSAGES = ("document", "passage", "corpus")
"""The names of a passage's prompt, in the order that the sentence-transformers library documents. The library (6.3)
adds an empty ``document`` to every model and takes it first. Here an empty prompt is skipped."""


def prompts_of(config: Mapping[str, Any]) -> Prompts:
    """Reads the prompts of a model's ``config_sentence_transformers.json``: for queries, passages and plain texts those
    of the library's ``encode_query``, ``encode_document`` and ``encode``. The model's default prompt is for plain texts
    only.

    Raises :class:`KeyError` where the default is none of the model's prompts.
    """
    own: dict[str, str | None] = {"query": "", "document": ""} | (config.get("prompts") or {})
    default = config.get("default_prompt_name")
    return {
        "query": own["query"] or "",
        "passage": next((own[name] or "" for name in OF_PASSAGES if own.get(name)), ""),
        "plain": "" if default is None else own[default] or "",
    }


def kept_digest(prompts: Prompts) -> str | None:
    """A digest of the prompts of passages and plain texts, whose vectors are kept; None without such a prompt.

    The prompt of queries is left out: it changes no vector that is kept.
    """
    kept = {kind: prompt for kind, prompt in prompts.items() if prompt and kind != "query"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest() if kept else None
