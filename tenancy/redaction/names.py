"""Finds people's names: by what stands before or after them, by first name and surname together, and initials."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.labelled import Found
from tenancy.redaction.lexicon import word_set

_TOKEN = re.compile(
    r"(?P<initials>(?:[A-Z]\.\s?){1,3}(?=[A-Z]))|(?P<word>[^\W\d_](?:[^\W\d_]|['-](?=[^\W\d_]))*+(?!\w))"
)
_GAP = re.compile(r"[ \t]{1,3}|(?<=\.)(?=[A-Z])|,\s{0,2}(?=(?:jr|sr|ii|iii|iv)\b)", re.IGNORECASE)
_PARTICLES = frozenset(
    [
        "de",
        "la",
        "van",
        "von",
        "der",
        "den",
        "del",
        "della",
        "di",
        "da",
        "dos",
        "das",
        "du",
        "le",
        "bin",
        "ibn",
        "al",
        "el",
        "abu",
        "st",
        "mc",
        "mac",
        "o",
        "ter",
        "ten",
        "y",
        "e",
    ]
)
_MOST_WORDS = 5
WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['-](?=[^\W\d_]))*")

_TITLE = re.compile(
    r"(?<![\w/-])(?P<title>dr|drs|doctor|doc|mr|mrs|ms|miss|mx|mister|missus|prof|professor|"
    r"nurse|sister|brother|father|fr|rev|reverend|pastor|rabbi|imam|chaplain|judge|officer|"
    r"ofc|detective|det|sgt|sergeant|capt|captain|lt|col|attorney|atty|sir|madam|dame|"
    r"nurse\spractitioner|np|pa-?c?|rn|lpn|cna|midwife|coach|senor|señor|senora|señora|sra|"
    r"sr)(?P<dot>\.?)[ \t]{1,2}(?=[^\W\d_])|(?<![\w/-])(?P<glued>dr|mr|mrs|ms|"
    r"prof)\.(?=[A-Za-z])",
    re.IGNORECASE,
)
_TITLE_TYPES = {
    "mr": T.PATIENT,
    "mrs": T.PATIENT,
    "ms": T.PATIENT,
    "miss": T.PATIENT,
    "mx": T.PATIENT,
    "mister": T.PATIENT,
}
_CLINICAL_TITLES = frozenset(
    {
        "dr",
        "drs",
        "doctor",
        "doc",
        "nurse",
        "np",
        "pa",
        "pa-c",
        "rn",
        "lpn",
        "cna",
        "prof",
        "professor",
        "midwife",
        "nurse practitioner",
    }
)
_WEAK_TITLES = word_set("weak_titles.txt")
_NOT_AFTER_TITLE = word_set("not_after_titles.txt")
_CREDENTIAL = re.compile(
    r"(?P<names>(?:(?:[A-Z]\.\s?){1,2}|[A-Z][\w'-]{1,24}\s)(?:(?:[A-Z]\.?|[A-Z][\w'-]{1,"
    r"24})\s){0,3}?[A-Z][\w'-]{1,24}|[A-Z][\w'-]{1,24}),?\s(?:M\.?D|D\.?O|R\.?N|BSN|MSN|N\.?P|"
    r"PA-?C?|Ph\.?D|D\.?D\.?S|DMD|DPM|DPT|OTR|LCSW|LPC|CRNA|FNP|APRN|CNM|CNS|PharmD|RPh|MBBS|"
    r"FACC|FACS|LPN|CNA|PsyD|M\.?S\.?W|RD|RDN|EMT-?P?)(?![\w-])"
)
_LABEL = re.compile(
    r"(?<![\w/])(?P<cue>(?:pt|patient|client|full|legal|maiden|first|last|middle|family|given|"
    r"preferred|birth|sur|baby|mother'?s?|father'?s?|spouse'?s?)?'?s?\s?name[sd]?(?:\s(?:is|"
    r"was))?|surname|nickname(?:d|\sis)?|alias|a\.?k\.?a\.?|goes\sby|known\s(?:as|to\s(?:us|"
    r"me)\sas)|formerly|née|nee|"
    r"called(?=\s[A-Z])|my\sname\sis|i\sam|i'm|this\sis|"
    r"emergency\scontact|contact(?:\sperson|\sname)?(?=\s?:)|n\.?o\.?k|next\sof\skin|poa|dpoa|"
    r"power\sof\sattorney|hcp|proxy|guardian|conservator|lawyer|signed(?:\sby)?|"
    r"e-?signed(?:\sby)?|electronically\ssigned\sby|signature|sincerely|regards|cheers|"
    r"thanks(?:\sagain)?|thank\syou|thx|ty|dictated\sby|transcribed\sby|author(?:ed\sby)?|"
    r"entered\sby|verified\sby|reviewed\s(?:by|with)|"
    r"attn|attention|cc|re|subject|regarding|for|about|on|from|to|dear|hi|hello|"
    r"hey)(?![^\W_])(?:\s{0,2}[:=,-]{1,2}|\s(?:is|was|of|by)\b)?\s{0,2}(?:(?:is|named|my|our|"
    r"the)\s)?(?:pt\.?\s|patient\s)?[\"'(]?",
    re.IGNORECASE,
)
_SURE_LABEL = re.compile(
    r"name|nick|alias|a\.?k\.?a|goes\sby|known|contact|n\.?o\.?k\b|next\sof|poa|attorney|"
    r"signed|signature|sincerely|dictated|transcribed|entered|verified|author|attn|née|nee|"
    r"proxy|guardian|formerly",
    re.IGNORECASE,
)
_RE_LABEL = re.compile(
    r"^(?:re|subject|regarding|cc|dear|hi|hello|hey)\b|this\sis|i\sam|i'm|patient|pt\b|[:=]", re.IGNORECASE
)
_PERSON_CUE = re.compile(
    r"(?<![\w/])(?P<cue>(?:our|my|this|the|new|same|on|for|re|hi|with|see|seeing|saw|have|"
    r"a)?\s?(?:pts?|patients?|client|resident|inmate|veteran|member|subject|baby|infant|"
    r"newborn|twin|donor|recipient|bb|bg|babyboy|babygirl)\.?)(?:\s{0,2}[:=,#-]|\s(?:is|was|"
    r"named|called|name|aka|initials))?\s{1,2}(?:is\s|named\s|called\s)?[\"'(]?(?=[^\W\d_])",
    re.IGNORECASE,
)
_RELATIVE_WORD = (
    r"(?:wife|husband|spouse|partner|son|daughter|mother|mom|mum|mama|father|dad|papa|brother|"
    r"sister|sibling|aunt|uncle|cousin|niece|nephew|grand(?:mother|father|ma|pa|son|daughter|"
    r"child)|granny|nana|step(?:mother|father|mom|dad|son|daughter|brother|sister)|"
    r"mother-in-law|father-in-law|brother-in-law|sister-in-law|daughter-in-law|son-in-law|"
    r"fianc[eé]e?|girlfriend|boyfriend|gf|bf|ex-?wife|ex-?husband|friend|neighbou?r|roommate|"
    r"caregiver|caretaker|carer|aide|guardian|boss|supervisor|coworker|co-worker|colleague|"
    r"teacher|landlord|sitter|babysitter|twin|child|kid|hcp|interpreter|sponsor|chw|"
    r"case\s?worker|parole\sofficer|po)"
)
_RELATIVE = re.compile(
    rf"(?<!\w)(?P<cue>{_RELATIVE_WORD})(?:'s\sname)?(?:\s{{0,2}}[:=,(-]{{1,2}}|\s(?:is|was|"
    rf"named|called|name|is\snamed|whose\sname\sis|and\shcp|also\snamed))?\s{{1,2}}(?:named\s|"
    rf"called\s|is\s|name\sis\s)?[\"'(]?(?=[^\W\d_])|(?<!\w)(?P<tight>{_RELATIVE_WORD})\s?[(:,"
    rf"]\s?(?=[^\W\d_])",
    re.IGNORECASE,
)
_NAME_IS_RELATIVE = re.compile(
    rf"(?<![\w'])(?P<name>[A-Za-z][a-z'-]{{2,20}}),?\s(?:is\s)?(?:\(?(?:his|her|the|their|"
    rf"pt'?s|patient'?s|my)\s)(?:\w+\s)?{_RELATIVE_WORD}(?!\w)",
    re.IGNORECASE,
)
_CLINICIAN_CUE = re.compile(
    r"(?<![\w/])(?P<cue>(?:seen|followed|managed|referred|evaluated|treated|cared\sfor|"
    r"delivered|performed|operated\son|prescribed|ordered|placed|done|signed|cosigned|"
    r"supervised|accompanied|brought\sin|called|interviewed|examined|admitted|discharged|"
    r"recommended|started|approved|requested|given|sent|cleared|dropped\soff|driven|raised|"
    r"adopted)\s(?:by|from)|refer(?:red|ral)?\s(?:to|from)|under\s(?:the\scare\sof)?|care\sof|"
    r"c/o|per|d/w|dw|discussed\s(?:w/|with|by)|spoke\s(?:w/|with|to)|talked\s(?:with|to|w/)|"
    r"conversation\swith|met\swith|consult(?:ed)?(?:\swith)?|paged|texted|emailed|messaged|"
    r"attending|pcp|provider|surgeon|(?:\w{4,16}olog|pediatric|psychiatr|obstetric|geriatric|"
    r"orthoped|physi)(?:ist|ian)|resident|intern|fellow|hospitalist|intensivist|np|midwife|"
    r"therapist|counsel+or|social\sworker|sw|case\smanager|cm|pharmacist|dietitian|"
    r"nutritionist|dentist|psychologist|podiatrist|chiropractor|optometrist|ask|tell|page|"
    r"message|notify|contact|inform|md|rn|nurse|doc|scribe|interpreter|mr\/mrs|"
    r"witness(?:ed\sby)?|lives?\swith|married\sto|divorced\sfrom|bff|caring\sfor|visited\sby|"
    r"w/|with|by|from|and|&|between|meet|says|when|while|if|that|does|did|is|was|has|can|"
    r"should|would)(?:\s{0,2}[:=,(-]{1,2})?\s{1,2}(?:is\s|was\s|named\s|the\s)?(?=[^\W\d_])",
    re.IGNORECASE,
)
_STRONG_CLINICIAN = re.compile(
    r"\sby$|d/w|dw|discussed|spoke|talked|attending|pcp|provider|surgeon|ist$|ian$|resident|"
    r"intern|fellow|\bnp\b|midwife|social|manager|c/o|paged|under|refer",
    re.IGNORECASE,
)
_INITIALS = re.compile(r"(?<![\w.])(?:[A-Z]\.\s?){1,2}[A-Z]\.(?!\w)(?!\s?[a-z]*\.[a-z])")
_INITIALS_LABEL = re.compile(
    r"(?<![\w])(?:(?:pt|patient)'?s?\.?\s)?(?:initials?)(?:\s{0,2}[:=-]|\s(?:are|is|of))?\s{0,"
    r"2}(?P<initials>(?:[A-Za-z][. ]{0,2}){2,4})(?![a-z])|(?<![\w])(?i:pt|patient|client|"
    r"resident|mr|mrs|ms|dr)\.?\s{1,2}(?P<bare>[A-Z]{2,3}|[A-Z])(?:\.|(?=\s?[,(]|\s\d{1,"
    r"3}\s?(?:y|[MFmf]\b)|\s(?:is\s)?an?\s\d{1,3}|\swho\b|\shas\b|\sis\b|$))",
)
_INITIALS_LABEL_ANY = re.compile(
    r"(?<![\w])initials?(?:\s{0,2}[:=-]|\s(?:are|is|of))?\s{0,2}(?P<initials>[A-Za-z](?:[. "
    r"]{0,2}[A-Za-z]){1,3})\.?(?![\w])",
    re.IGNORECASE,
)
_INITIALS_LOWER = re.compile(
    r"(?<![^\W_])(?:pt|patient|client)\.?\s(?P<initials>(?:[a-z]\.\s?){1,2}[a-z]\.)(?!\w)", re.IGNORECASE
)
_NOT_INITIALS = word_set("abbreviations.txt")
EPONYM_AFTER = re.compile(
    r"(?:'s|s'|-[A-Z][a-z]+)?\s?(?:'s\s)?(?:disease|syndromes?|sign|tests?|criteria|scores?|"
    r"scales?|index|class(?:ification)?|stag(?:e|ing)|grad(?:e|ing)|fractures?|palsy|"
    r"catheters?|tubes?|drain|line|clamp|forceps|tumou?rs?|sarcoma|lymphoma|anemia|chorea|"
    r"dementia|hernia|reflex(?:es)?|maneuver|manoeuvre|procedure|operation|repair|phenomenon|"
    r"esophagus|thyroiditis|contracture|cyst|nodules?|nodes?|bodies|body|cells?|"
    r"stain|rule|law|formula|equation|method|technique|position|protocol|diet|bandage|"
    r"dressing|splint|brace|collar|frame|pack|needle|speculum|valve|shunt|ring|pouch|fistula|"
    r"fundoplication|gland|duct|ligament|canal|space|triangle|point|triad|tetrad|pentad|"
    r"ulcers?|purpura|hemorrhage|granulomatosis|encephalopathy|arthropathy|neuropathy|ataxia|"
    r"aphasia|area|"
    r"agar|hook|retractor|scissors|monitor|lines|patches|plaques|deformity|dislocation|lesion|"
    r"infarct|angina|murmur|pulse|breathing|respirations?|contractions?|virus|fever|bacillus|"
    r"medium|system|questionnaire|inventory|interview|coma|study|trial|cohort|calculator|"
    r"nomogram|map|curve|plot|loop|mesh|rod|nail|plate|screw|pin|wires?|traction|cast|boot|"
    r"lift|bed|horse|heart|elbow|knee|finger|toe|thumb|foot|hip|shoulder|spine|law|principle|"
    r"ampulla)(?!\w)",
    re.IGNORECASE,
)
_AGE_AHEAD = re.compile(
    r"\s?(?:,|\()?\s?(?:is\s)?(?:an?\s)?\d{1,3}\s?-?(?:y/?o|yrs?|years?|y\.o|[mf]\b|m/o|mo\b|"
    r"male|female)|\s?[,(]?\s?(?:dob|mrn|ssn|#)|\s\d{1,3}\s?[mf]\b",
    re.IGNORECASE,
)
_LAST_FIRST = re.compile(
    r"(?<![\w'])(?P<last>[A-Z][\w'-]{1,24}|[a-z][\w'-]{2,24}),\s?(?P<first>[A-Za-z][\w'-]{1,"
    r"24})(?P<middle>\s[A-Z]\b\.?(?!\w)|\s[A-Z][a-z'-]{2,20})?(?!\w)"
)
_LAST_FIRST_BARE = re.compile(r"(?<![\w'])(?P<last>[^\W\d_][\w'-]{1,24})\s{1,2}(?P<first>[^\W\d_][\w'-]{1,24})(?!\w)")
_LAST_INITIAL = re.compile(r"\s[A-Z](?=\.|,|\)|\s(?:is|has|was|who)\b)")
_SUBJECT_IS = re.compile(r"(?:^|[.;:!?]\s)(?P<name>[A-Z][a-z'-]{2,20})\s(?=(?:is|has|was)\b)")
_SUBJECT = re.compile(
    r"(?:^|[.;!?]\s)(?P<name>[A-Z][a-z'-]{1,20})\s(?=(?:came|comes|presented|presents|"
    r"complain\w*|c/o|reports?|states?|denies|called|says|said|wants|asked|lives|works|fell|"
    r"tells|told|feels|felt|thinks|was\s(?:seen|admitted|discharged|born|brought)|"
    r"is\s(?:an?\s)?\d{1,3}|went|returned|stopped\staking|started\staking|takes|"
    r"has\sbeen\staking)\b)"
)
_HL7 = re.compile(r"(?<![\w^])[A-Za-z'-]{2,30}\^[A-Za-z'-]{1,30}(?:\^[A-Za-z'.-]{0,30}){0,4}")


def find(text: str) -> Iterator[Found]:
    """Every name of ``text``."""
    cased = any(character.islower() for character in text) and any(character.isupper() for character in text)
    found: list[Found] = [
        *_titled(text, cased),
        *_credentialled(text),
        *_cued(text, cased),
        *_initials(text),
        *_pairs(text, cased),
    ]
    for start, end, kind in found:
        if " " in text[start:end] or not EPONYM_AFTER.match(text, end) or not words.is_eponym(text[start:end]):
            yield start, end, kind
    for match in _HL7.finditer(text):
        yield match.start(), match.end(), T.PERSON


def _run(
    text: str, at: int, cased: bool, *, first_sure: bool = False, unknown: bool = True, most: int = _MOST_WORDS
) -> int:
    """Where the name ends that begins at ``at``; ``at`` where none does.

    ``first_sure``: its first word may be an ordinary word that is a surname too, or one that is in no list.
    ``unknown``: words that are in no list are taken.
    """
    end = place = at
    for index in range(most):
        token = _TOKEN.match(text, place)
        if token is None:
            break
        if token["initials"] is not None:
            place = token.end()
            continue
        word = token["word"]
        particle = word.lower() in _PARTICLES and _next_capital_or_name(text, token.end())
        single = len(word) == 1 and (word.isupper() or (index > 0 and text[token.end() : token.end() + 2] == ". "))
        if particle and not (index == 0 and word.lower() in ("al", "el", "la", "le", "o", "e", "y", "da", "st")):
            place = token.end()
        elif single and (
            index > 0 or text[token.end() : token.end() + 1] == "." or _next_capital_or_name(text, token.end())
        ):
            place = token.end() + (text[token.end() : token.end() + 1] == ".")
            if index > 0:
                end = place
        elif _is_part(
            word, cased, first=index == 0, sure=first_sure and index == 0, unknown=unknown, after_name=end > at
        ):
            place = end = token.end()
        else:
            break
        gap = _GAP.match(text, place)
        if gap is None:
            break
        place = gap.end()
    return end


def _next_capital_or_name(text: str, at: int) -> bool:
    following = re.compile(r"\.?\s{1,2}([^\W\d_][\w'-]+)").match(text, at)
    return (
        following is not None
        and not words.is_function_word(following[1])
        and (following[1][:1].isupper() or words.is_surname(following[1]))
    )


def _is_part(word: str, cased: bool, *, first: bool, sure: bool, unknown: bool, after_name: bool) -> bool:
    """Whether a word is part of a name where a name is expected."""
    capital = cased and word[0].isupper() and not (word.isupper() and len(word) < 4)
    if len(word) < 2 or words.is_clinical(word):
        return False
    if words.is_function_word(word):
        if sure and words.surname_share(word) >= 0.04:
            return True
        return capital and after_name and not word.isupper() and words.is_surname(word)
    if words.is_name(word):
        return True
    if sure:
        return capital or words.is_surname(word) or not words.is_ordinary(word)
    if words.is_ordinary(word) and not (capital and not words.is_dictionary_word(word) and words.zipf(word) < 4.5):
        return capital and not word.isupper() and words.is_surname(word) and after_name and words.zipf(word) < 5.6
    if not unknown:
        return False
    return capital or (not first and words.zipf(word) < 3.2 and after_name) or (first and words.is_strange(word))


def _titled(text: str, cased: bool) -> Iterator[Found]:
    for match in _TITLE.finditer(text):
        title = (match["title"] or match["glued"]).lower()
        following = WORD.match(text, match.end())
        if following is None or following.group().lower() in _NOT_AFTER_TITLE:
            continue
        written = match["title"] or match["glued"]
        capital = following.group()[0].isupper() and not following.group().isupper()
        dotted = match["dot"] == "." or match["glued"] is not None
        if (
            cased
            and written.isupper()
            and len(written) == 2
            and not dotted
            and title in ("mr", "ms", "np", "pa", "rn", "lt", "sr", "fr")
            and not (capital and words.is_surname(following.group()))
        ):
            continue
        weak = title in _WEAK_TITLES
        if title in ("sr", "fr", "lt", "col", "pa", "sir", "np") and not capital:
            continue
        if title == "ms" and not dotted and not capital and not words.is_name(following.group()):
            continue
        end = _run(
            text, match.end(), cased, first_sure=not weak or (capital and not words.is_ordinary(following.group()))
        )
        if end > match.end():
            kind = _TITLE_TYPES.get(title, T.CLINICIAN if title in _CLINICAL_TITLES else T.PERSON)
            yield match.end(), end, kind
            # "drs smith and jones"
            more = re.compile(r"\s?(?:and|&|/|,|or)\s?(?:dr\.?\s)?").match(text, end)
            if (
                title == "drs"
                and more
                and (last := _run(text, more.end(), cased, first_sure=True, most=2)) > more.end()
            ):
                yield more.end(), last, kind


def _credentialled(text: str) -> Iterator[Found]:
    for match in _CREDENTIAL.finditer(text):
        named = list(re.findall(r"[^\W\d_][\w'-]+", match["names"]))
        start = match.start("names")
        while named and (
            words.is_function_word(named[0])
            or words.is_clinical(named[0])
            or (words.is_ordinary(named[0]) and not words.is_surname(named[0]))
        ):
            start = text.index(named[0], start) + len(named[0])
            named = named[1:]
        if named and not all(words.is_ordinary(word) and not words.is_name(word) for word in named):
            yield start, match.end("names"), T.CLINICIAN


def _cued(text: str, cased: bool) -> Iterator[Found]:
    for pattern, kind in (
        (_PERSON_CUE, T.PATIENT),
        (_RELATIVE, T.RELATIVE),
        (_LABEL, T.PERSON),
        (_CLINICIAN_CUE, T.CLINICIAN),
    ):
        for match in pattern.finditer(text):
            cue = next(filter(None, (group for name, group in match.groupdict().items() if name in ("cue", "tight"))))
            sure = (pattern is _LABEL and _SURE_LABEL.search(cue) is not None) or bool(
                re.search(r"named\s|called\s|name\sis\s", match.group(), re.IGNORECASE)
            )
            weak = (pattern is _CLINICIAN_CUE and not _STRONG_CLINICIAN.search(cue)) or (
                pattern is _LABEL and not sure and not _RE_LABEL.search(match.group())
            )
            end = _run(text, match.end(), cased, first_sure=sure, unknown=True)
            if end > match.end():
                if _is_sound(text, match.end(), end, cased, sure, weak):
                    yield (
                        match.end(),
                        end,
                        T.PATIENT
                        if pattern is _LABEL and re.search(r"pt|patient|re|regarding", cue, re.IGNORECASE)
                        else kind,
                    )
            elif pattern is _PERSON_CUE or sure:
                end = _unlisted(text, match.end())
                if end > match.end():
                    yield match.end(), end, kind
    for match in _NAME_IS_RELATIVE.finditer(text):
        word = match["name"]
        if (
            words.is_first_name(word)
            and (words.is_name(word) or (word[0].isupper() and cased))
            and not words.is_function_word(word)
        ):
            yield match.start("name"), match.end("name"), T.RELATIVE


def _is_sound(text: str, start: int, end: int, cased: bool, sure: bool, weak: bool) -> bool:
    """Whether what follows a cue is a name: an everyday cue such as ``with`` needs more than a rare word."""
    named = WORD.findall(text[start:end])
    if sure or not named:
        return True
    if not weak:
        if len(named) == 1 and words.is_eponym(named[0]) and not _AGE_AHEAD.match(text, end):
            return (
                cased
                and named[0][0].isupper()
                and not words.is_place(named[0])
                and words.is_surname(named[0])
                and not EPONYM_AFTER.match(text, end)
            )
        if (
            len(named) == 1
            and not _AGE_AHEAD.match(text, end)
            and not words.is_surname(named[0])
            and not words.is_first_name(named[0])
        ):
            return cased and named[0][0].isupper() and not named[0].isupper() and words.is_strange(named[0])
        return any(
            words.is_name(word) or words.is_surname(word) or words.is_strange(word) or (cased and word[0].isupper())
            for word in named
        )
    if len(named) == 1:
        word = named[0]
        capital = cased and word[0].isupper() and not word.isupper()
        return not words.is_eponym(word) and (
            words.is_sure_first_name(word)
            if not capital
            else words.is_sure_first_name(word) or (words.is_name(word) and words.is_first_name(word))
        )
    return (
        any(words.is_first_name(word) for word in named[:1])
        and any(words.is_surname(word) for word in named[1:])
        and any(map(words.is_name, named))
    )


def _unlisted(text: str, at: int) -> int:
    """Where words end that are in no list, between ``pt`` and an age or a number: a name of whatever origin."""
    end = at
    for _ in range(3):
        word = WORD.match(text, end + (end > at and text[end : end + 1] == " "))
        if (
            word is None
            or words.is_function_word(word.group())
            or words.is_clinical(word.group())
            or len(word.group()) < 3
        ):
            break
        if words.is_ordinary(word.group()) and not (end > at and words.is_surname(word.group())):
            break
        if words.is_eponym(word.group()) and end == at:
            break
        end = word.end()
    return end if end > at and _AGE_AHEAD.match(text, end) else at


def _initials(text: str) -> Iterator[Found]:
    for match in _INITIALS.finditer(text):
        letters = re.sub(r"[^A-Z]", "", match.group())
        if letters.lower() not in _NOT_INITIALS and not EPONYM_AFTER.match(text, match.end()):
            yield match.start(), match.end(), T.PERSON
    for match in _INITIALS_LABEL.finditer(text):
        if (match["bare"] and match["bare"].lower() not in _NOT_INITIALS and len(match["bare"]) > 1) or (
            match["bare"] and len(match["bare"]) == 1 and text[match.end("bare") : match.end("bare") + 1] == "."
        ):
            yield match.start("bare"), match.end("bare"), T.PATIENT
    for match in _INITIALS_LOWER.finditer(text):
        yield match.start("initials"), match.end("initials"), T.PATIENT
    for match in _INITIALS_LABEL_ANY.finditer(text):
        yield match.start("initials"), match.end("initials"), T.PERSON


def _pairs(text: str, cased: bool) -> Iterator[Found]:
    """First name and surname side by side, or a first name that is nothing else."""
    tokens = list(WORD.finditer(text))
    for index, token in enumerate(tokens):
        word = token.group()
        if len(word) < 2 or not words.is_first_name(word) or words.is_function_word(word) or words.is_clinical(word):
            continue
        if text[token.start() - 1 : token.start()] in "-/" and token.start() > 0:
            continue
        capital = cased and word[0].isupper()
        if cased and word.isupper() and len(word) <= 4:
            continue
        follower = _follower(text, tokens, index)
        if follower is not None:
            surname = follower.group()
            if words.is_eponym(word) and words.is_eponym(surname):
                continue
            both_capital = capital and surname[0].isupper() and not (surname.isupper() and len(surname) < 4)
            named = words.is_name(word)
            if both_capital and (named or (words.is_name(surname) and not words.is_ordinary(word))):
                good = words.is_surname(surname) or not words.is_ordinary(surname)
            else:
                good = (
                    named
                    and not words.is_place(f"{word} {surname}")
                    and (
                        words.is_name(surname)
                        or (words.is_surname(surname) and words.zipf(surname) < 3.5)
                        or (words.zipf(surname) <= 1.5 and not words.is_ordinary(surname) and len(surname) > 3)
                    )
                )
            if (
                not good
                and words.is_sure_first_name(word)
                and words.is_surname(surname)
                and not words.is_clinical(surname)
            ):
                good = (
                    both_capital
                    or re.match(r"\s{0,2}(?:[,(.;:]|$)", text[follower.end() : follower.end() + 4]) is not None
                )
                if good and not EPONYM_AFTER.match(text, follower.end()):
                    yield token.start(), follower.end(), T.PERSON
                    continue
            if (
                good
                and not words.is_function_word(surname)
                and not words.is_clinical(surname)
                and not EPONYM_AFTER.match(text, follower.end())
            ):
                yield token.start(), _run_from(text, follower, cased), T.PERSON
                continue
        alone = words.is_sure_first_name(word) and not words.is_eponym(word)
        clear = capital or (not words.is_place(word) and words.name_likeness(word) > -5.6)
        if alone and clear and not EPONYM_AFTER.match(text, token.end()):
            initial = _LAST_INITIAL.match(text, token.end())
            yield token.start(), initial.end() if initial and capital else token.end(), T.PERSON
    yield from _subjects(text, cased)
    yield from _last_first(text)


def _subjects(text: str, cased: bool) -> Iterator[Found]:
    """A name that begins a sentence and does what people do: ``Aleks came in``."""
    for match in _SUBJECT.finditer(text):
        word = match["name"]
        if words.is_function_word(word) or words.is_clinical(word) or words.is_eponym(word):
            continue
        if words.is_first_name(word) or (cased and not words.is_dictionary_word(word) and words.zipf(word) < 4.2):
            yield match.start("name"), match.end("name"), T.PERSON
    for match in _SUBJECT_IS.finditer(text):
        word = match["name"]
        if words.is_function_word(word) or words.is_clinical(word) or words.is_eponym(word):
            continue
        if words.first_name_share(word) >= 0.02:
            yield match.start("name"), match.end("name"), T.PERSON


def _last_first(text: str) -> Iterator[Found]:
    """``Smith, John`` and, before an age or a number, ``Smith John``."""
    for match in _LAST_FIRST.finditer(text):
        last, first = match["last"], match["first"]
        if any(words.is_function_word(word) or words.is_clinical(word) for word in (last, first)):
            continue
        capital = last[0].isupper() and first[0].isupper()
        ahead = _AGE_AHEAD.match(text, match.end()) is not None
        surname = words.is_name(last) or (
            words.is_surname(last) and (ahead or (capital and not words.is_ordinary(last)))
        )
        given = words.is_first_name(first) and (words.is_name(first) or capital)
        if (
            ahead
            and capital
            and not any(words.is_dictionary_word(word) or words.is_place(word) for word in (last, first))
        ) or (surname and (given or (ahead and not words.is_ordinary(first) and not words.is_large_region(first)))):
            yield match.start(), match.end(), T.PERSON
    for match in _LAST_FIRST_BARE.finditer(text):
        last, first = match["last"], match["first"]
        if (
            (
                words.is_first_name(first)
                and words.is_surname(last)
                and not words.is_clinical(last)
                and not words.is_function_word(last)
            )
            and _AGE_AHEAD.match(text, match.end())
            and (words.is_name(first) or words.is_name(last))
        ):
            yield match.start(), match.end(), T.PERSON


def _run_from(text: str, follower: re.Match[str], cased: bool) -> int:
    return max(follower.end(), _run(text, follower.start(), cased, first_sure=True, unknown=False, most=3))


def _follower(text: str, tokens: list[re.Match[str]], index: int) -> re.Match[str] | None:
    """The word after a first name, past a middle initial or a particle."""
    for ahead in range(index + 1, min(index + 4, len(tokens))):
        between = text[tokens[ahead - 1].end() : tokens[ahead].start()]
        word = tokens[ahead].group()
        if not re.fullmatch(r"\.?[ \t]{1,2}|\.", between):
            return None
        if len(word) > 1 and word.lower() not in _PARTICLES:
            return tokens[ahead]
    return None
