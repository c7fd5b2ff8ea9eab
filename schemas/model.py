"""The two base models of the contract: strict when we write, tolerant when we read.

Producers build models with unknown fields forbidden, so that nobody can smuggle content in an extra field.
Consumers parse with :func:`read_tolerant`, so that a newer producer's additional fields do not stop an older
consumer.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

ModelT = TypeVar("ModelT", bound=BaseModel)


class Contract(BaseModel):
    """A frozen model of the contract. Unknown fields are refused when one is built in code.

    So are infinities and NaNs: JSON has none, they would be written as ``null`` and be unreadable to every consumer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def read_tolerant(model: type[ModelT], body: bytes | str | dict[str, Any]) -> ModelT:
    """Parse ``body`` as ``model``, ignoring fields this version does not know.

    Raises :class:`pydantic.ValidationError` when a known field is missing or of another shape.
    """
    if isinstance(body, dict):
        return model.model_validate(body, extra="ignore")
    return model.model_validate_json(body, extra="ignore")
