"""Finds what only one person is: ``the mayor of Ballinrobe``, ``the first woman to captain``, ``former Miss Sligo``.

Safe Harbor names any other characteristic that tells who it is: offices of a named body, the first and only of their
kind, holders of titles and winners of what has a name are such; most stories that are told of one person are not found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction.labelled import Found

_NAMED = r"(?:the\s|El\s|La\s)?[A-ZÀ-Ý][\w'’-]{1,20}(?:\s(?:of\s|and\s|&\s|the\s)?[A-ZÀ-Ý][\w'’-]{1,20}){0,4}"
_OFFICE = (
    r"(?:lord\s)?mayor(?:ess)?|senator|congress(?:man|woman|person)|governor|councill?or|alder(?:man|woman)|mp|msp|td|bishop|"
    r"archbishop|sheriff|(?:fire|police)\schief|chief\s(?:constable|executive)|postmaster|postmistress|head\s?(?:master|mistress|teacher)|"
    r"principal|goalkeeper|quarterback|striker|pitcher|captain|skipper|(?:head\s)?coach|conductor|(?:news\s?)?anchor|"
    r"weather(?:man|woman|girl)|newsreader|presenter|(?:lead\s)?singer|drummer|bassist|guitarist|frontman|choirmaster|organist|vicar|"
    r"rector|curate|imam|rabbi|abbot|abbess|prioress|magistrate|coroner|ambassador|consul|premier|minister|chancellor|dean|provost|"
    r"founder|chairman|chairwoman|chair|president|ceo|heir(?:ess)?|chieftain|king|queen|prince(?:ss)?|duke|duchess|earl|"
    r"countess|lord|laird|lighthouse\skeeper|curator|voice|host"
)
_PERSON = (
    r"(?:wo)?m[ae]n|female|male|girl|boy|lady|person|nun|monk|priest|minister|solicitor|barrister|lawyer|judge|mayor|teacher|"
    r"professor|doctor|surgeon|midwife|nurse|dentist|vet|pharmacist|pilot|captain|sailor|diver|astronaut|climber|jockey|boxer|"
    r"wrestler|golfer|cyclist|runner|swimmer|rower|skater|skier|footballer|cricketer|olympian|paralympian|athlete|player|coach|referee|singer|cantor|"
    r"pianist|violinist|organist|composer|conductor|actor|actress|dancer|painter|sculptor|poet|novelist|journalist|farmer|shepherd|"
    r"fisherman|blacksmith|thatcher|baker|butcher|publican|undertaker|firefighter|policeman|policewoman|officer|sergeant|soldier|"
    r"veteran|survivor|recipient|winner|champion|immigrant|refugee|speaker|centenarian|twins?|triplets?|quadruplets?|quintuplets?"
)
_TO_ITS_END = (
    r"[^,.;:?!()\n\[\]]{2,70}?"
    r"(?=\s?[,.;:?!()\n\[\]]|\s?$|\s(?:has|is|was|who|with|and\s(?:has|is|was)|presents|presented|came|wants|needs|on)\b)"
)
_I = re.IGNORECASE
_OF_THEIRS = (
    r"(?:(?:the|a)\s)?(?:(?:only|eldest|younge[rs]t?|elder|ex-?)\s?)?"
    r"(?:wife|husband|widow(?:er)?|partner|son|daughter|mother|father|brother|sister|niece|nephew|twin)\sof\s"
)
_FORMS = (
    re.compile(
        rf"(?<!\w)(?i:{_OF_THEIRS})?(?:the\s)?(?:(?i:current|former|ex|deputy|sitting|retired|late|acting)[\s-])?(?i:{_OFFICE})\s(?:of|for|at|on|in|with)\s{_NAMED}"
    ),
    re.compile(
        rf"(?<!\w)(?:(?:the|a|an|our|his|her|their|[\w-]+['’]s)\s)?(?:only|sole|first(?:-ever)?|last(?:\ssurviving)?|oldest|youngest|tallest|"
        rf"longest[\s-]serving)\s(?:[\w-]+\s){{0,3}}(?:{_PERSON})\s(?=(?:in|of|to|on|from|at|ever|left|who)\s){_TO_ITS_END}",
        _I | re.MULTILINE,
    ),
    re.compile(
        rf"(?<!\w)(?:[\w-]+['’]s|our|their)\s(?:only|sole|first|last|oldest|youngest)\s(?:[\w-]+\s){{0,2}}(?:{_PERSON})(?!\w)",
        _I,
    ),
    re.compile(
        rf"(?<!\w)(?i:won\s(?:a\s|the\s)?(?:gold|silver|bronze)(?:\smedal)?\s(?:in|at|for)\s(?:the\s)?(?:\d{{4}}\s)?)(?=[A-Z]){_NAMED}"
    ),
    re.compile(rf"(?<!\w)(?i:former|reigning|current|ex-?)\s?(?:Miss|Mr|Mister|Mrs|Ms|Rose\sof)\s{_NAMED}"),
    re.compile(
        r"(?<!\w)(?i:(?:the\s)?(?:\d{4}\s)?(?:winner|runner-up|finalist|champion|medall?ist)\s(?:of|in|at|from)\s(?:last\syear's\s|this\syear's\s|the\s)?"
        r"(?:\d{4}\s)?(?=(?-i:[A-Z])))"
        rf"{_NAMED}"
    ),
)


def find(text: str) -> Iterator[Found]:
    """Every such description of ``text``."""
    for pattern in _FORMS:
        for match in pattern.finditer(text):
            yield match.start(), match.end(), T.ID
