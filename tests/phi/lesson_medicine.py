"""Draws what medicine says in the lessons: values with their units, doses, examinations, complaints, devices."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.phi.lesson_words import listed

_LABS = listed("""\
Na; K; Cl; HCO3; Cr; creat; BUN; urea; eGFR; CrCl; glucose; BG; BM; HbA1c; A1c; TSH; FT4; Hb; Hgb; hct; plt;
platelets; WBC; WCC; ANC; neuts; lymphs; eos; CRP; ESR; PCT; ferritin; iron sat; B12; folate; INR; aPTT;
fibrinogen; d-dimer; BNP; NT-proBNP; trop; troponin; hs-trop; CK; LDH; lipase; amylase; ALT; AST; ALP; GGT; bili;
albumin; ammonia; lactate; pH; pCO2; PaO2; BE; AG; Ca; corr Ca; Mg; phos; PTH; vit D; cortisol; prolactin; LDL;
TG; PSA; CA-125; CEA; AFP; bhCG; hCG; urate; osm; urine Na; vanc trough; lithium; digoxin; phenytoin; tacro;
ANA 1:; CD4; viral load; opening pressure; PVR; EF; FEV1; FVC; PF ratio""")
_UNITS = listed("""\
mmol/L; mg/dL; g/L; g/dL; umol/L; U/L; ng/mL; %; mEq/L; k; x10^9; ug/L; nmol/L; pg/mL; mIU/L; mm; ml; on repeat;
yesterday; from""")
_TESTS = listed("""\
CTPA; CT abdo; CT KUB; MRCP; MR spine; USS; US abdo; doppler; V/Q; PET-CT; X-ray; CXR; KUB; ERCP; OGD;
colonoscopy; sigmoidoscopy; bronchoscopy; angio; cath; TOE; echo; ECG; EEG; NCS; sleep study; spirometry; biopsy;
FNA; smear; mammogram; bone scan; DEXA; HIDA; FBC; U&Es; LFTs; coags; blood cultures; urine dip; MSU;
lumbar puncture; synacthen test; OGTT; IGRA; HLA-B27; ANCA; dsDNA; blood gas; group and save; tox screen;
stool culture; FIT; CTG; dating scan; tilt test; scope; swab; tap; drain""")
_DEVICES = listed("""\
Foley; Foley catheter; PICC; midline; Hickman; Port-a-Cath; Permacath; vascath; Swan-Ganz; art line; CVC;
NG tube; PEG; Ryles tube; Dobhoff; chest drain; pigtail; Jackson-Pratt; Blake drain; Penrose; EVD; VP shunt;
trach; Shiley; Portex; iGel; ETT; BiPAP; CPAP; Airvo; Optiflow; nasal cannula; Bird's mask; LVAD; Impella; IABP;
ECMO; pacemaker; ICD; CRT; loop recorder; Holter; Zio patch; insulin pump; Omnipod; Libre; Dexcom; Mirena;
copper coil; IUD; Nexplanon; Bakri balloon; Minnesota tube; wound vac; cast; Thomas splint; Miami J; hearing aid;
stoma bag; nephrostomy; JJ stent; TENS; PCA; syringe driver""")
_SYMPTOMS = listed("""\
cough; wheeze; breathlessness; chest tightness; palpitations; collapse; vomiting; diarrhoea; constipation;
melaena; haematemesis; jaundice; itch; rash; hives; fever; rigors; night sweats; weight loss; headache; vertigo;
double vision; floaters; tinnitus; sore throat; hoarseness; dysphagia; heartburn; bloating; loin pain; dysuria;
frequency; retention; haematuria; spotting; heavy periods; pelvic pain; reduced fetal movements; mastitis;
low mood; panic; insomnia; voices; agitation; confusion; falls; seizure; tremor; weakness; numbness; back pain;
knee swelling; ankle oedema; calf pain; cold foot; ulcer; discharge; bleeding; bruising; hair loss; poor feeding;
crying; wet nappies; drowsiness; stiff neck; nosebleed; ear pain; toothache; sweating; thirst; tingling; cramps""")
_CONDITIONS = listed("""\
AF; SVT; STEMI; HFpEF; AS; endocarditis; TIA; SAH; MS; MG; PD; CIDP; bacterial meningitis; status epilepticus;
T1DM; DKA; HHS; hypothyroidism; Graves; phaeo; SIADH; AKI; CKD 4; nephrotic; IgA nephropathy; UTI; urosepsis;
pyelo; BPH; torsion; pneumonia; CAP; HAP; bronchiolitis; croup; ILD; PE; pneumothorax; empyema; TB; GORD; PUD;
UGIB; UC; Crohn's; coeliac; PBC; NASH; variceal bleed; SBP; pancreatitis; cholangitis; appendicitis; SBO; C diff;
RA; SLE; GCA; PMR; gout; pseudogout; psoriasis; eczema; shingles; cellulitis; nec fasc; osteomyelitis;
septic arthritis; NOF fracture; Colles; cauda equina; AML; CLL; myeloma; HIT; TTP; ITP; sickle crisis; DVT;
neutropenic sepsis; pre-eclampsia; GDM; hyperemesis; PPH; placenta praevia; PPROM; endometriosis; PCOS; bipolar;
PTSD; OCD; anorexia; ADHD; autism; dementia; delirium; alcohol withdrawal; opioid use; HIV; hep B; syphilis;
malaria; dengue; measles; scabies; MRSA""")
_AGES = listed("""\
year old; yo; y/o; yrs; yr old; y; months old; mo; weeks old; wk old; days old; -year-old; -month-old; weeks;
+3 weeks; + 5; /40; mths; yo M; yo F; y F; M; F; yo woman; yo man; year-old boy; year-old girl; yrs male;
yrs female""")
_SPANS = listed("""\
days; d; weeks; wks; /52; /7; /12; months; mo; hours; h; hrs; years; yrs; min; minutes; nights; cycles; doses;
shifts""")
_TIMES = listed("""\
od; bd; tds; qds; bid; tid; q6h; q8h; q12h; qhs; nocte; mane; stat; prn; daily; weekly; po; iv; im; sc; pr; neb;
over 1 h; x 5d; every 4 hours; twice a day""")
_MEASURES = listed("""\
mg; mcg; g; ml; units; mg/kg; mcg/kg/min; mmol; puffs; mg/h; u/kg/h; mg/m2; tabs; L/min; IU; mL/h; drops; %""")
_VITALS = listed("""\
BP; bp; HR; hr; pulse; RR; rr; T; temp; sats; SpO2; spo2; sat; wt; weight; BMI; GCS; NEWS; MAP; CVP; UO;
urine output; pain; FiO2; PEEP; MMSE; MoCA; PHQ-9; NIHSS; CIWA; qSOFA; CURB-65; Wells; MELD; HEART; APGAR""")


def _number(rng: random.Random) -> str:
    return rng.choice(
        (str(rng.randrange(1, 40)), str(rng.randrange(20, 400)), str(rng.randrange(200, 9000)), _decimal(rng))
    )


def _decimal(rng: random.Random) -> str:
    return f"{rng.uniform(0, rng.choice((5, 15, 40))):.{rng.choice((1, 1, 2))}f}"


def _lab(rng: random.Random) -> str:
    value = f"{rng.choice(_LABS)}{rng.choice((' ', ' ', ' ', ': ', ' of ', '=', ' was '))}{_number(rng)}"
    if rng.random() < 0.15:
        return f"{value} -> {_number(rng)}"
    return f"{value}{rng.choice((' ', ''))}{rng.choice(_UNITS)}" if rng.random() < 0.3 else value


def _vital(rng: random.Random) -> str:
    sign = rng.choice(_VITALS)
    if sign.lower() == "bp":
        return f"{sign} {rng.randrange(60, 230)}/{rng.randrange(30, 130)}"
    value = rng.choice((str(rng.randrange(3, 16)), str(rng.randrange(30, 180)), f"{rng.uniform(34, 41):.1f}"))
    gap = rng.choice((" ", " ", " of ", "-", ""))
    return f"{sign}{gap}{value}{rng.choice(('', '', '%', ' on 2L', ' RA', '/15', '/min', ' kg'))}"


def _dose(rng: random.Random) -> str:
    amount = rng.choice(
        (
            str(rng.choice((1, 2, 5, 10, 20, 25, 40, 50, 75, 100, 125, 250, 400, 500, 1000))),
            _decimal(rng),
            "5/325",
            "25-50",
        )
    )
    dose = f"{amount}{rng.choice((' ', ' ', ''))}{rng.choice(_MEASURES)}"
    return f"{dose} {rng.choice(_TIMES)}" if rng.random() < 0.6 else dose


def _duration(rng: random.Random) -> str:
    number = rng.choice(
        (str(rng.randrange(1, 15)), f"{rng.randrange(1, 5)}-{rng.randrange(5, 13)}", str(rng.randrange(14, 120)))
    )
    unit = rng.choice(_SPANS)
    return f"{number}{unit}" if unit.startswith("/") else f"{number}{rng.choice((' ', ' ', ''))}{unit}"


def _aged(rng: random.Random) -> str:
    unit = rng.choice(_AGES)
    return f"{rng.randrange(1, 90)}{'' if unit[0] in '-+/' else rng.choice((' ', ' ', ''))}{unit}"


_MAKERS: dict[str, Callable[[random.Random], str]] = {
    "lab": _lab,
    "vital": _vital,
    "dose": _dose,
    "duration": _duration,
    "aged": _aged,
    "test": lambda rng: rng.choice(_TESTS),
    "device": lambda rng: rng.choice(_DEVICES),
    "symptom": lambda rng: rng.choice(_SYMPTOMS),
    "cond": lambda rng: rng.choice(_CONDITIONS),
    "code": lambda rng: str(rng.randrange(10021, 99608)),
}
MADE = frozenset(_MAKERS)
ALWAYS = frozenset({"aged", "code"})
"""Slots that only this file fills."""


def made(slot: str, rng: random.Random) -> str:
    """What is said in a slot of ``MADE``."""
    return _MAKERS[slot](rng)
