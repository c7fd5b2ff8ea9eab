"""Finds ages over 89 of somebody. Ages up to 89, durations and ages of groups (``patients over 90``) are none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction.labelled import Found

_AGE_UNIT = (
    r"(?:y\.?/?o\.?(?:\b|[mf]\b)|y\.\s?o\.|yo[mf]?\b|y/o[mf]?\b|yrs?\.?[\s-]?(?:old|of\sage)|"
    r"years?[\s-]?(?:old|of\sage|young)|y-o\b|yr[\s-]old|year[\s-]old\w*|yr-?o\b|yrold|yearold|"
    r"yro\b)"
)
_OLD = r"(?:9\d|1[0-2]\d)"
_AGE = re.compile(rf"(?<![\w.,/<>≥≤=+-])(?P<age>{_OLD})\s?-?\s?{_AGE_UNIT}", re.IGNORECASE)
_AGE_OF_PATIENT = re.compile(
    rf"(?<!\w)(?:pt|patient)\s(?:is\s)?(?P<age>{_OLD})\s?(?:y|yrs?|years)\b|(?<![\w.,/-])(?P<sexed>{_OLD})\s?y\.?\s?[mf]\b|"
    rf"(?<![\w.,/-])(?P<years>{_OLD})\s?y(?=\s?[,;:()]|\.\s|\s?$|\s(?:with|w/|and|on|in|has|who|pt|f|m)\b)|"
    rf"(?<!\w)(?:resident|pt|patient|lady|gentleman|man|woman|mother|father|wife|husband|mom|mum|dad|sister|brother)\s"
    rf"\((?P<bracketed>{_OLD})\)|"
    rf"(?<!\w)(?:she|he)(?:\sis|'s)\s(?P<today>{_OLD})\s(?:today|tomorrow|next|this)\b",
    re.IGNORECASE,
)
_AGE_SEX = re.compile(
    rf"(?:^|\b(?:a|an|the|pt|patient|is|for|this|my|our|in|on|re|with|old|hi|,)\s?:?\s?|[.;:,(\]]\s{{0,"
    rf"2}})(?P<age>{_OLD})\s?/?\s?(?:[mf]|male|female|woman|man|lady|gentleman|wf|wm|bf|bm|"
    rf"grandmother|grandfather|caf|cam)\b",
    re.IGNORECASE,
)
_AGE_LABEL_SURE = re.compile(
    rf"(?<![^\W_])(?:age[ds]?|turned|turning|turns)\s?(?:[:=]|is|was|of|about|"
    rf"approx\.?)?\s?(?P<age>{_OLD})(?![\w./%]|\s?(?:and\s(?:over|older|above|up)|or\s(?:over|"
    rf"older|above)|\+))",
    re.IGNORECASE,
)
_AGE_OF_SOMEBODY = re.compile(
    rf"(?:\]|\b(?:he|she|they|who|pt|patient|mom|mother|dad|father|wife|husband|grand\w{{2,7}}|gentleman|lady|woman|man))"
    rf"(?:\s(?:is|was|are|turns|turned)|'s|,)\s(?:now\s|just\s|almost\s|nearly\s|already\s)?(?P<age>{_OLD})"
    r"(?=\s(?:and|but|w/|with|who|now|lives|years|yrs|on)\b|\s?[,.;?!)](?!\d)|\s?$)|\]\s\((?:[A-Za-z]{3,12},\s)?(?P<bracketed>"
    rf"{_OLD})(?=\)|,\s?[mf]\b)",
    re.IGNORECASE,
)
_AGE_OF_THE_OLD = re.compile(
    rf"(?<!\w)(?:gran|granny|grann?a|nan|nana|gramps|grandad|grand(?:ma|pa|mother|father)|great[ -]\w{{3,12}}|"
    rf"mother|father|mom|mum|dad|wife|husband|sister|brother|aunt|uncle|resident)"
    rf"(?:\s(?:is|now)|,)?\s(?P<age>{_OLD})(?![\w/%]|\.\d|\s?(?:mg|kg|lbs?|mm|cm|ml|units?|on\s(?:ra|\d)|%))",
    re.IGNORECASE,
)
_AGE_DECADE = re.compile(
    r"(?<!\w)(?:in\s)?(?:his|her|their|the|mid|early|late|mid-|early-|late-)[\s-]?(?:mid|"
    r"early|late)?[\s-]?(?P<age>90'?s|100'?s|nineties)(?!\w)",
    re.IGNORECASE,
)
_OLD_IN_WORDS = (
    r"(?:ninety(?:[\s-](?:one|two|three|four|five|six|seven|eight|nine))?|"
    r"(?:one\s|an?\s)?hundred(?:[\s-](?:and[\s-])?(?:one|two|three|four|five|six|seven|eight|nine|ten))?)"
)
_AGE_IN_WORDS = re.compile(
    rf"(?<!\w)(?P<age>{_OLD_IN_WORDS})(?=[\s-]?(?:yo\b|y/o|y\.o|yrs?[\s-](?:old|of)|[\s-]years?\s(?:of\sage|young)))|"
    rf"(?<!\w)(?:he|she|they|pt|patient|mom|mother|dad|father|who|grand\w{{2,7}})(?:\s(?:is|was|turn(?:s|ed))|'s)\s"
    rf"(?:now\s|just\s|almost\s|nearly\s|already\s)?(?P<alone>{_OLD_IN_WORDS})(?=\s(?:and|but|with|who|now|w/)|\s?[,.;?!)]|\s?$)",
    re.IGNORECASE,
)
_TURNED = re.compile(rf"(?<!\w)(?:aged?|turned|turning|turns)\s(?P<age>{_OLD_IN_WORDS})(?!\w)", re.IGNORECASE)
_AT_AN_AGE = re.compile(rf"(?<!\w)at\s(?P<age>{_OLD})(?=,?\s(?:she|he|they|his|her)\b)", re.IGNORECASE)
_AGE_WORDS = re.compile(
    rf"(?<!\w)(?P<age>{_OLD_IN_WORDS}"
    r"[\s-]years?[\s-]olds?|nonagenarian|centenarian|supercentenarian)(?!\w)",
    re.IGNORECASE,
)
_AGE_GENERAL = re.compile(
    r"(?:over|above|older than|greater than|more than|at least|under|below|younger than|less "
    r"than|up to|aged?|>|<|≥|≤|>=|<=|\+|than|patients|adults|people|men|women|persons|until|"
    r"to|and|-)\s?(?:the\sage\sof\s|age\s|ages\s)?$",
    re.IGNORECASE,
)
_AGED = re.compile(r"(?:aged?|of\sage)\s?$", re.IGNORECASE)


def find(text: str) -> Iterator[Found]:
    """Every age over 89 of ``text``, but not those of a guideline or of a trial."""
    for pattern in (_AGE, _AGE_SEX, _AGE_LABEL_SURE):
        for match in pattern.finditer(text):
            before = text[max(0, match.start("age") - 24) : match.start("age")]
            if _AGE_GENERAL.search(before) and not _AGED.search(before):
                continue
            if re.match(
                r"\s?(?:\+|and\s(?:over|older|above)|or\s(?:over|older|above))", text[match.end() : match.end() + 40]
            ):
                continue
            yield match.start("age"), match.end("age"), T.AGE
    for pattern in (
        _AGE_DECADE,
        _AGE_OF_THE_OLD,
        _AGE_WORDS,
        _AGE_OF_SOMEBODY,
        _AGE_IN_WORDS,
        _AGE_OF_PATIENT,
        _TURNED,
        _AT_AN_AGE,
    ):
        for match in pattern.finditer(text):
            age = match.lastgroup or "age"
            yield match.start(age), match.end(age), T.AGE
