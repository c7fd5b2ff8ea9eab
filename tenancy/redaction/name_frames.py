"""Finds names by what people do and what is done to them, though the name is a word too or stands in lower case.

``told hope to``, ``can mark go back``, ``faith's potassium``, ``hunter, 9,``, ``bhatt in cards``. How much a frame says
decides how much of a name the word must be.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import name_signs as signs
from tenancy.redaction import words
from tenancy.redaction.labelled import Found

_NAME = r"(?P<name>[^\W\d_][^\W\d_'-]{1,19}(?:[-'][^\W\d_]{2,15})?)"
_BEGIN = (
    r"(?:^|[.;:!?,\n]\s{0,2}|-{1,2}\s|\b(?:and|but|so|because|bc|if|that|when|since|hi|hello|yes|no|ok|pls|please|as|"
    r"than|until|while|or|does|did)\s)"
)
_ADVERB = r"(?:just|also|now|still|only|really|never|always|again|recently|apparently|finally|then|has|had|who)"
_SAYS = (
    r"says|said|reports|reported|states|stated|denies|denied|refuses|refused|declines|declined|wants|wanted|asks|asked|"
    r"asking|calls|called|calling|thinks|thought|feels|felt|lives|complains|complained|complaining|tells|told|insists|"
    r"insisted|wonders|wondering|worries|worried|hates|likes|prefers|agrees|agreed|disagrees|forgot|remembers|admits|"
    r"can't|cant|cannot|won't|wont|doesn't|doesnt|didn't|didnt|isn't|isnt|hasn't|hasnt|couldn't|wasn't|fell|"
    r"wakes|woke|cries|cried|walks|walked|weighs|eats|ate|drinks|drank|smokes|smoked|drives|drove|works|worked|"
    r"breastfeeds|vomited|vomits|stepped|moved|missed|misses|picked|brought|texted|emailed|messaged|paged|noticed|"
    r"recommends|recommended|suggests|suggested|ordered|signed|prescribed|gives|gave|wrote|writes"
)
_IS = (
    r"is|was|has|had|needs|needed|gets|got|keeps|kept|takes|took|started|stopped|turned|turns|came|comes|went|goes|"
    r"presents|presented|tested|developed|returned|stays|seems|looks|looked|dropped|tolerated|uses|used|fasting|"
    r"taking|had|being|does|did|w/|with|who"
)
_BASE = (
    r"go|get|need|have|take|stop|start|be|stay|still|safe|ok|okay|allowed|able|due|return|restart|switch|continue|use|"
    r"resume|fly|travel|drive|eat|breastfeed|come|keep|try|wait|skip|hold|too|ready|eligible|likely|really|also|just|"
    r"even|cleared|done|seen|scheduled|going|getting|taking|having|on|a|an|at|in|the|want|feel|look|know|tolerate"
)
_DONE_TO = (
    r"told|tell|telling|remind|reminded|asked|ask|asking|advised|advise|counseled|counselled|saw|seeing|see|met|meet|"
    r"examined|called|call|calling|texted|text|paged|page|emailed|email|messaged|message|gave|give|giving|let|help|"
    r"helped|admit|admitted|discharge|discharged|convince|convinced|reassure|reassured|warn|warned|refer|referred|thank|"
    r"thanked|inform|informed|notify|notified|switch|switched|treat|treated|treating|intubated|extubated|scoped|"
    r"refills?\sfor|here\swith|caring\sfor|care\sof|covers?\sfor|covering\sfor|visit|visited|weighed|spoke\swith|"
    r"spoke\sto|spoke\sw/|talked\sto|talked\swith|talked\sw/|talk\sto|heard\sfrom|letter\sfor|put|keep|have|want|about|"
    r"wait\sfor|message\sfrom|msg\sfrom|note\sfrom|call\sfrom|it's|its|this\sis|i'm|i\sam"
)
_DEPARTMENT = (
    r"cards?|cardio\w*|pharmacy|pharm|derm\w*|neuro\w*|onc|oncology|nephro\w*|renal|ortho\w*|urology|uro|psych\w*|gi|"
    r"ir|icu|micu|sicu|ccu|picu|nicu|ent|obgyn|l&d|pacu|case\smanagement|social\swork|billing|records|radiology|rads|"
    r"surgery|anesthesia|wound|hospice|infusion|dialysis|triage|registration|admitting|rheum\w*|endo\w*|pulm\w*|heme|"
    r"path|pathology|micro|rehab|transplant|palliative"
)
_AGE = (
    r"\(?\d{1,3}(?:\s?-?(?:[mf]\b|y\b|y/?o\b|y\.o|yrs?\b|years?|w\b|wks?\b|weeks?\b|mos?\b|months?\b|days?\sold|"
    r"they/them|nb\b|he\b|she\b)|,|\s?/\s?[mf]\b|\+[0-6](?!\d))"
)
_I = re.IGNORECASE
_SUBJECT = re.compile(rf"{_BEGIN}{_NAME}\s(?:{_ADVERB}\s)?(?:{_SAYS})(?![\w'])", _I)
_SUBJECT_IS = re.compile(rf"{_BEGIN}{_NAME}\s(?:{_ADVERB}\s)?(?:{_IS})(?![\w'])(?!\s(?:to|that)\b)", _I)
_NO_MODAL = re.compile(
    rf"{_BEGIN}{_NAME}\s(?:(?:just|also|now|still|only|really|never|always|again|recently|apparently|finally|then)\s)?"
    r"(?:is|was|has|had|needs|needed|gets|got|keeps|kept|takes|took|started|stopped|turned|turns|came|comes|went|goes|presents|"
    r"presented|tested|developed|returned|looks|looked|does|did)(?!\w)",
    _I,
)
"""``May came in``: behind the verb that it is too, no verb has such a form."""
_OWNER = re.compile(rf"(?<![\w'-]){_NAME}'s\s(?=[^\W\d_])", _I)
_INVERTED = re.compile(
    rf"(?:^|[.;:!?,\n]\s{{0,2}}|\b(?:so|and|but|or|how|when|why|what|where|that|if)\s)(?:can|could|should|would|will|did|"
    rf"does|is|was|has|may|might|must|shall)\s{_NAME}\s(?={_BASE}\b)(?!(?:on|in|at)\s(?:the|an?)\b)",
    _I,
)
_OBJECT = re.compile(
    rf"\b(?:{_DONE_TO})\s{_NAME}(?=(?P<sure>\s(?:to|that|not|know|today|yesterday|tomorrow|tonight|again|who|his|her|off|"
    rf"back|about\s(?:the|his|her|mr|mrs|ms)|from|in\sthe)\b)|[,.;:!?)]|\s(?:for|in|on|at|with|and|if|re|about|w/)\b|\s\d|$)",
    _I,
)
_SENT_HOME = re.compile(rf"\b(?:dc|d/c|send|sent|take|get|let|bring|drive)\s{_NAME}(?=\s(?:back\s)?home\b)", _I)
_FROM_TOWN = re.compile(rf"(?:^|[.;\n]\s{{0,2}}){_NAME}\sfrom\s(?-i:[A-Z])", _I)
_OF_DEPARTMENT = re.compile(rf"(?<![\w'-]){_NAME}\s(?:in|from|at|with|\()\s?(?:the\s)?(?:{_DEPARTMENT})(?!\w)", _I)
_AGED = re.compile(rf"(?:^|[.;:!?\n]\s{{0,2}}|\b(?:re|for|on|with|consult|pt|patient)\s){_NAME},?\s(?={_AGE})", _I)
_APPOSED = re.compile(
    rf"(?<![\w'-]){_NAME},\s(?:his|her|their|pt'?s|the|my)\s(?:\w+\s)?{signs.RELATIVE_WORD}(?!\w)", _I
)
_KIN = re.compile(rf"(?<!\w){signs.RELATIVE_WORD},?\s\(?{_NAME}(?=\s(?:{_SAYS}|{_IS})(?![\w'])|[,.;)]|$)", _I)
_PAIR = re.compile(
    r"(?:^|[.:;\n]\s{0,2}|\b(?:consult|pt|patient|re|for|saw|is|named|with|by|per|from|about|on|see)\s)"
    r"(?P<name>(?P<first>[^\W\d_]{2,15})\s(?P<last>[^\W\d_]{2,20}))(?=[,;(]|\s[(\d]|$|\.\s|\.$|:|\s(?:today|yesterday|dob|mrn)\b)",
    _I,
)
_INITIALED = re.compile(rf"(?<![\w.'-])(?P<name>[^\W\d_]\.\s?(?P<last>[^\W\d_]{{3,20}}))(?=,?\s{_AGE})", _I)
_LAST_FIRST_AGED = re.compile(
    rf"(?<![\w'-])(?P<name>(?P<last>[^\W\d_]{{3,20}}),\s?(?P<first>[^\W\d_]{{2,15}}))(?=,?\s{_AGE})", _I
)
_FIRST_INITIAL = re.compile(
    rf"(?<![\w'-])(?P<name>(?P<first>[^\W\d_]{{3,15}})\s(?:[A-Z]\b\.?|(?i:[a-z]\.)))"
    rf"(?=,?\s{_AGE}|,?\s(?:{_SAYS}|{_IS})(?![\w'])|,?\s\d{{1,3}}\s|,?\s\d{{1,2}}/\d|:|\s/\s)"
)
_NAME_OF_TITLE = re.compile(rf"(?<![\w/-])(?:ms|miss|mr|mrs)\s{_NAME}(?=\s(?:{_SAYS}|{_IS})(?![\w'])|'s\s)", _I)
_AS_CALLED = re.compile(
    r"(?<![\w'-])(?P<name>[A-Z][\w'-]{2,15}),?\sas\s(?:we|they|i|everybody|everyone|staff|the\s(?:family|ward|nurses))\s(?:all\s)?call(?:s|ed)?"
    r"\s(?:him|her|them)(?!\w)"
)
_AFTER_PREPOSITION = re.compile(
    rf"\b(?:for|with|w/|by|per|from|re|about|of|d/w|to|on|and)\s{_NAME}(?=\s?(?:[,.;:?!)]|$)|"
    rf"\s(?:and|or|about|re|today|tonight|tomorrow|yesterday|who|is|was|has|says|said|if)\b)",
    _I,
)
_OWNED = re.compile(
    rf"'s\s(?:{signs.RELATIVE_WORD}|labs?|a1c|bp|hr|mri|ct|ekg|ecg|echo|xrays?|potassium|k|na|sodium|cr|creatinine|tsh|"
    r"inr|wbc|plt|plts|hgb|hb|ferritin|lipids|biopsy|pap|mammo\w*|scan|urine|ua|results?|dose|meds?|medications?|refills?|"
    r"chart|phone|number|appt|appointment|surgery|insurance|pharmacy|prescription|rx|[a-z]{4,}\slevels?|weight|family|"
    r"parents|house|allerg\w+|blood|sugars?|glucose|symptoms|pain|kids?|school|room|nurse|doctor)(?!\w)",
    _I,
)
_MODALS = frozenset({"may", "will"})
_NO_NAMES = frozenset(
    {"max", "dose", "page", "guy", "king", "dean", "bill", "pat", "art", "gene", "major", "see", "rob"}
)
"""Names whose word stands in such frames as well: ``max 8 weeks``, ``bill is``."""


def find(text: str) -> Iterator[Found]:
    """Names in those frames."""
    for pattern, kind, is_enough in _FRAMES:
        for match in pattern.finditer(text):
            word = match["name"]
            if _may_be(word) and is_enough(word, match) and not signs.EPONYM_AFTER.match(text, match.end("name")):
                yield match.start("name"), match.end("name"), kind
    for pattern in (_SUBJECT, _NO_MODAL):
        for match in pattern.finditer(text):
            if match["name"].lower() in _MODALS:
                yield match.start("name"), match.end("name"), T.PERSON
    for match in _AS_CALLED.finditer(text):
        yield match.start("name"), match.end("name"), T.PERSON
    for match in _NAME_OF_TITLE.finditer(text):
        if words.surname_share(match["name"]) >= 0.003 and not words.is_clinical(match["name"]):
            yield match.start("name"), match.end("name"), T.PATIENT
    for match in _PAIR.finditer(text):
        first, last = match["first"], match["last"]
        if _shared(first, last) and not any(map(words.is_clinical, (first, last))):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in _LAST_FIRST_AGED.finditer(text):
        first, last = match["first"], match["last"]
        if words.surname_share(last) >= 0.005 and words.first_name_share(first) >= 0.001:
            yield match.start("name"), match.end("name"), T.PERSON
    for match in _FIRST_INITIAL.finditer(text):
        first = match["first"]
        if words.first_name_share(first) >= 0.001 and not any(
            is_other(first) for is_other in (words.is_function_word, words.is_medical)
        ):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in _INITIALED.finditer(text):
        if words.is_surname(match["last"]) and not words.is_function_word(match["last"]):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in signs.WORD.finditer(text):
        word = match.group().removesuffix("'s")
        if (_is_sure_surname(word) or _is_double(word)) and not signs.EPONYM_AFTER.match(text, match.end()):
            yield match.start(), match.start() + len(word), T.PERSON


def joined(text: str, found: Sequence[Found]) -> Iterator[Found]:
    """What goes with a name that was found: ``ortiz and nguyen``, ``crystal m.``, ``will parker``."""
    for start, end, kind in found:
        if kind not in (T.PERSON, T.PATIENT, T.CLINICIAN, T.RELATIVE):
            continue
        for pattern, is_before in ((_AND, False), (_BEFORE_AND, True)):
            near = pattern.search(text, max(0, start - 30), start) if is_before else pattern.match(text, end)
            if near is not None and _may_be(near["name"]) and words.name_likeness(near["name"]) > -6.6:
                yield near.start("name"), near.end("name"), kind
        initial = _INITIAL.match(text, end)
        if initial is not None and " " not in text[start:end]:
            yield start, initial.end("initial"), kind
        modal = _MODAL_FIRST.search(text, max(0, start - 5), start)
        if modal is not None and _ENDS.match(text, end):
            yield modal.start("name"), end, kind


_AND = re.compile(rf"\s?(?:and|&|/|or)\s?(?:dr\.?\s|mr\.?\s|mrs\.?\s|ms\.?\s)?{_NAME}(?!\w)", _I)
_BEFORE_AND = re.compile(rf"(?<![\w'-]){_NAME}\s?(?:and|&|/)\s?(?:dr\.?\s|mr\.?\s|mrs\.?\s|ms\.?\s)?$", _I)
_INITIAL = re.compile(
    rf"\s(?P<initial>[A-Z]\.?(?=[,;:)]|\s[a-z(\d]|\s?$)|[a-z]\.(?=\s|$)|[a-z](?=\s(?:{_SAYS}|needs|is|has|was)\b))"
)
_MODAL_FIRST = re.compile(r"(?<![\w'-])(?P<name>will|may|june|april|august|art|rich|hope|young)\s$", _I)
_ENDS = re.compile(
    r"\s?(?:[,.;:(]|$)|\s(?:today|yesterday|is|was|has|who|with|on|about|for|in|at|and|\d|says|said)\b", _I
)


def _may_be(word: str) -> bool:
    key = words.plain(word)
    return (
        not words.is_function_word(word)
        and not words.is_clinical(word)
        and key not in signs.MONTHS
        and not re.fullmatch(_DEPARTMENT, key)
        and (words.is_first_name(word) or words.is_surname(word))
    )


def _is_plain_name(word: str) -> bool:
    """Whether a word is a name and no word of the dictionary."""
    return words.is_name(word) and not words.is_dictionary_word(word) and not words.is_eponym(word)


_IS_AGED = re.compile(r",\s\(?\d{1,3},|,?\s\(?\d{1,3}(?:\s?-?(?:[mf]\b|y)|\sthey)", _I)


def _is_aged(word: str, match: re.Match[str]) -> bool:
    """An eponym before a number may be a score: ``Braden 14``."""
    if words.is_eponym(word) and not _IS_AGED.match(_after(match)):
        return False
    return _at_least(-8.0)(word, match)


def _after(match: re.Match[str]) -> str:
    return match.string[match.end("name") : match.end("name") + 20]


def _at_least(least: float) -> Callable[[str, re.Match[str]], bool]:
    def is_enough(word: str, match: re.Match[str]) -> bool:
        if words.plain(word) in _NO_NAMES or len(word) < (3 if word[0].isupper() else 4):
            return len(word) > 2 and _is_plain_name(word)
        return words.name_likeness(word) > least

    return is_enough


def _capital_or(least: float, otherwise: float) -> Callable[[str, re.Match[str]], bool]:
    """Whether it is a name: a capital amid lower case says something too."""

    def is_enough(word: str, match: re.Match[str]) -> bool:
        capital = word[0].isupper() and word[1:].islower() and match.start("name") > 0
        if not capital and words.plain(word) in _NO_NAMES:
            return False
        if words.is_eponym(word) and not words.is_sure_first_name(word):
            return False
        return words.name_likeness(word) > (least if capital else otherwise)

    return is_enough


def _owns(word: str, match: re.Match[str]) -> bool:
    if _OWNED.match(match.string, match.end("name")):
        return words.name_likeness(word) > -8.0
    return words.plain(word) not in _NO_NAMES and not words.is_eponym(word) and words.name_likeness(word) > -7.4


def _is_object(word: str, match: re.Match[str]) -> bool:
    if match["sure"] is not None:
        return words.name_likeness(word) > -7.2
    return _is_plain_name(word)


def _is_of_department(word: str, match: re.Match[str]) -> bool:
    return not words.is_dictionary_word(word) or words.is_sure_first_name(word) or words.first_name_share(word) >= 0.005


def _is_after_preposition(word: str, match: re.Match[str]) -> bool:
    return len(word) > 3 and _is_plain_name(word) and not words.is_place(word)


def _is_relative(word: str, match: re.Match[str]) -> bool:
    return words.first_name_share(word) >= 0.001 and words.name_likeness(word) > -7.2


def _shared(first: str, last: str) -> bool:
    if words.is_function_word(last) or (words.is_function_word(first) and first.lower() not in _MODALS):
        return False
    return (
        words.first_name_share(first) >= 0.003
        and words.surname_share(last) >= 0.005
        and words.name_likeness(first) > -7.3
        and not words.is_place(f"{first} {last}")
        and not words.is_eponym(last)
    )


def _is_sure_surname(word: str) -> bool:
    """Whether a word is a surname and nothing else, a common one or with a capital: ``nguyen``, ``Okeke``."""
    capital = word[0].isupper() and word[1:].islower()
    return (
        len(word) > 3
        and words.surname_share(word) >= (0.0001 if capital else 0.005)
        and words.name_likeness(word) > (-6.3 if capital else -5.6)
        and _is_plain_name(word)
        and not words.is_clinical(word)
        and not words.is_place(word)
    )


def _is_double(word: str) -> bool:
    """Whether a word is two surnames, of which one at least is no word: ``ashdown-price``."""
    parts = word.split("-")
    return (
        len(parts) == 2
        and all(len(part) > 3 and words.is_surname(part) and not words.is_medical(part) for part in parts)
        and not any(map(words.is_eponym, parts))
        and not any(map(words.is_function_word, parts))
        and not all(map(words.is_dictionary_word, parts))
    )


_FRAMES: tuple[tuple[re.Pattern[str], T, Callable[[str, re.Match[str]], bool]], ...] = (
    (_SUBJECT, T.PERSON, _capital_or(-8.2, -7.6)),
    (_SUBJECT_IS, T.PERSON, _capital_or(-6.9, -6.3)),
    (_OWNER, T.PERSON, _owns),
    (_INVERTED, T.PERSON, _at_least(-7.5)),
    (_OBJECT, T.PERSON, _is_object),
    (_SENT_HOME, T.PERSON, _at_least(-7.2)),
    (_FROM_TOWN, T.PERSON, lambda word, _: words.first_name_share(word) >= 0.02),
    (_OF_DEPARTMENT, T.CLINICIAN, _is_of_department),
    (_AGED, T.PATIENT, _is_aged),
    (_APPOSED, T.RELATIVE, _is_relative),
    (_KIN, T.RELATIVE, _is_relative),
    (_AFTER_PREPOSITION, T.PERSON, _is_after_preposition),
)
