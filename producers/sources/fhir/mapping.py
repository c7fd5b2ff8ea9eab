"""Reads the mapping file: which element of a resource is question, answer, author and consent, as FHIRPath.

A wrong expression is refused when the file is read: with its place and without any resource.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import fhirpathpy
import yaml
from antlr4 import CommonTokenStream, InputStream
from fhirpathpy.models import models
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser
from pydantic import Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from schemas.base.contract import Contract
from tenancy.errors import Refused

DEFAULT = Path(__file__).with_name("default.yaml")

Variables = Mapping[str, Any]


class _Section(Contract):
    """Expressions of one type of resource. Each is compiled once, and tried on an empty resource."""

    @field_validator("*")
    @classmethod
    def _is_fhirpath(cls, said: Any, info: Any) -> Any:
        if info.field_name not in NO_EXPRESSION and said is not None:
            _compiled(said)
        return said


class CommunicationMapping(_Section):
    take: str
    withdraw: str
    answer: str
    text: str
    earlier: str
    author: str | None = None
    consent: str | None = None


class QuestionnaireMapping(_Section):
    take: str
    withdraw: str
    turns: str
    question: str
    answer: str
    author: str | None = None
    consent: str | None = None


class DocumentMapping(_Section):
    take: str
    withdraw: str
    attachment: str
    question_mark: str = Field(min_length=1)
    answer_mark: str = Field(min_length=1)
    question: str
    author: str | None = None
    consent: str | None = None


class ConsentMapping(_Section):
    consent: str
    purpose: str = Field(min_length=1)
    limits: tuple[str, ...] = ()


class ProvenanceMapping(_Section):
    target: str


NO_EXPRESSION = {"question_mark", "answer_mark", "purpose", "limits"}


class FhirMapping(Contract):
    """A type that is left out is not read."""

    communication: CommunicationMapping | None = Field(default=None, alias="Communication")
    questionnaire_response: QuestionnaireMapping | None = Field(default=None, alias="QuestionnaireResponse")
    document_reference: DocumentMapping | None = Field(default=None, alias="DocumentReference")
    consent: ConsentMapping | None = Field(default=None, alias="Consent")
    provenance: ProvenanceMapping | None = Field(default=None, alias="Provenance")

    @property
    def types(self) -> frozenset[str]:
        """The types of resources that are read."""
        fields = type(self).model_fields.items()
        return frozenset(str(field.alias) for name, field in fields if getattr(self, name) is not None)


def read_mapping(path: Path | None = None) -> FhirMapping:
    """The mapping in a file, or the default. Raises :class:`Refused`."""
    path = path or DEFAULT
    try:
        return FhirMapping.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except OSError as error:
        raise Refused("unreadable-file", f"refused: {path} cannot be read ({error.strerror}); give a file") from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, problem["loc"])) or "it"
        raise Refused("bad-mapping", f"refused: {path}: {place}: {problem['msg']}; see docs/fhir.md") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise Refused("bad-mapping", f"refused: {path} is not YAML in UTF-8; see docs/fhir.md") from None


def values(expression: str | None, resource: Mapping[str, Any], variables: Variables | None = None) -> list[Any]:
    """What an expression finds. Raises :class:`Refused`, quoting nothing of the resource."""
    if expression is None:
        return []
    try:
        return list(_compiled(expression)(resource, dict(variables or {})))
    except Exception:  # the library raises plain exceptions, whose words may quote a value
        raise Refused(
            "bad-element", f"refused: the mapping's expression `{expression}` does not work on this resource"
        ) from None


def texts(expression: str | None, resource: Mapping[str, Any], variables: Variables | None = None) -> list[str]:
    """The texts that an expression finds, without blank ones."""
    return [one for one in values(expression, resource, variables) if isinstance(one, str) and one.strip()]


def holds(expression: str, resource: Mapping[str, Any], variables: Variables | None = None) -> bool:
    return values(expression, resource, variables) == [True]


@cache
def _compiled(expression: str) -> Callable[[Mapping[str, Any], dict[str, Any]], list[Any]]:
    lexer = FHIRPathLexer(InputStream(expression))
    lexer.removeErrorListeners()
    parser = FHIRPathParser(CommonTokenStream(lexer))
    parser.removeErrorListeners()
    parser.entireExpression()  # the library's own parser passes over what it cannot read
    if parser.getNumberOfSyntaxErrors():
        raise PydanticCustomError("fhirpath", "is not FHIRPath")
    made: Callable[[Mapping[str, Any], dict[str, Any]], list[Any]]
    made = fhirpathpy.compile(expression, model=models["r4"])
    try:
        made({}, {"thread": {}, "depth": 0})
    except Exception:
        raise PydanticCustomError("fhirpath", "names a function or a variable that does not exist") from None
    return made
