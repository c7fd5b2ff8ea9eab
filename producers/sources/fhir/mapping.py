"""Reads the mapping file: which element of a resource is question, answer, author and consent, as FHIRPath.

A wrong expression is refused when the file is read: with its place and without any resource.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import fhirpathpy
import yaml
from antlr4 import CommonTokenStream, InputStream
from fhirpathpy.models import models
from fhirpathpy.parser.generated.FHIRPathLexer import FHIRPathLexer
from fhirpathpy.parser.generated.FHIRPathParser import FHIRPathParser
from pydantic import Field, PlainValidator, ValidationError
from pydantic_core import PydanticCustomError

from schemas.base.contract import Contract
from tenancy.errors import Refused
from tenancy.platform.given_files import read_given

DEFAULT = Path(__file__).with_name("default.yaml")

Variables = Mapping[str, Any]


@dataclass(frozen=True)
class Expression:
    """FHIRPath, compiled once and tried on an empty resource."""

    text: str
    find: Callable[[Mapping[str, Any], dict[str, Any]], list[Any]] = field(repr=False, compare=False)

    @classmethod
    def compiled(cls, text: object) -> Expression:
        if isinstance(text, Expression):
            return text
        if not isinstance(text, str):
            raise PydanticCustomError("fhirpath", "is not text that is FHIRPath")
        lexer = FHIRPathLexer(InputStream(text))
        lexer.removeErrorListeners()
        parser = FHIRPathParser(CommonTokenStream(lexer))
        parser.removeErrorListeners()
        parser.entireExpression()  # the library's own parser passes over what it cannot read
        if parser.getNumberOfSyntaxErrors():
            raise PydanticCustomError("fhirpath", "is not FHIRPath")
        found = cls(text, fhirpathpy.compile(text, model=models["r4"]))
        try:
            found.find({}, {"thread": {}, "depth": 0})
        except Exception:
            raise PydanticCustomError("fhirpath", "names a function or a variable that does not exist") from None
        return found


FhirPath = Annotated[Expression, PlainValidator(Expression.compiled)]


class ConversationMapping(Contract):
    """What is said of each kind of resource that may hold a conversation."""

    take: FhirPath
    withdraw: FhirPath
    author: FhirPath | None = None
    consent: FhirPath | None = None


class CommunicationMapping(ConversationMapping):
    answer: FhirPath
    text: FhirPath
    earlier: FhirPath


class QuestionnaireMapping(ConversationMapping):
    turns: FhirPath
    question: FhirPath
    answer: FhirPath


class DocumentMapping(ConversationMapping):
    attachment: FhirPath
    question_mark: str = Field(min_length=1)
    answer_mark: str = Field(min_length=1)
    question: FhirPath


class ConsentMapping(Contract):
    consent: FhirPath
    purpose: str = Field(min_length=1)
    limits: tuple[str, ...] = ()


class PatientMapping(Contract):
    """The identifier by which HL7 v2 names the same patients: of this system in FHIR, of this authority in PID-3."""

    system: str = Field(min_length=1)
    authority: str = ""


class ProvenanceMapping(Contract):
    target: FhirPath


class FhirMapping(Contract):
    """A type that is left out is not read."""

    communication: CommunicationMapping | None = Field(default=None, alias="Communication")
    questionnaire_response: QuestionnaireMapping | None = Field(default=None, alias="QuestionnaireResponse")
    document_reference: DocumentMapping | None = Field(default=None, alias="DocumentReference")
    consent: ConsentMapping | None = Field(default=None, alias="Consent")
    patient: PatientMapping | None = Field(default=None, alias="Patient")
    provenance: ProvenanceMapping | None = Field(default=None, alias="Provenance")

    def conversation(self, kind: str) -> ConversationMapping | None:
        """What is said of a kind of resource that may hold a conversation."""
        return {
            "Communication": self.communication,
            "QuestionnaireResponse": self.questionnaire_response,
            "DocumentReference": self.document_reference,
        }.get(kind)

    @property
    def types(self) -> frozenset[str]:
        """The types of resources that are read."""
        fields = type(self).model_fields.items()
        return frozenset(str(field.alias) for name, field in fields if getattr(self, name) is not None)


def read_mapping(path: Path | None = None) -> FhirMapping:
    """The mapping in a file, or the default. Raises :class:`Refused`."""
    path = path or DEFAULT
    body = read_given(path)
    try:
        return FhirMapping.model_validate(yaml.safe_load(body.decode()))
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, problem["loc"])) or "it"
        raise Refused("bad-mapping", f"refused: {path}: {place}: {problem['msg']}; see docs/fhir.md") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError):
        raise Refused("bad-mapping", f"refused: {path} is not YAML in UTF-8; see docs/fhir.md") from None


def values(expression: Expression | None, resource: Mapping[str, Any], variables: Variables | None = None) -> list[Any]:
    """What an expression finds. Raises :class:`Refused`, quoting nothing of the resource."""
    if expression is None:
        return []
    try:
        return list(expression.find(resource, dict(variables or {})))
    except Exception:  # the library raises plain exceptions, whose words may quote a value
        raise Refused(
            "bad-element", f"refused: the mapping's expression `{expression.text}` does not work on this resource"
        ) from None


def texts(expression: Expression | None, resource: Mapping[str, Any], variables: Variables | None = None) -> list[str]:
    """The texts that an expression finds, without blank ones."""
    return [one for one in values(expression, resource, variables) if isinstance(one, str) and one.strip()]


def holds(expression: Expression, resource: Mapping[str, Any], variables: Variables | None = None) -> bool:
    return values(expression, resource, variables) == [True]
