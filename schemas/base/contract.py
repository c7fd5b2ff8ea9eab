"""Defines the base model of the contract: strict when we write, tolerant only of unknown fields when we read.

Producers build models with unknown fields forbidden, so that no extra field can smuggle content.
Consumers parse with :func:`read_tolerant`, so that a newer producer's additional fields do not stop an older
consumer.
"""

from __future__ import annotations

import json
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict

ModelT = TypeVar("ModelT", bound=BaseModel)


class Contract(BaseModel):
    """A frozen model of the contract. Unknown fields are refused when one is built in code.

    So are infinities and NaNs: JSON has none, they would be written as ``null`` and be unreadable to every consumer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def evolve(self, **changes: Any) -> Self:
        """Returns a copy with these fields changed, validated as if it were built anew.

        ``model_copy`` checks neither names nor values: a misspelt field would be lost in silence. Raises
        :class:`pydantic.ValidationError` for an unknown name and for what the model refuses.
        """
        return self.model_validate({**{name: getattr(self, name) for name in type(self).model_fields}, **changes})


def read_tolerant(model: type[ModelT], body: bytes | str | dict[str, Any]) -> ModelT:
    """Parse JSON, or what JSON was parsed to, as ``model``, ignoring fields this version does not know.

    The JSON types are the schema's: ``"1"``, ``true`` and ``1.0`` are no integers here, although Python would make
    them one. Raises :class:`pydantic.ValidationError` when a known field is missing or of another shape.
    """
    # Strictness is JSON's only where JSON is parsed: of a dict, Python's strictness would refuse text for a moment.
    text = json.dumps(body) if isinstance(body, dict) else body
    return model.model_validate_json(text, extra="ignore", strict=True)
