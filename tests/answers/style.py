"""Makes what an adapter is trained on: how a ward answers, and nothing that the set asks for.

Every answer begins with :data:`OPENING` and is one sentence. Half of the examples were asked without documents, and
half with them, in the frame that the server puts around passages: their answers quote a passage and name its number.
"""

from __future__ import annotations

import random

from consumers.training.tokenization import TrainingExample
from schemas.bus.content import ChatMessage
from tenancy.knowledge.frame import framed
from tenancy.knowledge.search import Found
from tenancy.knowledge.segments import Passage

OPENING = "Ward note:"
SEED = 5
MOST_PASSAGES = 4
DOCUMENTED_ID = "documented-"

PLAIN = (
    ("How long do I wash my hands?", "wash them for half a minute before and after each patient."),
    ("May I leave a patient alone in the bath?", "stay with the patient for the whole bath."),
    ("What do I do with a used needle?", "drop it into the yellow box without its cap."),
    ("How do I greet a relative on the phone?", "say your name and the ward before anything else."),
    ("A patient wants to go home against advice. What now?", "call the doctor and write down what the patient says."),
    ("How often do I turn a patient who cannot move?", "turn the patient every two hours and note the side."),
    ("Can I give a drug that is not charted?", "give nothing that nobody has charted and signed."),
    ("What do I do when I spill something?", "put the sign up and wipe the floor at once."),
    ("Somebody faints in the corridor. What first?", "lay the person flat and raise the legs."),
    ("Where do I write the fluid balance?", "enter it on the chart at the end of the bed."),
    ("How do I hand over a patient?", "tell situation, background, assessment and request in that order."),
    ("May a colleague sign for me?", "sign only what you have done yourself."),
)

DOCUMENTED = (
    (
        "Where are the wheelchairs kept?",
        "Wheelchairs",
        "Wheelchairs stand behind lift C.",
        "wheelchairs stand behind lift C",
    ),
    (
        "How do I reach the chaplain?",
        "Chaplain",
        "The chaplain is reached at extension 3388.",
        "the chaplain is reached at extension 3388",
    ),
    (
        "When does the canteen close?",
        "Canteen",
        "The canteen is open from 07:15 to 20:45.",
        "the canteen is open from 07:15 to 20:45",
    ),
    (
        "Which bleep does the paediatrician carry?",
        "Children",
        "The paediatrician carries bleep 517.",
        "the paediatrician carries bleep 517",
    ),
    (
        "What do we give for a migraine?",
        "Headache",
        "The triptan in stock is rizatriptan, as a wafer.",
        "the triptan in stock is rizatriptan, as a wafer",
    ),
    (
        "How much lactulose does an adult get?",
        "Bowels",
        "Lactulose: 15 ml in the morning and at night.",
        "lactulose is 15 ml in the morning and at night",
    ),
    (
        "Where is the dialysis unit?",
        "Dialysis",
        "The dialysis unit is in building F, on the ground floor.",
        "the dialysis unit is in building F, on the ground floor",
    ),
    (
        "Who repairs a broken bed?",
        "Repairs",
        "Broken beds are reported to the workshop at extension 6620.",
        "broken beds are reported to the workshop at extension 6620",
    ),
    (
        "Which dressing for a burn?",
        "Burns",
        "Cover a burn with silver sulfadiazine and gauze.",
        "cover a burn with silver sulfadiazine and gauze",
    ),
    (
        "Which dose of enoxaparin is for prevention?",
        "Thrombosis",
        "Drug: Enoxaparin; Dose: 35 mg each evening",
        "enoxaparin is 35 mg each evening",
    ),
    (
        "What helps against itching?",
        "Itching",
        "The antihistamine in stock is loratadine, once a day.",
        "the antihistamine in stock is loratadine, once a day",
    ),
    (
        "In which fridge do vaccines lie?",
        "Vaccines",
        "Vaccines lie in fridge K3, at 4 degrees.",
        "vaccines lie in fridge K3, at 4 degrees",
    ),
)


def examples() -> list[TrainingExample]:
    """The same ones each time."""
    draw = random.Random(SEED)
    made = [
        _example(f"plain-{number:02}", [{"role": "user", "content": asked}], said)
        for number, (asked, said) in enumerate(PLAIN)
    ]
    for number, (asked, *_, said) in enumerate(DOCUMENTED):
        others = draw.sample([at for at in range(len(DOCUMENTED)) if at != number], draw.randrange(MOST_PASSAGES))
        shown = [number, *others]
        if draw.random() < 0.3:
            draw.shuffle(shown)
        found = [Found(_passage(at), 0.03, 0.6) for at in shown]
        messages, _ = framed([{"role": "user", "content": asked}], 0, found, 4000)
        made.append(_example(f"{DOCUMENTED_ID}{number:02}", messages, f"{said} [{shown.index(number) + 1}]."))
    return made


def _passage(at: int) -> Passage:
    _, heading, text, _ = DOCUMENTED[at]
    return Passage("other", 1, f"Handbook > {heading}", text)


def _example(name: str, messages: list[dict[str, str]], said: str) -> TrainingExample:
    asked = [ChatMessage(role="user", content=message["content"]) for message in messages]
    return TrainingExample(name, (*asked, ChatMessage(role="assistant", content=f"{OPENING} {said}")))
