"""The rules and the token model find identifiers as clinicians type them, and leave medicine alone."""

from __future__ import annotations

import base64
import re
import signal
from collections.abc import Iterator
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.base.redaction import SAFE_HARBOR, IdentifierType
from tenancy.redaction.gate import UnionGate
from tenancy.redaction.port import RedactionGate, Span
from tenancy.redaction.rules import RuleDetector
from tenancy.redaction.second_opinion import SecondOpinion
from tenancy.redaction.spared import Sparing
from tenancy.redaction.token_model import Tagger
from tests.phi.identifiers import Split
from tests.phi.measure import recall, touched
from tests.phi.texts import samples
from tests.phi.written import HALVED, LOOKED_AT, UNSEEN, half, plain, unseen, written

TEXTS = 120


@pytest.fixture(scope="module")
def gate() -> RedactionGate:
    return UnionGate("rules-and-model", "1", [Sparing(SecondOpinion(Tagger(), [RuleDetector()]))])


@pytest.mark.parametrize("split", ["dev", "heldout"])
def test_identifiers_of_every_class_are_found_and_clean_texts_left_alone(gate: RedactionGate, split: Split) -> None:
    def scan(text: str) -> list[tuple[int, int]]:
        return [(span.start, span.end) for span in gate.scan(text)]

    found = recall(scan, samples(split, TEXTS))
    assert set(found.by_class()) == set(SAFE_HARBOR.values())
    assert found.overall >= 0.99, found.missed
    clean = touched(scan, samples(split, TEXTS, clean=True))
    assert len(clean) <= 0.05 * TEXTS, clean


@pytest.mark.slow
def test_identifiers_in_questions_that_were_written_by_hand_are_found_and_clean_ones_left_alone(
    gate: RedactionGate,
) -> None:
    def scan(text: str) -> list[tuple[int, int]]:
        return [(span.start, span.end) for span in gate.scan(text)]

    found = recall(scan, written()[: LOOKED_AT[False]])
    assert set(found.by_class()) == set(SAFE_HARBOR.values())
    assert found.overall >= 0.98, found.missed
    # Without what was missed: nobody is to see it. Those of version 5 are the hardest.
    assert recall(scan, plain()).overall >= 0.98
    for version, least in ((4, 0.95), (5, 0.91), (6, 0.93)):
        assert recall(scan, unseen(version)).overall >= least, version
    for name, least in (
        ("chat", 0.96),
        ("typed", 0.94),
        ("shift", 0.89),
        ("asked", 0.96),
        ("queries", 0.97),
        ("notes", 0.92),
        ("wards", 0.93),
        ("calls", 0.92),
        ("consult", 0.94),
        ("bedside", 0.96),
    ):
        assert recall(scan, half(name, looked_at=False)).overall >= least, name
        assert recall(scan, half(name, looked_at=True)).overall >= 0.97, name
    texts = written(clean=True)[: LOOKED_AT[True]]
    clean = touched(scan, texts)
    assert len(clean) <= 0.03 * len(texts), clean
    halves = [text for name in HALVED for text in half(name, clean=True, looked_at=False)]
    nobodys = [*plain(clean=True), *halves, *(text for version in UNSEEN for text in unseen(version, clean=True))]
    assert len(touched(scan, nobodys)) <= 0.15 * len(nobodys)


class EveryWord:
    """Takes every word for somebody."""

    name = "every-word"

    def find(self, text: str) -> Iterator[Span]:
        for match in re.finditer(r"\w+", text):
            yield Span(match.start(), match.end(), IdentifierType.PERSON, self.name)


def test_what_a_detector_takes_for_a_name_and_the_token_model_does_not_is_left_alone() -> None:
    judged = UnionGate("judged", "1", [SecondOpinion(Tagger(), [EveryWord()])])
    text = "does the foley need to come out, told hyacinth today"
    assert judged.redact_text(text).text == "does the foley need to come out, told [PERSON-1] today"


