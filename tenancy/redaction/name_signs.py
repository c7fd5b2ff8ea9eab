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
MONTHS = frozenset({"april", "may", "june", "august"})
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
    r"(?<![\w/])(?P<cue>(?:pt|patient|client|full|legal|maiden|first|last|middle|family|given|"
    r"preferred|birth|sur|baby|mother'?s?|father'?s?|spouse'?s?)?'?s?\s?name[sd]?"
    r"(?!\s(?:the|an?|one|two|three|four|five|some|any|all|each|every)\b)(?:\s(?:is|was))?|surname|nickname(?:d|\sis)?|alias|a\.?k\.?a\.?|goes\sby|known\s(?:as|to\s(?:us|"
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
SURE_LABEL = re.compile(
    r"name|nick|alias|a\.?k\.?a|goes\sby|known|contact|n\.?o\.?k\b|next\sof|poa|attorney|"
    r"signed|signature|sincerely|dictated|transcribed|entered|verified|author|attn|née|nee|"
    r"proxy|guardian|formerly",
    re.IGNORECASE,
)
RE_LABEL = re.compile(
    r"^(?:re|subject|regarding|cc|dear|hi|hello|hey)\b|this\sis|i\sam|i'm|patient|pt\b|[:=]", re.IGNORECASE
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
RELATIVE_IN_BRACKETS = re.compile(rf"(?<!\w){RELATIVE_WORD}\s?\((?P<name>[A-Za-z'-]{{2,20}})[),]", re.IGNORECASE)
NAME_IS_RELATIVE = re.compile(
    rf"(?<![\w'])(?P<name>[A-Za-z][a-z'-]{{2,20}}),?\s(?:is\s)?(?:\(?(?:his|her|the|their|"
    rf"pt'?s|patient'?s|my)\s)(?:\w+\s)?{RELATIVE_WORD}(?!\w)",
    re.IGNORECASE,
)
CLINICIAN_CUE = re.compile(
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
    r"should|would)(?:\s{0,2}\((?=[^\W\d_])|(?:\s{0,2}[:=,(-]{1,2})?\s{1,2})(?:is\s|was\s|named\s|the\s)?(?=[^\W\d_])",
    re.IGNORECASE,
)
STRONG_CLINICIAN = re.compile(
    r"\sby$|d/w|dw|discussed|spoke|talked|attending|pcp|provider|surgeon|ist$|ian$|resident|"
    r"intern|fellow|\bnp\b|midwife|social|manager|c/o|paged|under|refer",
    re.IGNORECASE,
)
INITIALS = re.compile(r"(?<![\w.])(?:[A-Z]\.\s?){1,2}[A-Z]\.(?!\w)(?!\s?[a-z]*\.[a-z])")
INITIALS_LABEL = re.compile(
    r"(?<![\w])(?:(?:pt|patient)'?s?\.?\s)?(?:initials?)(?:\s{0,2}[:=-]|\s(?:are|is|of))?\s{0,"
    r"2}(?P<initials>(?:[A-Za-z][. ]{0,2}){2,4})(?![a-z])|(?<![\w])(?i:pt|patient|client|"
    r"resident|mr|mrs|ms|dr)\.?\s{1,2}(?P<bare>[A-Z]{2,3}|[A-Z])(?:\.|(?=\s?[,(]|\s\d{1,"
    r"3}\s?(?:y|[MFmf]\b)|\s(?:is\s)?an?\s\d{1,3}|\swho\b|\shas\b|\sis\b|$))",
)
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
    r"aneurysm|bundle|fibers?|plexus|membrane|facies|gait|rash|spots?|cris[ei]s|cushion|mattress|suture|"
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
BEFORE_AGE = re.compile(
    r"(?<![\w'-])(?P<name>[A-Z][a-z'-]{1,20}),?\s\(?\d{1,3}\s?-?(?:[MFmf]\b|y/?o|y\.o|yrs?\b|"
    r"year)(?!\w*\s(?:ago|hist|of\s))"
)
BEFORE_WEEKS = re.compile(r"(?:^|[.;:]\s)(?P<name>[A-Z][a-z'-]{2,20}),?\s(?=\d{1,2}\s?(?:wks?|weeks?|w\d?d?)\b)")
AFTER_ROOM = re.compile(
    r"\b(?:[Rr](?:oo)?m|ROOM|RM|[Bb]ed|BED|[Bb]ay|in)\s#?(?:\[ID-1\]|"
    r"\d{1,4}-?[A-Za-z]?)[,:]?\s{1,2}(?P<name>[A-Z][a-z'-]{1,20})(?!\w)"
)
INITIAL_LAST = re.compile(
    r"(?<![\w.'-])(?<!\d\s)(?:[A-Z]\.\s?){1,2}"
    r"(?P<name>[A-Z][a-z']{1,20}(?:[A-Z][a-z]{1,20})?(?:-[A-Z][a-z]{1,20})?)(?![\w'-])"
)
BEFORE_ROOM = re.compile(
    r"(?<![\w'-])(?P<name>[A-Za-z][A-Za-z'-]{2,20}),?\s(?:in\s|-\s)?(?i:rm|room|bed|bay)\s?#?\s?(?:\d|\[ID-1\])"
)
LAST_INITIALED = re.compile(
    r"(?<![\w'-])(?P<name>[A-Za-z][\w'-]{2,24},\s?[A-Za-z]\b\.?)(?=,?\s\(?(?:\d{1,3}\s?-?(?:[MFmf]\b|y)|(?i:dob|mrn|id)\b))"
)
INITIALS_AGED = re.compile(
    r"(?:^|[.;:]\s|\b(?i:re|for|on)\s)(?P<name>[A-Z]{2,3}|(?:[A-Z]\.){2,3}),\s"
    r"(?=\d{1,3}\s?-?(?:[MFmf]\b|y/?o\b|y\.o))"
)
OWNER_LOWER = re.compile(r"(?<![\w'-])(?P<name>[a-z-]{3,20})'s(?!\w)")
LAST_FIRST = re.compile(
    r"(?<![\w'])(?P<last>[A-Z][\w'-]{1,24}|[a-z][\w'-]{2,24}),\s?(?P<first>[A-Za-z][\w'-]{1,"
    r"24})(?P<middle>\s[A-Z]\b\.?(?!\w)|\s[A-Z][a-z'-]{2,20})?(?!\w)"
)
LAST_FIRST_BARE = re.compile(r"(?<![\w'])(?P<last>[^\W\d_][\w'-]{1,24})\s{1,2}(?P<first>[^\W\d_][\w'-]{1,24})(?!\w)")
LAST_INITIAL = re.compile(r"\s(?:[A-Z](?=\.|,|\)|\s(?:is|has|was|who)\b)|[a-z](?=\.(?:$|[\s,;:)])|,|\)))")
OWNER = re.compile(r"(?<![\w'-])(?P<name>[A-Z][a-z-]{2,20})'s(?!\w)")
SUBJECT_IS = re.compile(r"(?:^|[.;:!?]\s)(?P<name>[A-Z][a-z'-]{2,20})\s(?=(?:is|has|was)\b)")
SUBJECT = re.compile(
    r"(?:^|[.;!?]\s)(?P<name>[A-Z][a-z'-]{1,20})\s(?=(?:came|comes|presented|presents|"
    r"complain\w*|c/o|reports?|states?|denies|called|says|said|wants|asked|lives|works|fell|"
    r"tells|told|feels|felt|thinks|was\s(?:seen|admitted|discharged|born|brought)|"
    r"is\s(?:an?\s)?\d{1,3}|went|returned|stopped\staking|started\staking|takes|"
    r"has\sbeen\staking)\b)"
)
HL7 = re.compile(r"(?<![\w^])[A-Za-z'-]{2,30}\^[A-Za-z'-]{1,30}(?:\^[A-Za-z'.-]{0,30}){0,4}")
