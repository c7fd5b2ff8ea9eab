"""Reads what a model in the layout of the sentence-transformers library does behind its transformer.

That is one pooling of the tokens' vectors, by one or several modes beside each other, and any number of layers. They
compute what the library's do. A part that is not here is refused, since vectors without it would be wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tenancy.errors import Refused

Pooling = Callable[[Any, Any], Any]
"""From token vectors (text, token, dimension) and their places (text, token, 1) to one vector for each text. A token's
place in its text counts from 1; it is 0 of one that is not pooled."""
Layer = Callable[[Any], Any]
"""From vectors (text, dimension) to vectors, perhaps of another dimension."""


@dataclass(frozen=True)
class ModelParts:
    """What is done with the tokens' vectors of a text, in this order."""

    poolings: tuple[Pooling, ...]
    pools_prompt: bool
    """False where only the text behind a prompt is pooled, and not the prompt."""
    layers: tuple[Layer, ...]
    dense_dimensions: int | None
    """Of what the last dense layer gives; None without one."""

    @classmethod
    def of(cls, folder: Path) -> ModelParts:
        """Raises :class:`Refused` for a model with parts that are not computed here."""
        modules = [
            (str(module["type"]).rpartition(".")[2], folder / module["path"])
            for module in read_json(folder / "modules.json", [])
        ]
        if [kind for kind, _ in modules[:2]] != ["Transformer", "Pooling"]:
            raise unfit("it does not begin with a transformer and a pooling")
        layers, dimensions = [], None
        for kind, path in modules[2:]:
            if kind not in LAYERS:
                raise unfit(f"it has a part that is none of {', '.join(LAYERS)}")
            config = read_json(path / "config.json", {})
            layers.append(LAYERS[kind](path, config))
            dimensions = config["out_features"] if kind == "Dense" else dimensions
        pooled = read_json(modules[1][1] / "config.json", {})
        return cls(_poolings(pooled), bool(pooled.get("include_prompt", True)), tuple(layers), dimensions)

    def dimensions(self, of_tokens: int) -> int:
        """Of a text's vector, where the tokens' have ``of_tokens``."""
        return self.dense_dimensions or of_tokens * len(self.poolings)

    def vectors(self, tokens: Any, mask: Any, unpooled: int = 0) -> Any:
        """One vector for each text, of token vectors and their mask (text, token, 1). The first ``unpooled`` tokens of
        each text are left out."""
        import torch

        places = mask.cumsum(1) * mask
        places = places * (places > unpooled)
        found = torch.cat([pooling(tokens, places) for pooling in self.poolings], dim=-1)
        for layer in self.layers:
            found = layer(found)
        return found


def _mean(tokens: Any, places: Any) -> Any:
    return _weighted_mean(tokens, places.clamp(max=1))


def _mean_by_root(tokens: Any, places: Any) -> Any:
    return _mean(tokens, places) * places.clamp(max=1).sum(1).sqrt()


def _weighted_mean(tokens: Any, places: Any) -> Any:
    return (tokens * places).sum(1) / places.sum(1).clamp(min=1e-9)  # the first token counts once, the next one twice


def _greatest(tokens: Any, places: Any) -> Any:
    return tokens.masked_fill(places == 0, float("-inf")).amax(1)


def _first(tokens: Any, places: Any) -> Any:
    return _at(tokens, places.clamp(max=1).argmax(1))


def _last(tokens: Any, places: Any) -> Any:
    return _at(tokens, places.argmax(1))


def _at(tokens: Any, positions: Any) -> Any:
    """The vector at each text's position (text, 1)."""
    return tokens.take_along_dim(positions.unsqueeze(-1), 1).squeeze(1)


POOLINGS: Mapping[str, Pooling] = {
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_by_root,
    "weightedmean": _weighted_mean,
    "max": _greatest,
    "cls": _first,
    "lasttoken": _last,
}
EARLIER_NAMES = {"mean_tokens": "mean", "cls_token": "cls", "max_tokens": "max"}
"""As earlier releases of the library write them, each as a setting of its own."""


def _poolings(config: Mapping[str, Any]) -> tuple[Pooling, ...]:
    said = config.get("pooling_mode") or [
        name.removeprefix("pooling_mode_") for name, is_on in config.items() if is_on and name.startswith("pooling_")
    ]
    modes = [EARLIER_NAMES.get(mode, mode) for mode in ([said] if isinstance(said, str) else said)]
    if not modes or not set(modes) <= POOLINGS.keys():
        raise unfit(f"it pools its tokens otherwise than by {', '.join(POOLINGS)}")
    return tuple(POOLINGS[mode] for mode in modes)


ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU", "Sigmoid")


def _dense(path: Path, config: Mapping[str, Any]) -> Layer:
    import torch

    activation = str(config.get("activation_function", "Tanh")).rpartition(".")[2]
    is_plain = config.get("module_input_name", "sentence_embedding") == "sentence_embedding"
    if activation not in ACTIVATIONS or not is_plain or config.get("use_residual"):
        raise unfit(f"it has a dense layer beside another, or whose activation is none of {', '.join(ACTIVATIONS)}")
    linear = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
    applied: Layer = torch.nn.Sequential(_with_weights(linear, path, "linear."), getattr(torch.nn, activation)())
    return applied


def _layer_norm(path: Path, config: Mapping[str, Any]) -> Layer:
    import torch

    applied: Layer = _with_weights(torch.nn.LayerNorm(config["dimension"]), path, "norm.")
    return applied


def _with_weights(module: Any, path: Path, prefix: str) -> Any:
    from safetensors.torch import load_file

    weights = load_file(path / "model.safetensors")
    module.load_state_dict({name.removeprefix(prefix): value.float() for name, value in weights.items()})
    return module.eval()


def _scaled(_: Path, __: Mapping[str, Any]) -> Layer:
    import torch

    scaled: Layer = torch.nn.functional.normalize
    return scaled


def _nothing(_: Path, __: Mapping[str, Any]) -> Layer:
    return lambda vectors: vectors


LAYERS: Mapping[str, Callable[[Path, Mapping[str, Any]], Layer]] = {
    "Dense": _dense,
    "LayerNorm": _layer_norm,
    "Normalize": _scaled,
    "Dropout": _nothing,  # of trainings only
}


def unfit(why: str) -> Refused:
    remedy = "set SANO_EMBEDDER_URL to a service that runs it, or choose another model"
    return Refused("unfit-embedder", f"refused: the embedder's model cannot be used: {why}; {remedy}")


def read_json(path: Path, absent: Any) -> Any:
    return json.loads(path.read_text()) if path.is_file() else absent