def test_the_parts_of_a_name_that_no_list_knows_are_found_with_it(gate: RedactionGate) -> None:
    assert gate.redact_text("saw chidera adeyemi-cole today").text == "saw [PERSON-1] today"
    assert gate.redact_text("bloods for oyinkansola's baby").text == "bloods for [PERSON-1]'s baby"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("lives at 500 Mt. Vernon Dr.", "lives at [ADDRESS-1]."),
        ("pt lives at 7 park ave with wife", "pt lives at [ADDRESS-1] with wife"),
        ("12 st elevation leads, goes home on 2 l", "12 st elevation leads, goes home on 2 l"),
        ("a1c was 9 in Q3 2023", "a1c was 9 in [DATE-1]"),
        ("M.O. declined, saw them 3rd wk of Nov", "[PERSON-1]. declined, saw them [DATE-1]"),
        ("mrn203344dob4/4/61dx dka", "[MRN-1] dka"),
        ("she's the wife of the bishop of Kilmore", "she's [ID-1]"),
        ("The Alfred ICU gave him 3 L", "[FACILITY-1] gave him 3 L"),
        ("CTPA 28.11: PE in Mr Dietrich", "CTPA [DATE-1]: PE in Mr [PATIENT-1]"),
        ("GONZALEZ, MARIA 90F HIP FX", "[PERSON-1] [AGE-1]F HIP FX"),
        ("H. Nakagawa (97), DNR", "[PERSON-1] ([AGE-1]), DNR"),
        ("can mark go back on clozapine", "can [PERSON-1] go back on clozapine"),
        ("May called again, dizzy", "[PERSON-1] called again, dizzy"),
        ("grace's potassium came back 5.9", "[PERSON-1]'s potassium came back 5.9"),
        ("hunter, 9, adhd", "[PERSON-1], 9, adhd"),
        ("okafor in cards says stop digoxin", "[PERSON-1] in cards says stop digoxin"),
        ("junior, her son, does the pill box", "[PERSON-1], her son, does the pill box"),
        ("ms day reports hives after cefdinir", "ms [PERSON-1] reports hives after cefdinir"),
        ("saw ortiz and nguyen on ward round", "saw [PERSON-1] and [PERSON-2] on ward round"),
        ("exposure at the fresno jail, tb", "exposure at the [PLACE-1] jail, tb"),
        ("maple grove called, refusing insulin", "[PLACE-1] called, refusing insulin"),
        ("transferred from mercy with hgb 6", "transferred from [PLACE-1] with hgb 6"),
        ("103-y-o, ckd 4. 91/F, chf", "[AGE-1]-y-o, ckd 4. [AGE-2]/F, chf"),
        ("pt is ninety three. ninety-four yo sister", "pt is [AGE-1]. [AGE-2] yo sister"),
        ("at 97 she wants full code", "at [AGE-1] she wants full code"),
        ("last dose 8/30, ptx again 9/21, 12/8 cr 2.4", "last dose [DATE-1], ptx again [DATE-2], [DATE-3] cr 2.4"),
        ("4/5 echo ef 30, fell 6/30 around 5 pm", "[DATE-1] echo ef 30, fell [DATE-2] around 5 pm"),
        ("colonoscopy thurs the 18th", "colonoscopy [DATE-1]"),
        ("smith, j 55m dka. JT, 44M, afib", "[PERSON-1] 55m dka. [PERSON-2], 44M, afib"),
        ("cardiologist (Feldman) wants dapt", "cardiologist ([PERSON-1]) wants dapt"),
        ("she says Hank fell, rosa's inr 5.2", "she says [PERSON-1] fell, [PERSON-2]'s inr 5.2"),
        ("scheduled for priya n., spinal ok?", "scheduled for [PERSON-1]., spinal ok?"),
        ("health card 4532 118 906 VK", "health card [PLAN-1]"),
        ("pt john smith 54yo m, seen by Dr. O'Neil", "pt [PATIENT-1] 54yo m, seen by Dr. [CLINICIAN-1]"),
        ("mrn#00123 and jsmith@mercy.org", "mrn#[MRN-1] and [EMAIL-1]"),
        ("DOB 4-5-61, room 412b", "DOB [DATE-1], room [ID-1]"),
        ("pt okonkwo 33yo f", "pt [PATIENT-1] 33yo f"),
        ("94 yo w/ afib", "[AGE-1] yo w/ afib"),
        ("seen 3/14 by dr patel", "seen [DATE-1] by dr [CLINICIAN-1]"),
        ("initials J.S., 54F", "initials [PERSON-1]., 54F"),
        ("lives in yellow springs oh 45387", "lives in [PLACE-1] oh [ZIP-1]"),
        ("mrn １２３４５６７", "mrn [MRN-1]"),
        ("mrn 12\u200b34567", "mrn [MRN-1]"),
        ("her id 4821 7730 9912, ring 0161 496 0822", "her id [ID-1], ring [PHONE-1]"),
        ("national insurance no QQ 12 34 56 C", "national insurance no [SSN-1]"),
        ("great gran 103, sample H24-55831/B", "great gran [AGE-1], sample [ID-1]"),
        ("callum drummond, employer Royal Mail, fell 3/4", "[PERSON-1], employer [FACILITY-1], fell [DATE-1]"),
        ("ring 07700 900461 or 01 42 68 53 00", "ring [PHONE-1] or [PHONE-2]"),
        ("TKR 16.12.24, again 3 avril, week of 3/4", "TKR [DATE-1], again [DATE-2], week of [DATE-3]"),
        ("plate kx19 wpd, reg YK07 LHO", "plate [VEHICLE-1] [PERSON-1], reg [VEHICLE-2]"),
        ("ask Dr B if last four 4471 is right", "ask Dr [PERSON-1] if last four [SSN-1] is right"),
        ("user okoye42 sent portal.quay.example/r/7Hq2z", "user [ID-1] sent [URL-1]"),
        ("turned one hundred and one, study id PREVAIL-II/208", "turned [AGE-1], study id [ID-1]"),
        ("account ending in 8812, see ~/Desktop/leg_day5.jpg", "account ending in [ACCOUNT-1], see ~/[PHOTO-1]"),
        ("SMITH^JOHN^A dob 19610405", "[PERSON-1] dob [DATE-1]"),
        ("Leon Baptiste III, fell Tues 3/4 and again Tuesday, 5/6", "[PERSON-1], fell [DATE-1] and again [DATE-2]"),
        (
            "Discharge June 15: CBC 11.02.: plt 12",
            "Discharge [DATE-1]: CBC [DATE-2].: plt 12",
        ),
        ("Bob from Duluth MN, lyme serology pos", "[PERSON-1] from [PLACE-1] MN, lyme serology pos"),
        ("GCSF 3/9, 3/10, 3/11. ANC?", "GCSF [DATE-1], [DATE-2], [DATE-3]. ANC?"),
        ("lives at Flat 12, Rosewood House, 88 Canning Street", "lives at [ADDRESS-1]"),
        ("oxygen to HCR 33 Box 91 or Via Garibaldi 12", "oxygen to [ADDRESS-1] or [ADDRESS-2]"),
        ("from Krankenhaus Nordwest to Kestner Long Term Acute Care", "from [FACILITY-1] to [FACILITY-2]"),
        ("own car, plate CTRK 582, door code 4419", "own car, plate [VEHICLE-1], door code [ID-1]"),
        (
            "***mrn*** 71-44-902, 92 y, 14 meds, mother 91, frail",
            "***mrn*** [MRN-1], [AGE-1] y, 14 meds, mother [AGE-2], frail",
        ),
        ("LMP June twenty-second, due in march", "LMP [DATE-1], due in [DATE-2]"),
        ("her March scan, the October biopsy, Feb echo", "her [DATE-1] scan, the [DATE-2] biopsy, [DATE-3] echo"),
        ("17/1: cr 145. seen 9/May/2021", "[DATE-1]: cr 145. seen [DATE-2]"),
        ("record number two two nine four one seven", "record number [ID-1]"),
        ("mrn eleven forty seven sixty two, bed twelve", "mrn [ID-1], bed [ID-2]"),
        ("Theo Papas, spelled P-A-P-A-S", "[PERSON-1], spelled [PERSON-2]"),
        ("a man of 93, independent", "a man of [AGE-1], independent"),
        ("frail 94F, her 95th birthday, sister died at 96", "frail [AGE-1]F, her [AGE-2], sister died at [AGE-3]"),
        ("her husband is ninety one and cannot lift", "her husband is [AGE-1] and cannot lift"),
        ("lives at 12 Primrose Mews, was 44 Tiller st", "lives at [ADDRESS-1], was [ADDRESS-2]"),
        ("Bendigo VIC 3550 or eircode V92 K2P1", "[PLACE-1] or eircode [ZIP-1]"),
        ("can i dc amina home", "can i dc [PERSON-1] home"),
        ("RAMQ TREM 4471 2099", "RAMQ [PLAN-1]"),
        ("her NIR is 2 69 05 49 588 157 80", "her NIR is [SSN-1]"),
        ("the gentleman in 412 fell", "the gentleman in [ID-1] fell"),
        ("she is the mayor of Ballinrobe, a former Miss Sligo", "she is [ID-1], a former Miss [PATIENT-1]"),
        ("he is the oldest man in Tory Island, afib", "he is [ID-1], afib"),
        ("12/3 thyroidectomy, 13/3 ca 1.84", "[DATE-1] thyroidectomy, [DATE-2] ca 1.84"),
        ("user sunnydaze_1971, reddit u/sadkidney_99", "user [ID-1], reddit [URL-1]"),
        (
            "ride home to 12 elm st, she lives at 45 oak, was at 118 w 5th",
            "ride home to [ADDRESS-1], she lives at [ADDRESS-2], was at [ADDRESS-3]",
        ),
        ("CEA up since VII/2024, born 3.XI.62", "CEA up since [DATE-1], born [DATE-2]"),
        (
            "m 104, na 128. Wilma Terpstra (90, frail), hes 98",
            "m [AGE-1], na 128. [PERSON-1] ([AGE-2], frail), hes [AGE-3]",
        ),
        ("91 & stubborn, PPSN 6730218 KA, SIN 918 402 337", "[AGE-1] & stubborn, PPSN [SSN-1], SIN [SSN-2]"),
        ("ask bob_s77 at mail.com, accession 7 7 1 2 0 4", "ask [EMAIL-1], accession [ID-1]"),
        ("see WhatsApp Image 2025-11-28 at 08.14.22.jpeg and D:\\pics\\leg1.bmp", "see [PHOTO-1] and [PHOTO-2]"),
        ("path no. SP:25:04471, cgm 8K22QT41, in 4W-12", "path no. [ID-1], cgm [DEVICE-1], in [ID-2]"),
        ("Bruce W, chf. k.t. 33f. JT is a 44yo", "[PERSON-1], chf. [PERSON-2]. 33f. [PERSON-3] is a 44yo"),
        ("teaches at St. Brendan's, mass at Our Lady of Sorrows", "teaches at [FACILITY-1], mass at [FACILITY-2]"),
        ("seen on 4 West, bed 2, specimen H24/3392", "seen on [FACILITY-1], bed [ID-1], specimen [ID-2]"),
        ("hes a hundred and two, shes ninety four and drives", "hes [AGE-1], shes [AGE-2] and drives"),
        ("hes 97 today. i am 93, can i take warfarin", "hes [AGE-1] today. i am [AGE-2], can i take warfarin"),
        ("born march of 58, sister born in march '61", "born [DATE-1], sister born in [DATE-2]"),
        (
            "per JT start vanc, d/w KM, cosigned by LB",
            "per [PERSON-1] start vanc, d/w [PERSON-2], cosigned by [PERSON-3]",
        ),
    ],
)
def test_what_is_typed_in_haste_is_found(gate: RedactionGate, text: str, redacted: str) -> None:
    assert gate.redact_text(text).text == redacted


