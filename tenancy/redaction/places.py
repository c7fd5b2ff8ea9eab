"""Finds places below the state, facilities and employers: addresses, ZIPs, towns, hospitals, ``works at ...``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.labelled import Found
from tenancy.redaction.lexicon import word_set

_SURE_SUFFIX = (
    r"street|avenue|ave|road|rd|drive|lane|ln|blvd|boulevard|court|circle|cir|terrace|pkwy|"
    r"parkway|hwy|highway|trail|trl|alley|crescent|turnpike|expressway|esplanade|byway"
)
_SHORT_SUFFIX = (
    r"st|dr|ct|pl|place|way|ter|sq|square|loop|route|rte|close|run|path|pike|row|walk|hill|"
    r"point|pt|cove|bend|crossing|ridge|grove|pass|plaza|broadway"
)
_STREET_WORD = r"[A-Za-z][\w'.]{0,20}|\d{1,3}(?:st|nd|rd|th)"
_UNIT = (
    r"(?:,?\s{1,2}(?:apt|apartment|suite|ste|unit|lot|trailer|bldg|building|room|rm|floor|fl|"
    r"#)\.?\s?#?\s?[A-Za-z]?\d{0,5}[A-Za-z]?(?![\w]))?"
)
_ADDRESS = re.compile(
    rf"(?<![\w./-])(?P<number>\d{{1,6}}[a-z]?)\s{{1,2}}(?P<street>(?:(?:{_STREET_WORD})\s){{1,"
    rf"4}}?)(?:(?P<sure>{_SURE_SUFFIX})|(?P<short>{_SHORT_SUFFIX}))\b\.?(?:\s(?:way|ct|court|"
    rf"lane|ln|dr|drive|rd|road|st|street|ave|loop|pl|place)\b\.?)?(?:\s(?:north|south|east|"
    rf"west|[nsew]\b|[ns][ew]\b)\.?)?{_UNIT}",
    re.IGNORECASE,
)
_CORNER = re.compile(r"(?<!\w)\d{1,3}(?:st|nd|rd|th)\s(?:and|&)\s(?:\d{1,3}(?:st|nd|rd|th)|[A-Z][a-z]{2,20})(?!\w)")
_ROUTE = re.compile(
    r"(?<!\w)(?:\d{1,6}\s)?(?:(?:county|state|rural|old|us|u\.s\.)\s)?(?:route|rte|highway|"
    r"hwy|interstate|county\sroad|farm\sroad)\s\d{1,4}[a-z]?(?!\w)(?!\s?(?:mg|ml|days|weeks))",
    re.IGNORECASE,
)
_STREET_ALONE = re.compile(
    r"(?:\b(?:on|at|off|near|corner\sof|of|and|lives?\son|living\son|"
    r"from)\s)(?P<street>(?:(?:[A-Z][\w'.]{1,20}|\d{1,3}(?:st|nd|rd|th))\s){1,3}(?:Street|"
    r"Avenue|Ave|Road|Rd|Drive|Lane|Ln|Blvd|Boulevard|Court|Circle|Terrace|Parkway|Highway|St|"
    r"Way|Place|Trail)\b\.?)"
)
_BOX = re.compile(
    r"(?<!\w)p\.?\s?o\.?\s?box\s?#?\s?\d{1,7}|(?<!\w)(?:apt|apartment|suite|"
    r"ste)(?:\.?\s?#?\s?\d{1,5}[a-z]?|[.\s#]{1,3}[a-z]\d{0,4})(?!\w)",
    re.IGNORECASE,
)
_STATE = "|".join(
    sorted((re.escape(name).replace(r"\ ", r"\s") for name in words.STATES.values()), key=len, reverse=True)
)
_POSTAL = "|".join(words.STATES)
_ZIP = re.compile(
    r"(?<!\w)(?:zip(?:\s?code)?|postal(?:\s?code)?|zipcode)\s{0,2}(?:[:#=]|is|of)?\s{0,"
    r"2}(?P<zip>\d{5}(?:-\d{4})?|\d{3}xx)(?!\w)",
    re.IGNORECASE,
)
_ZIP_4 = re.compile(r"(?<![\w.-])\d{5}-\d{4}(?![\w-])")
_STATE_ZIP = re.compile(
    rf"(?<!\w)(?:{_STATE}|(?-i:{_POSTAL.upper()})|(?:,\s?(?:{_POSTAL}))|"
    rf"(?<=\w\s)(?:{_POSTAL}))\.?,?\s{{1,2}}(?P<zip>\d{{5}}(?:-\d{{4}})?)(?![\w/]|\s?(?:mg|"
    rf"units|ml|iu|mcg|copies|cells))",
    re.IGNORECASE,
)
_UK_POST = re.compile(
    r"(?<!\w)(?:[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}|(?!T\dN)[ABCEGHJ-NPRSTVXY]\d[A-Z]\s?\d[A-Z]\d)(?!\w)"
)
_CITY_STATE = re.compile(
    rf"(?<![\w'])(?P<city>(?:(?:[A-Z][\w'.]{{1,20}}|(?:of|the|on|upon|de|la|du|del))\s){{0,"
    rf"3}}?[A-Z][\w'.]{{1,20}}),?\s(?:(?-i:{_POSTAL.upper()})\b(?!\s?[+-])|(?i:{_STATE})\b)"
)
_CITY_STATE_LOWER = re.compile(
    rf"(?<![\w'])(?P<city>(?:[a-z][\w'.]{{1,20}}\s){{0,2}}[a-z][\w'.]{{2,20}}),\s?(?:{_POSTAL}|{_STATE})(?!\w)",
    re.IGNORECASE,
)
_CITY_STATE_BARE = re.compile(
    rf"\b(?:in|from|at|near|to|of|outside)\s(?P<city>(?:[a-z][\w'.]{{1,20}}\s){{0,"
    rf"2}}[a-z][\w'.]{{2,20}})\s(?:{_POSTAL}|{_STATE})(?!\w)",
    re.IGNORECASE,
)
_FROM = re.compile(
    r"\b(?P<cue>lives?\s(?:alone\s|with\s\w+\s|independently\s)?(?:in|near|outside(?:\sof)?|"
    r"by|at)|living\s(?:in|near|at)|resid(?:es?|ing|ent)\s(?:in|of|at|near)|homeless\sin|"
    r"moved\s(?:here\s)?(?:from|to)|visiting\s(?:from)?|travel(?:l?ed|s|ing|l?er)?\s(?:here\s|"
    r"back\s)?(?:from|to)|"
    r"native\sof|born\s(?:and\sraised\s)?in|raised\sin|grew\sup\sin|from|hometown(?:\sis|:)?|"
    r"town\sof|city\sof|village\sof|township\sof|county\sof|borough\sof|commutes?\s(?:from|"
    r"to)|drove\s(?:in\s)?from|drives?\sfrom|flew\s(?:in\s)?from|transferred\s(?:in\s)?from|"
    r"transfer\sfrom|"
    r"back\s(?:home\s)?(?:in|to)|stay(?:s|ing)\s(?:in|at|with\s\w+\sin)|works?\sin|"
    r"vacation(?:ing|ed)?\sin|trip\sto|returned\s(?:home\s)?(?:from|to)|farm\s(?:in|near|"
    r"outside)|house\s(?:in|near)|apartment\sin|outside(?:\sof)?|near|in|at|around|over\sin|"
    r"down\sin|up\sin|out\sin)\s(?:the\s(?:town|city|village)\sof\s|downtown\s|rural\s|north\s|"
    r"south\s|east\s|west\s)?"
    r"(?P<place>[A-Za-z][\w'.-]{1,24}(?:\s[A-Za-z][\w'.-]{1,24}){0,3})",
    re.IGNORECASE,
)
_SURE_FROM = re.compile(
    r"liv|resid|homeless|moved|native|born|raised|grew|hometown|town|city|village|county|"
    r"borough|commut|drove|flew|vacation|trip|works?\sin|travel|visiting|farm|house|apartment",
    re.IGNORECASE,
)
_COUNTY = re.compile(
    r"(?<!\w)(?P<name>[A-Za-z][\w'.]{2,20}(?:\s[A-Z][\w'.]{2,20})?)\s(?:county|parish|"
    r"township|borough)\b(?!\s(?:hospital|clinic|jail)\b)",
    re.IGNORECASE,
)
NOT_PLACE_AFTER = re.compile(
    r"\s?(?:'s\s)?(?:criteria|score|scale|rules?|classification|chromosome|virus|fever|"
    r"disease|protocol|system|grade|class|assessment|syndrome|coma|guidelines?|study|trial|"
    r"index|heart|bowel|prep|sign|test|strain|variant|agar|method|formula|consensus|"
    r"definition|ankle|knee|stroke|heat|encephalitis|equine|spotted|blue|black|bypass|brace|"
    r"shunt|catheter|procedure|operation|"
    r"staging|category|risk|questionnaire|model|type|virus|nile)",
    re.IGNORECASE,
)
_FACILITY_NOUN = (
    r"hospitals?|med(?:ical)?\.?\s(?:center|centre|ctr|group|associates|plaza|park)|"
    r"health(?:care)?\s?(?:system|center|centre|partners|services|network|sciences?|plan|"
    r"alliance|district|dept|department)?|"
    r"clinics?|nursing\s(?:home|facility|center)|rehab(?:ilitation)?(?:\s(?:center|hospital|"
    r"facility))?|hospice(?:\shouse)?|infirmary|memorial(?:\s(?:hospital|medical\scenter|"
    r"health))?|pharmacy|drug\s?store|drugs|va(?:\s(?:hospital|medical\scenter|clinic))?|vamc|"
    r"university(?:\s(?:hospital|medical\scenter|of\s\w+))?|college|academy|(?:high|middle|"
    r"elementary|grade|primary|secondary|preparatory|charter|public|catholic)\sschool|"
    r"school(?:\sof\s\w+)?|church|temple|mosque|synagogue|cathedral|parish|"
    r"prison|jail|correctional(?:\s(?:facility|center|institution))?|penitentiary|shelter|"
    r"manor|assisted\sliving|senior\s(?:living|center)|care\scent(?:er|re)|surgery\scenter|"
    r"surgical\scenter|dialysis(?:\scenter|\sunit)?|"
    r"oncology|cardiology|orthop(?:a?edics?)|pediatrics|dermatology|urology|"
    r"family\s(?:practice|medicine|health)|internal\smedicine|urgent\scare|imaging|radiology|"
    r"labs?|laborator(?:y|ies)|birth\scenter|children'?s(?:\shospital)?|"
    r"general(?:\shospital)?|ed\b|er\b|icu\b|"
    r"elementary|daycare|day\scare|kindergarten|preschool|camp|lodge|retreat|villa|gardens?|estates|"
    r"apartments|towers|village|acres"
)
_FACILITY = re.compile(
    rf"(?<![\w'])(?P<name>(?:(?:St\.?|Saint|Mt\.?|Mount|Our|Lady|of|the|and|&|[A-Z][\w'.-]{{1,"
    rf"24}})\s){{1,5}})(?P<noun>(?i:{_FACILITY_NOUN}))(?!\w)(?P<more>(?:\s(?:of|at|"
    rf"in)\s[A-Z]\w{{2,20}}|\s(?:Medical\sCenter|Hospital|Clinic|Health\sSystem|Campus|"
    rf"Center)))?"
)
_FACILITY_LOWER = re.compile(
    r"\b(?:at|to|from|in|near|via|outside|by|of|@)\s(?:the\s)?(?P<name>(?:[a-z][\w'.-]{1,"
    r"20}\s){1,4}?)(?P<noun>hospital|medical\scent(?:er|re)|med\s(?:center|ctr)|clinic|"
    r"nursing\shome|rehab(?:\scenter)?|hospice|memorial(?:\shospital)?|general(?:\shospital)?|"
    r"pharmacy|health\s(?:system|center)|healthcare|university|college|"
    r"(?:high|middle|elementary)\sschool|school|church|manor|assisted\sliving|urgent\scare|"
    r"jail|prison|correctional|shelter|va(?:mc)?|academy|snf|ltac|dialysis)(?!\w)",
    re.IGNORECASE,
)
_SAINT = re.compile(
    r"(?<![\w'])(?:st|saint|mt|mount)\.?\s(?P<saint>[a-z]+'?s?)(?:\s(?:hospital|"
    r"medical\scenter|clinic|health|ed|er|icu))?(?!\w)",
    re.IGNORECASE,
)
_SAINTS = word_set("saints.txt")
_KNOWN = re.compile(
    r"(?<![\w'])(?:good\ssamaritan(?:\shospital)?|mayo(?:\sclinic)?(?!\s(?:score|scissors|"
    r"stand|classification|criteria|"
    r"endoscopic|subscore))|cleveland\sclinic|johns?\shopkins|mass(?:achusetts)?\sgeneral|mgh|"
    r"brigham(?:\s(?:and|&)\swomen'?s)?|cedars[-\s]sinai|mount\ssinai|mt\.?\ssinai|"
    r"kaiser(?:\spermanente)?(?!\s(?:plan|insurance|id|member))|beth\sisrael|"
    r"md\sanderson|sloan[-\s]kettering|nyu\slangone|ucsf|ucla|upmc|stanford\s(?:hospital|"
    r"health(?:care)?|medical\scenter)|duke\s(?:hospital|medical\scenter|health|university)|"
    r"emory|vanderbilt\s(?:hospital|medical\scenter|university)|walgreens|cvs(?!\s?(?:exam|:|"
    r"-|wnl|normal|risk|system|disease|event))|rite\said|walmart|costco|kroger|safeway|"
    r"target\sstore|amazon|fedex|ups\sdriver|mcdonald'?s|starbucks|home\sdepot|lowe'?s|boeing|"
    r"tesla|google|microsoft|usps|quest\sdiagnostics|labcorp)(?!\w)",
    re.IGNORECASE,
)
_GENERIC = word_set("general_facilities.txt")
_CITIES_AND_EPONYMS = frozenset(
    {"austin", "boston", "denver", "houston", "atlanta", "montgomery", "jackson", "berlin", "gary"}
)
_STAY = re.compile(
    r"\b(?:delivered|seen|admitted|treated|hospitali[sz]ed|operated|transferred|care|done|"
    r"discharged|followed|imaging|surgery|birth|born|records|labs?|rehab|stay|dialysis|chemo|"
    r"visit|results?|biopsy|clinic|works?|trained|residency)\s(?:[\w/]+\s){0,4}?(?:at|from|to|"
    r"by)\s(?P<name>(?:[A-Z][a-z'-]{2,20}\s?){2,4})(?!\w)"
)
_EMPLOYER = re.compile(
    r"\b(?:works?|working|worked|employed|job|employee|employer|career|position|shift|"
    r"laid\soff|retired|retire|fired|staff|intern|manager|cashier|driver|teacher|cook|clerk|"
    r"nurse|engineer|welder|technician|supervisor|custodian|janitor|foreman|guard|bartender|"
    r"server|barista|volunteers?|attends?|enrolled|studies|student|goes\sto\sschool)\s?"
    r"(?:(?:nights|days|evenings|weekends|overnights?|part[\s-]time|full[\s-]time|shifts?|"
    r"there|mostly)\s){0,2}(?:as\s(?:an?|the)\s(?:\w+\s){1,3})?(?:at|for|with|by|from|is|of|:|"
    r"@)\s(?:the\s)?(?P<name>(?:[A-Za-z]|\dM\b)[\w&'.-]{0,24}(?:\s(?:&\s)?[A-Za-z][\w&'.-]{1,24}){0,4})",
    re.IGNORECASE,
)
_EMPLOYER_LABEL = re.compile(
    r"(?<!\w)(?:employer|occupation/employer|company|workplace|place\sof\s(?:work|"
    r"employment))\s?(?:name)?\s?(?:[:=-]|is)\s?(?:the\s)?(?P<name>[A-Za-z][\w&'.-]{1,"
    r"24}(?:\s(?:&\s)?[A-Za-z][\w&'.-]{1,24}){0,4})",
    re.IGNORECASE,
)
_COMPANY = re.compile(
    r"(?<![\w'])(?P<name>(?:(?:[A-Z][\w&'.-]{1,24}|&|and)[\s,-]{1,2}){1,4})(?P<suffix>Inc|LLC|"
    r"L\.L\.C|Corp|Corporation|Co|Ltd|PLC|LLP|GmbH|Company|Sons|Group|Industries|Logistics|"
    r"Trucking|Foods?|Farms?|Construction|Manufacturing|Mfg|Motors|Bank|Airlines|Steel|"
    r"Plumbing|Electric|Roofing|Landscaping|Bakery|Diner|Restaurant|Cafe|Mills?|Solutions|"
    r"Systems|Technologies|Partners|Enterprises|Services|Holdings|Freight|Transport|Packing|"
    r"Mining|Lumber|Hardware|Auto|Supply)(?![\w'])\.?"
)
_SCHOOLING = re.compile(r"attend|enroll|stud|school", re.IGNORECASE)
_STOP = re.compile(
    r"^(?:and|but|with|who|has|had|have|is|was|were|for|since|on|in|at|to|as|he|she|they|pt|"
    r"patient|presents?|presenting|c/o|complains?|when|where|which|that|mrn|dob|ssn|phone|"
    r"after|before|until|now|today|because|so|or|from|near|by|then|here|there|comes?|came|"
    r"reports?|denies|needs?|asks?|asking|wants?|please|also|ok|okay|full|part|time|mg|years?|"
    r"yrs?|the|a|an|his|her|their|my|our|this|last|next|x)$",
    re.IGNORECASE,
)


def find(text: str) -> Iterator[Found]:
    """Every place, facility and employer of ``text``."""
    yield from _addresses(text)
    yield from _codes(text)
    yield from _towns(text)
    yield from _facilities(text)
    yield from _employers(text)


def _addresses(text: str) -> Iterator[Found]:
    for match in _ADDRESS.finditer(text):
        street = match["street"].split()
        titled = all(word[:1].isupper() or word[:1].isdigit() for word in street)
        odd = sum(
            words.is_function_word(word.rstrip(".")) or words.is_clinical(word) for word in street if len(word) > 1
        )
        if odd and not (match["sure"] and titled):
            continue
        if match["short"]:
            sure = titled and match["short"][:1].isupper()
            named = all(not words.is_clinical(word) and not _STOP.match(word) for word in street)
            if not sure and not (len(match["number"]) >= 3 and named and len(street) <= 3):
                continue
        yield match.start(), match.end(), T.ADDRESS
    for pattern in (_ROUTE, _BOX, _CORNER, _UK_POST):
        for match in pattern.finditer(text):
            yield match.start(), match.end(), T.ADDRESS if pattern is not _UK_POST else T.ZIP
    for match in _STREET_ALONE.finditer(text):
        yield match.start("street"), match.end("street"), T.ADDRESS


def _codes(text: str) -> Iterator[Found]:
    for pattern in (_ZIP, _STATE_ZIP):
        for match in pattern.finditer(text):
            yield match.start("zip"), match.end("zip"), T.ZIP
    for match in _ZIP_4.finditer(text):
        yield match.start(), match.end(), T.ZIP


def _towns(text: str) -> Iterator[Found]:
    for match in _CITY_STATE.finditer(text):
        start, city = _without_leading(match.start("city"), match["city"])
        parts = city.split()
        loose = city.isupper() or (
            re.search(r"\b(?:IN|OR|ME|OK|HI|PA|MA|LA|CO|DE|ID|OH|AL|MS|MD|CT|NC|SC)$", match.group())
            and "," not in match.group()
        )
        known = words.is_place(city) if loose else words.is_place(city) or not _is_plain(parts)
        if parts and known and not any(words.is_clinical(part) for part in parts) and not words.is_large_region(city):
            yield start, match.end("city"), T.PLACE
    for pattern in (_CITY_STATE_LOWER, _CITY_STATE_BARE):
        for match in pattern.finditer(text):
            found = _last_place(match["city"])
            clinical = any(map(words.is_clinical, match["city"].split()))
            if (
                found is not None
                and not clinical
                and not _is_plain(match["city"][found:].split(), sure=pattern is _CITY_STATE_LOWER)
            ):
                yield match.start("city") + found, match.end("city"), T.PLACE
    for match in _FROM.finditer(text):
        end = _place_end(
            text,
            match.start("place"),
            match["place"],
            sure=_SURE_FROM.search(match["cue"]) is not None,
            cue=match["cue"],
        )
        if end is not None:
            yield match.start("place"), end, T.PLACE
    for match in _COUNTY.finditer(text):
        name = match["name"]
        if (words.is_county(name) and not words.is_function_word(name)) or (
            name[:1].isupper() and not words.is_ordinary(name.split()[-1]) and name.lower() not in _GENERIC
        ):
            yield match.start("name"), match.end(), T.PLACE


def _is_plain(parts: list[str], sure: bool = True) -> bool:
    """Whether these words are words rather than a town's name."""
    return all(words.is_function_word(part.strip(".,")) or (not sure and words.zipf(part) > 5.2) for part in parts)


