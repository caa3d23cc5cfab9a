"""Stories of three or four sentences whose last word follows from what came before.

``recall`` stories end in a word that was said earlier and a ``recital`` repeats a whole list;
``trade`` stories end in a word that goes with the trade of a person (the knowledge of the toy
world); ``trade_recall`` stories need both.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from .document import Answer, Document, Kind, Side, side_of
from .lexicon import (
    COLOURS,
    DAYS,
    ITEMS,
    NAMES,
    OBJECTS,
    PLAN_OBJECTS,
    PLAN_VERBS,
    PROPERTIES,
    TRADES,
    VILLAGES,
    WEATHER,
)

RECITED = (*NAMES, *OBJECTS, *ITEMS, *COLOURS, *PLAN_VERBS, *PROPERTIES, *TRADES, *DAYS)


@dataclass(frozen=True)
class Story:
    """A story as the text before the last word, the last word, and a plausible wrong word.

    ``recited`` is the end of the context where that, too, follows from what came before.
    """

    type: str
    beginning: str
    last_word: str
    wrong: str
    key: str
    recited: str = ""

    @property
    def context(self) -> str:
        """Return everything before the last word."""
        return self.beginning + self.recited

    @property
    def text(self) -> str:
        """Return the whole story with its full stop."""
        return f"{self.context} {self.last_word}."

    def document(self, kind: Kind = "story") -> Document:
        """Return the story in the format of the task ``completion``."""
        return Document(
            kind=kind,
            prompts=(self.beginning,),
            answers=(
                Answer(
                    f"{self.recited} {self.last_word}.",
                    f"{self.recited} {self.wrong}.",
                ),
            ),
            keys=(self.key,),
        )


def _recall_object(rng: Random) -> Story:
    first, second = rng.sample(NAMES, 2)
    mine, yours = rng.sample(OBJECTS, 2)
    colours = rng.sample(COLOURS, 2)
    day, weather = rng.choice(DAYS), rng.choice(WEATHER)
    context = (
        f"On a {weather} {day} {first} bought a {colours[0]} {mine} and {second} bought a "
        f"{colours[1]} {yours}. They met in {rng.choice(VILLAGES)} and talked for an hour. "
    )
    if rng.random() < 0.5:
        owner, colour, word, wrong = first, colours[0], mine, yours
    else:
        owner, colour, word, wrong = second, colours[1], yours, mine
    context += f"Then {owner} went home with the {colour}"
    key = f"recall_object {first} {mine} {second} {yours}"
    return Story("recall_object", context, word, wrong, key)


def _recall_name(rng: Random) -> Story:
    first, second, third = rng.sample(NAMES, 3)
    item = rng.choice(OBJECTS)
    thing = rng.choice(PLAN_OBJECTS)
    context = (
        f"{first} lost a {rng.choice(COLOURS)} {item} in {rng.choice(VILLAGES)}. {second} looked "
        f"near the {thing} and {third} found the {item} there. {first} was glad and thanked"
    )
    key = f"recall_name {first} {second} {third} {item}"
    return Story("recall_name", context, third, second, key)


def _trade(rng: Random) -> Story:
    name = rng.choice(NAMES)
    trade = rng.choice(tuple(TRADES))
    slot = rng.randrange(3)
    prop, village, day = rng.choice(PROPERTIES), rng.choice(VILLAGES), rng.choice(DAYS)
    ending = (
        f"Every {day} {name} is at work early and picks up the",
        f"Every {day} the market of {village} sells what {name} makes, and that is",
        f"Every {day} {name} gets up early and walks to the",
    )[slot]
    opening = f"{name} is a {prop} {trade} in {village}."
    if slot == 1:
        opening = f"{name} is a {prop} {trade}."
    other = rng.choice([word for word in TRADES if word != trade])
    key = f"trade {name} {trade} {slot} {prop} {village}"
    context = f"{opening} {ending}"
    return Story("trade", context, TRADES[trade][slot], TRADES[other][slot], key)


def _trade_recall(rng: Random) -> Story:
    first, second = rng.sample(NAMES, 2)
    trades = rng.sample(tuple(TRADES), 2)
    slot = rng.choice((0, 2))
    asked = rng.randrange(2)
    phrase = "forgot the" if slot == 0 else "is still at the"
    context = (
        f"{first} is a {trades[0]} and {second} is a {trades[1]}. It is a {rng.choice(WEATHER)} "
        f"{rng.choice(DAYS)} and they want to sing together. But {(first, second)[asked]} {phrase}"
    )
    words = [TRADES[trade][slot] for trade in trades]
    key = f"trade_recall {first} {trades[0]} {second} {trades[1]} {slot}"
    return Story("trade_recall", context, words[asked], words[1 - asked], key)


def _recital(rng: Random) -> Story:
    first, second = rng.sample(NAMES, 2)
    words = rng.sample(RECITED, rng.randint(3, 10))
    beginning = f"{first} says: {' '.join(words)}. {second} repeats: {words[0]}"
    recited = "".join(f" {word}" for word in words[1:-1])
    key = f"recital {' '.join(words)}"
    return Story("recital", beginning, words[-1], rng.choice(words[:-1]), key, recited)


_MAKERS: dict[str, Callable[[Random], Story]] = {
    "recall_object": _recall_object,
    "recall_name": _recall_name,
    "trade": _trade,
    "trade_recall": _trade_recall,
    "recital": _recital,
}

STORY_TYPES: tuple[str, ...] = tuple(_MAKERS)


def make_story(rng: Random, side: Side, kind: str | None = None) -> Story:
    """Return a random story whose content belongs to ``side``."""
    maker = _MAKERS[kind or rng.choice(STORY_TYPES)]
    while True:
        story = maker(rng)
        if side_of(story.key) == side:
            return story
