"""Passages of about 150 tokens with four questions each, answered by looking things up.

Every test passage introduces five people.  Each of them keeps one thing at one place and has one
plan; the questions differ in how far the answer is from the words of the question:

* ``place``, ``plan`` and ``thing`` follow one sentence;
* ``chain`` joins two sentences (from the plan to the person to the place).
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from .document import Answer, Document, Side, side_of
from .lexicon import (
    COLOURS,
    DAYS,
    NAMES,
    OBJECTS,
    PLACE_ADJECTIVES,
    PLACES,
    PLAN_OBJECTS,
    PLAN_VERBS,
    PREPOSITIONS,
    VILLAGES,
    WEATHER,
)

PEOPLE = 5
"""How many people a test passage introduces."""
CHOICES = 4
MAX_DRAWS = 20_000
QUESTION_TYPES = ("place", "plan", "thing", "chain")


@dataclass(frozen=True)
class Fact:
    """What one person keeps, where, and what that person plans; all as phrases of the text."""

    name: str
    thing: str
    place: str
    plan: str

    @property
    def keys(self) -> tuple[str, str]:
        """Return the two content keys; no key of the test side occurs in any train passage."""
        return f"keeps {self.thing} {self.place}", f"plans {self.name} {self.plan}"


@dataclass(frozen=True)
class Question:
    """A multiple-choice question; ``answer`` is an index into ``choices``.

    The answer is a whole sentence: ``stem`` and then one of the choices.
    """

    type: str
    question: str
    stem: str
    choices: tuple[str, ...]
    answer: int

    def as_answer(self, rng: Random) -> Answer:
        """Return the right choice with another choice as its plausible falsification."""
        others = [text for index, text in enumerate(self.choices) if index != self.answer]
        return Answer(
            f" {self.stem} {self.choices[self.answer]}\n", f" {self.stem} {rng.choice(others)}\n"
        )


@dataclass(frozen=True)
class Passage:
    """A passage, the questions about it, and the content keys of its facts."""

    text: str
    questions: tuple[Question, ...]
    keys: tuple[str, ...]

    def document(self, rng: Random) -> Document:
        """Return the passage followed by all its questions, in the format of task ``reading``."""
        prompts = [f"{self.text}\nQuestion: {self.questions[0].question}\nAnswer:"]
        prompts += [f"Question: {item.question}\nAnswer:" for item in self.questions[1:]]
        answers = tuple(item.as_answer(rng) for item in self.questions)
        return Document("passage", tuple(prompts), answers, self.keys)


def _facts(rng: Random, side: Side, people: int) -> list[Fact]:
    """Return facts with pairwise different names, objects, places and plans, all of ``side``."""
    names = rng.sample(NAMES, people)
    objects = rng.sample(OBJECTS, people)
    facts: list[Fact] = []
    used: set[str] = set()
    for _ in range(MAX_DRAWS):
        place, plan_object = rng.choice(PLACES), rng.choice(PLAN_OBJECTS)
        fact = Fact(
            name=names[len(facts)],
            thing=f"the {rng.choice(COLOURS)} {objects[len(facts)]}",
            place=f"{rng.choice(PREPOSITIONS)} the {rng.choice(PLACE_ADJECTIVES)} {place}",
            plan=f"{rng.choice(PLAN_VERBS)} the {plan_object}",
        )
        if used.isdisjoint((place, plan_object)) and all(side_of(k) == side for k in fact.keys):
            facts.append(fact)
            used.update((place, plan_object))
        if len(facts) == people:
            return facts
    # Some choice of people and objects has left no plan of this side for the last of them.
    return _facts(rng, side, people)


def _prose(rng: Random, facts: list[Fact]) -> str:
    """Return the passage: an opening, then what people keep and what they plan, shuffled."""
    opening = (
        f"It is a {rng.choice(WEATHER)} {rng.choice(DAYS)} in the village of "
        f"{rng.choice(VILLAGES)}."
    )
    keeping = [f"{fact.name} keeps {fact.thing} {fact.place}." for fact in facts]
    planning = [f"{fact.name} plans to {fact.plan}." for fact in facts]
    rng.shuffle(keeping)
    rng.shuffle(planning)
    halves = [" ".join(keeping), " ".join(planning)]
    rng.shuffle(halves)
    return f"{opening} {halves[0]} {halves[1]}"


def _question(rng: Random, kind: str, facts: list[Fact]) -> Question:
    """Return one question of the given type about a random fact."""
    offered = rng.sample(facts, min(CHOICES, len(facts)))
    answer = rng.randrange(len(offered))
    fact = offered[answer]
    if kind == "plan":
        wording, stem = f"What does {fact.name} plan to do?", f"{fact.name} plans to"
        choices = tuple(other.plan for other in offered)
    elif kind == "thing":
        wording, stem = f"What does {fact.name} keep {fact.place}?", f"{fact.name} keeps"
        choices = tuple(other.thing for other in offered)
    else:
        wording = f"Where does {fact.name} keep {fact.thing}?"
        stem = f"{fact.name} keeps {fact.thing}"
        if kind == "chain":
            wording = f"Where does the person who plans to {fact.plan} keep something?"
            stem = "That person keeps it"
        choices = tuple(other.place for other in offered)
    return Question(kind, wording, stem, choices, answer)


def make_passage(rng: Random, side: Side, people: int, rounds: int) -> Passage:
    """Return a random passage whose facts all belong to ``side``.

    Every round asks one question of each type, in random order.
    """
    facts = _facts(rng, side, people)
    text = _prose(rng, facts)
    questions: list[Question] = []
    for _ in range(rounds):
        types = list(QUESTION_TYPES)
        rng.shuffle(types)
        questions.extend(_question(rng, kind, facts) for kind in types)
    return Passage(text, tuple(questions), tuple(key for fact in facts for key in fact.keys))