def _without_leading(start: int, city: str) -> tuple[int, str]:
    """``city`` from its first word that can be part of a name."""
    while True:
        head, blank, rest = city.partition(" ")
        if not blank or not (
            words.is_function_word(head.strip("."))
            and head.lower() not in ("new", "east", "west", "north", "south", "upper", "lower")
        ):
            return start, city
        start, city = start + len(head) + 1, rest


def _last_place(phrase: str) -> int | None:
    """Where the longest known place begins with which ``phrase`` ends."""
    at = 0
    while at >= 0:
        if words.is_place(phrase[at:]):
            return at
        blank = phrase.find(" ", at)
        at = blank + 1 if blank >= 0 else -1
    return None


def _place_end(text: str, start: int, phrase: str, sure: bool, cue: str) -> int | None:
    """Where the longest known place ends with which ``phrase`` begins, unless it is a word, a region or an eponym's."""
    parts = phrase.split(" ")
    for count in range(len(parts), 0, -1):
        place = " ".join(parts[:count]).rstrip(".,")
        end = start + len(place)
        if words.is_large_region(place) and not (count == 1 and place.lower() in ("new york", "washington")):
            if count == len(parts) or not words.is_place(place):
                return None
            continue
        if not words.is_place(place) or NOT_PLACE_AFTER.match(text, end):
            continue
        capital = all(part[:1].isupper() and not part.isupper() for part in place.split())
        if place.lower() in ("west", "north", "south", "east", "center", "central", "general", "home", "bed", "clinic"):
            return None
        rare = (
            count > 1
            or (words.zipf(place) < 4.3 and not words.is_ordinary(place))
            or (capital and not words.is_function_word(place))
        )
        if words.is_clinical(place) or (count == 1 and words.is_function_word(place)):
            return None
        if sure and (capital or rare or words.zipf(place) < 4.9):
            return end
        if capital and (not words.is_eponym(place) or place.lower() in _CITIES_AND_EPONYMS):
            return end
        if not capital and not words.is_eponym(place) and _is_town_in_lower_case(place, sure or cue.lower() == "from"):
            return end
        return None
    # An unknown capitalised town after a sure sign.
    first = parts[0]
    if (
        sure
        and first[:1].isupper()
        and not words.is_ordinary(first)
        and not words.is_large_region(first)
        and not first.isupper()
    ):
        count = 2 if len(parts) > 1 and parts[1][:1].isupper() and not words.is_ordinary(parts[1]) else 1
        return start + len(" ".join(parts[:count]).rstrip(".,"))
    return None


