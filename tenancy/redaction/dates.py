"""Finds dates finer than a year. Doses, scores, pressures, strengths and durations are none."""

from __future__ import annotations

import re
from collections.abc import Iterator

from schemas.base.redaction import IdentifierType as T
from tenancy.redaction.labelled import Found
from tenancy.redaction.weekdays import WEEKDAY

MONTH_FULL = r"january|february|march|april|may|june|july|august|september|october|november|december"
_MONTH = (
    rf"(?:{MONTH_FULL}|janu?ary|febu?r?uary|feburary|setp?ember|octobr|novmber|decmber|jan|"
    rf"feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec)\.?"
)
_DAY = r"(?:0?[1-9]|[12]\d|3[01])(?:st|nd|rd|th)?"
_YEAR = r"(?:(?:19|20)\d\d|'?\d\d)"
_TIME = r"(?:[ T,]{1,2}(?:at\s)?\d{1,2}:\d{2}(?::\d{2})?(?:\s?[ap]\.?m\.?)?Z?)?"

_THREE_PARTS = re.compile(
    rf"(?<![\w./-])(?P<a>\d{{1,4}})\s?(?P<sign>[-/.\\_])\s?(?P<b>\d{{1,"
    rf"2}})\s?(?P=sign)\s?(?P<c>\d{{1,4}})(?![\d/-]|\.\d){_TIME}",
    re.IGNORECASE,
)
_COMPACT = re.compile(r"(?<![\w.-])(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\d{4}(?:\d\d)?)?(?![\w.%-])")
_ISO = re.compile(
    r"(?<![\w-])(?:19|20)\d\d-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?(?:[T ]\d{1,2}:\d{2}\S{0,12}+)?(?![\w-])"
)
_MONTH_DAY = re.compile(
    rf"(?<![^\W\d_])(?:{_MONTH})[\s,/-]{{0,3}}(?:the\s)?{_DAY}(?![\d%]|:\d)(?!\s?(?:mg|mcg|ml|"
    rf"units|weeks|wks|hours|hrs|days|yo\b|y/o|year|-\s?(?:day|week|wk|month|year|drug|dose|fold|point)))"
    rf"(?:(?:\s?(?:-|to|through|thru|and|&)\s?){_DAY}(?!\w))?(?:[\s,/-]{{0,3}}(?:of\s)?{_YEAR}(?![\w/%]))?{_TIME}",
    re.IGNORECASE,
)
_DAY_MONTH = re.compile(
    rf"(?<![\w./])(?<!\d-)(?:the\s)?{_DAY}[\s/.-]{{0,2}}(?:of\s|day\sof\s)?(?:{_MONTH})(?![^\W\d_])(?:[\s,/"
    rf"-]{{0,3}}{_YEAR}(?![\w/%]))?{_TIME}",
    re.IGNORECASE,
)
_TO_DAY_MONTH = re.compile(
    rf"(?<![\w./-])(?P<day>{_DAY})\s?(?:-|to|until|through|and|or|&)\s?(?={_DAY}\s?(?:of\s)?(?:{_MONTH})(?![^\W\d_]))",
    re.IGNORECASE,
)
"""The first day of ``14th to 16th May``."""
_MONTH_YEAR = re.compile(
    rf"(?<![^\W\d_])(?:{_MONTH})[\s,'/-]{{0,3}}(?:of\s)?(?:(?:19|20)\d\d|'\d\d)(?!\w)", re.IGNORECASE
)
_MONTH_ALONE = re.compile(
    rf"(?<!\w)(?:(?:in|since|last|this|next|until|till|til|by|during|of|from|end of|beginning of|started|around|before|"
    rf"after|thru|through|back in|every|seen|due|done|born|placed|diagnosed|admitted)"
    rf"[\s-]|(?=early|late|mid|first|second|1st|2nd|3rd|4th|last))"
    rf"(?P<month>(?:(?:early|late|mid)[\s-]|(?:first|second|third|fourth|last|[1-4](?:st|nd|rd|th))\s(?:w(?:ee)?k|half|days?)\s(?:of|in)\s)?{_MONTH})"
    rf"(?![^\W_])(?!\s(?:be|have|need|also|not|"
    rf"cause|help|benefit|increase|worsen|occur|require|show|present|indicate|use|respond)\b)",
    re.IGNORECASE,
)
_MONTH_NAMED = re.compile(
    r"(?<![^\W_])(?:(?i:january|february|july|september|october|november|december)s?|April|June|August|Feb|Aug|Sept|Nov)(?!\w|-)|"
    r"(?<=[a-z,] )(?:March|May)(?![\w-]|\s(?:fracture|foot|ha?emoglobinuria))"
)
"""A month that nothing else is called, and one that is a verb too where a capital makes it none: ``her March scan``."""
_SENTENCE_END = re.compile(r"[.?!;]\s|\n")
_SENTENCE = 300
"""So many characters before and after a month are read."""
_EVERY_YEAR = re.compile(
    r"(?<!\w)(?:seasons?|seasonal(?:ly)?|flu|influenza|rsv|covid|vaccin\w*|immuni[sz]\w*|nirsevimab|palivizumab|pollen|ragweed|ticks?|"
    r"lyme|mosquito\w*|hay\sfever|allerg\w+|outbreaks?|peaks?|every|each|annual(?:ly)?|yearly|usually|typically|mostly|"
    r"too\s(?:late|early|soon)|(?:which|what)\smonths?|awareness|guidance|guidelines?|updates?d?|edition|released?|published|"
    r"academic|interns?|residents)(?!\w)",
    re.IGNORECASE,
)
_HAPPENED = re.compile(
    r"(?<!\w)(?:he|she|his|her|hers|him|they|their|pt|pts?'s|patient(?:'s)?|mom|mum|dad|mother|father|wife|husband|son|daughter|"
    r"mr|mrs|ms|dr|i|my|me|was|were|had|did|got|last|next|this|past|since|until|till|ago|seen|admitted|discharged|diagnosed|"
    r"started|stopped|received|given|scheduled|booked|due|appt|appointment|visit|surgery|dob|lmp|edd|planned|born|previous|prior)(?!\w)|\]",
    re.IGNORECASE,
)
"""What makes a month one of somebody's: who it is of, a tense, a plan."""
_NUMERIC_MONTH_YEAR = re.compile(r"(?<![\w./-])(?:0?[1-9]|1[0-2])[-/](?:19|20)\d\d(?![\w/-])")
_MONTH_ABROAD = (
    r"(?:janvier|f[ée]vrier|mars|avril|mai|juin|juillet|ao[uû]t|septembre|octobre|novembre|d[ée]cembre|"
    r"enero|febrero|marzo|abril|mayo|junio|julio|agosto|septiembre|setiembre|octubre|noviembre|diciembre|"
    r"janeiro|fevereiro|mar[cç]o|maio|junho|julho|setembro|outubro|novembro|dezembro|"
    r"gennaio|febbraio|aprile|maggio|giugno|luglio|settembre|ottobre|dicembre|"
    r"januar|februar|m[äa]rz|juni|juli|oktober|dezember|desember|januari|februari|maart|mei|augustus|maj|augusti|"
    r"stycznia|lutego|marca|kwietnia|maja|czerwca|lipca|sierpnia|wrze[sś]nia|pa[zź]dziernika|listopada|grudnia|"
    r"ean[áa]ir|feabhra|m[áa]rta|aibre[áa]n|bealtaine|meitheamh|l[úu]nasa|me[áa]n f[óo]mhair|samhain|nollaig|"
    r"muharram|safar|rabi|jumada|rajab|sha'?ban|shawwal|dhu\s?al-\w{4,6}|farvardin|ordibehesht|khordad|mordad|shahrivar|mehr|aban|azar|bahman|esfand|"
    r"tishrei|cheshvan|kislev|tevet|shevat|adar|nisan|iyar|sivan|tammuz|elul|"
    r"baisakh|jestha|shrawan|bhadra|kartik|mangsir|poush|falgun|chaitra|meskerem|tikimt|hidar|tahsas|yekatit|megabit|miyazya|ginbot|sene|hamle|nehase)"
)
_DAY_ABROAD = re.compile(
    rf"(?<![\w./-]){_DAY}\.?\s(?:de\s|d'|of\s)?{_MONTH_ABROAD}(?!\w)(?:\s(?:de\s|del\s)?(?:\d{{4}}|'\d\d)(?![\w/%]))?",
    re.IGNORECASE,
)
"""``3 de agosto``, ``14 Nisan``: months of other languages and calendars, by their day."""
_OF_AN_ERA = re.compile(r"(?<![\w./-])[HRS]\d{1,2}([./])(?:0?[1-9]|1[0-2])\1(?:0?[1-9]|[12]\d|3[01])(?![\w/-])")
"""Years of Japan's emperors: ``H27.5.1``."""
_WEEKDAY_OF_MONTH = re.compile(
    rf"(?<!\w)(?:the\s)?(?:1st|2nd|3rd|4th|5th|first|second|third|fourth|last)\s{WEEKDAY}\.?\s(?:of|in)\s{_MONTH}(?!\w)",
    re.IGNORECASE,
)
_ROMAN = re.compile(
    r"(?<![\w./-])(?:(?:0?[1-9]|[12]\d|3[01])(?P<sign>[./ -])\s?(?:I{1,3}|IV|VI{0,3}|IX|XI{0,2})(?P=sign)\s?"
    r"(?:19|20)?\d\d|"
    r"(?:I{1,3}|IV|VI{0,3}|IX|XI{0,2})[./-](?:19|20)\d\d|"
    r"(?:0?[1-9]|[12]\d|3[01])\.\s?(?:i{1,3}|iv|vi{0,3}|ix|xi{0,2})\.\s?(?:19|20)?\d\d)(?![\w/-])"
)
"""A month as a Roman number: ``3.XI.1962``, ``VII/2024``."""
_SEASON = re.compile(
    r"(?<!\w)(?:spring|summer|fall|autumn|winter|Q[1-4])\s?(?:of\s)?(?:(?:19|20)\d\d|'\d\d)(?!\w)", re.IGNORECASE
)
_HOLIDAY = re.compile(
    r"(?<!\w)(?:(?:fourth|4th)\sof\sjuly|holi|navratri|dussehra|onam|pongal|vesak|wesak|songkran|now?rou?z|purim|sukkot|shavuot|ashura|mawlid|"
    r"whitsun(?:tide)?|pentecost|corpus\schristi|candlemas|michaelmas|lammas|burns\snight|(?:st\.?\s)?(?:andrew|david|george|stephen)'?s\sday|"
    r"all\s(?:saints|souls)'?\sday|day\sof\sthe\sdead|nochebuena|kwanzaa|groundhog\sday|super\s?bowl\ssunday|flag\sday|"
    r"(?:victoria|dominion|patriots'?|remembrance|armistice)\sday|remembrance\ssunday|black\sfriday|april\sfools?'?s?\sday|may\sday|"
    r"(?:mothering|palm|advent)\ssunday|maundy\sthursday|holy\sweek|three\skings(?:\sday)?|mid-?autumn\sfestival|qingming|obon|chuseok|seollal|"
    r"(?:christmas|x-?mas)(?:\s(?:eve|day))?|thanksgiving(?:\sday)?|halloween|"
    r"easter(?:\s(?:sunday|monday))?|eid(?:\sal-(?:fitr|adha))?|st\.?\spatrick'?s\sday|anzac\sday|canada\sday|australia\sday|"
    r"waitangi\sday|election\sday|melbourne\scup\sday|pancake\sday|shrove\stuesday|bonfire\snight|hogmanay|"
    r"midsummer(?:'s\s(?:eve|day))?|bastille\sday|guy\sfawkes|(?:queen|king)'s\sbirthday|martin\sluther\sking\sday|juneteenth|mardi\sgras|ash\swednesday|"
    r"lunar\snew\syear|chinese\snew\syear|bank\sholiday|new\syears?(?:'s)?\s(?:eve|day)|memorial\sday|"
    r"labou?r\sday|independence\sday|veterans?'?\sday|valentine'?s?(?:\sday)?|mother'?s\sday|"
    r"father'?s\sday|mlk\sday|presidents'?\sday|columbus\sday|good\sfriday|boxing\sday|"
    r"diwali|hanukkah|yom\skippur|rosh\shashanah|passover|cinco\sde\smayo)(?!\w)(?!\s(?:tree|"
    r"disease|factor|pattern|virus))(?:\sweekend)?(?:\s(?:of\s)?(?:19|20)\d\d)?",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    r"(?<!\w)(?:(?:on|since|until|till|by|from|before|after|of|due|scheduled|appt|appointment|for|"
    r"(?:moved|pushed|bumped|postponed|delayed|rescheduled)(?:\sback)?\sto)\sthe\s|"
    rf"{WEEKDAY}\s(?:the\s)?|(?:on|since|until|till|due|booked(?:\sfor)?|scheduled|appt|seen|admitted)\s(?![123][snr]))"
    r"(?P<day>[12]?(?:1st|2nd|3rd|[04-9]th)|1[0-9]th|3(?:0th|1st))(?=\s*(?:[.,"
    r";:?!)]|$|\s(?:and|but|for|with|to|at|she|he|they|pt|patient|when|because|after|before|"
    r"or|of\s(?:this|last|next|the)\smonth|was|had|in)\b))",
    re.IGNORECASE,
)
_SECOND_ORDINAL = re.compile(
    r"\s?(?:and|&|to|until|or|-|then)\s?(?:on\s)?(?:the\s)?(?P<day>[12]?(?:1st|2nd|3rd|[04-9]th)|1[0-9]th|3(?:0th|1st))(?=\s?[.,;:?!)]|\s?$)",
    re.IGNORECASE,
)
"""``on the 4th and the 18th``."""
_ORDINAL_OF_WEEK = re.compile(
    rf"(?<!\w){WEEKDAY}\.?,?\s(?:the\s)?(?P<day>[12]?(?:1st|2nd|3rd|[04-9]th)|1[0-9]th|3(?:0th|1st))(?!\w|\s(?:line|dose|cycle|floor))",
    re.IGNORECASE,
)
_DOTTED = re.compile(r"(?<![\w.,/-])(?P<day>(?:0[1-9]|[12]\d|3[01])\.\s?(?:0[1-9]|1[0-2]))\.(?=\s?[,;:)]|\s|$)")
"""``03.04.``, as much of Europe writes a day without its year."""
_TWO_PARTS = re.compile(r"(?<![\w./-])(?P<a>\d{1,2})(?P<sign>[/-])(?P<b>\d{1,2})(?![\w/%]|-\d|\.\d)", re.IGNORECASE)
_SPAN = r"\s(?:hours?|hrs?|days?|w(?:ee)?ks?|months?|years?|yrs?)\b"
_LABELLED = re.compile(
    r"(?<![^\W\d_])(?:d\.?o\.?b\.?|date\sof\s(?:birth|service|death|admission|discharge|surgery|"
    r"injury)|birth\s?-?date|birthday|b-?day|born(?:\son)?|dos|doa|dod|doi|date|dated|"
    r"d\.o\.s\.)"
    r"[\s:#=-]{0,3}(?:is\s|was\s|of\s|on\s)?(?P<date>\d{1,2}[-/. ]{1,2}\d{1,2}(?:[-/. ]{1,"
    r"2}\d{2,4})?|\d{6}|\d{8}|(?:0?[1-9]|1[0-2])(?:[0-2]\d|3[01])\d\d|"
    rf"(?:{_MONTH})(?:[\s-]|\sof\s)'?\d\d(?!{_SPAN}))(?![\d/])|"
    rf"(?<!\w)born\sin\s(?P<month>(?:{_MONTH})(?:[\s-]|\sof\s)'?\d\d(?!{_SPAN}))(?![\d/])",
    re.IGNORECASE,
)

