"""Finds identifiers by shape: SSNs, phones, e-mail and web addresses, IPs, VINs, plates, files, long numbers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction.labelled import Found

UNIT = re.compile(
    r"\s?(?:[x×]\s?10|\+?\s?(?:mg|mcg|ug|µg|μg|g\b|gm|kg|lbs?\b|ml|cc\b|l\b|dl|units?|u\b|iu|"
    r"meq|mmol|mm|cm|k\b|cfu|copies|cells|cal|kcal|kj|rads?|gy|bpm|"
    r"%|ppm\b|ppb\b|ng|pg|/\s?(?:ml|ul|µl|μl|mm|hpf|l\b|day|d\b|hr?\b|kg|min|dose)|per\b|tabs?|doses?|"
    r"steps|people|patients|participants|dollars|platelets|parasites|million|billion|days?|"
    r"weeks?|months?|years?|hours?|hrs?|min))",
    re.IGNORECASE,
)
_PUBLIC = re.compile(
    r"(?:pmid|pmc|pubmed|doi|snomed(?:\s?ct)?|sct|loinc|rxcui|rxnorm|cpt|icd(?:-?(?:9|10|"
    r"11))?|hcpcs|ndc|cas|mesh|omim|hpo?|atc|cui|umls|nct|isrctn|eudract|concept)"
    r"(?:\s?(?:code|id|no\.?|number|#|:|is)){0,3}\s{0,2}$",
    re.IGNORECASE,
)
_PUBLIC_TOKEN = re.compile(
    r"[cpyr]{0,2}T[0-4x][a-d]?N[0-3x][a-c]?(?:M[01x][a-c]?)?|A[123]L[1-4]B[123]p?|E[1-4]V[1-5]M[1-6]|[DGJ]\d{4}|E[01]\d{3}|(?:NG|CG|TA|QS|IPG|HST|MTG|DG)\d{1,3}|"
    r"(?:NCT|ISRCTN|rs|PMC|ENS[GTP]|NM_|NP_|HP|MESH|OMIM)\d{3,}|[A-Z]{2,4}-\d{3}(?!\d)|(?:CO|PR|OA)-\d{1,3}|(?:JNJ|MK|ABT|BMS|"
    r"GSK|LY|PF|AZD|BAY|RG|RO|BI|CC|TAK|AMG|SAR|UK|BNT)(?:-\d{3,}|\d{3,5}(?!\d))\w?",
    re.IGNORECASE,
)
_SSN = re.compile(r"(?<![\w-])(?:\d{3}|[x*]{3})([-. ])(?:\d{2}|[x*]{2})\1\d{4}(?![\w-])", re.IGNORECASE)
_PHONE = re.compile(
    r"(?<![\w/])(?:\+?\d{1,3}[-. ]{0,2})?(?:\(\d{3}\)[-. ]{0,2}|\d{3}[-. /]{1,2})\d{3}[-. ]{1,"
    r"2}\d{4}(?:\s{0,2},?\s?(?:x|ext\.?|extension)\s?\d{1,6})?(?![\d])",
    re.IGNORECASE,
)
_PHONE_7 = re.compile(r"(?<![\w/.-])(\d{3})[-.](\d{4})(?:\s{0,2}(?:x|ext\.?)\s?\d{1,6})?(?![\w/%-])", re.IGNORECASE)
_PHONE_INVENTED = re.compile(r"(?<![\w/.-])555 ?\d{4}(?![\w/%-])")
"""Of forms and training: no such line exists."""
_PHONE_ABROAD = re.compile(r"(?<![\w])(?:\+|00)\d{1,3}(?:[-. ()]{0,2}\d){7,12}(?![\d])")
_PHONE_AT_HOME = re.compile(
    r"(?<![\w.,/-])(?=(?:\D{0,2}\d){9,11}(?!\D{0,1}\d))\(?0\d{1,4}\)?(?:[- ]\d{2,6}){1,4}(?![\w%]|[-.,/]\d)"
)
"""Phone numbers as a country writes its own, with a zero first, of 9 to 11 digits: ``0161 496 0822``."""
_EXTENSION = re.compile(r"(?<![\w])(?:x|ext\.?\s?)\d{4,5}(?![\w%])", re.IGNORECASE)
_EMAIL = re.compile(
    r"(?<![\w.+%-])[\w.+%'-]{1,64}+\s?(?:@|\(at\)|\[at\])\s?[\w-]{1,63}+(?:\.[\w-]{1,63}+){0,5}", re.IGNORECASE
)
_EMAIL_SAID = re.compile(
    r"(?<![\w.])(?:(?=[a-z]{0,30}[._\d])[\w.-]{2,40}|[\w.-]{1,40}(?=(?:\s(?:dot|underscore|dash)\s\w{1,30}){0,3}\sat\s[\w-]{2,30}\sdot\s))"
    r"(?:\s(?:dot|underscore|dash)\s\w{1,30}){0,3}\sat\s[\w-]{2,30}(?:\.|\sdot\s)(?:com|org|net|edu|gov|co|example)(?![\w@])",
    re.IGNORECASE,
)
"""``bob_s77 at mail.com``, ``jane dot doe at mail dot com``."""
_ENCODED = re.compile(
    r"(?<![\w+/])(?=[A-Za-z+/]{0,60}\d)(?=[^a-z\s]{0,60}[a-z])(?=[^A-Z\s]{0,60}[A-Z])[A-Za-z0-9+/]{40,}+={0,2}"
    r"(?:\r?\n(?=[a-z]{0,76}[A-Z0-9+/])(?:[A-Za-z0-9+/]{4}){0,19}(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2,3}={1,2})(?=\r?\n|\Z))*"
)
"""A file in base64, with the lines that go on with it: nobody can read what it says of whom."""
_SHORT_PARTS = 12
"""Characters between two slashes of a list (``HTN/HLD/T2DM``); base64 has 64 in the mean."""
_HANDLE = re.compile(
    r"(?<![\w@])@[A-Za-z_][\w.]{2,30}|(?<![\w/])[ur]/[A-Za-z_][\w-]{2,30}|(?<!\w)[A-Za-z_][\w.]{2,30}#\d{4}(?!\w)"
)
_LOGIN = re.compile(
    r"(?<!\w)(?:user(?:\s?(?:name|id))?|login(?:\s?id)?|logged\sin\sas|posts?\sas|handle|gamertag|screen\s?name|insta(?:gram)?|snap(?:chat)?|tiktok|"
    r"telegram|mychart|discord|reddit|skype|wechat|venmo)\s?[:=#]?\s(?P<login>[a-z]{1,20}(?:[._-](?:[a-z]{1,20}|\d{1,6})|\d{1,6})+)(?!\w)",
    re.IGNORECASE,
)
_URL = re.compile(r"(?<![\w@])(?:https?://|ftp://|hxxps?://|www\.)[^\s<>\"']{2,500}", re.IGNORECASE)
_DOMAIN = re.compile(
    r"(?<![\w@.-])(?:[a-z0-9](?:[a-z0-9-]{0,61}+)\.){1,5}(?:com|org|net|edu|gov|mil|io|health|"
    r"care|us|uk|ca|info|biz|app|dev|co|me|ai|ly|tv|local|internal|lan|example|invalid|test|site|online|clinic|"
    r"hospital|de|fr|nl|au|nz|ie|ch|se|dk|eu|za|br|pl|jp|cn|kr|sg)"
    r"(?![\w@])(?::\d{2,5})?(?:/[^\s<>\"']{0,500})?",
    re.IGNORECASE,
)
_PUBLIC_SITES = re.compile(
    r"(?:https?://)?(?:www\.)?(?:uptodate|nejm|medscape|mdcalc|cdc|nih|ncbi\.nlm\.nih|pubmed|"
    r"who|fda|drugs|acc|aha|heart|diabetes|idsociety|cochrane|bmj|thelancet|jamanetwork|"
    r"clinicaltrials|dynamed|epocrates)\.(?:com|gov|org|int)/?",
    re.IGNORECASE,
)
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2}|:\d{1,5})?(?![\w.]*\d)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)
_MAC = re.compile(r"(?<![\w:-])[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}(?![\w:-])", re.IGNORECASE)
_VIN = re.compile(r"(?<![^\W_])(?=[A-Z]{0,16}+\d)[A-HJ-NPR-Z0-9]{17}(?![^\W_])", re.IGNORECASE)
_PLATE = re.compile(r"(?<![\w-])(?:\d[A-Z]{3}\d{3}|[A-Z]{3}-\d{4}|\d{3}-?[A-Z]{3}|[A-Z]{2}\d{2}[ -]?[A-Z]{3})(?![\w-])")
_FILE = re.compile(
    r"(?<![^\W_])(?:(?:~?/|[A-Z]:[/\\])(?:[\w.-]{1,60}+[/\\]){0,8}+|"
    r"(?:whatsapp\s(?:image|video|audio)|screen\s?shot|photo|image|scan)\s(?=[\d-]{6})(?:[\d.-]{2,12}\s(?:at\s)?){0,2}(?=[\w-]))?"
    r"[\w()~-]{1,80}+(?:\s?[ap]m)?(?:\.[\w()-]{1,40}+){0,3}?\.(?:jpe?g|png|heic|tiff?|bmp|gif|"
    r"webp|dcm|mp4|m4v|mov|avi|mpe?g|webm|3gp|raw|nef|jfif|svg|pdf|docx?|xlsx?|csv|rtf)(?!\w)",
    re.IGNORECASE,
)
_CAMERA = re.compile(
    r"(?<![^\W_])(?:(?:IMG|DSCN?|PXL|DCIM|MVIMG)[ _-]?|(?:VID|PHOTO|SCAN)[_-]?)\d{3,}(?:[_-]\d+)*", re.IGNORECASE
)
_PHOTO = re.compile(
    r"jpe?g|png|heic|tiff?|bmp|gif|webp|dcm|mp4|m4v|mov|avi|mpe?g|webm|3gp|raw|nef|jfif|svg", re.IGNORECASE
)
_MBI = re.compile(r"(?<![^\W_])[1-9][A-Z][A-Z0-9]\d-?[A-Z][A-Z0-9]\d-?[A-Z]{2}\d{2}(?![^\W_])", re.IGNORECASE)
_DONATION = re.compile(r"(?<![\w-])[A-Z]\d{4} ?\d\d ?\d{3} ?\d{3}(?: ?[A-Z0-9])?(?![\w-])")
"""Of a unit of blood."""
_HEALTH_CARD = re.compile(r"(?<![\w-])(?:\d{4}([ -])\d{3}\1\d{3}[ -]?[A-Z]{2}|[A-Z]{4} \d{4} \d{4})(?![\w-])")
"""Of Ontario: ten digits and a version. Of Quebec: four letters and eight digits."""
_INSURED = re.compile(r"(?<![\w-])[A-Z]{2}( ?)\d\d\1\d\d\1\d\d\1[A-D](?![\w-])", re.IGNORECASE)
"""National insurance numbers of Britain."""
_INSURED_ABROAD = re.compile(
    r"(?<![\w.-])(?:[12] \d\d \d\d \d[\dAB] \d{3} \d{3}(?: \d\d)?|756\.\d{4}\.\d{4}\.\d\d|\d\d ?\d{6} ?[A-Z] ?\d{3}|"
    r"\d{7}(?:[A-W][ABHW]?| [A-W][ABHW])|"
    r"\d{1,2}\.\d{3}\.\d{3}-[\dK]|\d{3}\.\d{3}\.\d{3}-\d\d|[A-Z]{1,2}\d{6}\([\dA]\))(?!\w)"
)
"""Of France, Switzerland, Germany, Ireland, Chile, Brazil and Hong Kong."""
_DRIVER = re.compile(r"(?<![\w-])[A-Z]{2,5}9{0,3} ?\d{6} ?[A-Z0-9]{2}\d?[A-Z]{2}(?![\w-])", re.IGNORECASE)
"""Driving licences of Britain."""
_CITIZEN = re.compile(r"(?<![\w-])[2-9]\d{3} \d{4} \d{4}(?![\w-]| ?\d)")
"""Aadhaar numbers of India: twelve digits."""
_CARD = re.compile(r"(?<![\w-])(?:\d{4}([ -])\d{4}\1\d{4}\1\d{4}|3\d{3}([ -])\d{6}\2\d{5})(?![\w-])")
_DEA = re.compile(r"(?<![^\W_])[ABCFGMPRX][A-Z9]\d{7}(?![^\W_])", re.IGNORECASE)
_LONG = re.compile(r"(?<![\w.,/$+])#?\d{6,40}(?![\w]|[.,/]\d)")
_MIXED = re.compile(
    r"(?<![\w./])(?=\d|[a-z][a-z_-]{0,172}+\d)[a-z0-9]{1,24}+(?:[-_][a-z0-9]{1,24}+){0,6}+(?:/[a-z](?![\w]))?(?![\w])",
    re.IGNORECASE,
)
_PAIRS = re.compile(r"(?<![\w./-])\d\d-\d\d-\d\d(?![\w/%]|-\d|\.\d)")
_GS1 = re.compile(r"(?:\(\d{2}\)[A-Za-z0-9-]{2,30}+){2,6}")
BIRTHS = re.compile(r"g\d{1,2}p\d{1,4}(?:a\d{1,2})?(?:l\d{1,2})?", re.IGNORECASE)
"""Pregnancies and births, as in ``G3P1011``."""
_UUID = re.compile(r"(?<![^\W_])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![^\W_])", re.IGNORECASE)


def find(text: str) -> Iterator[Found]:
    """Every identifier that its shape gives away."""
    yield from _network(text)
    yield from _phones(text)
    for pattern, kind in (
        (_SSN, T.SSN),
        (_MBI, T.PLAN),
        (_HEALTH_CARD, T.PLAN),
        (_DONATION, T.ID),
        (_CARD, T.ACCOUNT),
        (_INSURED, T.SSN),
        (_INSURED_ABROAD, T.SSN),
        (_DRIVER, T.LICENCE),
        (_CITIZEN, T.ID),
        (_CAMERA, T.PHOTO),
        (_GS1, T.DEVICE),
        (_UUID, T.ID),
        (_DEA, T.LICENCE),
    ):
        for match in pattern.finditer(text):
            if not is_public(text, match.start(), match.end()):
                yield match.start(), match.end(), kind
    for match in _ENCODED.finditer(text):
        if len(match.group()) >= _SHORT_PARTS * (1 + match.group().count("/")):
            yield match.start(), match.end(), T.ID
    for match in _VIN.finditer(text):
        if sum(character.isdigit() for character in match.group()) >= 4 and not match.group().isdigit():
            yield match.start(), match.end(), T.VEHICLE
    for match in _PLATE.finditer(text):
        yield match.start(), match.end(), T.VEHICLE
    for match in _FILE.finditer(text):
        yield match.start(), match.end(), T.PHOTO if _PHOTO.fullmatch(match.group().rpartition(".")[2]) else T.ID
    yield from _long_numbers(text)


def is_public(text: str, start: int, end: int) -> bool:
    """Whether a number is of a catalogue that everybody has: an article, a gene variant, a trial, a diagnosis code."""
    named = _PUBLIC.search(text[max(0, start - 30) : start]) is not None
    return named or _PUBLIC_TOKEN.fullmatch(text[start:end]) is not None


def _network(text: str) -> Iterator[Found]:
    for match in _EMAIL.finditer(text):
        user, _, host = re.split(r"(@|\(at\)|\[at\])", match.group(), maxsplit=1, flags=re.IGNORECASE)
        if re.search(r"[a-z]", user, re.IGNORECASE) and re.search(r"[a-z]", host, re.IGNORECASE):
            joined = " " not in match.group().strip() or "." in host
            dose = re.fullmatch(r"[\d.]+(?:mg|ml|mcg|g|l|units?|%|hrs?|h|min|x)?", user.strip(), re.IGNORECASE)
            when = re.fullmatch(
                r"\s?(?:hs|bedtime|night|noon|am|pm|home|rest|\d+\s?(?:am|pm|h|hr)?|lunch|breakfast|dinner|bedside)",
                host,
                re.IGNORECASE,
            )
            if joined and not dose and not when:
                yield match.start(), match.end(), T.EMAIL
    for match in _EMAIL_SAID.finditer(text):
        yield match.start(), match.end(), T.EMAIL
    for match in _HANDLE.finditer(text):
        yield match.start(), match.end(), T.URL
    for match in _LOGIN.finditer(text):
        yield match.start("login"), match.end("login"), T.ID
    for pattern in (_URL, _DOMAIN):
        for match in pattern.finditer(text):
            site = match.group().rstrip(".,;:)!?")
            if not _PUBLIC_SITES.fullmatch(site):
                yield match.start(), match.start() + len(site), T.URL
    for match in _IPV4.finditer(text):
        if all(int(part) <= 255 for part in re.split(r"[./:]", match.group())[:4]):
            yield match.start(), match.end(), T.IP
    for match in _IPV6.finditer(text):
        if _is_ipv6(match.group()):
            yield match.start(), match.end(), T.IP
    for match in _MAC.finditer(text):
        yield match.start(), match.end(), T.DEVICE


def _is_ipv6(value: str) -> bool:
    try:
        ipaddress.IPv6Address(value)
    except ValueError:
        return False
    return len(value) > 6


def _phones(text: str) -> Iterator[Found]:
    for pattern in (_PHONE, _PHONE_ABROAD, _PHONE_AT_HOME, _PHONE_INVENTED, _EXTENSION):
        for match in pattern.finditer(text):
            before = text[max(0, match.start() - 16) : match.start()].lower()
            yield match.start(), match.end(), T.FAX if "fax" in before else T.PHONE
    for match in _PHONE_7.finditer(text):
        low, high = int(match[1]), int(match[2])
        dose = UNIT.match(text, match.end()) or (low % 50 == 0 and high % 50 == 0 and high > low)
        if not dose and not _PUBLIC.search(text, max(0, match.start() - 30), match.start()):
            yield match.start(), match.end(), T.PHONE


def _is_no_date(value: str) -> bool:
    """``22-67-46``: in no order a day, a month and a year."""
    first, second, _ = map(int, value.split("-"))
    return not ((1 <= first <= 12 and 1 <= second <= 31) or (1 <= second <= 12 and 1 <= first <= 31))


def _long_numbers(text: str) -> Iterator[Found]:
    for match in _LONG.finditer(text):
        digits = match.group().lstrip("#")
        if (UNIT.match(text, match.end()) and digits.rstrip("0") != digits) or digits.endswith("0000"):
            continue
        if UNIT.match(text, match.end()) and len(digits) < 9:
            continue
        if _PUBLIC.search(text[max(0, match.start() - 30) : match.start()]):
            continue
        yield match.start(), match.end(), T.PHONE if len(digits) in (10, 11) and digits[0] in "23456789" else T.ID
    for match in _PAIRS.finditer(text):
        if _is_no_date(match.group()):
            yield match.start(), match.end(), T.ID
    for match in _MIXED.finditer(text):
        value = match.group()
        if _looks_like_an_id(value) and not _PUBLIC_TOKEN.fullmatch(value) and not UNIT.match(text, match.end()):
            if _PUBLIC.search(text[max(0, match.start() - 30) : match.start()]):
                continue
            yield match.start(), match.end(), T.ID


def _looks_like_an_id(value: str) -> bool:
    """Letters and four digits or more in a word, as in ``A1234567`` or ``XJ-44-2913``; no dose, gene, age or date."""
    runs = re.findall(r"\d+", value)
    if not runs:
        return False
    digits = sum(map(len, runs))
    letters = sum(character.isalpha() for character in value)
    if letters == 0:
        groups = value.split("-")
        return len(groups) >= 2 and digits >= 8 and all(groups) and not _is_range_or_date(groups)
    if re.fullmatch(r"\d+(?:[-.]\d+)?[- ]?[a-z]{1,12}", value, re.IGNORECASE):  # 5000units, 1500mL, 65-year
        return digits >= 6 and letters <= 3 and not UNIT.match(value, len(runs[0]))
    if re.search(r"(?:19|20)\d\d", value) and digits == 4:
        return False
    if BIRTHS.fullmatch(value):
        return False
    longest = max(map(len, runs))
    if digits == 4 and value.endswith("000"):  # KT-1000
        return False
    if value.count("-") == 2 and digits >= 4 and longest >= 3 and letters <= 6 and value[:1].isupper():
        return True
    if (
        value.count("-") >= 2
        and digits >= 4
        and letters >= 3
        and all(any(c.isdigit() for c in part) for part in value.split("-"))
    ):
        return True
    if len(runs) >= 3 and digits >= 4 and len(value) >= 7 and value.isupper() and value.isalnum():  # 8K22QT41
        return True
    return (digits >= 5 and longest >= 3) or (longest >= 4 and letters <= 4 and not value[0].islower()) or digits >= 7


def _is_range_or_date(groups: list[str]) -> bool:
    if len(groups) == 3 and sum(len(group) == 4 for group in groups) > 1:
        return False
    if len(groups) == 2:
        low, high = groups
        return len(low) <= 4 and len(high) <= 4
    return len(groups) == 3 and max(map(len, groups)) <= 4 and any(len(group) <= 2 for group in groups)
