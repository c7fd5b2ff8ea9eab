"""Names the kinds of identifier that a redaction gate looks for, and the report it leaves: kinds and counts, no text.

The kinds refine the 18 classes of the Safe Harbor method, 45 CFR 164.514(b)(2)(i)(A) to (R).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base.contract import Contract
from schemas.base.identifiers import ReasonCode

GATE_VERSION_PATTERN = r"^[0-9a-z](?:[0-9a-z.+-]{0,62}[0-9a-z])?$"
GateVersion = Annotated[str, StringConstraints(pattern=GATE_VERSION_PATTERN)]


class IdentifierType(StrEnum):
    """What an identifier is. The value is the word in its placeholder: ``[PATIENT-1]``."""

    PATIENT = "PATIENT"
    CLINICIAN = "CLINICIAN"
    RELATIVE = "RELATIVE"
    PERSON = "PERSON"
    EMPLOYER = "EMPLOYER"
    ADDRESS = "ADDRESS"
    PLACE = "PLACE"
    FACILITY = "FACILITY"
    ZIP = "ZIP"
    DATE = "DATE"
    AGE = "AGE"
    PHONE = "PHONE"
    FAX = "FAX"
    EMAIL = "EMAIL"
    SSN = "SSN"
    MRN = "MRN"
    PLAN = "PLAN"
    ACCOUNT = "ACCOUNT"
    LICENCE = "LICENCE"
    VEHICLE = "VEHICLE"
    DEVICE = "DEVICE"
    URL = "URL"
    IP = "IP"
    BIOMETRIC = "BIOMETRIC"
    PHOTO = "PHOTO"
    ID = "ID"


SAFE_HARBOR: dict[IdentifierType, str] = {
    IdentifierType.PATIENT: "A",
    IdentifierType.CLINICIAN: "A",
    IdentifierType.RELATIVE: "A",
    IdentifierType.PERSON: "A",
    IdentifierType.EMPLOYER: "A",
    IdentifierType.ADDRESS: "B",
    IdentifierType.PLACE: "B",
    IdentifierType.FACILITY: "B",
    IdentifierType.ZIP: "B",
    IdentifierType.DATE: "C",
    IdentifierType.AGE: "C",
    IdentifierType.PHONE: "D",
    IdentifierType.FAX: "E",
    IdentifierType.EMAIL: "F",
    IdentifierType.SSN: "G",
    IdentifierType.MRN: "H",
    IdentifierType.PLAN: "I",
    IdentifierType.ACCOUNT: "J",
    IdentifierType.LICENCE: "K",
    IdentifierType.VEHICLE: "L",
    IdentifierType.DEVICE: "M",
    IdentifierType.URL: "N",
    IdentifierType.IP: "O",
    IdentifierType.BIOMETRIC: "P",
    IdentifierType.PHOTO: "Q",
    IdentifierType.ID: "R",
}
"""The class of each kind, as lettered in 45 CFR 164.514(b)(2)(i)."""

Verdict = Literal["clean", "redacted"]


class RedactionReport(Contract):
    """What one gate said of one text or conversation. It holds nothing of what was removed."""

    gate: ReasonCode = Field(description="name of the gate")
    version: GateVersion = Field(description="changes with the gate's rules, models and the tenant's terms")
    verdict: Verdict = Field(description="clean: the gate found none; redacted: it replaced each that it found")
    counts: dict[IdentifierType, Annotated[int, Field(ge=1, le=10_000_000)]] = Field(
        default_factory=dict, description="identifiers found, by kind"
    )