def _is_town_in_lower_case(place: str, sure: bool) -> bool:
    """Whether lower-case words are a town rather than words, after ``from`` or a surer sign, or after ``in``."""
    parts = place.split()
    strange = [part for part in parts if not words.is_dictionary_word(part) and not words.is_function_word(part)]
    if len(parts) > 1:
        return bool(strange) or sure
    return (
        bool(strange) and not words.is_clinical(place) and (words.zipf(place) < 4.9 or sure) and words.zipf(place) > 1.0
    )


def _facilities(text: str) -> Iterator[Found]:
    for match in _FACILITY.finditer(text):
        start, name = _specific(match.start("name"), match["name"])
        if name:
            yield start, match.end(), T.FACILITY
    for match in _FACILITY_LOWER.finditer(text):
        start, name = match.start("name"), match["name"].strip()
        while (head := name.partition(" "))[0].lower() in _GENERIC and head[2]:
            start, name = start + len(head[0]) + 1, head[2]
        parts = name.split()
        named = [part for part in parts if part.lower() not in _GENERIC]
        clear = not any(_STOP.match(part) or words.is_clinical(part) or words.is_function_word(part) for part in parts)
        if named and clear and _names_a_facility(named, match["noun"].lower()):
            yield start, match.end("noun"), T.FACILITY
    for match in _STAY.finditer(text):
        parts = match["name"].split()
        if not any(map(words.is_medical, parts)) and any(not words.is_dictionary_word(part) for part in parts):
            yield match.start("name"), match.start("name") + len(match["name"].rstrip()), T.FACILITY
    for match in _SAINT.finditer(text):
        if words.plain(match["saint"]).replace("'", "") in _SAINTS and not re.match(
            r"\s?(?:wort|disease|valve|jude\s(?:valve|device|pacemaker|icd))",
            text[match.end() : match.end() + 40],
            re.IGNORECASE,
        ):
            yield match.start(), match.end(), T.FACILITY
    for match in _KNOWN.finditer(text):
        yield match.start(), match.end(), T.FACILITY


