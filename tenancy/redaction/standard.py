"""Makes the gate that everybody uses: rules, Presidio and the token model.

Their union is replaced, without names and places that the token model overrules and phrases that are spared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tenancy.redaction.gate import UnionGate

if TYPE_CHECKING:
    from tenancy.redaction.port import RedactionGate

NAME = "sano-gate"
VERSION = "16"
"""Raise with every change of a rule, a list or a model."""


def standard_gate() -> RedactionGate:
    """The gate with all its detectors. The first call in a process reads models and lists: some seconds.

    Call it at a service's start, before other threads import anything large.
    """
    from tenancy.redaction.presidio import PresidioDetector
    from tenancy.redaction.rules import RuleDetector
    from tenancy.redaction.second_opinion import SecondOpinion
    from tenancy.redaction.spared import Sparing
    from tenancy.redaction.token_model import Tagger

    detector = SecondOpinion(Tagger(), [RuleDetector(), PresidioDetector()])
    return UnionGate(NAME, VERSION, [Sparing(detector)])