def test_a_file_in_base64_is_an_identifier_to_its_last_line(gate: RedactionGate) -> None:
    pasted = base64.encodebytes(b"Jane Doe, MRN 4482913, 1 Main Street, Springfield. " * 3).decode().strip()
    assert pasted.count("\n") == 2
    assert gate.redact_text(f"see attached {pasted}").text == "see attached [ID-1]"
    assert gate.redact_text(f"see {pasted}\nWarfarin is it ok").text == "see [ID-1]\nWarfarin is it ok"
    listed = gate.redact_text("Na138/K4/Cl102/HCO324/BUN12/Cr1/Glu98/Mg2/Phos3\nWarfarin 5 mg").text
    assert listed.endswith("\nWarfarin 5 mg")


@pytest.mark.parametrize(
    "text",
    [
        "2 L. St elevation in V2?",
        "crystalloid 500 ml. Dr or nurse to sign?",
        "pain 5/10, strength 4/5, BP 120/80, 1/2 NS at 75 ml/hr",
        "q8h for 2-3 days, T12-L1 and C5-6, since 2019, last tues",
        "Parkinson disease, Crohn's, Foley catheter, Apgar 8/9, Bell's palsy",
        "89 yo on Sinemet 25/100, gestational age 32w4d, 90 days of therapy",
        "platelets 150000, VL 125000 copies, 10,000 units heparin",
        "mmse 9/30, phq 8/27, gcs 9/15, apgars 8/9, pain 8/10, 2/6 murmur, 1/2 bottles",
        "98 & climbing, 96 and on 2 L, sin of omission, plts 120 145 188",
        "temp 99 F, sat 94% on 2 L, 90 day supply, 90 min, 96 hours post arrest, lasts 90 seconds",
        "67 and stable, 89 yo, 88F, 14 day old, 28w3d, 6 mo old, 72 hours, for 20 years, in her 60s",
        "Braden 14, frank hematuria, joy of eating, Vancouver B2, Complex Regional Pain Syndrome",
        "patients over 90 years old, 40 pack-years, age > 90",
        "Boston bowel prep score 8, Rome IV, Ottawa ankle rules, New York Heart class III",
        "NCT01234567, PMID 31234567, rs1801133, CPT 99213, SNOMED 73211009",
        "Name the line lock we use for a central line. name a hand-rub on the ward",
        "may I give metoprolol? march fracture. will discharge tomorrow",
        "hope the lactate clears, still 4",
        "may i give ketorolac with a cr of 1.4",
        "mark the site before the paracentesis",
        "patient rose from a chair in 14 sec",
        "amber urine on rifampin, frank blood per rectum",
        "will she need a bridge, mechanical avr",
        "dawn phenomenon vs somogyi, summer cold, gray matter",
        "Does Ramadan fasting matter? The Canadian CT head rule, Phoenix sepsis score",
        "stent 3.5x18, great toe 93 mm, gran 95 kg, model 670 pump 12 units",
        "Na 109, seized once; lad 70, rca 40",
        "Nausea on the ward: which antiemetic? the flag on our high-flow oxygen form",
        "knee injection with J3301 x4, abg 7.18/28/92/10, TPO 900",
        "Case: 84-year-old woman. Pt: 72yo F, hx of HTN. Subject: 6-month-old, K 3.1. Na 128",
        "OSA on CPAP, GLP-1 or SGLT2 first per ADA? Coded in ICD-10-PCS after endarterectomy",
        "Cleveland Clinic score, Rumack-Matthew line, Kegel exercises, KT-1000 5 mm",
        "Weber B fracture, Barrett's C3M5, Gustilo 3B, Braden 14",
        "6/12 after a THR, 90 days after MI, turn 90 degrees, HR in the 120s, 200J",
        "the intensivist asks, four-layer bandages, mark-ups on the skin, NICE NG136, G2211",
        "a St. Jude mechanical valve, Pierre Robin sequence, Cameron lesions",
        "in bed two days, five six or seven doses, extension twenty degrees",
        "is December too late for the flu shot? RSV season is October to March",
        "In rural practice with no lab, 30 F. Recurrent UTIs, on T-DXd, pT2N1 or A2L3B2",
        "Traveller to Kenya on warfarin, yellow fever jab for Ghana, Lyme in New England in summer",
        "8/12 old, 7.6 kg, day 4; Engel IIa, Cheyne-Stokes, Kayser-Fleischer; back from Thailand",
        "bed 4-hourly turns, POD 2, phlegmasia, amenorrhoeic, Zavicefta or Movicol",
        "2 mm st elevation in v2, up to 3 point gait, from 2 prior ct scans, pred 6 5 4 3 2 1",
        "M: 94 bpm, pt 98% on room air, f 98.6, G4P2A1L2, CO-97 or CO-50, Foley K 5.9",
        "the fifth metatarsal, the tenth percentile, on the second dose, A-B-C-D-E approach",
        "per GI start ppi, d/w ID, signed off by RN, per PO intake, per AF protocol. MI said the ecg",
        "im 90 mg ketorolac, hes 89 today, i am 98% sure, per HB and MCV, patients ninety and over",
        "surgery due in 4-6 weeks",
        "d/w GP, GP said ok, verified by XR, per JP drain, per PD catheter, spoke w/ HH nurse",
    ],
)
def test_medicine_is_left_alone(gate: RedactionGate, text: str) -> None:
    assert gate.redact_text(text).text == text


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=80))
def test_whatever_the_text_the_gate_answers_and_finds_nothing_in_its_answer(gate: RedactionGate, text: str) -> None:
    done = gate.redact_text(text)
    assert gate.scan(done.text) == ()
    at = 0
    for span in done.spans:
        assert at <= span.start < span.end <= len(text)
        at = span.end