def _names_a_facility(named: list[str], noun: str) -> bool:
    """Whether words in any case before ``hospital`` and the like are its name and not its kind."""
    if all(part[:1].isupper() and not part.isupper() for part in named):
        return True
    if any(
        not words.is_dictionary_word(part) and words.zipf(part) < 4.6 and not words.is_medical(part) for part in named
    ):
        return True
    common = all(words.is_dictionary_word(part) and words.zipf(part) < 4.9 for part in named)
    return (
        common
        and not any(map(words.is_medical, named))
        and (len(named) > 1 or noun in ("manor", "memorial", "academy"))
    )


def _specific(start: int, name: str) -> tuple[int, str]:
    """``name`` from its first word that is no general one; empty where all are."""
    parts = name.split(" ")
    while parts and (
        parts[0].lower().strip(".,") in _GENERIC
        or words.is_function_word(parts[0].strip(".,"))
        or words.is_clinical(parts[0])
    ):
        start += len(parts[0]) + 1
        parts = parts[1:]
    rest = " ".join(parts)
    named = [
        part
        for part in parts
        if part.replace("'", "").isalpha() and part.lower() not in _GENERIC and not words.is_clinical(part)
    ]
    return (
        (start, rest) if any(not words.is_ordinary(part) or words.zipf(part) < 4.6 for part in named) else (start, "")
    )


