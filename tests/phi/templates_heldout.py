"""Templates that the gate was not developed on: other phrasings, other orders, other labels."""

WITH = """
Quick question about my patient {PATIENT}: {age}-year-old {sex}, {cond}, on {drug}. {lab}. Thoughts?
re: {PATIENT} / {MRN} / dob {DATE} -- {symptom} for {duration}, pls advise
Hi, this is {CLINICIAN} from {FACILITY}. I have a {age} y.o. with {cond}; would {drug} be reasonable?
hospital number {MRN}: {test} done {DATE}, report pending
medical record no. {MRN}; {vital}; {lab}; titrate {drug}?
{FIRST} came in on {DATE} complaining of {symptom}. PMH {cond}.
Ms {LAST} has {cond} and takes {drug} {dose}. {lab}.
I'm covering for Dr. {LAST}. One of the patients, {PATIENT}, has {vital}.
the pt's husband {RELATIVE} called ({PHONE}), she has {symptom}
Emergency contact: {RELATIVE}, {PHONE}. {age}F with {cond}.
mom is {RELATIVE}, cell {PHONE}, baby has {symptom} x {duration}
He resides at {ADDRESS} in {TOWN} and cannot get {drug}
originally from {TOWN}, WI {ZIP}; exposure to ticks, {symptom}
social {SSN}, {cond}, applying for disability
subscriber # {PLAN} - is {drug} on formulary?
Medicare number {PLAN}, {age}yo, wants {test}
guarantor account {ACCOUNT}, balance for {test}
credit to acct # {ACCOUNT} please; unrelated: {drug} {dose} with {cond}?
DEA {LICENCE}, can I e-prescribe {drug}?
RN license no {LICENCE}; question re {device} care
car was towed, plate {PLATE}; after syncope, {vital}
vehicle id {VIN}, airbag injury, {symptom}
ICD device serial {DEVICE}, fired twice, {lab}
CGM transmitter SN {DEVICE} reading low, A1c 7.{digit}
patient posted about it on {URL}
her blog {URL} describes {symptom} after {drug}
request came from IP {IP}; clinical question: {drug} in {cond}?
retinal scan ref {BIOMETRIC}, iris coloboma, {age}yo
voiceprint template {BIOMETRIC} failed since her {cond}
attached {PHOTO} shows the wound after {duration} of {drug}
full face photo {PHOTO}, droop, {vital}
path accession no {ACCESSION}, {cond}, margins?
case # {ORDER} reviewed, {test} equivocal
requisition {ORDER}: repeat {test}?
bed in room {ROOM}, {age}M, {symptom}, {vital}
Pt {INITIALS} ({age}{sex1}) with {cond}: stop {drug}?
{AGE}-year-old {sex} on {drug} {dose}, falls, {lab}
she turned {AGE} and has {cond}; continue {drug}?
employed at {EMPLOYER}, back pain, {symptom}
{sex} teacher, contact {EMAIL}, wants results of {test}
please send note to {EMAIL}, re {cond}
old records from {FACILITY} say {cond} in 2016
transferred to {FACILITY} {DATE}, intubated, {vital}
seen by {CLINICIAN} for {cond}, started on {drug} {dose}
Surgery with dr {LAST} on {DATE}, hold {drug} how long?
{LASTFIRST} DOB {DATE} {cond} {drug} {dose}
thanks, Dr {LAST}, pager {ORDER}
discharged {SHORTDATE}, back with {symptom} since {DATE}
fax {FAX} attn {CLINICIAN}: {lab}
Born {DATE}, {cond}, weight 82 kg, {drug} {dose}?
""".strip().splitlines()

CLEAN = """
For an {age}-year-old {sex} with {cond}, is {drug} preferred over {drug2}?
Should {drug} be held 5 days before {test}? {lab}.
how do i interpret {lab} in a pt with {cond} and {symptom}
my pt is {age}, takes {drug} {dose}, now with {symptom} for {duration}, r/o {eponym}?
{sex}, {age}, {vital}, {symptom} since {duration} ago
What are the diagnostic criteria for {eponym}?
Please summarize evidence for {drug} in {cond} since 2020.
pain 7/10 down to 3/10 after {drug}, ok to go home?
{device} day 4, urine output 0.5 ml/kg/hr, creatinine 1.{digit} to 2.{digit}
wbc 14.{digit} hgb 9.{digit} plt 220 na 138 k 4.1 cl 102 bun 18 cr 1.{digit}
T2N1M0, ER+/PR+, HER2 neg, 4/12 nodes, next?
BP 150/90, 148/92 and 160/95 on 3 visits, start {drug}?
pt is a G3P2 at 28w4d, 1 hr glucola 165, 3 hr abnormal 2/4 values
How often should I check {test} on {drug}? every 3-6 months?
{age} month old with {symptom} and temp 39.{digit}, vaccines up to date
titrate from 5 mg to 10 mg over 2 wks then 20 mg, {cond}
Differential for {symptom} in {sex}, age {age}, with {cond}?
hx of {cond} dx in 2015, s/p CABG x3 in 2018, now {symptom}
explain {eponym} to a patient in plain language
augmentin 875/125 bid x 7-10 days vs {drug} for {cond}
Vent: AC 16/450/5/40%, ABG 7.32/48/80/24, adjust?
vancomycin trough 18.{digit}, 1250 mg q12, {lab}
O2 sat 88-92% target in {cond}? on 2L NC
peds: amoxicillin 90 mg/kg/day div bid, 14.{digit} kg, how many mL of 400/5?
lumbar MRI shows L5-S1 protrusion, positive straight leg raise, {symptom}
What's the half life of {drug}? can it be crushed
family history of {cond} in mother and sister, BRCA1 negative
returned from travel in Africa 10 days ago, fever, malaria smear?
the patient was started on {drug} yesterday and developed {symptom} overnight
ECOG 1, PD-L1 60%, {drug} cycle 3 day 1, ANC 1.{digit}
{drug} vs {drug2}: which one with eGFR {age}?
call me about {cond} workup? does {eponym} apply
May I give {drug} with {drug2}? will it raise K
march fracture in a runner, weight bearing when
""".strip().splitlines()
