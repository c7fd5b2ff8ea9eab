"""Finds places that are named in part: a street without its house, a town with its state, a firm by its trade."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction import words
from tenancy.redaction.dates import MONTH_FULL
from tenancy.redaction.labelled import Found
from tenancy.redaction.place_signs import GENERIC
from tenancy.redaction.weekdays import WEEKDAY

TRADES = (
    r"(?:Drugs?|Chemists?|Apothecary|Pharmacy|Physio(?:therapy)?|Dental|Dentists?|Dentistry|Smiles|Orthodontics|Opticians?|Optical|"
    r"Optometr(?:y|ists)|Eyecare|Podiatry|Chiropractic|Chiropractors|Vets|Veterinary|Hearing|Surgery|Medical|Infants|Juniors|Primary|"
    r"Nursery|Montessori|Grammar|Prep|R?U?FC|AFC|GAA|Rovers|Wanderers|Harriers|Rugby|Stables|Riding|"
    r"Slate|Tiles?|Roofing|Plumbing|Plumbers|Builders|Construction|Scaffolding|Joinery|Carpentry|Masonry|Paving|Concrete|Cement|Steel|"
    r"Foundry|Forge|Fabrication|Welding|Metals|Glass|Plastics|Paper|Timber|Lumber|Sawmills?|Mills?|Textiles|Tannery|Quarr(?:y|ies)|"
    r"Mine|Collier(?:y|ies)|Refinery|Chemicals|Plant|Works|Depot|Warehouse|Logistics|Freight|Haulage|Trucking|Transport|Couriers|"
    r"Coaches|Cabs|Taxis|Rail(?:way|road|ways)?|Airlines|Airways|Air|Shipping|Shipyard|Boatyard|Boats|Ferries|Marine|Motors|Autos?|"
    r"Tyres|Tires|Garage|Recycling|Waste|Scrap|Salvage|Energy|Oil|Gas|Electric|Power|Foods?|Farms?|Poultry|Meats|Packing|Butchers|"
    r"Bakery|Bakers|Brewery|Brewing|Distillery|Dairy|Creamery|Fisheries|Salmon|Seafoods|Orchards|Vineyards?|Growers|Co-op|"
    r"Laundry|Cleaners|Cleaning|Hotel|Inn|Casino|Resort|Caf[eé]|Restaurant|Diner|Grill|Pub|Arms|Tavern|Bank|Insurance|Solicitors|"
    r"Industries|Manufacturing|Engineering|Electronics|Systems|Solutions|Holdings|Enterprises|Brothers|Bros|Sons|Partners|Stores?|"
    r"Supermarket|Market|Station|Terminal|Precinct|Hangar|Ltd|LLC|Inc|Plc|PLC|GmbH|Pty)"
)
_GROUND = (
    r"(?:Bay|Beach|Springs|Falls|Harbou?rs?|Heights|Hills|Creek|Valley|Island|Junction|Ridge|Lakes?|Rapids|Grove|Cove|County|"
    r"Township|Borough|Parish|Reservation|Prairie|Forks|Bluffs?|Corners?|Crossing|Landing)"
)
_NAMED = r"[A-Z][a-z][\w'-]{1,20}"
_TO = r"(?<!\w)(?:at|from|to|for|with|by|in|near|outside|of|via|on)\s(?:the\s)?"
_CODED = r"MN|WI|TX|NY|NJ|OH|KY|TN|WY|WV|UT|NH|NV|AK|FL|IL|IA|KS|NM|WA|AZ"
"""States whose two letters mean nothing else in medicine."""
_FIRM = re.compile(
    rf"{_TO}(?P<at>{_NAMED}(?:\s(?:&\s|and\s|of\s|in\s|on\s)?{_NAMED}){{0,3}}?\s{TRADES})(?:\s#?\d{{1,4}}(?![\w/%]|\.\d))?(?![\w-])|"
    rf"(?<![\w'-])(?P<by>{_NAMED}(?:\s(?:&\s)?{_NAMED}){{1,3}}?\s{TRADES})(?![\w-])"
)
_PLACE = re.compile(
    rf"{_TO}(?P<ground>(?:{_NAMED}\s){{1,2}}{_GROUND})(?!\w)|"
    rf"(?<![\w-])(?P<joined>{_NAMED}-(?:on|upon|under|in|by|next|le|la|les|sur|am)-(?:the-)?{_NAMED})(?![\w-])|"
    rf"(?<![\w-])(?P<stated>{_NAMED}(?:\s{_NAMED}){{0,2}}),?\s(?:{_CODED})(?![\w-])|"
    rf"(?<!\w)(?P<prison>(?:HMP|HMYOI|YOI|FCI|RNAS|RAF|Camp|Fort)\s{_NAMED})(?!\w)"
)
_CHAIN = re.compile(
    r"(?<![\w'-])(?:(?i:hy-vee|meijer|publix|wegmans|h-e-b|albertsons|winn-dixie|specsavers|superdrug|sainsbury'?s|tesco|asda|"
    r"morrisons|rexall|shoppers\sdrug\smart|walgreens|cvs|rite\said|walmart|costco|kroger|safeway|union\spacific|bnsf|amtrak|"
    rf"royal\smail|amazon)|Boots(?=\s(?:(?:on|in|at)\s(?:the\s)?[A-Z]|the\s[A-Z]|[Pp]harmacy|[Cc]hemist)))"
    rf"(?:\s[a-zA-Z]{{3}}\d{{1,2}}(?!\w)|\s(?:on|in|at)\s(?:the\s)?(?P<at>{_NAMED}|[a-z]{{3,20}}(?=\s?[,.;:?)]|\s?$|\s(?:please|st|street|ave|rd)\b))|\s#?\d{{3,5}}(?![\w/%]|\.\d))?(?![\w'-])"
)
"""Firms that many know, with the street or the number of one of their houses: ``Hy-Vee on Grand``."""
_SURE_STREET = (
    r"(?:Street|Avenue|Ave|Road|Rd|Lane|Ln|Boulevard|Blvd|Terrace|Crescent|Mews|Parkway|Pkwy|Hwy|Highway|Esplanade)"
)
_STREET = re.compile(
    rf"(?<![\w'-])(?P<sure>(?:{_NAMED}\s|\d{{1,3}}(?:st|nd|rd|th)\s){{1,3}}{_SURE_STREET})(?!\w)|"
    rf"(?<!\w)(?:on|at|in|from|to|near|off|of)\s(?P<led>(?:{_NAMED}\s){{1,2}}"
    r"(?:St|Drive|Dr|Court|Close|Row|Way|Alley|Circle|Square|Hill|Quay|Walk|Gardens|Gate|Wharf|Yard|Rise))(?!\w)|"
    r"(?<!\w)(?:liv(?:es?|ing|ed)|house|home|flat|apt|apartment|resid(?:es?|ing)|moved|staying|stays|collapsed|address)\s(?:is\s)?"
    r"(?:on|in|at|to|off)\s(?P<lower>(?:[a-z][\w'-]{2,20}\s){1,2}(?:street|st|avenue|ave|road|rd|lane|ln|drive|terrace|blvd|"
    r"boulevard|court|crescent|way))(?!\w)|"
    rf"(?<!\w)(?P<house>(?:The\sOld\s|(?:{_NAMED}\s){{1,2}})(?:Cottage|Farmhouse|Barn|Bungalow|Vicarage|Rectory|Manse|Chapel|Croft)"
    rf"(?:,\s{_NAMED}(?:\s{_NAMED})?)?)(?!\w)|"
    r"(?<!\w)(?:at|o/a)\s(?P<number>\d{1,4}[a-z]?\s[A-Z][a-z]{3,20})(?=\s?[,.;:)]|\s(?:with|and|w/)|\s?$)"
)
_NUMBERED = re.compile(
    r"(?<![\w-])(?:Local|Engine|Squad|Troop|Ladder|Battalion|Precinct|Truck|Medic)\s\d{1,4}(?![\w/%-]|\.\d)|"
    r"(?<!\w)(?i:near|off|at|from|on|past)\s(?P<exit>(?i:exit|mile\smarker|mm)\s\d{1,3}|I-\d{1,3})(?![\w/%-]|\.\d)|"
    rf"(?<!\w)(?i:at|near|on|of|corner)\s(?P<corner>\d{{1,3}}(?:st|nd|rd|th)\s(?:&|and)\s{_NAMED})(?!\w)|"
    rf"(?<![\w'-])(?P<crossing>{_NAMED}\s(?:&|and)\s\d{{1,3}}(?:st|nd|rd|th))(?=\s?[,.;:)]|\s?$)"
)
"""A brigade, an exit or a corner by its number: ``Engine 9``, ``off I-80``, ``at 5th and Pine``."""
_LODGING = re.compile(
    r"(?<!\w)(?:liv(?:es?|ing)|stay(?:s|ing)?|resid(?:es?|ing)|moved|home|address)\s(?:is\s)?(?:in|at|to|on|off)\s"
    r"(?P<at>(?:unit|lot|trailer|space|flat|cabin|block|building|tower|pitch|plot)\s#?(?:\d{1,5}[a-z]?|[a-z]\d{0,4})|"
    r"(?:RR|HC|CR|FM|SR|county\sroad|rural\sroute|state\sroad)\s#?\d{1,4})(?![\w/%]|\.\d)",
    re.IGNORECASE,
)
_ZIP = re.compile(
    r"(?<!\w)(?:liv(?:es?|ing)\sin|resid(?:es|ing)\sin|moved\s(?:to|from)|home\sin|area\sof|area|in)\s(?P<zip>\d{5})(?=\s?[,;:?)]|\.(?!\d)|"
    r"\s?$|\s(?:area|and\shas|with|w/)\b)(?<!00)",
    re.IGNORECASE,
)
_TIME = re.compile(
    rf"(?:{WEEKDAY}|{MONTH_FULL}|weeks?|days?|hours?|months?|years?|mins?|units?|puffs?|degrees?|tabs?)", re.IGNORECASE
)
_ROADS = frozenset({"main", "busy", "same", "quiet", "country", "dirt", "gravel", "back", "open", "high", "public"})


def find(text: str) -> Iterator[Found]:
    """Every place of ``text`` that is named in part."""
    for match in _FIRM.finditer(text):
        start, end = match.span(match.lastgroup or 0)
        if _is_name(match[match.lastgroup or 0].rpartition(" ")[0]):
            yield start, end, T.EMPLOYER
    for match in _CHAIN.finditer(text):
        if match["at"] and not _is_street(match["at"]):
            continue
        yield match.start(), match.end(), T.FACILITY
    for match in _PLACE.finditer(text):
        group = match.lastgroup or ""
        named = match[group].rpartition(" ")[0] if group == "ground" else match[group]
        if group in ("joined", "prison") or _is_name(named):
            yield *match.span(group), T.PLACE
    for match in _STREET.finditer(text):
        group = match.lastgroup or ""
        named = match[group].split(",")[0].rpartition(" ")[0] if group != "number" else match[group].rpartition(" ")[2]
        if group in ("sure", "led", "house", "number") and _is_street(named):
            yield *match.span(group), T.ADDRESS
        if group == "lower" and _is_street(named) and not _ROADS & set(named.split()):
            yield *match.span(group), T.ADDRESS
    for match in _NUMBERED.finditer(text):
        named = (match["corner"] or "").rpartition(" ")[2] or (match["crossing"] or "").partition(" ")[0]
        if not named or _is_street(named):
            yield *match.span(match.lastgroup or 0), T.ADDRESS
    for match in _LODGING.finditer(text):
        yield *match.span("at"), T.ADDRESS
    for match in _ZIP.finditer(text):
        yield *match.span("zip"), T.ZIP


def _is_name(phrase: str) -> bool:
    """Whether one of these words at least is a name and no everyday word, and none is of medicine."""
    parts = [part for part in phrase.split() if part not in ("&", "and", "of", "in", "on")]
    if any(_is_of_medicine(part) or _TIME.fullmatch(part) for part in parts):
        return False
    return any(part.lower() not in GENERIC and _names(part) for part in parts)


def _is_of_medicine(word: str) -> bool:
    return words.is_clinical(word) or words.is_eponym(word) or words.is_medical(word) or words.is_function_word(word)


def _names(word: str) -> bool:
    listed = words.is_surname(word) or words.is_first_name(word) or words.is_place(word)
    return words.is_name(word) or words.is_strange(word) or (listed and not words.is_ordinary(word))


def _is_street(phrase: str) -> bool:
    parts = phrase.split()
    return bool(parts) and not any(
        words.is_clinical(part) or _TIME.fullmatch(part) or (words.is_function_word(part) and part != "The")
        for part in parts
    )
