"""Finds numbers by the label that stands before them: ``mrn#00123``, ``policy no. XJ 4429``, ``plate 7abc123``.

A strong label is enough for any number after it. A weak one is an everyday word too (``case 3``, ``order 2 units``):
after it a number needs a sign (``#``, ``no``, ``:``) or the look of an identifier.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from schemas.base.redaction import IdentifierType as T

Found = tuple[int, int, T]


@dataclass(frozen=True)
class Label:
    type: T
    strong: bool
    pattern: str


_LABELS = (
    Label(
        T.SSN,
        True,
        r"national\s?insurance(?:\s?(?:number|no\.?|num|#))?|last\s(?:4|four)|ssn\d?|s\.s\.n\.?|ss\s?#|soc(?:ial)?\.?\s?sec(?:urity)?\.?(?:\s?(?:number|no\.?|num|"
        r"#))?|social\s?#?|sin\s?#|sin(?=[:\s]{1,2}(?:is\s)?\d{3}[ -]\d{3}[ -]\d{3}\b)|tin\s?#|itin|tfn|ppsn?",
    ),
    Label(
        T.MRN,
        True,
        r"e?mrns?|m\.r\.n\.?|mr\s?#|mr\s?no\b\.?|medical\s?rec(?:ord)?s?(?:\s?(?:number|no\.?|num|"
        r"#))?|med\.?\s?rec\.?|med\s?record|"
        r"chart\s?(?:#|no\b\.?|number|num\b|id\b)|hosp(?:ital)?\s?(?:#|no\b\.?|number|num\b|id\b)|"
        r"(?:pt|pat|patient)'?s?\.?\s?(?:#|no\b\.?|number|num\b|id\b|identifier)|"
        r"pid|emr\s?(?:#|id\b|no\b\.?|number)|ehr\s?(?:#|id\b|no\b\.?|number)|epic\s?(?:#|id\b|"
        r"mrn)|unit\s?(?:number|no\b\.?|#)|nhs\s?(?:#|no\b\.?|number)|e?mpi|record\s?(?:#|no\b\.?|"
        r"number|id\b)|medrec|hrn|umrn|uhid|urn|crn|cpi|upi|ipd|opd|ur\s?(?:#|no\b\.?|number)|(?:ip|op|hn|an)\s?(?:#|no\b\.?|number)|chi\s(?:#|no\b\.?|number)|ihi",
    ),
    Label(
        T.PLAN,
        True,
        r"mbi|hicn?|phn|ramq|(?:health|insurance|medical|benefits?)\s?card|member\s?(?:ship)?\s?(?:#|no\b\.?|number|num\b|id\b)|mem\s?(?:id|#)|memid|"
        r"subscriber(?:\s?(?:#|no\b\.?|number|num\b|id\b))?|sub\s?id|policy\s?(?:#|no\b\.?|number|"
        r"num\b|id\b)|"
        r"(?:health\s?)?plan\s?(?:#|no\b\.?|number|num\b|id\b)|ins(?:urance|ur)?\.?\s?(?:#|"
        r"no\b\.?|number|num\b|id\b|card)|(?:group|grp)\s?(?:#|no\b\.?|number|num\b|id\b)|"
        r"rx\s?(?:grp|group|bin|pcn|id)|"
        r"beneficiary(?:\s?(?:#|no\b\.?|number|num\b|id\b))?|claim\s?(?:#|no\b\.?|number|num\b|"
        r"id\b)|payer\s?(?:#|id\b)|prior\s?auth(?:orization)?(?:\s?(?:#|no\b\.?|number|num\b|"
        r"id\b))?|auth(?:orization)?\s?(?:#|no\b\.?|number|num\b|code)|"
        r"(?:medicare|medicaid|medi-?cal|tricare|champus|aetna|cigna|humana|uhc|"
        r"united\s?health(?:care)?|blue\s?cross|bcbs|blue\s?shield|kaiser|anthem|molina|centene|"
        r"wellcare|ambetter|oscar|hmo|ppo)(?:\s?(?:#|no\b\.?|number|num\b|id\b|member|policy|plan|"
        r"card))*",
    ),
    Label(
        T.ACCOUNT,
        True,
        r"acc(?:oun)?t\.?s?\s?(?:#|no\b\.?|number|num\b|id\b)|acct\.?|a/c|bank\s?(?:acct|account)|"
        r"checking|routing(?:\s?(?:#|number|no\b\.?))?|iban|invoice(?:\s?(?:#|no\b\.?|number|"
        r"id\b))?|bill(?:ing)?\s?(?:#|no\b\.?|number|id\b|acct|account)|guarantor\s?(?:#|no\b\.?|"
        r"number|id\b|acct|account)|"
        r"har|fin|financial\s?(?:#|number|no\b\.?)|statement\s?(?:#|no\b\.?|number)|(?:credit|"
        r"debit)\s?card|visa|mastercard|amex|card\s?(?:#|no\b\.?|number|ending)|hsa\s?(?:#|acct|"
        r"account|no\b\.?)",
    ),
    Label(
        T.VEHICLE,
        True,
        r"vin|vehicle\s?(?:#|id\b|ident(?:ification)?|no\b\.?|number)|(?:lic(?:en[sc]e)?\.?|"
        r"number|reg(?:istration)?\.?|car|vehicle)\s?(?:plates?|plt|tag)|plates?|lic\s?plt|"
        r"vehicle\s?reg(?:istration)?|car\s?reg(?:istration)?",
    ),
    Label(
        T.LICENCE,
        True,
        r"(?:drivers?'?s?'?|driving|medical|nursing|pharmacy|state|professional|pilots?'?|cdl|rn|"
        r"md|np|pa)\s?(?:lic|licen[sc]e|permit|cert(?:ificate)?)\.?|licen[sc]e\s?(?:#|no\b\.?|"
        r"number|num\b|id\b)|lic\.?\s?(?:#|no\b\.?|number)|lic#|dl\s?(?:#|no\b\.?|number)?|d\.l\.|"
        r"npi|dea|upin|cert(?:ificate|ification)?\.?\s?(?:#|no\b\.?|number|num\b|id\b)|passport|"
        r"state\s?id|green\s?card|visa\s?(?:#|number)|"
        r"a-?number|alien\s?(?:#|no\b\.?|number|reg\w*)|cdl|permit\s?(?:#|no\b\.?|number)|"
        r"registration\s?(?:#|no\b\.?|number)|birth\s?cert(?:ificate)?|death\s?cert(?:ificate)?",
    ),
    Label(
        T.DEVICE,
        True,
        r"serial(?:\s?(?:#|no\b\.?|number|num\b))?|ser\.?\s?(?:#|no\b\.?)|s/n|sn\s?[#:]|"
        r"sn(?=\s?[A-Z]{0,3}\d{4})|udi|imei|meid|mac\s?(?:address|addr|id)|device\s?(?:#|id\b|"
        r"ident\w*|no\b\.?|number|serial|sn)|implant\s?(?:#|id\b|no\b\.?|number|serial|sn|card)|"
        r"(?:pump|pacemaker|ppm|icd|generator|lead|cgm|sensor|transmitter|meter|vad|lvad|"
        r"stimulator|prosthesis|valve|monitor|inverter|ventilator|cpap)\s?(?:sn|s/n|serial|id|#|"
        r"no\b\.?|number)|lot\s?(?:#|no\b\.?|number)|asset\s?(?:tag|#|id)|model\s?(?:#|no\b\.?|"
        r"number)|udid|gtin",
    ),
    Label(
        T.BIOMETRIC,
        True,
        r"(?:finger|thumb|palm|hand|voice)\s?-?prints?|fp\s?(?:id|hash|template)|fingerprint\w*|"
        r"retinal?\s?(?:scan|id|template|print)|iris\s?(?:scan|id|code|template|hash)|"
        r"palm\s?(?:vein|scan|id)(?:\s?scan)?|face\s?-?(?:id|print|template|hash|scan)|"
        r"facial\s?(?:recognition|id|scan|template)|voice\s?(?:id|template|sample|signature)|"
        r"biometric\w*(?:\s?(?:template|hash|scan|ref|record))?|dna\s?(?:profile|id|sample\s?id|"
        r"barcode)|gait\s?(?:id|signature)|vein\s?(?:scan|id|pattern)|(?:thumb|hand|eye|ear)\s?(?:scan|id|geometry)|"
        r"(?:genetic|genomic|dna)\s?(?:sample|profile|file|code)",
    ),
    Label(
        T.PHOTO,
        True,
        r"(?:full[- ]?face\s?)?(?:photo|photograph|picture|pic|headshot|mugshot|selfie|image|img|"
        r"dsc|dcim|video|vid)s?\s?(?:#|no\b\.?|number|id\b|ref(?:erence)?|file|name|link)|full[- "
        r"]?face\s?(?:photo|image|picture)|(?:photo|headshot|mugshot|selfie|picture)s?|img|dscn?|"
        r"pxl",
    ),
    Label(T.FAX, True, r"(?:e-?)?fax(?:ed)?(?:\s?(?:#|no\b\.?|number|to|at))?"),
    Label(
        T.PHONE,
        True,
        r"(?:tele)?phone|tel\b|ph\s?[#:]|mob(?:ile)?|landline|bleep|dect|cell(?:\s?(?:phone|#))?|pager|pgr|beeper|"
        r"extension|ext\.?|callback|call\s?back|whatsapp|call(?:ed)?(?:\s(?:me|us|him|her|them|"
        r"back|wife|husband|son|daughter|family|mom|dad|at|on)){1,3}|text(?:ed)?\s(?:me|him|her|"
        r"us)(?:\sat)?|reach(?:able|ed)?(?:\s(?:me|him|her|them|at|on)){1,2}|page\s(?:me|"
        r"us)(?:\sat)?|vocera|spectralink|ascom",
    ),
    Label(
        T.ID,
        True,
        r"accession(?:\s?(?:#|no\b\.?|number|num\b|id\b))?|acc(?:ess)?n?\.?\s?(?:#|no\b\.?|"
        r"number)|acsn|csn|(?:specimen|sample|requisition|req|order|encounter|enc|visit|case|"
        r"referral|ref|reference|ticket|confirmation|study|subject|participant|trial|enrol+ment|"
        r"protocol|employee|emp|staff|badge|student|inmate|booking|docket|police\s?report|report|"
        r"incident|tracking|barcode|wristband|bracelet|donor|unos|prescription|rx|script|"
        r"job|dictation|transaction|appointment|appt|message|msg|form|document|doc|file|film|slide|block|path|"
        r"pathology|biobank|registry|military|service|veteran|va|dod|user|login|screening|family|"
        r"pedigree|client|customer|resident|tattoo|locker|household|randomi[sz]ation|kit|"
        r"blood\s?unit|donation|bag)\s?(?:#|no\b\.?|number|num\b|id\b|identifier|code)|"
        r"(?:key\s?safe|door|gate|entry|access|lock\s?box)(?:\s(?:code|pin|number|no\.?)){1,2}|key\s?safe|"
        r"subject|participant|unos|optn|user\s?(?:name|id)|username|userid|login|dodid|edipi|inmate|docket|badge",
    ),
    Label(
        T.ID,
        False,
        r"job|dictation|box|unit|booking|record|order|encounter|enc|visit|case|ref|reference|ticket|confirmation|study|trial|specimen|"
        r"sample|requisition|req|report|incident|slide|film|file|id|code|donor|path|"
        r"(?:wrist|id\s)band|unique\s?(?:id|identifier)|identifier|numbers?|nos?\b\.?|num|nbr|#|key|pin|password|"
        r"passcode|token|barcode",
    ),
    Label(T.MRN, False, r"mr|chart|record|med\s?#|(?:pt|patient)"),
    Label(T.PLAN, False, r"policy|member|plan|group|grp|insurance|ins|claim|auth|prior\s?authorization"),
    Label(T.ACCOUNT, False, r"account|acc|card|bill|billing"),
    Label(T.LICENCE, False, r"lic(?:en[sc]e)?|cert(?:ificate)?|permit|registration"),
    Label(
        T.VEHICLE,
        False,
        r"tag|hull|rego?|placard|rig|squad|medic|truck|bus|van|trailer|motorcycle|scooter|bike|ambulance|car|vehicle|parking\s?permit",
    ),
    Label(
        T.DEVICE,
        False,
        r"device|implant|pacemaker|ppm|icd|pump|sn|lot|model|generator|serial|transmitter|receiver|controller|"
        r"sensor|cgm|mesh|stent|valve|lead|asset(?:\s?tag)?|concentrator|wheelchair|hearing\s?aid|ventilator|tracker|"
        r"stimulator|neurostimulator|defibrillator|l?vad|lens|iol|cochlear\s?implant|prosthesis|glucometer",
    ),
    Label(T.BIOMETRIC, False, r"iris|retina|palm|face|gait|vein|ear"),
    Label(T.PHOTO, False, r"images?|pics?|video"),
)
# A label begins a word; a number may be glued to its end.
_LABEL = re.compile(
    r"(?<![^\W_])(?:"
    + "|".join(f"(?P<L{index}>{label.pattern})" for index, label in enumerate(_LABELS))
    + r")(?![^\W\d_])",
    re.IGNORECASE,
)
_FILLER = re.compile(
    r"\s{0,3}+(?:(?P<sign>[#:=]|(?:nos?|nr|num|number|numbers|nbr|id|ids)\b\.?|(?:that\s)?ends?\s(?:in|with)\b|ending(?:\s(?:in|with))?\b)|is\b|was\b|"
    r"are\b|of\b|on\s(?:file|record|chart)\b|as\b|"
    r"last\s(?:4|four)(?:\s(?:digits|"
    r"of))?(?:\s(?:is|are|of\sssn))?|listed\sas\b|reads?\b|"
    r"shows?\b|ref(?:erence)?\b|template\b|hash\b|scan\b|card\b|file\b|for\s(?:this\s)?(?:pt|"
    r"patient|him|her)\b|to\b|at\b|[-(\[.,'\"*]|xx+)",
    re.IGNORECASE,
)
_MOST_FILLERS = 5
_VALUE = re.compile(
    r"\s{0,3}+(?P<value>(?=[a-z_./-]{0,12}+:?\d|[a-z]{1,6}[- ]\d)[a-z0-9]"
    r"(?:[a-z0-9_]|[-./](?=[a-z0-9])|:(?=(?:\d\d:)?\d{4})){0,47}+)",
    re.IGNORECASE,
)
_MORE = re.compile(
    r"[ -](?P<more>\d{2,12}|[A-Z](?=\s?[,.;:)]|$)|[A-Z]{1,3}\d{1,8}|[A-Z0-9]{2,5}(?=[ -][A-Z0-9]*\d))(?![\w/%]|\.\d)"
)
_NO_MORE = re.compile(
    r"\s?(?:-\s?)?(?:y/?o|yrs?|years?|y\.o|m/o|mo\b|months?|weeks?|wks?|wk|days?|hours?|hrs?|"
    r"h\b|mins?|mg|mcg|ug|g\b|gm|kg|lbs?|ml|cc|l\b|units?|iu|meq|mmol|"
    r"%|mm|cm|bpm|tabs?|tablets?|caps?|doses?|puffs?|drops?|times|x\b|am\b|pm\b|f\b|m\b|male|"
    r"female|/\d|degrees?|copies|cells|per\b|pts?\b|patients|points?)",
    re.IGNORECASE,
)
_ROOM = re.compile(
    r"(?<![^\W\d_])(?:(?:room|rm)\s?#?\s?(?P<room>[a-z]{0,4}-?\d{1,4}-?[a-z]?\d?)|"
    r"(?:pt|patient|lady|gentleman|man|woman|guy|girl|boy|kid|mom|resident|(?<=-1)\])\s(?:is\s)?in\s(?!(?:19|20)\d\d\b)"
    r"(?P<place>[a-z]-?\d{3}|\d{3,4}[a-eg-rt-z]?)|"
    r"(?:nurse|rn|aide|call\sbell|code\sblue|rapid\sresponse|next\sto)\s(?:in\s|for\s)?"
    r"(?P<called>\d{3,4}[a-d]?|[a-z]-\d{3})|"
    r"(?:bed|bay|ward|cubicle|resus|trolley|theatre)\s?#?\s?(?P<bed>\d{1,4}-?[a-z]?|[a-z]{1,4}-\d{1,3})(?!-[a-z])|pod\s?(?P<pod>\d{1,4}-?[a-ce-z])|"
    r"(?:bed|bay|pod|ward)\s(?P<lettered>(?-i:[A-H]))(?=\s?[,.;:)]|\s(?:bed|has|is|with)\b|\s?$)|"
    r"(?<![\w/-])(?P<wing>\d{1,2}[nsew]-\d{1,3}[ab]?)|(?<![^\W_])(?:n?ccu|n?icu|[cmnpst]?icu|hdu|itu|pacu|amu|mau|sdu)-(?P<unit>\d{1,3}))(?![\w/%])"
    r"(?!\s?(?:rest|min|hours|days|nights|weeks|months|times|x\b|m[lg]|mcg|units|patients|to\s\d))|"
    r"^(?P<heads>\d{3}[a-d]?|[a-z]-\d{3})(?=:\s[^\W\d]|\s-\s|\s\[)|\bto\s(?P<moved>[a-z]-\d{3})(?!\w)",
    re.IGNORECASE | re.MULTILINE,
)
_PLATE = re.compile(
    r"\s{0,2}+(?:(?:is|#|:|no\.?|number)\s{0,2}+){0,2}+"
    r"(?P<value>[A-Z0-9]{1,4}(?:[ -][A-Z0-9]{1,5}){1,2}|[A-Z]{4,8})(?![^\W_])"
)
_GENERIC = re.compile(
    r"\d{1,3}[- ]?(?:y|yo|y/o|yrs?|years?|months?|mo|weeks?|wks?|days?|d|hours?|hrs?|h|min|[mf])[mf]?"
    r"(?:[- ][a-z]+)*|"
    r"(?:9|10|11)-(?:cm|pcs)|(?:cyp|hla|brca|nct|icd|cpt|covid|type|b|c|t|l|s|h|q|a)-?\d{1,2}[a-z]?\d?|\d{1,2}(?:\.\d{1,2})?x\d{1,3}",
    re.IGNORECASE,
)
"""Ages, genes, codes and sizes."""
_LETTERED = (T.DEVICE, T.VEHICLE)
"""Labels that are everyday words too. Their numbers have capitals and a few digits: ``lot TK7H3``."""
_SHAPES = {T.SSN: 3, T.PHONE: 4, T.FAX: 4}


def find(text: str) -> Iterator[Found]:
    """Every labelled number of ``text``."""
    yield from _rooms(text)
    at = 0
    while (match := _LABEL.search(text, at)) is not None:
        at = match.end()
        label = _LABELS[int(str(match.lastgroup)[1:])]
        place, signed = _after_fillers(text, match.end())
        signed = signed or text[match.end() - 1] in "#:" or label.strong
        plate = _plate(text, match.end(), label)
        if plate is not None:
            yield *plate.span("value"), T.VEHICLE
            at = plate.end()
            continue
        value = _VALUE.match(text, place)
        if value is not None:
            start, end = value.start("value"), value.end()
            end = _extended(text, end)
            if _is_identifier(text, start, end, label, signed, glued=match.end() == start):
                yield start, end, label.type
                at = end
                continue


def _plate(text: str, at: int, label: Label) -> re.Match[str] | None:
    """A plate in groups, or of letters alone, behind its label: ``HH KS 4417``, ``kx19 wpd``."""
    if label.type is not T.VEHICLE:
        return None
    return _PLATE.match(text, at)


def _rooms(text: str) -> Iterator[Found]:
    """Numbers of rooms and beds, which lead to who lay there."""
    for match in _ROOM.finditer(text):
        yield match.start(match.lastgroup or 0), match.end(match.lastgroup or 0), T.ID


def _after_fillers(text: str, at: int) -> tuple[int, bool]:
    signed = False
    for _ in range(_MOST_FILLERS):
        filler = _FILLER.match(text, at)
        if filler is None:
            break
        signed = signed or filler["sign"] is not None
        at = filler.end()
    return at, signed


def _extended(text: str, end: int) -> int:
    """Further groups of digits of the same number, as in ``448 29 13``; not the age that follows."""
    for _ in range(5):
        more = _MORE.match(text, end)
        if more is None or _NO_MORE.match(text, more.end()):
            break
        end = more.end()
    return end


def _is_identifier(text: str, start: int, end: int, label: Label, signed: bool, glued: bool) -> bool:
    value = text[start:end]
    digits = sum(character.isdigit() for character in value)
    plain = len(re.sub(r"\W", "", value))
    if _NO_MORE.match(text, end) and plain < 6:
        return False
    if _GENERIC.fullmatch(value):
        return False
    if label.type in _SHAPES:
        return digits >= _SHAPES[label.type] or (signed and label.type is T.PHONE and digits >= 3)
    if label.strong:
        return digits >= 2 and plain >= 3
    if re.match(r"[A-Za-z]+[ -]", value) and digits < 5:
        return False
    letters = plain - digits
    if label.type in _LETTERED and value.isupper() and letters > 0 and digits >= 2 and plain >= 5:
        return True
    if signed and digits >= 2 and plain >= 3:
        return not re.fullmatch(r"(?:19|20)\d\d", value)
    return digits >= 5 or (letters > 0 and digits >= 3 and plain >= 5)