_CUE = re.compile(
    r"(?:\b(?:on|since|seen|date|dated|from|until|till|til|by|admitted|admit|adm|admission|"
    r"dc'?d?|d/c'?d?|discharged?|surgery|sx|procedure|op|last|dob|visit|appt|appointment|f/?u|"
    r"fu|follow-?up|lmp|due|edd|edc|"
    r"started?|stopped|born|between|labs?|xray|x-ray|cxr|ct|mri|us|echo|scan|ekg|ecg|bx|"
    r"biopsy|results?|collected|drawn|dated|day|week\sof|next|thru|through|after|before|"
    r"around|approx|scheduled|rescheduled|"
    r"transferred|intubated|extubated|placed|removed|implanted|fell|fall|injury|injured|died|"
    r"expired|delivered|onset|eff|effective|exp|vaccin\w+|shot|dose\sgiven|given|called|"
    r"received|sent|filled|refilled|picked\sup|w/[ce]|period|colonoscopy|egd|pap|mammo\w*|"
    r"note|notes|clinic|er|ed|hospital|rx|as\sof|until|post-?op|postop|s/p)[\s:=(,.]{0,"
    r"3}(?:the\s|on\s|of\s|was\s|is\s|for\s|date\s|both\s)?|\][ ]|[(~]|\bpt\s|"
    r"\b(?:dx'?d?|diagnosed|hospitali[sz]ed|relapsed|transplant|cath|stroke|mi|pe|dvt)\s(?:on\s)?)$",
    re.IGNORECASE,
)
_SURE_CUE = re.compile(
    r"\b(?:\d?\d(?:st|nd|rd|th)\s(?:and|or|to|then|&)|i\.?e\.?,?|(?:at|@)\s(?:[01]\d|2[0-3]):?[0-5]\d|(?:dose|cycle)\s\d|day\s\d{1,2}|on|yesterday|today|tomorrow|tonight|last\s(?:dose|seen|visit|fill|taken|pap)|mon(?:day)?|tues?(?:day)?|wed(?:nesday)?|thu(?:rs?)?(?:day)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?|"
    r"available|arriv\w{1,4}|effective|xfer|since|seen|dated?|admitted|admit|adm|dc'?d|d/c'?d|discharged?|dob|visit|appt|"
    r"appointment|lmp|due|edd|edc|born|until|till|scheduled|as\sof|w(?:ee)?ks?\sof|re-?admit(?:ted)?|re-?adm|drawn|collected|"
    r"follow-?up|f/?u|started|stopped|surgery)[\s:=(,]{0,3}(?:the\s|on\s|was\s|is\s|for\s|"
    r"date\s)?$",
    re.IGNORECASE,
)
_NOT_BEFORE = re.compile(
    r"(?:\b(?:cx|b?cx|cultures?|bottles|gcs|mmse|moca|phq-?9?|gad-?7?|nihss|score[ds]?|scoring|scale|pain|rated|"
    r"strength|power|motor|reflexes|dtrs?|pulses?|murmur|apgars?|epds|audit|"
    r"grade|level|c|t|l|s|bp|ratio|stage|class|type|g\d?p?|ef|visual\sacuity|va|vision|od|os|"
    r"ou|fev1/?fvc|percocet|norco|vicodin|vytorin|lotrel|exforge|sinemet|janumet|"
    r"augmentin|bactrim|tmp|hctz|zestoretic|advair|symbicort|dulera|breo|suboxone|ultracet|"
    r"septra|trelegy|caduet|azor|diovan|hyzaar|tribenzor|entresto|insulin|novolog|humulin|"
    r"novolin|"
    r"mix|mg|mcg|ml|dose|doses|ns|takes?|q|every|x|about|approximately|~|over|roughly|"
    r"for)[\s:=(,]{0,2}(?:of\s|was\s|is\s|at\s|are\s|a\s|as\s)?)$",
    re.IGNORECASE,
)
_NOT_AFTER = re.compile(
    r"\s?(?:-\s?)?(?:pain|strength|power|on\s(?:the\s)?(?:pain|scale|exam|moca|mmse)|systolic|"
    r"diastolic|holosystolic|murmur|sem|ns\b|normal\ssaline|ivf?\b|dextrose|saline|tabs?|"
    r"tablets?|caps?|pills?|of\s(?:a|the|an|his|her|all|them|patients|cases|criteria|tablet|"
    r"dose)\b|"
    r"mg|mcg|ml|cc|mm|cm|kg|lbs?|g/|units?|iu|hours?|hrs?|h\b|min|days?\b|d\b|weeks?|wks?|"
    r"months?|mos?\b|years?|yrs?|yo\b|y/o|times|x\s?\d|x/|doses?|cups?|tsp|tbsp|inch|packs?|"
    r"ppd|beers?|drinks?|cigs?|"
    r"bottles|cultures|sets?|criteria|points?|positive|nodes|ribs?|leaflets?|visits|reps|"
    r"in\sall|in\sthe\s(?:upper|lower|left|right)|bilat|throughout|upper|lower|le\b|ue\b|"
    r"intact|pulses|edema|symmetric|brisk|"
    r"sirs|jones|duke|beta|vision|severity|intensity|headache|(?:chest|back|abd\w*)\spain|split|chance|"
    r"ratio|dilution|life|strain|full|size|way|left|right|pk|fingers|breadths|below|above|"
    r"amount|liters?|l\b|oz|degrees?|bpm|breaths|episodes?|bms?|stools?|weekly|daily|nightly|"
    r"per\b|a\sday|bid|tid|qid|qd|qhs|prn)",
    re.IGNORECASE,
)
_EXAM_AFTER = re.compile(
    r"\s(?:echo|ct|mri|pet|labs?|us|ultrasound|x-?ray|cxr|a1c|ekg|ecg|eeg|note|visit|appt|appointment|clinic|colonoscopy|egd|"
    r"biopsy|bx|path|pap|mammo\w*|scan|cath|dexa|cbc|bmp|cmp|surgery|admission|discharge|procedure|infusion|refill|"
    r"am|pm|at\snoon|at\smidnight|around\s(?:\d{1,2}|noon|midnight)|@\s?\d{1,4}|(?:at\s)?(?:\d{1,2}:\d\d|\d{1,2}\s?[ap]m|[01]\d{3}|2[0-3]\d\d))\b",
    re.IGNORECASE,
)
_DURATION = re.compile(
    r"(?:7|12)\s(?:ago|after|post|of|old|hx|history|course|later|f/?u|follow|back|so\sfar|then|now\swith)\b",
    re.IGNORECASE,
)
"""``6/12 after``: six months, ``3/7 of``: three days, as Britain writes them."""
_SCORE = re.compile(
    r"\b(?:mmse|moca|slums|bims|phq|gad|gcs|epds|audit|cows|ciwa|nihss|sofa|braden|mini-?mental|glasgow|scored?|scores|"
    r"scoring|scale|pain|coma)\b",
    re.IGNORECASE,
)
_SCALES = frozenset({"10", "5", "4", "6", "15", "30", "27", "21", "3", "2"})


