"""Finds ages over 89 of somebody. Ages up to 89, durations and ages of groups (``patients over 90``) are none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction.labelled import Found

_AGE_UNIT = (
    r"(?:y\.?/?o\.?(?:\b|[mf]\b)|y\.\s?o\.|yo[mf]?\b|y/o[mf]?\b|yrs?\.?[\s-]?(?:old|of\sage)|"
    r"years?[\s-]?(?:old|of\sage|young)|y-o\b|yr[\s-]old|year[\s-]old\w*|yr-?o\b|yrold|yearold|"
    r"yro\b|(?:yrs?|years)\b(?!\s(?:ago|later|of\s(?!age)|follow|experience|data|in\s)))"
)
_OLD = r"(?:9\d|1[0-2]\d)"
_AGE = re.compile(rf"(?<![\w.,/<>≥≤=+-])(?P<age>{_OLD})\s?-?\s?{_AGE_UNIT}", re.IGNORECASE)
_AGE_OF_PATIENT = re.compile(
    rf"(?<!\w)(?:pt|patient)\s(?:is\s)?(?P<age>{_OLD})\s?(?:y|yrs?|years)\b|(?<![\w.,/-])(?P<sexed>{_OLD})\s?y\.?\s?[mf]\b|"
    rf"(?<![\w.,/-])(?P<years>{_OLD})\s?y(?=\s?[,;:()]|\.\s|\s?$|\s(?:with|w/|and|on|in|has|who|pt|f|m)\b)|"
    rf"(?<!\w)(?:resident|pt|patient|lady|gentleman|man|woman|mother|father|wife|husband|mom|mum|dad|sister|brother)\s"
    rf"\((?P<bracketed>{_OLD})\)|"
    rf"(?<!\w)(?:she|he)(?:\sis|'?s)\s(?P<today>{_OLD})\s(?:today|tomorrow|next|this)\b",
    re.IGNORECASE,
)
_AGE_SEX = re.compile(
    rf"(?:^|\b(?:a|an|the|pt|patient|is|for|this|my|our|in|on|re|with|old|hi|,)\s?:?\s?|[.;:,(\]]\s{{0,"
    rf"2}})(?P<age>{_OLD})\s?/?\s?(?:[mf]|male|female|woman|man|lady|gentleman|wf|wm|bf|bm|"
    rf"grandmother|grandfather|caf|cam)\b",
    re.IGNORECASE,
)
_AGE_LABEL_SURE = re.compile(
    rf"(?<![^\W_])(?:age[ds]?|aet(?:at)?\.?|turn(?:ed|ing|s)?)(?:\s?/\s?sex|\s?\((?:in\s)?y\w{{1,4}}\))?\s?(?:[:=-]|is|was|of|about|"
    rf"approx\.?)?\s?(?P<age>{_OLD})(?![\w/%]|\.\d|\s?(?:deg|°|and\s(?:over|older|above|up)|or\s(?:over|"
    rf"older|above)|\+))",
    re.IGNORECASE,
)
_AGE_OF_SOMEBODY = re.compile(
    rf"(?:\]|\b(?:he|she|they|who|pt|patient|mom|mother|dad|father|wife|husband|grand\w{{2,7}}|gentleman|lady|woman|man))"
    rf"(?:\s(?:is|was|are|turns|turned)|'?s|,|:)\s(?:now\s|just\s|almost\s|nearly\s|already\s)?(?P<age>{_OLD})"
    r"(?=\s(?:and|but|w/|with|who|when|now|lives|years|yrs|on|at\sthe\stime)\b|\s?[,.;?!)](?!\d)|\s?$)|\]\.?\s\((?:[A-Za-z]{3,12},\s)?(?P<bracketed>"
    rf"{_OLD})(?=[,)])|(?:^|[.;:\n]\s{{0,2}})i(?:\sam|'m)\s(?P<mine>{_OLD})(?=\s(?:and|but|now|with|w/)\b|\s?[,.;?!)](?!\d)|\s?$)",
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
    rf"(?<!\w)(?:he|she|they|pt|patient|mom|mum|mother|dad|father|wife|husband|sister|brother|aunt|uncle|man|woman|lady|who|grand\w{{2,7}})(?:\s(?:is|was|turn(?:s|ed))|'s|(?<=he)s)\s"
    rf"(?:now\s|just\s|almost\s|nearly\s|already\s)?(?P<alone>{_OLD_IN_WORDS})(?=\s(?:and|but|with|who|now|w/)|\s?[,.;?!)]|\s?$)",
    re.IGNORECASE,
)
_ANY_OLD = rf"(?>{_OLD}|{_OLD_IN_WORDS})"
_NO_MEASURE = r"(?![\w/%-]|\.\d|\s?(?:mg|kg|kilos?|lbs?|mm|cm|ml|units?|bpm|days?|percent|on\s(?:ra|\d)|%))"
_SOMEBODY = (
    r"(?:man|woman|lady|gentleman|male|female|patient|pt|person|resident|farmer|widow(?:er)?|veteran|nun|priest)"
)
_AGE_ASIDE = re.compile(
    rf"(?<!\w){_SOMEBODY}\sof\s(?P<of>{_ANY_OLD}){_NO_MEASURE}|"
    rf"(?<!\w)(?:lady|gentleman|man|woman|male|female),?\s(?P<beside>{_OLD}){_NO_MEASURE}|"
    rf"(?<!\w)(?:died|dead|passed\saway|passed|lived|diagnosed)\s(?:at|to|until|aged)\s(?P<last>{_ANY_OLD}){_NO_MEASURE}|"
    rf"(?<!\w)(?:he|she|they|who|pt|patient)(?:'ll|\swill)\sbe\s(?P<soon>{_ANY_OLD})(?=\s(?:in|on|next|this|by|soon)\b|\s?[.,;?!)]|\s?$)|"
    rf"(?:^|[.;:\n]\s{{0,2}})(?P<begins>{_ANY_OLD})(?=,?\s(?:(?:and|&|but|very|quite|previously|otherwise|still)\s){{0,2}}"
    r"(?:independent|frail|fit|well|spry|active|demented|bed-?bound|ambulatory|mobile|sharp|full\scode|dnr|dni|lives|living|"
    r"stubborn|lucid|deaf|blind|confused|forgetful|widowed|alone|lively|feisty|cheerful|cachectic|housebound|chair-?bound|walks|driving|"
    r"drives|gardening|gardens|refuses|refusing|declines)\b)|"
    rf"(?<![\w.,/-])(?P<about>{_OLD})(?=-?\s?(?:ish|something)\b(?!\sdeg))|"
    rf"(?:^|[.,;:|(\n]\s{{0,2}})(?:[mf]|male|female|pt|patient)[\s/|,(]{{1,2}}(?P<sexed>{_OLD}){_NO_MEASURE}(?!\s\d)|"
    rf"(?<!\w)comma\s(?P<spoken>{_OLD_IN_WORDS})\scomma(?!\w)|"
    rf"(?<!\w)aged\s\d{{2,3}}\s(?:and|&)\s(?P<second>{_OLD}){_NO_MEASURE}|"
    r"(?<!\w)(?P<feast>(?:9\dth|9[123](?:st|nd|rd)|1[0-2]\d(?:st|nd|rd|th))\sbirthday)(?!\w)",
    re.IGNORECASE,
)
_GLUED = re.compile(rf"(?<![\w.,/-])(?P<age>{_OLD})/?[MF](?![\w/])|(?:(?<!\w)[MF]/|^[MF])(?P<after>{_OLD})(?![\w/.%])")
_TEMPERATURE = re.compile(r"temp|fever|febrile|hypotherm|degree|tmax|\bt\b", re.IGNORECASE)
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
    for match in _GLUED.finditer(text):
        if not _TEMPERATURE.search(text, max(0, match.start() - 24), match.start()):
            yield *match.span(match.lastgroup or 0), T.AGE
    for pattern in (
        _AGE_DECADE,
        _AGE_OF_THE_OLD,
        _AGE_WORDS,
        _AGE_OF_SOMEBODY,
        _AGE_IN_WORDS,
        _AGE_OF_PATIENT,
        _TURNED,
        _AGE_ASIDE,
        _AT_AN_AGE,
    ):
        for match in pattern.finditer(text):
            age = match.lastgroup or "age"
            yield match.start(age), match.end(age), T.AGE
