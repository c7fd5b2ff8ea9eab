"""Reads which prompt a model has for which text: words before it that the model was trained with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from tenancy.embedding.port import TextKind

Prompts = Mapping[TextKind, str]
"""What stands before a text of each kind. Before one that is absent nothing stands."""

OF_PASSAGES = ("document", "passage", "corpus")
"""Names that models give it. The sentence-transformers library documents this order, and yet (6.3) finds ``document``
in every model, since it adds it with nothing in it: so one that is empty is passed over here."""


def prompts_of(config: Mapping[str, Any]) -> Prompts:
    """Of a model's ``config_sentence_transformers.json``, as the library's ``encode_query``, ``encode_document`` and
    ``encode`` find them: the model's default is that of plain texts alone.

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
    """A digest of the prompts of what is kept with its vectors, which are passages and plain texts; None without any.

    A query's is not in it: queries are embedded anew each time, and by another prompt no passage's vector is another.
    """
    kept = {kind: prompt for kind, prompt in prompts.items() if prompt and kind != "query"}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest() if kept else None
