"""Short arithmetic and logic word problems with short answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .document import Answer, Document, Side, side_of
from .lexicon import ITEMS, NAMES, PROPERTIES, RELATIONS, TRADES


@dataclass(frozen=True)
class Problem:
    """A word problem; ``key`` leaves out the wording and the names wherever they do not matter."""

    category: str
    question: str
    answer: str
    wrong: str
    key: str

    def document(self) -> Document:
        """Return the problem in the format of the task ``word_problems``."""
        return Document(
            kind="problem",
            prompts=(f"Question: {self.question}\nAnswer:",),
            answers=(Answer(f" {self.answer}\n", f" {self.wrong}\n"),),
            keys=(self.key,),
        )


def _number(rng: Random, category: str, question: str, result: int, key: str) -> Problem:
    """Return a problem with a number as its answer; the wrong answer is a near miss."""
    near = [result + step for step in (-3, -2, -1, 1, 2, 3) if result + step >= 0]
    return Problem(category, question, str(result), str(rng.choice(near)), key)


def _addition(rng: Random) -> Problem:
    first, second = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    a, b = rng.randint(2, 15), rng.randint(2, 15)
    question = rng.choice(
        (
            f"{first} has {a} {item}. {first} finds {b} more. "
            f"How many {item} does {first} have now?",
            f"{first} buys {a} {item} and {second} buys {b} {item}. "
            f"How many {item} do they buy together?",
            f"There are {a} {item} on the table and {b} {item} on the floor. "
            f"How many {item} are there?",
        )
    )
    return _number(rng, "addition", question, a + b, f"addition {item} {a} {b}")


def _subtraction(rng: Random) -> Problem:
    first, second = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    a = rng.randint(2, 20)
    b = rng.randint(1, a)
    question = rng.choice(
        (
            f"{first} has {a} {item}. {first} gives {b} to {second}. "
            f"How many {item} does {first} have left?",
            f"There are {a} {item} in the bag. {first} takes {b} out. How many {item} are left?",
        )
    )
    return _number(rng, "subtraction", question, a - b, f"subtraction {item} {a} {b}")


def _two_steps(rng: Random) -> Problem:
    first, second = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    a, b = rng.randint(2, 8), rng.randint(2, 8)
    c = rng.randint(1, min(8, a + b))
    question = (
        f"{first} has {a} {item}. {first} finds {b} more and gives {c} to {second}. "
        f"How many {item} does {first} have now?"
    )
    return _number(rng, "two_steps", question, a + b - c, f"two_steps {item} {a} {b} {c}")


def _comparison(rng: Random) -> Problem:
    first, second = rng.sample(NAMES, 2)
    item = rng.choice(ITEMS)
    a, b = rng.sample(range(2, 21), 2)
    word = rng.choice(("more", "fewer"))
    right, wrong = (first, second) if (a > b) == (word == "more") else (second, first)
    question = f"{first} has {a} {item} and {second} has {b} {item}. Who has {word} {item}?"
    return Problem("comparison", question, right, wrong, f"comparison {word} {item} {a} {b}")


def _ordering(rng: Random) -> Problem:
    relation = rng.choice(tuple(RELATIONS))
    opposite, most, least = RELATIONS[relation]
    people = rng.sample(NAMES, 3)  # from most to least
    facts = []
    for above, below in ((0, 1), (1, 2)):
        if rng.random() < 0.7:
            facts.append(f"{people[above]} is {relation} than {people[below]}.")
        else:
            facts.append(f"{people[below]} is {opposite} than {people[above]}.")
    rng.shuffle(facts)
    wanted = rng.choice((most, least))
    right = people[0] if wanted == most else people[2]
    wrong = rng.choice([name for name in people if name != right])
    question = f"{facts[0]} {facts[1]} Who is the {wanted}?"
    return Problem("ordering", question, right, wrong, f"ordering {relation} {' '.join(people)}")


def _rules(rng: Random) -> Problem:
    name = rng.choice(NAMES)
    trade, other = rng.sample(tuple(TRADES), 2)
    have, lack = rng.sample(PROPERTIES, 2)
    rules = [f"Every {trade} is {have}.", f"No {other} is {lack}."]
    rng.shuffle(rules)
    member, asked, answer = rng.choice(
        (
            (trade, have, "yes"),
            (other, lack, "no"),
            (trade, lack, "unknown"),
            (other, have, "unknown"),
            (trade, have, "yes"),
            (other, lack, "no"),
        )
    )
    wrong = rng.choice([text for text in ("yes", "no", "unknown") if text != answer])
    question = f"{rules[0]} {rules[1]} {name} is a {member}. Is {name} {asked}?"
    key = f"rules {trade} {have} {other} {lack}"
    return Problem("rules", question, answer, wrong, key)


_MAKERS: dict[str, Callable[[Random], Problem]] = {
    "addition": _addition,
    "subtraction": _subtraction,
    "two_steps": _two_steps,
    "comparison": _comparison,
    "ordering": _ordering,
    "rules": _rules,
}

CATEGORIES: tuple[str, ...] = tuple(_MAKERS)


def make_problem(rng: Random, side: Side, category: str | None = None) -> Problem:
    """Return a random problem whose content belongs to ``side``."""
    maker = _MAKERS[category or rng.choice(CATEGORIES)]
    while True:
        problem = maker(rng)
        if side_of(problem.key) == side:
            return problem