def find(text: str) -> Iterator[Found]:
    """Every date finer than a year of ``text``."""
    for match in _THREE_PARTS.finditer(text):
        if _is_date(match["a"], match["b"], match["c"]) and (
            match["sign"] != "."
            or len(match["c"]) in (2, 4)
            or len(match["a"]) == 4
            or _CUE.search(text, max(0, match.start() - 24), match.start())
        ):
            yield match.start(), match.end(), T.DATE
    for pattern in (
        _COMPACT,
        _ISO,
        _MONTH_DAY,
        _DAY_MONTH,
        _MONTH_YEAR,
        _NUMERIC_MONTH_YEAR,
        _DAY_ABROAD,
        _OF_AN_ERA,
        _WEEKDAY_OF_MONTH,
        _ROMAN,
        _SEASON,
        _HOLIDAY,
    ):
        for match in pattern.finditer(text):
            if not _is_word_may_or_march(match.group()):
                yield match.start(), match.end(), T.DATE
    for pattern in (_MONTH_NAMED, _MONTH_ALONE):
        for match in pattern.finditer(text):
            if not _is_of_every_year(text, match.start()):
                yield *match.span(match.lastgroup or 0), T.DATE
    for pattern in (_TO_DAY_MONTH, _ORDINAL, _ORDINAL_OF_WEEK, _DOTTED):
        for match in pattern.finditer(text):
            yield match.start("day"), match.end("day"), T.DATE
            if pattern is _ORDINAL and (second := _SECOND_ORDINAL.match(text, match.end("day"))):
                yield second.start("day"), second.end("day"), T.DATE
    for match in _LABELLED.finditer(text):
        yield *match.span(match.lastgroup or 0), T.DATE
    yield from _two_parts(text)


