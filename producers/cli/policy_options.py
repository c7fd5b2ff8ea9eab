"""Generates a command-line option for each field of a tenant's policy, so that a new field gets its own.

Imported only once such a command is asked for: the models need pydantic, which nearly doubles a command's start.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from pydantic.fields import FieldInfo

from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy

FIELDS: Mapping[str, FieldInfo] = {
    name: field
    for model in (TenantPolicy, Hyperparameters)
    for name, field in model.model_fields.items()
    if name != "hyperparameters"
}


def policy_options(command: Callable[..., None], *, show_defaults: bool) -> Callable[..., None]:
    """``command`` with an option for each field. Those that are given arrive as its mapping ``given``, by name."""
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != "given"
    ]
    options = [_option(name, field, show_default=show_defaults) for name, field in FIELDS.items()]

    def with_options(**values: Any) -> None:
        given = {name: values.pop(name) for name in FIELDS}
        command(**values, given={name: value for name, value in given.items() if value is not None})

    with_options.__doc__ = command.__doc__
    with_options.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in (*own, *options)}
    return with_options


def policy_facts(policy: TenantPolicy) -> dict[str, object]:
    """All fields by name, for people to read. Fractions are as they were given: what is shown can be given again."""
    fields = policy.model_dump(exclude={"hyperparameters"}) | policy.hyperparameters.model_dump()
    return {name: str(value) if isinstance(value, float) else value for name, value in fields.items()}


def _option(name: str, field: FieldInfo, *, show_default: bool) -> inspect.Parameter:
    kind: Any = _kind(field.annotation)
    flag = name.replace("_", "-")
    option = typer.Option(
        f"--{flag}/--no-{flag}" if kind is bool else f"--{flag}",
        min=_bound(field, "ge"),
        max=_bound(field, "le"),
        help=_sentence(field.description or ""),
        show_default=_shown(field.default) if show_default and field.default is not None else False,
    )
    annotated = Annotated[kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotated)


def _bound(field: FieldInfo, name: str) -> Any:
    return next((getattr(each, name) for each in field.metadata if hasattr(each, name)), None)


def _kind(annotation: Any) -> Any:
    """What the command line takes for a field; finer rules are the model's own."""
    choices = [each for each in (annotation, *get_args(annotation)) if get_origin(each) is Literal]
    if choices:
        values = tuple(value for each in choices for value in get_args(each))
        return Literal[values] if all(isinstance(value, str) for value in values) else int
    if get_origin(annotation) is tuple:
        return list[str]
    kinds = [each for each in (annotation, *get_args(annotation)) if each in (bool, int, float, str)]
    if not kinds:
        inner = next(each for each in get_args(annotation) if each is not NoneType)
        return _kind(inner)
    return kinds[0]


def _shown(default: object) -> str:
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