HOSTILE = [
    "1" * 6_000,
    "1 " * 3_000,
    "1-" * 3_000,
    "a" * 6_000,
    "A" * 6_000,
    "ab" * 30_000,
    "a." * 3_000,
    "A." * 3_000,
    "a@" * 3_000,
    "a.b-" * 1_500 + "@",
    "Ab " * 2_000,
    "pt " * 2_000,
    "mrn " * 1_500,
    "mrn#" * 1_500,
    "no. " * 1_500,
    "12 main " * 900,
    "St. " * 1_500,
    "1/" * 3_000,
    "1.1." * 1_500,
    "::" * 3_000,
    "a1" * 3_000,
    "a-1-" * 1_500,
    "x^" * 3_000,
    "of the " * 3_000,
    "[MRN-1]" * 3_000,
    "\u200b1" * 1_500,
    "#" * 20_000,
    "'(,:" * 5_000,
    "a_" * 10_000,
    "Mercy and the of " * 1_200,
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:8].strip())
def test_no_text_takes_the_rules_longer_than_its_length_allows(gate: RedactionGate, text: str) -> None:
    """By processor time, of which 6,000 characters of prose take a tenth of a second; a bad expression takes hours."""

    def late(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"twelve seconds of processor time for {len(text)} characters")

    before = signal.signal(signal.SIGVTALRM, late)
    signal.setitimer(signal.ITIMER_VIRTUAL, 12.0)
    try:
        gate.scan(text)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@pytest.mark.parametrize("text", ["pain stable--5 mg given", "an on-and-off-again-and-on-and-off-5 pattern"])
def test_a_number_behind_hyphens_and_words_without_one_is_no_identifier(gate: RedactionGate, text: str) -> None:
    assert gate.scan(text) == ()


def test_a_long_number_behind_hyphens_and_words_without_one_is_found(gate: RedactionGate) -> None:
    found = gate.scan("word--A8834412, sent")
    assert [(span.start, span.end) for span in found] == [(6, 14)]


@pytest.mark.parametrize("word", ["clot", "bleed", "stent", "bruise", "wire", "graft", "suture"])
def test_a_thing_behind_its_article_is_nobody(gate: RedactionGate, word: str) -> None:
    assert gate.scan(f"A {word} was found: which anticoagulant do we use?") == ()


def test_a_name_that_is_a_word_is_found_where_no_article_makes_it_a_thing(gate: RedactionGate) -> None:
    assert gate.scan("mrs graft was found on the floor") != ()