def _is_of_every_year(text: str, at: int) -> bool:
    """Whether a month alone is of every year: its sentence is of a season and of nothing that happened."""
    first, last = max(0, at - _SENTENCE), at + _SENTENCE
    start = max((end.end() for end in _SENTENCE_END.finditer(text, first, at)), default=first)
    ends = _SENTENCE_END.search(text, at, last)
    sentence = text[start : ends.end() if ends else last]
    return _EVERY_YEAR.search(sentence) is not None and _HAPPENED.search(sentence) is None


def _is_date(a: str, b: str, c: str) -> bool:
    first, second, third = int(a), int(b), int(c)
    if len(a) == 4:
        # Iran's and Islam's years, and Thailand's.
        known = 1850 <= first <= 2100 or 1330 <= first <= 1460 or 2470 <= first <= 2580
        return known and 1 <= second <= 12 and len(c) <= 2 and 1 <= third <= 31
    if len(a) == 3 or len(c) in (1, 3) or (len(c) == 4 and not (1850 <= third <= 2100 or 2470 <= third <= 2580)):
        return False
    return (1 <= first <= 12 and 1 <= second <= 31) or (1 <= second <= 12 and 1 <= first <= 31)


def _is_word_may_or_march(value: str) -> bool:
    """``may 2`` is the verb where no day could be meant: kept for ``may`` with a bare number of one digit glued on."""
    return re.fullmatch(r"(?:may|mar|dec|march)\d", value, re.IGNORECASE) is not None


