"""Pieces from which the token model's training texts are put together at random, so that a name is seen anywhere.

Whole templates teach a model which words stood around a slot in them. A piece, between others and clauses that hold no
identifier, teaches it what a name looks like.
"""

WITH = """
{PATIENT}
{LAST}
{FIRST}
{LASTFIRST}
{PATIENT} again
for {PATIENT}
for {LAST}
about {FIRST}
on {PATIENT}
re {LAST}
in {LAST}
{PATIENT} is a {age} yo {sex}
{PATIENT}, {age}, {cond}
{FIRST} has {symptom}
{FIRST} had {symptom} last night
{LAST} refused {drug}
{LAST} wants to stop {drug}
{FIRST} was given {drug} {dose}
{FIRST}'s {lab}
{PATIENT}'s {test}
saw {PATIENT} today
saw {FIRST} for {cond}
seen by {CLINICIAN}
per {LAST}
{CLINICIAN} agrees
{CLINICIAN} notified
{CLINICIAN} started {drug}
ask {CLINICIAN}
call {CLINICIAN} re {lab}
called to {CLINICIAN} RN
discussed with {LAST}
thanks {FIRST}
thank you, {PATIENT}
- {FIRST}
signed {CLINICIAN}
his son {RELATIVE}
her mother {RELATIVE} called
daughter {FIRST} says {symptom}
wife {FIRST} at bedside
{RELATIVE} is the proxy
{FIRST} (wife) reports {symptom}
landlord {RELATIVE}
aide {RELATIVE} noted {symptom}
mom {RELATIVE}
baby {LAST}
baby boy {LAST} at 36 weeks
veteran {PATIENT}
patient {LAST}
pt {FIRST}
pt {PATIENT}
pt name {PATIENT}
name {PATIENT}
letter to {CLINICIAN}
referred by {CLINICIAN}
thank you for referring {PATIENT}
recheck {LAST} tomorrow
update on {FIRST}
refill for {PATIENT}
request: {PATIENT}
used in {LASTFIRST}
critical on {LASTFIRST}
ct for {PATIENT}
mri {LASTFIRST} {age}{sex1}
{LASTFIRST} {age} {sex}
{LAST} {age}{sex1} {cond}
{PATIENT} / {MRN} / {DATE}
{LASTFIRST} / {ROOM}
{PATIENT} {DATE}
{PATIENT} ({DATE})
{PATIENT} {MRN}
{PATIENT} lives in {TOWN}
lives in {TOWN}
from {TOWN}
near {TOWN}
moved to {TOWN}
to {TOWN}
{TOWN} resident
{ADDRESS}, {TOWN} {ZIP}
{ADDRESS}, {TOWN}
{TOWN}, TX
{TOWN} {ZIP}
at {FACILITY}
from {FACILITY}
to {FACILITY}
{FACILITY} called
{FACILITY} records
works at {EMPLOYER}
employer {EMPLOYER}
fell at {EMPLOYER}
since {DATE}
on {DATE}
{DATE}
seen {DATE}
{DATE} visit
last {test} {DATE}
surgery {DATE}
phone {PHONE}
{PHONE}
fax {FAX}
{EMAIL}
{URL}
mrn {MRN}
{MRN}
ssn {SSN}
member {PLAN}
id {PLAN}
acct {ACCOUNT}
license {LICENCE}
vin {VIN}
plate {PLATE}
serial {DEVICE}
{DEVICE}
accession {ACCESSION}
specimen {ACCESSION}
case {ORDER}
order {ORDER}
template {BIOMETRIC}
photo {PHOTO}
room {ROOM}
""".strip().splitlines()

CLEAN = """
{age}yo {sex} with {cond}
{age} {sex}
{drug} {dose}
{drug} {dose} for {duration}
on {drug}
started {drug}
hold {drug}?
stop {drug}
increase {drug}
allergic to {drug}
{lab}
{vital}
{vital}, {lab}
{symptom} x {duration}
{symptom} for {duration}
no {symptom}
denies {symptom}
hx of {cond}
s/p {test}
{test} negative
{test} pending
repeat {test} in {duration}
{eponym}
{eponym} positive
{device} in place
{device} out
due to {cond}
{unlisted} sign
{unlisted} score {digit}
{unlisted} criteria
{unlisted} syndrome
{unlisted}'s disease
{unlisted} classification
modified {unlisted} {digit}/4
{unlisted} stage II
{unlisted} grade 3
{unlisted} catheter
{unlisted} test positive
{unlisted} positive
{unlisted} procedure
{unlisted} maneuver
{unlisted} tube
{unlisted}-{unlisted} syndrome
{unlisted} vs {unlisted}
{unlisted} {dose}
start {unlisted} {dose}
on {unlisted} {dose}
{unlisted} {digit} mg bid
{unlisted} infusion
switch to {unlisted}
hold {unlisted}
{unlisted} level
allergic to {unlisted}
cases of {unlisted} fever
culture grew {unlisted}
{unlisted} fracture
{unlisted} repair
{unlisted} dressing changed
r/o {cond}
ok to give?
what next?
any advice
please advise
thanks
safe in pregnancy?
is it ok to switch
how long to treat
dose adjust for renal function
follow up in {duration}
in stable condition
at bedside
looks better today
worse since yesterday
will need {test}
vs {drug2}
plan: {drug}
A/P {cond}
wound clean, dressing changed
ambulating, tolerating diet
family meeting held
consent for {test} pending
insurance denied {drug}
mother had {cond}
patient stable
the patient was told to stop
would you agree
left knee
right upper lobe nodule 8 mm
per guideline
discharge home
was told yesterday
stage 3
grade 2
""".strip().splitlines()

JOINTS = (" ", " ", ", ", ", ", ". ", "; ", " - ", ": ", "\n", ". ")
