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
CALLE = re.compile(
    rf"(?<![\w./-])\d{{1,6}}\s(?:calle|camino|avenida|paseo|rue|via|plaza|rua|strada|jalan|lorong)(?:\s(?:de|del|la|los|las|du)){{0,2}}"
    rf"\s[^\W\d_]{{2,20}}{UNIT}",
    re.IGNORECASE,
)
UNIT_AFTER = re.compile(UNIT, re.IGNORECASE)
ADDRESS = re.compile(
    rf"(?<![\w./-])(?P<number>(?:\d{{1,4}}/)?\d{{1,6}}[a-z]?)\s{{1,2}}(?P<street>(?:(?:{STREET_WORD})\s){{1,"
    rf"4}}?)(?:(?P<sure>{SURE_SUFFIX})|(?P<short>{SHORT_SUFFIX}))\b\.?(?:\s(?:way|ct|court|"
    rf"lane|ln|dr|drive|rd|road|st|street|ave|loop|pl|place)\b\.?)?(?:\s(?:north|south|east|"
    rf"west|[nsew]\b|[ns][ew]\b)\.?)?{UNIT}",
    re.IGNORECASE,
)
TITLED = re.compile(
    rf"(?<![\w./-])\d{{1,4}}[a-zA-Z]?,?\s(?:The\s|(?P<street>(?:[A-Z][\w']{{2,20}}\s){{1,3}}))(?:{TITLED_SUFFIX})(?!\w){UNIT}"
)
SHORTENED = re.compile(r"(?:[nsew]{1,2}|mt|ft|st|dr|rev|gen|col|capt|sgt)\.", re.IGNORECASE)
"""With which the name of a street may begin."""
CORNER = re.compile(r"(?<!\w)\d{1,3}(?:st|nd|rd|th)\s(?:and|&)\s(?:\d{1,3}(?:st|nd|rd|th)|[A-Z][a-z]{2,20})(?!\w)")
ROUTE = re.compile(
    r"(?<!\w)(?:\d{1,6}\s)?(?:(?:county|state|rural|old|us|u\.s\.)\s)?(?:route|rte|highway|"
    r"hwy|interstate|county\sroad|farm\sroad)\s\d{1,4}[a-z]?(?!\w)(?!\s?(?:mg|ml|days|weeks))" + UNIT,
    re.IGNORECASE,
)
STREET_ALONE = re.compile(
    r"(?:\b(?:on|at|off|near|corner\sof|of|and|lives?\son|living\son|"
    r"from)\s)(?P<street>(?:(?:[A-Z][\w'.]{1,20}|\d{1,3}(?:st|nd|rd|th))\s){1,3}(?:Street|"
    r"Avenue|Ave|Road|Rd|Drive|Lane|Ln|Blvd|Boulevard|Court|Circle|Terrace|Parkway|Highway|St|"
    r"Way|Place|Trail)\b\.?)"
)
STREET_ABROAD = re.compile(
    r"(?<!\w)[A-ZÄÖÜ][a-zäöüß]{1,20}(?:stra(?:ss|ß)e|str\.|weg|platz|gasse|allee|straat|laan)\s\d{1,4}[a-z]?(?!\w)|"
    r"(?<!\w)(?:RR|HC|HCR|SR|CR|PSC|R\.R\.|Rural\sRoute)\s?#?\d{1,3},?\sBox\s\d{1,5}(?!\w)|"
    r"(?<![\w./-])(?:\d{1,4}\s?(?:bis|ter)?,?\s)?(?:rue|avenue|boulevard|impasse|place|chemin)\s(?:de\sla\s|de\sl'|des?\s|du\s)?"
    r"[A-ZÀ-Ý][\w'-]{2,20}(?:\s[A-ZÀ-Ý][\w'-]{2,20}){0,2}(?=,)|"
    r"(?<!\w)(?:Via|Viale|Piazza|Corso|Calle|Avenida|Avda\.|Paseo|Plaza|Rua|Ulica|ul\.|Carrer|Jalan)\s(?:(?:de|del|della|la|da|dos)\s)*"
    r"[A-ZÀ-Ý][^\W\d_]{2,20}(?:\s[A-ZÀ-Ý][^\W\d_]{2,20}){0,2},?\s\d{1,4}[a-z]?(?:,\s\d{1,2}º\s?[A-Z]?)?(?![\w%])|"
    r"(?<!\w)(?:(?:House|Plot|Block|Sector|Road|Flat|Lane|Street)\s\d{1,4}[A-Z]?,\s){1,4}"
    r"(?:House|Plot|Block|Sector|Road|Flat|Lane|Street|Phase)\s\d{1,4}[A-Z]?(?!\w)|"
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
AFTER_ADDRESS = re.compile(
    r",?\s{1,2}(?:(?P<zip>\d{4,5})\s(?=[A-Z]))?(?P<city>[A-Za-z][\w'.-]{1,20}(?:\s[A-Za-z][\w'.-]{1,20}){0,3})"
)
HOUSE = re.compile(
    r"\b(?:liv\w{1,3}|mov\w{1,3}|resid\w{1,4}|address|addr|home|mail\w{0,3}|sent?|stay\w{0,4}|house|evicted)"
    r"(?:\s(?:is|to|at|from|on|was|back|out|now)|"
    r":){1,3}\s(?P<house>\d{2,5}\s(?:[A-Z][\w'.]{1,20}\s?){1,3})(?=[,.;]|\s?$|\s(?:in|apt|unit)\b)"
)
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
CITY_STATE = re.compile(
    rf"(?<![\w'])(?P<city>(?:(?:[A-Z][\w'.]{{1,20}}|(?:of|the|on|upon|de|la|du|del))\s){{0,"
    rf"3}}?[A-Z][\w'.]{{1,20}}),?\s(?:(?-i:{POSTAL.upper()})\b(?!\s?[+-])|(?i:{STATE})\b)"
)
CITY_STATE_LOWER = re.compile(
    rf"(?<![\w'])(?P<city>(?:[a-z][\w'.]{{1,20}}\s){{0,2}}[a-z][\w'.]{{2,20}}),\s?(?:{POSTAL}|{STATE})(?!\w)",
    re.IGNORECASE,
)
CITY_STATE_BARE = re.compile(
    rf"\b(?:in|from|at|near|to|of|outside)\s(?P<city>(?:[a-z][\w'.]{{1,20}}\s){{0,"
    rf"2}}[a-z][\w'.]{{2,20}})\s(?:{POSTAL}|{STATE})(?!\w)",
    re.IGNORECASE,
)
FROM = re.compile(
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
SURE_FROM = re.compile(
    r"liv|resid|homeless|moved|native|born|raised|grew|hometown|town|city|village|county|"
    r"borough|commut|drove|flew|vacation|trip|works?\sin|travel|visiting|farm|house|apartment",
    re.IGNORECASE,
)
CHAINED = re.compile(
    r"(?<![\w-])[A-Z][a-z]{2,20}-(?:on|upon|under|in|le|la|by|next|super|sur|sous|en|am|an|aux?|lès|les|de|du|des)-"
    r"(?:(?:the|la|le|der|dem)-)?[A-Z][a-z]{2,20}(?!\w)"
)
"""``Stow-on-the-Wold``."""
CAPITALS = re.compile(r"(?<![\w'])(?:[A-Z][a-z'.]{1,20}\s){1,3}[A-Z][a-z']{1,20}(?!\w)")
COUNTY = re.compile(
    r"(?<!\w)(?P<name>[A-Za-z][\w'.]{2,20}(?:\s[A-Z][\w'.]{2,20})?)\s(?:county|parish|"
    r"township|borough)\b(?!\s(?:hospital|clinic|jail)\b)",
    re.IGNORECASE,
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
KNOWN_AFTER = re.compile(
    r"\b(?:at|from|to|by|via|in|through|@|of)\s(?:the\s)?(?P<name>mercy|providence|good\sshepherd|holy\s(?:cross|name|"
    r"family|spirit|trinity)|sacred\sheart|our\slady(?:\sof\s\w+)?|trinity|bon\ssecours|banner|sutter|scripps|geisinger|"
    r"intermountain|advocate|ascension|dignity|adventhealth|atrium|novant|wellstar|piedmont|ochsner|kindred|genesis|"
    r"brookdale|encompass|manorcare|davita(?:\s\w+)?|fresenius(?:\s\w+)?|sunrise|lifecare|atria|christus|essentia|sanford|"
    r"unitypoint|carilion|inova|sentara|medstar|beaumont|spectrum\shealth|swedish|overlake|legacy|froedtert|aurora|"
    r"hennepin|bellevue|cook\scounty|grady|parkland|ben\staub|shands|tampa\sgeneral|northwestern|rush|loyola|"
    r"montefiore|maimonides|hopkins|penn|jefferson|temple|cleveland\sclinic)"
    r"(?:\s(?:alaska|er|ed|icu|hospital|health|clinic|cath\slab|rehab|snf|dialysis))?(?!\w)"
    r"(?!\s(?:score|criteria|index|sign|syndrome|immunization|killing|pneumonia|rounds|nights?|shift|protocol))",
    re.IGNORECASE,
)
UNIT_OF_WARD = re.compile(
    r"\b(?:on|to|from|at|in|of)\s(?P<ward>\d{1,2}\s?-?(?:North|South|East|West|Tower|Main)|(?:North|South|East|West)\s?-?\d{1,2})"
    r"(?![\w/%-]|\s[A-Z][a-z])"
)
"""``on 4 West``: the wards of a hospital by floor and wing."""
INN = re.compile(
    r"(?<!\w)(?:the|The)\s(?P<inn>[A-Z][\w'’]{2,15}(?:\s(?:and|&)\s[A-Z][\w'’]{2,15})?\s(?:Head|Arms|Inn|Tavern|Alehouse|Brewery))(?!\w)"
)
HOME = re.compile(
    r"(?:^|[.;:!?,\n]\s{0,2}|\b(?:at|from|to|by|near|in|of|and)\s(?:the\s)?)(?P<name>[^\W\d_]{3,14}\s(?:grove|ridge|creek|"
    r"oaks?|pines?|hills|meadows?|village|glen|haven|springs|gardens?|heights|woods|brook|manor|acres|terrace|estates|"
    r"commons|landing|crossing|hollow|vista|valley|bluffs?|shores?|pointe|place))(?=\s(?:called|calls|calling|snf|nursing|staff|"
    r"nurse|rn|sent|says|said|resident|assisted|memory|rehab|alf|home|hospital|clinic|er|ed)\b|[,.;:)]|\s?$|\s(?:for|with|"
    r"w/|on|last|since|and|after|in|this)\b)",
    re.IGNORECASE,
)
"""``maple grove called``: homes and practices are called so."""
CALLED = re.compile(
    r"\b(?:company|store|shop|nursery|restaurant|plant|firm|daycare|school|farm|home|clinic|bar|salon|place|bakery|"
    r"warehouse|church|camp|gym|office|startup|factory|hotel)\s(?:called|named)\s(?:the\s)?"
    r"(?P<name>[A-Z][\w'&.-]{1,20}(?:\s(?:of\s|&\s)?[A-Z][\w'&.-]{1,20}){0,3})"
)
LONE = re.compile(r"(?<![\w'-])[^\W\d_]{5,}(?![\w'-])")
GENERIC = word_set("general_facilities.txt")
CITIES_AND_EPONYMS = frozenset(
    {
        "austin",
        "boston",
        "vancouver",
        "vienna",
        "toronto",
        "montreal",
        "rotterdam",
        "denver",
        "houston",
        "atlanta",
        "montgomery",
        "jackson",
        "berlin",
        "gary",
    }
)
STAY = re.compile(
    r"\b(?:delivered|seen|admitted|treated|hospitali[sz]ed|operated|transferred|care|done|"
    r"discharged|followed|imaging|surgery|birth|born|records|labs?|rehab|stay|dialysis|chemo|"
    r"visit|results?|biopsy|clinic|works?|trained|residency)\s(?:[\w/]+\s){0,4}?(?:at|from|to|"
    r"by)\s(?P<name>(?:[A-Z][a-z'-]{2,20}\s?){2,4})(?!\w)"
)
EMPLOYER = re.compile(
    r"\b(?:works?|working|worked|employed|job|employee|employer|career|position|shift|"
    r"laid\soff|retired|retire|fired|staff|intern|manager|cashier|driver|teacher|cook|clerk|"
    r"nurse|engineer|welder|technician|supervisor|custodian|janitor|foreman|guard|bartender|"
    r"server|barista|trucker|mechanic|electrician|farmer|miner|roofer|contractor|worker|operator|machinist|plumber|"
    r"carpenter|baker|barber|realtor|accountant|paramedic|firefighter|programmer|analyst|receptionist|drives?|"
    r"fell|falls?|injur(?:ed|y)|hurt|exposed|exposure|accident|letter|note|volunteers?|"
    r"attends?|enrolled|studies|student|goes\sto\sschool)\s?"
    r"(?:(?:nights|days|evenings|weekends|overnights?|part[\s-]time|full[\s-]time|shifts?|"
    r"there|mostly)\s){0,2}(?:as\s(?:an?|the)\s(?:\w+\s){1,3})?(?:at|for|with|by|from|is|of|:|"
    r"@)\s(?:the\s)?(?P<name>(?:[A-Za-z]|\dM\b)[\w&'.-]{0,24}(?:\s(?:&\s)?[A-Za-z][\w&'.-]{1,24}){0,4})",
    re.IGNORECASE,
)
EMPLOYER_LABEL = re.compile(
    r"(?<!\w)(?:employer|occupation/employer|company|workplace|place\sof\s(?:work|"
    r"employment))\s?(?:name)?\s?(?:[:=-]|is)\s?(?:the\s)?(?P<name>[A-Za-z][\w&'.-]{1,"
    r"24}(?:\s(?:&\s)?[A-Za-z][\w&'.-]{1,24}){0,4})",
    re.IGNORECASE,
)
COMPANY = re.compile(
    r"(?<![\w'])(?P<name>(?:(?:[A-Z][\w&'.-]{1,24}|&|and)[\s,-]{1,2}){1,4})(?P<suffix>Inc|LLC|"
    r"L\.L\.C|Corp|Corporation|Co|Ltd|PLC|LLP|GmbH|Company|Sons|Group|Industries|Logistics|"
    r"Trucking|Foods?|Farms?|Construction|Manufacturing|Mfg|Motors|Bank|Airlines|Steel|"
    r"Plumbing|Electric|Roofing|Landscaping|Bakery|Diner|Restaurant|Cafe|Mills?|Solutions|"
    r"Systems|Technologies|Partners|Enterprises|Services|Holdings|Freight|Transport|Packing|"
    r"Mining|Lumber|Hardware|Auto|Supply)(?![\w'])\.?"
)
STOP = re.compile(
    r"^(?:and|but|with|who|has|had|have|is|was|were|for|since|on|in|at|to|as|he|she|they|pt|"
    r"patient|presents?|presenting|c/o|complains?|when|where|which|that|mrn|dob|ssn|phone|"
    r"after|before|until|now|today|because|so|or|from|near|by|then|here|there|comes?|came|"
    r"reports?|denies|needs?|asks?|asking|wants?|please|also|ok|okay|full|part|time|mg|years?|"
    r"yrs?|the|a|an|his|her|their|my|our|this|last|next|x)$",
    re.IGNORECASE,
)