def _two_parts(text: str) -> Iterator[Found]:
    found: list[tuple[int, int]] = []
    for match in _TWO_PARTS.finditer(text):
        a, b = int(match["a"]), int(match["b"])
        if not ((1 <= a <= 12 and 1 <= b <= 31) or (1 <= b <= 12 and 1 <= a <= 31)):
            continue
        before = text[max(0, match.start() - 32) : match.start()]
        if _NOT_AFTER.match(text, match.end()):
            continue
        in_range = bool(found) and re.fullmatch(
            r"\s?(?:-|to|thru|through|and|&|,|until)\s?(?:on\s)?", text[found[-1][1] : match.start()], re.IGNORECASE
        )
        if match["sign"] == "-":
            if not in_range and not re.search(
                r"\b(?:on|dob|admitted|adm|seen|discharged|dc'?d|dated?|lmp|appt|born|edd|surgery)[\s:]{0,"
                r"2}(?:on\s|date\s)?$",
                before,
                re.IGNORECASE,
            ):
                continue
        elif not in_range and not _SURE_CUE.search(before):
            if _NOT_BEFORE.search(before) or re.search(
                r"\d\s?$|[a-z]{4,}(?:pril|olol|statin|sartan|pine|cet|co|ide)\s$", before, re.IGNORECASE
            ):
                continue
            cued = _CUE.search(before) is not None or _EXAM_AFTER.match(text, match.end()) is not None
            if not cued and _DURATION.match(text, match.start("b")):
                continue
            # A score is no greater than its scale: what is greater is a day of a month, or a dose, which is seen above.
            is_score = a <= b and match["b"] in _SCALES and (b <= 12 or _SCORE.search(before) is not None)
            if not cued and (is_score or a > 12):
                continue
            if a == 1 and b in (2, 3, 4):
                continue
        elif match.group() in ("1/2", "1/4", "3/4", "1/3", "2/3") and not re.search(
            r"\b(?:on|seen|admitted|dob|appt|visit|lmp|d/?c'?d|discharged|born|due|since|until|w(?:ee)?k\sof)\s{0,2}$",
            before,
            re.IGNORECASE,
        ):
            continue
        found.append(match.span())
        yield match.start(), match.end(), T.DATE
    # The first part of a range is known by its second.
    for match in re.finditer(
        r"(?<![\w./-])(\d{1,2}/\d{1,2})\s?(?:-|to|thru|through)\s?(\d{1,2}/\d{1,2})(?:/\d{2,4})?(?![\w/%])", text
    ):
        parts = [tuple(map(int, part.split("/"))) for part in match.groups()]
        valid = all(1 <= min(part) <= 12 and 1 <= max(part) <= 31 for part in parts)
        before = text[max(0, match.start() - 32) : match.start()]
        if valid and not _NOT_AFTER.match(text, match.end()) and not _NOT_BEFORE.search(before):
            yield match.start(), match.end(), T.DATE
