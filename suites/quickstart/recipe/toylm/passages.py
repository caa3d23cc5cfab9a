"""Passages of packing lists with four questions each, to be looked up.

Every test passage says what six people have in their bags.  A question names a person, and asks for
the whole list or, after the first thing on it, for the rest; the choices are what other people of the
same passage carry.  No word of a list stands in a passage twice, so that a model which has learnt to
repeat what followed a word the last time can answer; nothing but the passage says which choice is right.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .document import Answer, Document, Side, side_of
from .lexicon import DAYS, ITEMS, NAMES, OBJECTS, VILLAGES, WEATHER

PEOPLE = 6
"""How many people a test passage introduces."""
CHOICES = 4
THINGS = (*OBJECTS, *ITEMS)
LIST_LENGTH = 3
QUESTION_TYPES = ("whole", "rest")


@dataclass(frozen=True)
class Bag:
    """A person and the things in that person's bag, in order."""

    name: str
    things: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Return the bag as the passage has it; also its content key, of one side or the other."""
        return f"Bag of {self.name} {' '.join(self.things)}"


@dataclass(frozen=True)
class Question:
    """A sentence to be ended by one of the choices; ``answer`` is an index into ``choices``."""

    type: str
    stem: str
    choices: tuple[str, ...]
    answer: int

    def as_answer(self, rng: Random) -> Answer:
        """Return the right choice with another choice as its plausible falsification."""
        others = [text for index, text in enumerate(self.choices) if index != self.answer]
        return Answer(f" {self.choices[self.answer]}\n", f" {rng.choice(others)}\n")


@dataclass(frozen=True)
class Passage:
    """A passage, the questions about it, and the content keys of its bags."""

    text: str
    questions: tuple[Question, ...]
    keys: tuple[str, ...]

    def document(self, rng: Random) -> Document:
        """Return the passage followed by all its questions, in the format of task ``reading``."""
        prompts = [f"{self.text}\nRecall: {self.questions[0].stem}"]
        prompts += [f"Recall: {item.stem}" for item in self.questions[1:]]
        answers = tuple(item.as_answer(rng) for item in self.questions)
        return Document("passage", tuple(prompts), answers, self.keys)


def _bags(rng: Random, side: Side, people: int) -> list[Bag]:
    """Return bags of ``side`` for different people, no thing in two of them."""
    names = rng.sample(NAMES, people)
    left = list(THINGS)
    bags: list[Bag] = []
    while len(bags) < people:
        bag = Bag(names[len(bags)], tuple(rng.sample(left, LIST_LENGTH)))
        if side_of(bag.sentence) == side:
            bags.append(bag)
            left = [thing for thing in left if thing not in bag.things]
    return bags


def _question(rng: Random, kind: str, asked: Bag, bags: list[Bag]) -> Question:
    """Return a question of the given type about one bag, with choices from the others."""
    others = rng.sample([bag for bag in bags if bag != asked], min(CHOICES, len(bags)) - 1)
    offered = rng.sample([asked, *others], len(others) + 1)
    known = 1 if kind == "rest" else 0
    stem = " ".join(["Bag of", asked.name, *asked.things[:known]])
    choices = tuple(" ".join(bag.things[known:]) for bag in offered)
    return Question(kind, stem, choices, offered.index(asked))


def make_passage(rng: Random, side: Side, people: int, rounds: int) -> Passage:
    """Return a random passage whose bags all belong to ``side``.

    Every round asks one question of each type; no person is asked about again before all were.
    """
    bags = _bags(rng, side, people)
    opening = f"It is a {rng.choice(WEATHER)} {rng.choice(DAYS)} in the village of {rng.choice(VILLAGES)}."
    text = " ".join([opening, *(f"{bag.sentence}." for bag in bags)])
    kinds = [kind for _ in range(rounds) for kind in QUESTION_TYPES]
    order = rng.sample(bags, len(bags))
    questions = [
        _question(rng, kind, order[number % len(order)], bags) for number, kind in enumerate(kinds)
    ]
    return Passage(text, tuple(questions), tuple(bag.sentence for bag in bags))
