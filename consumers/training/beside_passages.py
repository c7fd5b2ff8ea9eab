"""Shows examples a second time with passages in the prompt, so that an adapter answers from documents in its own style.

An adapter that was never shown passages loses its style where the server puts some into the prompt, and reads no better
than the base model. So a copy of an example has the server's frame, and in it a passage that holds the reviewer's
answer, among others that do not. That passage begins some words into the answer: how an answer begins is learnt, and
only what it says is copied. The other passages are those of other examples and :data:`UNRELATED` ones. The copy's
answer is the example's own: nothing is learnt that no reviewer approved.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from consumers.training.tokenization import TokenizedExample, TrainingExample
from schemas.bus.content import ChatMessage
from schemas.tenant.hyperparameters import Hyperparameters
from tenancy.knowledge.frame import framed, question_at
from tenancy.knowledge.search import Found
from tenancy.knowledge.segments import Passage

UNRELATED = (
    ("Library > Opening", "The library opens at 09:00 and closes at 17:30."),
    ("Garden > Watering", "The roses are watered on Mondays and Thursdays."),
    ("Kitchen > Ovens", "The large oven takes 12 minutes to reach 180 degrees."),
    ("Car park > Tickets", "A day ticket costs 6.50 and is paid at machine B."),
    ("Printing > Paper", "Paper for the printers lies in cupboard 7 on the second floor."),
    ("Post > Collection", "Letters are collected at 16:15, parcels at 11:00."),
    ("Bicycles > Racks", "Bicycles are kept in rack 3 behind the main gate."),
    ("Heating > Boiler", "The boiler is serviced each October by the workshop."),
    ("Meetings > Rooms", "Room 214 seats eighteen and has a screen."),
    ("Cleaning > Windows", "Windows are cleaned in the first week of each quarter."),
    ("Radio > Channel", "The porters' radio uses channel 9."),
    ("Keys > Lockers", "Locker keys are handed out at desk 2 against a deposit of 10."),
)
LEFT_OUT_WORDS, PASSAGE_WORDS = 3, 64
"""A passage leaves out up to so many of its answer's first words, and is as long as a document's passage."""
MOST_OTHERS, MOST_UNRELATED = 1, 3
HEADING, HEADING_WORDS = "Handbook", 12
FRAME_CHARACTERS = 4000
"""Of passages in one prompt: all five fit, unless a word is as long as a sentence."""


def beside_passages(
    examples: Mapping[str, TrainingExample],
    hyperparameters: Hyperparameters,
    tokenized: Callable[[TrainingExample], TokenizedExample | None],
) -> list[TokenizedExample]:
    """The copies of the share of ``examples`` that ``hyperparameters`` names, under the examples' ids.

    ``examples``: by id, those that are trained on: the passages are theirs. ``tokenized``: None for one that is too
    long, from which passages are taken out, and which has no copy if its own does not fit either.
    """
    draw = random.Random(f"passages:{hyperparameters.seed}")  # noqa: S311 - a reproducible choice, not a secret
    names = sorted(examples)
    copies = []
    for name in sorted(draw.sample(names, round(hyperparameters.passages_share * len(names)))):
        passages = _passages(name, examples, draw)
        while (copy := tokenized(_beside(examples[name], passages, draw))) is None and len(passages) > 1:
            passages.pop()
        if copy is not None:
            copies.append(copy)
    return copies


def _passages(name: str, examples: Mapping[str, TrainingExample], draw: random.Random) -> list[Found]:
    """The example's own first."""
    others = sorted(examples.keys() - {name})
    chosen = draw.sample(others, min(len(others), draw.randint(0, MOST_OTHERS)))
    said = [_of_answer(examples[each], draw) for each in (name, *chosen)]
    return [*said, *(_found(*each) for each in draw.sample(UNRELATED, draw.randint(0, MOST_UNRELATED)))]


def _of_answer(example: TrainingExample, draw: random.Random) -> Found:
    words = example.messages[-1].content.split()
    begin = min(draw.randint(1, LEFT_OUT_WORDS), len(words) - 1)
    question = example.messages[_question(example)].content.split()[:HEADING_WORDS]
    return _found(f"{HEADING} > {' '.join(question)}", " ".join(words[begin : begin + PASSAGE_WORDS]))


def _found(path: str, text: str) -> Found:
    return Found(Passage("example", 1, path, text), score=0.0, similarity=None)


def _beside(example: TrainingExample, passages: Sequence[Found], draw: random.Random) -> TrainingExample:
    shown = draw.sample(passages, len(passages))
    asked = [message.model_dump() for message in example.messages[:-1]]
    messages, _ = framed(asked, _question(example), shown, FRAME_CHARACTERS)
    # Not validated again: with its frame a message may be longer than one that is published.
    turns = [ChatMessage.model_construct(**message) for message in messages]
    return replace(example, messages=(*turns, example.messages[-1]))


def _question(example: TrainingExample) -> int:
    """Where the frame stands: at the turn that the server would put it at, or at the one before the answer."""
    at = question_at([message.role for message in example.messages])
    return len(example.messages) - 2 if at is None else at
