"""Templates on which the gate was developed. ``{UPPER}`` is an identifier, ``{lower}`` is what medicine says."""

WITH = """
pt {PATIENT} {age}yo {sex} with hx of {cond}, mrn {MRN}, on {drug} {dose}. next step?
Patient {PATIENT} (MRN: {MRN}, DOB {DATE}) presents with {symptom} x {duration}. What workup do you recommend?
{PATIENT}, {age} year old {sex}, admitted {DATE} for {cond}. {lab}. Should I start {drug}?
Mr. {LAST} was seen {SHORTDATE} for {symptom}; {vital}. Is {drug} safe?
Mrs. {LAST} called from {PHONE} about her {drug} refill, please advise on dose with {lab}
Dr. {CLINICIAN} at {FACILITY} recommended {drug} {dose}. agree?
dr {LAST} wants to stop {drug}, pt mrn#{MRN}, {lab}
Can you summarize the visit of {DATE} for {LASTFIRST}, MRN {MRN}?
pt lives at {ADDRESS}, {TOWN}, OH {ZIP}. needs home health for {cond}
SSN {SSN} on file for {PATIENT}; insurance member id {PLAN}. does plan cover {drug}?
Her daughter {RELATIVE} ({PHONE}) says {symptom} started {DATE}
email results to {EMAIL} and fax to {FAX}: {lab}
fax number {FAX} for records, {cond}
wife {FIRST} reports {symptom} for {duration}, he is {age}
{AGE} yo {sex} with {cond}, is {drug} {dose} ok?
age {AGE}, {cond}, lives alone in {TOWN}
policy number {PLAN}, group no {ORDER}, needs prior auth for {drug}
acct {ACCOUNT} billed twice for {test} on {DATE}
Account number: {ACCOUNT}. Patient with {cond} asks about {drug}.
driver's license {LICENCE} suspended after seizure, on {drug}; when may he drive?
NPI {LICENCE}, please renew {drug} {dose}
drives a truck, license plate {PLATE}, VIN {VIN}, MVC with {symptom}
pacemaker serial number {DEVICE} implanted {DATE}, {cond}
insulin pump s/n {DEVICE}, {lab}, adjust basal?
see the portal at {URL} for her labs: {lab}
logged in from {IP}, no access to the chart of a {age}yo {sex}
fingerprint ID {BIOMETRIC} enrolled for controlled substance, {drug}
photo {PHOTO} of the rash attached, {age}yo with {cond}
accession {ACCESSION}: {test} shows {cond}. meaning?
order #{ORDER} for {test}, room {ROOM}, {symptom}
initials {INITIALS}, {age}yo {sex}, {cond}
works at {EMPLOYER}, exposed to fumes, {symptom} x {duration}
Transferred from {FACILITY} on {DATE} with {cond}
pt {FIRST} is a {age} yo from {TOWN} with {cond}
Name: {PATIENT}  DOB: {DATE}  SSN: {SSN}  Phone: {PHONE}. {symptom} since {duration}
zip {ZIP}, nearest dialysis for {age}yo with {cond}?
spoke with {CLINICIAN}, MD re {drug} {dose} in {cond}
Nurse {LAST} notes {vital} at bedside, room {ROOM}
{LAST} {FIRST} {age}M {cond}, chart {MRN}
specimen {ACCESSION} collected {DATE}: {lab}
his brother {RELATIVE} has {cond} too, risk for a {age} year old?
""".strip().splitlines()

CLEAN = """
What is the dose of {drug} for a {age} year old with {lab}?
{age}yo {sex} with {cond} on {drug} {dose} for {duration}. {vital}. next step?
How long should I treat {cond} with {drug}? currently day 5 of {duration}
{age} y/o {sex}, {symptom} x {duration}, {vital}, {lab}
Is {eponym} consistent with {symptom}?
pain 5/10, strength 4/5, reflexes 2/4, {vital}
start 1/2 NS at 75 ml/hr, K 3.{digit}, repeat in 4-6 h
{drug} {dose} q8h vs q12h in {cond}?
{device} in place, output 150 mL over 2-3 days, pull it?
disc herniation L4-5 and C5-6, T12-L1 fusion, {symptom}
GCS 14/15, NIHSS 4, {test} negative
A1c 8.{digit}% in 2019, now 7.{digit}%, on {drug}
G2P1 at 32 weeks {digit} days with {symptom}, {vital}
newborn 3 days old, 38 weeks gestation, bilirubin 12.{digit}, phototherapy?
78F with {cond}, EF 35%, {drug} {dose} bid
smoked 1 ppd for 30 years, quit last year. {test}?
last tues he had {symptom}, better today
apgar 8/9, weight 3.2 kg, 2/6 systolic murmur
compare {drug} and {drug2} in {cond}
{eponym} vs {cond} in a {age} year old?
take 1-2 tabs every 4-6 hours prn, max 8/day
CHA2DS2-VASc 4, HAS-BLED 2, INR 2.{digit}, {drug} or {drug2}?
per the 2021 guideline, {drug} is first line for {cond}
WBC 12,000, platelets 150000, CRP 10{digit}
patient is stable, plan to discharge home tomorrow on {drug}
mother had {cond} at 50, father MI at 62; screen when?
follow up in 2 weeks, check BMP, CBC and {test}
HLA-B27 positive, ANA 1:160, {symptom}
pt denies {symptom}, has {cond}, allergic to {drug}
ICD-10 code for {cond} with {symptom}? E11.65 or I10?
""".strip().splitlines()
