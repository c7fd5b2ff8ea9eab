"""Holds the signs by which places, facilities and employers are found: kinds of street, states, cues, nouns."""

from __future__ import annotations

import re

from tenancy.redaction import words
from tenancy.redaction.lexicon import word_set

SURE_SUFFIX = (
    r"street|avenue|ave|road|rd|drive|lane|ln|blvd|boulevard|court|circle|cir|terrace|pkwy|"
    r"parkway|hwy|highway|trail|trl|alley|crescent|turnpike|expressway|esplanade|byway"
)
SHORT_SUFFIX = (
    r"st|dr|ct|pl|place|way|ter|sq|square|loop|route|rte|close|run|path|pike|row|walk|hill|"
    r"point|pt|cove|bend|crossing|ridge|grove|pass|plaza|broadway"
)
TITLED_SUFFIX = (
    r"Mews|Rise|Green|Parade|View|Chase|Quay|Croft|Fold|Brae|Gardens?|Wynd|Overlook|Villas|Heights|Vale|Gate|Wharf|Yard|Dale|"
    r"Glen|Park|Common|Commons|Crest|Embankment|Promenade|Strand|Cottages?|Buildings|Bank|Mount|Fields?|Meadows?|Orchard|"
    r"Landing|Trace|Hollow|Knoll|Creek|Shores?|Springs|Valley|Village|Vista|Pointe|Mill|Harbou?r|Bluffs?|Oval|Oaks|Pines|Woods|"
    r"End|Drift|Garth|Gables|Lawn|Lea|Leas|Nook|Paddocks?|Spinney|Warren|Estate"
)
"""What streets are called with a capital, and what is no street without one: ``6 Lavender Mews``."""
STREET_WORD = r"[A-Za-z][\w'.]{0,20}|\d{1,3}(?:st|nd|rd|th)"
UNIT = (
    r"(?:,?\s{1,2}(?:apt|apartment|suite|ste|unit|lot|trailer|bldg|building|room|rm|floor|fl|"
    r"#)\.?\s?#?\s?[A-Za-z]?\d{0,5}[A-Za-z]?(?![\w]))?"
)
ADDRESS = re.compile(
    rf"(?<![\w./-])(?P<number>(?:\d{{1,4}}/)?\d{{1,6}}[a-z]?)\s{{1,2}}(?P<street>(?:(?:{STREET_WORD})\s){{1,"
    rf"4}}?)(?:(?P<sure>{SURE_SUFFIX})|(?P<short>{SHORT_SUFFIX}))\b\.?(?:\s(?:way|ct|court|"
    rf"lane|ln|dr|drive|rd|road|st|street|ave|loop|pl|place)\b\.?)?(?:\s(?:north|south|east|"
    rf"west|[nsew]\b|[ns][ew]\b)\.?)?{UNIT}",
    re.IGNORECASE,
)
LIVES = re.compile(
    r"(?<!\w)(?:liv(?:es|ed|ing)|resid(?:es|ed|ing)|addr(?:ess)?)\s?(?:is|at|on)?[:,]?\s$", re.IGNORECASE
)
"""After it a small number is a house's and no dose."""
TOWARDS = re.compile(r"(?<!\w)(?:at|to|from|of|home)\s$", re.IGNORECASE)
ENDS = re.compile(r"\s?(?:[,.;:)#]|$|(?:apt|unit|and|with|for|by|today|tomorrow|she|he|needs?)\b)", re.IGNORECASE)
HOUSE = re.compile(
    r"(?<!\w)(?:(?:lives?|living|resid(?:es?|ing)|stay(?:s|ing)|moved)\s(?:at|to)|addr(?:ess)?(?:\sis|:|\s-)?)\s(?P<house>\d{1,6}[a-z]?\s"
    r"(?:[nsew]\.?\s)?(?P<street>[^\W\d_][\w'-]{1,20}))(?!\w)|"
    r"(?<![\w./-])(?P<numbered>\d{1,6}\s[nsew]\.?\s\d{1,3}(?:st|nd|rd|th))(?!\w)",
    re.IGNORECASE,
)
"""A number and a word behind what announces an address, ``lives at 45 oak``, and ``118 w 5th``."""
TITLED = re.compile(
    rf"(?<![\w./-])\d{{1,4}}[a-zA-Z]?,?\s(?:The\s|(?P<street>(?:[A-Z][\w']{{2,20}}\s){{1,3}}))(?:{TITLED_SUFFIX})(?!\w){UNIT}"
)
SHORTENED = re.compile(r"(?:[nsew]{1,2}|mt|ft|st|dr|rev|gen|col|capt|sgt)\.", re.IGNORECASE)
"""With which the name of a street may begin."""
ROUTE = re.compile(
    r"(?<!\w)(?:\d{1,6}\s)?(?:(?:county|state|rural|old|us|u\.s\.)\s)?(?:route|rte|highway|"
    r"hwy|interstate|county\sroad|farm\sroad)\s\d{1,4}[a-z]?(?!\w)(?!\s?(?:mg|ml|days|weeks))" + UNIT,
    re.IGNORECASE,
)
STREET_ABROAD = re.compile(
    r"(?<!\w)[A-ZÄÖÜ][a-zäöüß]{1,20}(?:stra(?:ss|ß)e|str\.|weg|platz|gasse|allee|straat|laan)\s\d{1,4}[a-z]?(?!\w)|"
    r"(?<!\w)(?:RR|HC|HCR|SR|CR|PSC|R\.R\.|Rural\sRoute)\s?#?\d{1,3},?\sBox\s\d{1,5}(?!\w)|"
    r"(?<![\w./-])(?:\d{1,4}\s)?[A-ZÆØÅÄÖ][a-zæøåäöéü]{2,20}(?:gade|gatan|gata|vej|veien|vegen|vägen|gracht|kade|katu|intie|utca|plein|"
    r"ufer|damm|singel|steeg|steig|gässli|strasse)(?:\s\d{1,4}\s?[A-Za-z]?(?:\s\d{1,3})?(?![\w/%]|\.\d)|(?=,))|"
    r"(?<!\w)(?:Am|An\sder|Auf\sder|Auf\sdem|Im|In\sder|Zum|Zur|Unter\sden|Hinter\sder)\s[A-ZÄÖÜ][a-zäöüß]{3,20}\s\d{1,3}[a-z]?"
    r"(?=\s?[,;:)]|\.(?!\d)|\s?$)|"
    r"(?<!\w)(?:Calle|Cll?\.?|Cra\.?|Carrera|Kra?\.?|Diagonal|Transversal|Av\.?|Avenida)\s\d{1,3}\s?[A-Z]?\s?(?:#|No\.?)\s?\d{1,3}\s?[A-Z]?"
    r"\s?-\s?\d{1,3}(?!\w)|"
    r"(?<![\w./-])(?:(?:Lot|No\.?)\s)?\d{1,4}[A-Za-z]?,?\s(?:Jalan|Jln|Jl\.|Lorong|Via|Calle|Rua|B[óo]thar|Sr[áa]id|Cnoc|P[áa]irc|Cois|Ard|Gleann|Baile|"
    r"Ascaill|C[ée]ide|L[áa]na)(?:\s(?:na|an|de|del|da|dos|do|la))*(?:\s[A-ZÁÉÍÓÚ][\w'-]{1,20}){1,3}(?!\w)|"
    r"(?<![\w.-])\d{1,3}(?:/\d{1,3})?\s(?:Moo|Mu|Soi)\s\d{1,2}(?!\w)|"
    r"(?<!\w)(?:H|House|Plot|Flat|Door|Shop|Qtr)\.?\s?[Nn]o\.?:?\s?(?=[A-Z-]{0,3}\d)[A-Z\d][A-Z\d/-]{0,15}(?!\w)|"
    r"(?<![\w./-])(?:\d{1,4}\s?(?:bis|ter)?,?\s)?(?:[Rr]ue|avenue|boulevard|impasse|place|chemin)\s(?:de\sla\s|de\sl'|des?\s|du\s)?"
    r"[A-ZÀ-Ý][\w'-]{2,20}(?:\s[A-ZÀ-Ý][\w'-]{2,20}){0,2}(?=,)|"
    r"(?<!\w)(?:Via|Viale|Piazza|Corso|Calle|C/|Avenida|Avda\.|Av\.|Paseo|Plaza|Rua|R\.|Travessa|[Uu]lica|[Uu]litsa|ul\.|Carrer|Jalan|Jln|Jl\.|Lorong)"
    r"\s(?:(?:de|del|della|dei|degli|delle|di|la|los|las|da|do|das|dos)\s)*"
    r"[A-ZÀ-Ý][^\W\d_]{2,20}(?:\s[A-ZÀ-Ý][^\W\d_]{2,20}){0,2},?\s\d{1,4}[a-z]?(?:/\d{1,3})?(?:,\s\d{1,2}[ºo°]\s?[A-Z]?|,\s(?:ap|apto|apt|piso|int)\.?\s\d{1,4}[A-Z]?)?(?![\w%])|"
    r"(?<!\w)(?:(?i:house|plot|block|blk|sector|road|flat|lane|street|tower|villa|section|erf|stand|building|apartment|unit|apt)"
    r"\s(?:\d{1,5}[A-Za-z]?|[A-Z]),?\s){1,4}"
    r"(?i:house|plot|block|sector|road|flat|lane|street|phase|tower|villa|section|extension|ext|floor|unit|lot)"
    r"\s(?:\d{1,4}[A-Za-z]?|[A-Z])(?![\w/%]|\.\d)|"
    r"(?<!\w)(?i:unit|flat|apt|plot|house|lot)\s\d{1,3}[a-z]?,?\s[Tt]he\s[A-Za-z]{4,20}(?=\s?[,;:)]|\.|\s?$)|"
    r"(?<!\w)[Kk]m\.?\s\d{1,4}(?:[.,]\d)?,?\s(?:de\sla\s)?(?:Carretera|Ruta|Autopista|Route|Highway)\s[A-Z]\w+(?:\s[A-Z]\w+)?(?!\w)|"
    r"(?<!\w)(?:Croft|Bungalow|Farm|Cottage|House|Lodge|Villa|Cabin|Chalet|Berth|Pitch|Caravan|Stand|Site|Shop|Barrack)\s(?:No\.?\s)?\d{1,4}[A-Z]?,?\s"
    r"(?:[A-Z][\w'-]{2,20})(?:\s[A-Z][\w'-]{2,20}){0,2}(?!\w)|"
    r"(?<!\w)corner\sof\s[A-Z]\w{2,20}\s(?:and|&)\s(?:[A-Z]\w{2,20}|\d{1,3}(?:st|nd|rd|th))"
)
BOX = re.compile(
    r"(?<!\w)flat\s\d{1,4}[a-z]?(?=,\s?\d)|(?<!\w)p\.?\s?o\.?\s?box\s?#?\s?\d{1,7}|(?<!\w)(?:apt|apartment|suite|"
    r"ste)(?:\.?\s?#?\s?\d{1,5}[a-z]?|[.\s#]{1,3}[a-z]\d{0,4})(?!\w)",
    re.IGNORECASE,
)
STATE = "|".join(
    sorted((re.escape(name).replace(r"\ ", r"\s") for name in words.STATES.values()), key=len, reverse=True)
)
POSTAL = "|".join(words.STATES)
ZIP = re.compile(
    r"(?<!\w)(?:zip(?:\s?code)?|post(?:al)?(?:\s?code)?|zipcode|eircode|pin\s?code)\s{0,2}(?:[:#=]|is|of)?\s{0,"
    r"2}(?P<zip>\d{5}(?:-\d{4})?|\d{3}xx|(?<=code\s)(?=[a-z]{0,2}\d)[a-z0-9]{2,6})(?!\w)",
    re.IGNORECASE,
)
TOWN_ZIP = re.compile(
    r"(?<![\w'])(?P<city>(?:[A-Za-z][\w'.-]{1,20}\s){0,3}[A-Za-z][\w'.-]{1,20}),?\s(?P<zip>\d{5}(?:-\d{4})?)"
    r"(?![\w/%]|[.,]\d|\s?(?:mg|units|ml|iu|mcg|copies|cells|steps|people|patients|k\b))"
)
TOWN = re.compile(r"(?<!\w)(?:in|from|near|outside|of) (?P<town>[A-Z][a-z']{2,20}(?: [A-Z][a-z']{2,20}){0,2})(?!\w)")
ZIP_4 = re.compile(r"(?<![\w.-])\d{5}-\d{4}(?![\w-])")
AUSTRALIAN = re.compile(
    r"(?<!\w)(?P<city>[A-Z][a-z'-]{2,20}(?:\s[A-Z][a-z'-]{2,20})?),?\s(?:VIC|NSW|QLD|TAS)\s(?P<zip>\d{4})(?![\w/%])"
)
STATE_ZIP = re.compile(
    rf"(?<!\w)(?:{STATE}|(?-i:{POSTAL.upper()})|(?:,\s?(?:{POSTAL}))|"
    rf"(?<=\w\s)(?:{POSTAL}))\.?,?\s{{1,2}}(?P<zip>\d{{5}}(?:-\d{{4}})?)(?![\w/]|\s?(?:mg|"
    rf"units|ml|iu|mcg|copies|cells))",
    re.IGNORECASE,
)
UK_POST = re.compile(
    r"(?<!\w)(?:[A-Z]{1,2}\d[A-Z\d]?\s\d[A-Z]{2}|(?!T\dN|A\dL\dB)[ABCEGHJ-NPRSTVXY]\d[A-Z]\s?\d[A-Z]\d|"
    r"[1-9]\d{3}\s(?!AM|PM|MG|ML|KG|IU|MM|CM|HR|IV|IM|PO|SC|SQ|OD|BD|UG)[A-Z]{2}(?=\s[A-Z][a-z]{2})|"
    r"[AC-FHKNPRTV-Y]\d[\dW]\s(?=[A-Z]{0,3}\d)(?=\d{0,3}[A-Z])[A-Z\d]{4})(?!\w)"
)
NOT_PLACE_AFTER = re.compile(
    r"\s?(?:'s\s)?(?:ct\s(?:\d|score|grade|class)|criteria|score|scale|rules?|classification|chromosome|virus|fever(?!s)|nomogram|diet|regimen|biops(?:y|ies)|cholangitis|staging|"
    r"disease|protocol|system|grade|class|assessment|syndrome|coma|guidelines?|study|trial|"
    r"index|heart|bowel|prep|sign|test|strain|variant|agar|method|formula|consensus|"
    r"definition|ankle|knee|stroke|heat|encephalitis|equine|spotted|blue|black|bypass|brace|"
    r"shunt|catheter|procedure|operation|"
    r"stag(?:e|ing)|wort|category|risk|questionnaire|model|type|virus|nile)",
    re.IGNORECASE,
)
FACILITY_NOUN = (
    r"hospitals?|med(?:ical)?\.?\s(?:center|centre|ctr|group|associates|plaza|park|services?)|"
    r"health(?:care)?\s?(?:system|center|centre|partners|services?|network|sciences?|plan|"
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
    r"oncology|cardiology|orthop(?:a?edics?)|pediatrics|dermatology|urology|nephrology|neurology|pulmonology|"
    r"gastroenterology|rheumatology|endocrinology|hematology|psychiatry|ob[/-]?gyn|women'?s\shealth|dental|dentistry|"
    r"physical\stherapy|pain\s(?:clinic|cent(?:er|re)|management)|"
    r"family\s(?:practice|medicine|health)|internal\smedicine|urgent\scare|imaging|radiology|"
    r"labs?|laborator(?:y|ies)|birth\scenter|children'?s(?:\shospital)?|"
    r"(?:(?:spinal|spine|eye|heart|cardiac|breast|vascular|burns?|stroke|lung|chest|cancer|wound|fertility|sleep|kidney|joint|"
    r"hearing|memory|sports|vision|surgical|birth(?:ing)?|maternity|infusion|wellness|treatment|recovery|transplant|trial|"
    r"detox|residential|nursing|care|retirement|day|screening|leisure|community|convalescent|transitional\scare|hyperbaric|"
    r"open\smri|diagnostic|outpatient|ambulatory|specialty|bariatrics?|digestive|liver|skin|foot|hand|transfusion)\s?"
    r"(?:units?|cent(?:er|re)|ctr|institute|clinic|suites?|home|house|facility|services?|program(?:me)?|associates|specialists|"
    r"group|practice|ward|department|dept|hospital|lodge)|day\s(?:surgery|hospital|cent(?:er|re))|ward|nursery|polyclinic|sanatorium|"
    r"nhs\s(?:foundation\s)?trust|health\s(?:board|trust)|urgent\streatment\scent(?:er|re)|blood\sbank|surgicent(?:er|re)|"
    r"transitional\scare|long[\s-]term\s(?:acute(?:\scare)?|care)|ltach?|"
    r"critical\saccess(?:\shospital)?|open\smri|residential\s(?:home|care)|medical\spractice)|"
    r"general(?:\shospital)?|ed\b|er\b|icu\b|methodist|baptist|presbyterian|lutheran|adventist|deaconess|"
    r"regional(?!\s(?:pain|an(?:a?esth|algesi)|blocks?|wall|lymph|nodes?|enteritis|ileitis|flap|differences?))|"
    r"elementary|daycare|day\scare|kindergarten|preschool|camp|lodge|retreat|villa|gardens?|estates|"
    r"apartments|towers|village|acres"
)
FACILITY = re.compile(
    rf"(?<![\w'])(?P<name>(?:(?:St\.?|Saint|Mt\.?|Mount|Our|Lady|of|the|and|&|[A-Z][\w'.-]{{1,"
    rf"24}})\s){{1,5}})(?P<noun>(?i:{FACILITY_NOUN}))(?!\w)(?P<more>(?:\s(?:of|at|"
    rf"in)\s[A-Z]\w{{2,20}}|\s(?:Medical\sCenter|Hospital|Clinic|Health\sSystem|Campus|"
    rf"Center)))?"
)
FACILITY_OF = re.compile(
    r"(?<!\w)(?:(?:General|Regional|University|District|County|Central|City|Municipal|National|Royal|Children's|Community)\s)?"
    r"(?:Hospital|Clinic|Infirmary|Institute|Cent(?:er|re))\s(?:of|for|de|du|da|del|St\.?|San|Santa)"
    r"(?:\s(?:the|la|las|los|le|les|Our|Lady))*(?P<name>(?:\s[A-ZÀ-Ý][\w'-]{2,20}){1,4})"
)
FACILITY_ABROAD = re.compile(
    r"(?<!\w)(?i:our\slady)(?:\sof)?(?:\sthe)?(?:\s[A-Z][\w'-]{2,20}){1,2}|"
    r"(?<!\w)(?:H[ôo]pital|Ysbyty|Ospid[ée]al|Clinique|CHU|CHR|EHPAD|Cl[íi]nica|Hospital\s(?:Universit[aá]ri[oa]|Infantil|Nacional|General|Regional|Civil|Provincial|Central|Cl[íi]nico|Materno|Militar|Municipal|Distrital|Metropolitano|San|Santa|Santo|São|Sant|Nuestra|Nossa|Dr\.?|Doctor)|Centro\sde\sSalud|Policl[íi]nico|Ospedale|"
    r"Klinikum|Klinik|Krankenhaus|Spital|Ziekenhuis|Sykehus|Sjukhus|Szpital|Nemocnice|Hastanesi|Rumah\sSakit|Pflegeheim)"
    r"(?:\s(?:de|du|des|di|del|della|da|la|las|los|le|les|am|im|in|der|den))*(?:[\s-][A-ZÀ-Ý][\w'-]{2,20}){1,4}|"
    r"(?<!\w)[A-ZÄÖÜ][a-zäöü]{2,20}(?:spital|klinik|klinikum|zentrum|krankenhaus|altersheim|stift|ziekenhuis|sykehus|sjukhus)"
    r"(?:\s[A-ZÀ-Ý][\w'-]{2,20}){0,2}|(?<!\w)(?:P\.?S\.?|(?:Public|Middle|High|Primary)\sSchool)\s(?:#|No\.?\s)?\d{1,3}(?!\w)"
)
FACILITY_LOWER = re.compile(
    r"\b(?:at|to|from|in|near|via|outside|by|of|@)\s(?:the\s)?(?P<name>(?:[a-z][\w'.-]{1,"
    r"20}\s){1,4}?)(?P<noun>hospital|medical\scent(?:er|re)|med\s(?:center|ctr)|clinic|"
    r"nursing\shome|care\scent(?:er|re)|rehab(?:\scenter)?|hospice|memorial(?:\shospital)?|general(?:\shospital)?|regional|"
    r"pharmacy|health\s(?:system|center)|healthcare|university|college|"
    r"(?:high|middle|elementary)\sschool|school|church|manor|assisted\sliving|urgent\scare|"
    r"jail|prison|correctional|shelter|va(?:mc)?|academy|snf|ltac|dialysis|er|ed|icu)(?!\w)",
    re.IGNORECASE,
)
SAINT = re.compile(
    r"(?<![\w'])(?:st|saint|mt|mount)\.?\s(?P<saint>[a-z]+'?s?)(?:\s(?:hospital|"
    r"medical\scenter|clinic|health|ed|er|icu))?(?!\w)",
    re.IGNORECASE,
)
SAINTS = word_set("saints.txt")
KNOWN = re.compile(
    r"(?<![\w'])(?:good\ssamaritan(?:\shospital)?|mayo(?:\sclinic)?(?!\s(?:[A-C1-3]\b|score|scissors|"
    r"stand|classification|criteria|"
    r"endoscopic|subscore))|cleveland\sclinic|johns?\shopkins|mass(?:achusetts)?\sgeneral|mgh|"
    r"cedars(?=\s(?:ed|er|icu|cath|neuro\w*|cardio\w*|onc\w*|gi|says|recs?|wants))|"
    r"brigham(?:\s(?:and|&)\swomen'?s)?|cedars[-\s]sinai|mount\ssinai|mt\.?\ssinai|"
    r"kaiser(?:\spermanente)?(?!\s(?:plan|insurance|id|member))|beth\sisrael|"
    r"md\sanderson|sloan[-\s]kettering|nyu\slangone|ucsf|ucla|upmc|stanford\s(?:hospital|"
    r"health(?:care)?|medical\scenter)|duke\s(?:hospital|medical\scenter|health|university)|"
    r"emory|vanderbilt\s(?:hospital|medical\scenter|university)|walgreens|cvs(?!\s?(?:exam|:|"
    r"-|wnl|normal|risk|system|disease|event))|rite\said|walmart|costco|kroger|safeway|"
    r"target\sstore|amazon|fedex|ups(?=\s(?:driver|warehouse|store|hub|truck))|(?<=at\s)ups|(?<=for\s)ups|"
    r"dollar\s(?:general|tree)|family\sdollar|sherwin[-\s]williams|lockheed(?:\smartin)?|(?:southwest|"
    r"delta|united|american|alaska|spirit)\sair(?:lines|ways)?|walgreens|mcdonald'?s|starbucks|"
    r"home\sdepot|lowe'?s|boeing|"
    r"tesla|google|microsoft|usps|quest\sdiagnostics|labcorp)(?!\w)(?!'?\s(?:\w+\s){0,2}(?:scores?|scales?|criteria|inventory|tools?|"
    r"guides?|guidelines?|classification|index|model|protocol|nomogram|calculator|manual|handbook|formula|-style))(?!-style)",
    re.IGNORECASE,
)
UNIT_OF_WARD = re.compile(
    r"\b(?:on|to|from|at|in|of)\s(?P<ward>\d{1,2}\s?-?(?:North|South|East|West|Tower|Main)|(?:North|South|East|West)\s?-?\d{1,2})"
    r"(?![\w/%-]|\s[A-Z][a-z])"
)
"""``on 4 West``: the wards of a hospital by floor and wing."""
GENERIC = word_set("general_facilities.txt")
STOP = re.compile(
    r"^(?:and|but|with|who|has|had|have|is|was|were|for|since|on|in|at|to|as|he|she|they|pt|"
    r"patient|presents?|presenting|c/o|complains?|when|where|which|that|mrn|dob|ssn|phone|"
    r"after|before|until|now|today|because|so|or|from|near|by|then|here|there|comes?|came|"
    r"reports?|denies|needs?|asks?|asking|wants?|please|also|ok|okay|full|part|time|mg|years?|"
    r"yrs?|the|a|an|his|her|their|my|our|this|last|next|x)$",
    re.IGNORECASE,
)