def _employers(text: str) -> Iterator[Found]:
    for pattern in (_EMPLOYER, _EMPLOYER_LABEL):
        for match in pattern.finditer(text):
            end = _name_end(match["name"], capital_only=pattern is _EMPLOYER)
            if end:
                yield match.start("name"), match.start("name") + end, T.EMPLOYER
    for match in _COMPANY.finditer(text):
        start, name = _specific(match.start("name"), match["name"])
        if name.strip():
            yield start, match.end("suffix"), T.EMPLOYER


def _name_end(phrase: str, capital_only: bool) -> int:
    """How long the employer's name at the beginning of ``phrase`` is; 0 for none."""
    taken: list[str] = []
    for part in phrase.split(" "):
        bare = part.strip(".,")
        if _STOP.match(bare) or (taken and taken[0][:1].isupper() and not (bare[:1].isupper() or bare == "&")):
            break
        taken.append(part)
        if bare != part and part.endswith((".", ",")) and len(bare) > 3:
            break
    named = [
        part
        for part in taken
        if (bare := part.strip(".,").lower()) not in _GENERIC
        and not words.is_clinical(bare)
        and not words.is_function_word(bare)
    ]
    if not named:
        return 0
    if taken[0][:1].isupper():
        return len(" ".join(taken).rstrip(".,"))
    rare = [
        part
        for part in named
        if not words.is_ordinary(part) or not (words.is_dictionary_word(part) or words.zipf(part) > 4.4)
    ]
    return len(" ".join(taken[:3]).rstrip(".,")) if (rare and capital_only) or (named and not capital_only) else 0
