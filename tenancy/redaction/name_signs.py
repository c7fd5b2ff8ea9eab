"""Holds the signs by which names are found: titles, labels, cues, what stands after a name and after an eponym."""

from __future__ import annotations

import re

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.lexicon import word_set

TOKEN = re.compile(
    r"(?P<initials>(?:[A-Z]\.\s?){1,3}(?=[A-Z]))|(?P<word>[^\W\d_](?:[^\W\d_]|['-](?=[^\W\d_]))*+(?!\w))"
)
GAP = re.compile(r"[ \t]{1,3}|(?<=\.)(?=[A-Z])|,\s{0,2}(?=(?:jr|sr|ii|iii|iv)\b)", re.IGNORECASE)
PARTICLES = frozenset(
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
        "ap",
        "bint",
        "binti",
        "binte",
        "bte",
        "nic",
        "ní",
        "ó",
        "ul",
        "ud",
        "vom",
        "zu",
        "zur",
    ]
)
MOST_WORDS = 5
WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['-](?=[^\W\d_]))*")
TITLE = re.compile(
    r"(?<![\w/-])(?P<title>dr|drs|doctor|doc|mr|mrs|ms|miss|mx|mister|missus|prof|professor|"
    r"s/n|staff\snurse|pak|bapak|ibu|encik|puan|herr|frau|monsieur|madame|mme|mlle|signora?|do[nñ]a|shri|smt|"
    r"alhaji|hajia|chief|sheikh|cpl|corporal|pvt|maj|cmdr|auntie?|aunty|uncle|t[ií]o|t[ií]a|"
    r"nurse|sister|brother|father|fr|rev|reverend|pastor|rabbi|imam|chaplain|judge|officer|"
    r"ofc|detective|det|sgt|sergeant|capt|captain|lt|col|attorney|atty|sir|madam|dame|"
    r"nurse\spractitioner|np|pa-?c?|rn|lpn|cna|midwife|coach|senor|señor|senora|señora|sra|"
    r"sr)(?P<dot>\.?)[ \t]{1,2}(?=[^\W\d_])|(?<![\w/-])(?P<glued>dr|mr|mrs|ms|"
    r"prof)\.(?=[A-Za-z])",
    re.IGNORECASE,
)
TITLE_TYPES = {
    "mr": T.PATIENT,
    "mrs": T.PATIENT,
    "ms": T.PATIENT,
    "miss": T.PATIENT,
    "mx": T.PATIENT,
    "mister": T.PATIENT,
}
CLINICAL_TITLES = frozenset(
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
        "s/n",
        "staff nurse",
    }
)
WEAK_TITLES = word_set("weak_titles.txt")
NOT_AFTER_TITLE = word_set("not_after_titles.txt")
CREDENTIAL = re.compile(
    r"(?P<names>(?:(?:[A-Z]\.\s?){1,2}|[A-Z][\w'-]{1,24}\s)(?:(?:[A-Z]\.?|[A-Z][\w'-]{1,"
    r"24})\s){0,3}?[A-Z][\w'-]{1,24}|[A-Z][\w'-]{1,24}),?\s(?:M\.?D|D\.?O|R\.?N|BSN|MSN|N\.?P|"
    r"PA-?C?|Ph\.?D|D\.?D\.?S|DMD|DPM|DPT|OTR|LCSW|LPC|CRNA|FNP|APRN|CNM|CNS|PharmD|RPh|MBBS|"
    r"FACC|FACS|LPN|CNA|PsyD|M\.?S\.?W|RD|RDN|EMT-?P?)(?![\w-])"
)
LABEL = re.compile(
    r"(?<![\w/])(?:(?:pt|patient|client|full|legal|maiden|first|last|middle|family|given|"
    r"preferred|birth|sur|baby|mother'?s?|father'?s?|spouse'?s?)?'?s?\s?name[sd]?"
    r"(?!\s(?:the|an?|one|two|three|four|five|some|any|all|each|every)\b)(?:\s(?:is|was))?|surname|nickname(?:d|\sis)?|alias|a\.?k\.?a\.?|goes\sby|known\s(?:as|to\s(?:us|"
    r"me)\sas)|formerly|née|nee|"
    r"emergency\scontact|contact(?:\sperson|\sname)?(?=\s?:)|n\.?o\.?k|next\sof\skin|d?poa|"
    r"power\sof\sattorney|proxy|guardian|(?:e-?|electronically\s)?signed(?:\sby)?|"
    r"signature|sincerely|(?:dictated|transcribed|author(?:ed)?|entered|verified)\sby|attn)"
    r"(?![^\W_])(?:\s{0,2}[:=,-]{1,2}|\s(?:is|was|of|by)\b)?\s{0,2}(?:(?:is|named|my|our|"
    r"the)\s)?(?:pt\.?\s|patient\s)?[\"'(]?",
    re.IGNORECASE,
)
PERSON_CUE = re.compile(
    r"(?<![\w/])(?P<cue>(?:our|my|this|the|new|same|on|for|re|hi|with|see|seeing|saw|have|"
    r"a)?\s?(?:pts?|patients?|client|resident|inmate|veteran|member|subject|baby\s(?:boy|girl)|"
    r"babyboy|babygirl|baby|infant|newborn|twin(?:\s[ab12])?|donor|recipient|bb|bg)\.?)(?:\s{0,2}[:=,#-]|\s(?:is|was|"
    r"named|called|name|aka|initials))?\s{1,2}(?:is\s|named\s|called\s)?[\"'(]?(?!rose\s(?:from|to|up|out)\b)"
    r"(?=[^\W\d_])",
    re.IGNORECASE,
)
RELATIVE_WORD = (
    r"(?:wife|husband|spouse|partner|son|daughter|mother|mom|mum|mama|father|dad|papa|brother|"
    r"sister|sibling|aunt|uncle|cousin|niece|nephew|grand(?:mother|father|ma|pa|son|daughter|"
    r"child)|granny|nana|step(?:mother|father|mom|dad|son|daughter|brother|sister)|"
    r"mother-in-law|father-in-law|brother-in-law|sister-in-law|daughter-in-law|son-in-law|"
    r"fianc[eé]e?|girlfriend|boyfriend|gf|bf|ex-?wife|ex-?husband|friend|neighbou?r|roommate|"
    r"caregiver|caretaker|carer|aide|guardian|boss|supervisor|coworker|co-worker|colleague|"
    r"teacher|landlord|sitter|babysitter|twin|child|kid|hcp|interpreter|sponsor|chw|"
    r"case\s?worker|parole\sofficer|po)"
)
RELATIVE = re.compile(
    rf"(?<!\w)(?P<cue>{RELATIVE_WORD})(?:'s\sname)?(?:\s{{0,2}}[:=,(-]{{1,2}}|\s(?:is|was|"
    rf"named|called|name|is\snamed|whose\sname\sis|and\shcp|also\snamed))?\s{{1,2}}(?:named\s|"
    rf"called\s|is\s|name\sis\s)?[\"'(]?(?=[^\W\d_])|(?<!\w)(?P<tight>{RELATIVE_WORD})\s?[(:,"
    rf"]\s?(?=[^\W\d_])",
    re.IGNORECASE,
)
NICKNAMED = re.compile(
    r"(?<!\w)(?P<name>junior|senior|sonny|bubba|buddy|sis|missy|pops|trey|bud),?\s(?:is\s)?"
    rf"(?:her|his|their|the\spatient's|pt's)\s(?:\w+\s)?{RELATIVE_WORD}(?!\w)",
    re.IGNORECASE,
)
"""Words that somebody is called by at home: ``junior, her son``."""
BEFORE_AGE = re.compile(r"(?:^|[.;:\n]\s{0,2})(?P<name>[^\W\d_]{3,15}),\s\d{1,3},\s(?=[^\W\d_])")
"""What begins a sentence, before an age between commas: ``hunter, 9, adhd``."""
INITIALS = re.compile(r"(?<![\w.])(?:[A-Z]\.\s?){1,2}[A-Z]\.(?!\w)(?!\s?[a-z]*\.[a-z])")
INITIAL_TITLED = re.compile(
    r"(?<!\w)(?i:dr|doctor|mr|mrs|miss|prof|nurse|sister)\.?\s(?P<initial>[A-Z])(?![\w'\u2019-]|\.\w)"
)
INITIALS_LABEL_ANY = re.compile(
    r"(?<![\w])initials?(?:\s{0,2}[:=-]|\s(?:are|is|of))?\s{0,2}(?P<initials>[A-Za-z](?:[. "
    r"]{0,2}[A-Za-z]){1,3})\.?(?![\w])",
    re.IGNORECASE,
)
INITIALS_LOWER = re.compile(
    r"(?<![^\W_])(?:pt|patient|client)\.?\s(?P<initials>(?:[a-z]\.\s?){1,2}[a-z]\.)(?!\w)", re.IGNORECASE
)
INITIALS_AGED = re.compile(
    r"(?:^|[.;:]\s|\b(?i:re|for|on)\s)(?:(?P<initials>[A-Z]{2,3})(?:,|\sis\san?)|(?P<dotted>[A-Za-z]\.[A-Za-z](?:\.[A-Za-z])?\.?),?)\s"
    r"(?=\d{1,3}(?:\s?-?(?:[MFmf]\b|y/?o\b|y\.o)|,))"
)
INITIALS_OF_STAFF = re.compile(
    r"(?<!\w)(?:[Ss]igned(?:\s?off|\sout)?|(?i:co-?signed|approved|entered|dictated|verified|witnessed|transcribed|typed|"
    r"countersigned|double-?checked))\sby:?\s(?P<signed>[A-Z]{2})(?![\w/-])|"
    r"(?<!\w)(?:[Pp]er|[Dd]/w|[Dd]iscussed\sw(?:/|ith)|[Dd]\.w\.?|[Ss]poke\sw(?:/|ith))\s(?P<asked>[A-Z]{2})(?![\w/-]|\s(?:protocol|policy|guidelines?|criteria|pathway|bundle|score|trial)\b)|"
    r"(?:^|[.;:\n]\s{0,2})(?P<said>[A-Z]{2})\s(?:said|says|told|asked|thinks|thought|wants|wanted)(?!\w)"
)
"""Two letters of who signed, was asked or said: ``cosigned by LB``, ``d/w KM``. Those of a service are left alone."""
NO_STAFF_INITIALS = word_set("wards_and_routes.txt")
"""What two letters beside a cue stand for in a ward: professions, services, routes, units."""
NOT_INITIALS = word_set("abbreviations.txt")
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
    r"infarct|angina|paralysis|paresis|protein|jaundice|o?edema|effusion|neuralgia|migraine|seizures?|"
    r"aneurysm|encephalitis|oil|bundle|fibers?|plexus|membrane|facies|gait|rash|spots?|cris[ei]s|cushion|mattress|suture|"
    r"flap|graft|approach|incision|osteotomy|view|waves?|block|stent|filter|regimen|antigen|balloon|"
    r"nomogram|needle|collar|chart|retractor|cuff|table|mask|suction|bottle|pump|staging|lens|murmur|"
    r"pulse|breathing|respirations?|contractions?|virus|fever|bacillus|"
    r"medium|system|questionnaire|inventory|interview|coma|study|trial|cohort|calculator|"
    r"nomogram|map|curve|plot|loop|mesh|rod|nail|plate|screw|pin|wires?|traction|cast|boot|"
    r"lift|bed|horse|heart|elbow|knee|finger|toe|thumb|foot|hip|shoulder|spine|law|principle|"
    r"ampulla|sequence|lesions|infarcts|effusions|deformit(?:y|ies)|dislocations|anomal(?:y|ies)|malformations?)(?!\w)",
    re.IGNORECASE,
)
_CLASSED = re.compile(
    r" (?:[a-d](?=[\s,.;]|$)(?! \d)|c\d{1,2}m\d{1,2}|[1-5][a-f]?(?=[\s,.;?]|$)(?! ?(?:y|mo|wk|week|day|hour|hr|min))|"
    r"I{2,3}[a-c]?\b|"
    r"(?:[6-9]|1\d|2[0-3])(?!\d|/|\s?-?(?:y|[mf]\b|mo|wk|week|day|h|min|male|fem|they|she|nb)))",
    re.IGNORECASE,
)
"""``Weber B``, ``Barrett's C3M5``, ``Gustilo 3b``, ``Braden 14``: what is no age and no initial behind an eponym."""


_SURELY_CLASSED = re.compile(r" (?:I{1,3}|IV|VI?)[a-d](?!\w)")


def is_classed(text: str, start: int, end: int) -> bool:
    """Whether an eponym that is hardly a first name has its class or score after it."""
    word = text[start:end].removesuffix("'s")
    if _SURELY_CLASSED.match(text, end):
        return True
    return words.is_eponym(word) and words.first_name_share(word) < 0.02 and _CLASSED.match(text, end) is not None


AGE_AHEAD = re.compile(
    r"\s?(?:,|\()?\s?(?:is\s)?(?:an?\s|the\s)?\d{1,3}\s?-?(?:y/?o|yrs?|years?|y\.o|[mf]\b|m/o|mo\b|"
    r"male|female)|\s?[,(]?\s?(?:dob|mrn|ssn|#)|\s\d{1,3}\s?[mf]\b",
    re.IGNORECASE,
)
HL7 = re.compile(r"(?<![\w^])[A-Za-z'-]{2,30}\^[A-Za-z'-]{1,30}(?:\^[A-Za-z'.-]{0,30}){0,4}")
