"""``sano tenant create`` asks for what a policy has. Its options are not made from the model: every command would then
import pydantic, which nearly doubles the time that it takes to start.
"""

from __future__ import annotations

import inspect
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import pytest
from annotated_types import Ge, Le
from pydantic.fields import FieldInfo
from typer.models import OptionInfo

from producers.cli.tenants import create
from schemas.tenant.hyperparameters import Hyperparameters
from schemas.tenant.policy import TenantPolicy

FIELDS = {name: field for name, field in TenantPolicy.model_fields.items() if name != "hyperparameters"} | {
    "max_length": Hyperparameters.model_fields["max_length"]
}


def choices(annotation: Any) -> tuple[Any, ...]:
    """The values of a literal, also of an optional one."""
    [literal] = [each for each in (annotation, *get_args(annotation)) if get_origin(each) is Literal] or [None]
    return get_args(literal)


def bounds(field: FieldInfo) -> tuple[Any, Any]:
    least = [each.ge for each in field.metadata if isinstance(each, Ge)]
    most = [each.le for each in field.metadata if isinstance(each, Le)]
    return (*least, None)[0], (*most, None)[0]


@pytest.mark.parametrize("name", FIELDS)
def test_an_option_of_a_policy_has_the_bounds_the_values_and_the_default_of_its_field(name: str) -> None:
    field = FIELDS[name]
    annotated = get_type_hints(create, include_extras=True)[name]
    assert get_origin(annotated) is Annotated
    annotation, option = get_args(annotated)
    assert isinstance(option, OptionInfo)
    default = inspect.signature(create).parameters[name].default
    assert (option.min, option.max) == bounds(field)
    assert choices(annotation) == choices(field.annotation)
    if default is None and field.default is not None:
        assert option.show_default == str(field.default)
    else:
        assert default == field.default
