"""GenEval's rules on constructed detections: every tag, every threshold, every way to be wrong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdbench.metrics.geneval import (
    COLOURS,
    GENEVAL,
    RELATIONS,
    Detection,
    Requirement,
    Rules,
    Wanted,
    judge,
    kept,
    overall,
    relations,
)

BOX = (0.0, 0.0, 10.0, 10.0)


def seen(
    label: str,
    score: float = 0.95,
    box: tuple[float, float, float, float] = BOX,
    colour: str = "",
) -> Detection:
    return Detection(label, score, box, colour)


def at(label: str, x: float, y: float, side: float = 10.0, score: float = 0.95) -> Detection:
    return seen(label, score, (x - side / 2, y - side / 2, x + side / 2, y + side / 2))


CAT = Requirement("single_object", (Wanted("cat", 1),))
CAT_AND_DOG = Requirement("two_object", (Wanted("cat", 1), Wanted("dog", 1)))
THREE_CATS = Requirement("counting", (Wanted("cat", 3),), (Wanted("cat", 4),))
RED_CAT = Requirement("colors", (Wanted("cat", 1, "red"),))
RED_CAT_BLUE_DOG = Requirement("color_attr", (Wanted("cat", 1, "red"), Wanted("dog", 1, "blue")))
CAT_LEFT_OF_DOG = Requirement(
    "position", (Wanted("dog", 1), Wanted("cat", 1, relation="left of", target=0))
)


def test_a_single_object_must_exceed_the_threshold() -> None:
    assert judge(CAT, [seen("cat", 0.31)]).correct
    found = judge(CAT, [seen("cat", 0.3), seen("dog", 0.99)])
    assert not found.correct and found.reasons == ("1 cat expected, 0 seen",)


def test_two_objects_must_both_be_there_and_others_do_no_harm() -> None:
    assert judge(CAT_AND_DOG, [seen("cat"), seen("dog"), seen("bench")]).correct
    assert judge(CAT_AND_DOG, [seen("cat"), seen("cat")]).reasons == ("1 dog expected, 0 seen",)
    assert len(judge(CAT_AND_DOG, []).reasons) == 2


@pytest.mark.parametrize(("count", "right"), [(2, False), (3, True), (4, False), (20, False)])
def test_counting_is_exact(count: int, right: bool) -> None:
    assert judge(THREE_CATS, [seen("cat")] * count).correct is right


def test_counting_counts_only_what_is_nearly_certain() -> None:
    sure = [seen("cat", 0.91)] * 3
    assert judge(THREE_CATS, [*sure, seen("cat", 0.9)]).correct
    assert not judge(THREE_CATS, [*sure[1:], seen("cat", 0.9)]).correct
    assert not judge(THREE_CATS, [*sure, seen("cat", 0.9)], Rules(counting_threshold=0.3)).correct


def test_at_most_sixteen_of_a_class_count() -> None:
    many = Requirement("counting", (Wanted("cat", 16),), (Wanted("cat", 17),))
    assert judge(many, [seen("cat")] * 40).correct
    assert len(kept([seen("cat")] * 40, 0.3, GENEVAL.most)["cat"]) == 16


def test_the_colour_of_the_best_objects_decides() -> None:
    assert judge(RED_CAT, [seen("cat", 0.9, colour="red"), seen("cat", 0.8, colour="blue")]).correct
    found = judge(RED_CAT, [seen("cat", 0.8, colour="red"), seen("cat", 0.9, colour="blue")])
    assert found.reasons == ("1 red cat expected, seen: blue",)


def test_two_colours_must_sit_on_their_own_objects() -> None:
    right = [seen("cat", colour="red"), seen("dog", colour="blue")]
    swapped = [seen("cat", colour="blue"), seen("dog", colour="red")]
    assert judge(RED_CAT_BLUE_DOG, right).correct
    assert len(judge(RED_CAT_BLUE_DOG, swapped).reasons) == 2


def test_several_objects_of_one_colour_must_all_have_it() -> None:
    two = Requirement("colors", (Wanted("cat", 2, "red"),))
    assert judge(two, [seen("cat", colour="red")] * 2).correct
    assert not judge(two, [seen("cat", colour="red"), seen("cat", colour="pink")]).correct


def test_a_position_is_that_of_the_best_object_to_every_target() -> None:
    dog = at("dog", 50, 50)
    assert judge(CAT_LEFT_OF_DOG, [dog, at("cat", 20, 50)]).correct
    found = judge(CAT_LEFT_OF_DOG, [dog, at("cat", 80, 50)])
    assert found.reasons == ("cat expected left of dog, seen right of",)
    best_is_wrong = [dog, at("cat", 20, 50, score=0.5), at("cat", 80, 50, score=0.6)]
    assert not judge(CAT_LEFT_OF_DOG, best_is_wrong).correct


def test_a_position_needs_its_target() -> None:
    found = judge(CAT_LEFT_OF_DOG, [at("cat", 20, 50)])
    assert found.reasons == (
        "1 dog expected, 0 seen",
        "nothing that cat could be left of",
    )


def test_a_target_of_the_wrong_colour_is_no_target() -> None:
    asked = Requirement(
        "position", (Wanted("dog", 1, "red"), Wanted("cat", 1, relation="left of", target=0))
    )
    dog = Detection("dog", 0.9, (45, 45, 55, 55), "blue")
    assert judge(asked, [dog, at("cat", 20, 50)]).reasons[1] == "nothing that cat could be left of"


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [
        (0, 50, {"left of"}),
        (100, 50, {"right of"}),
        (50, 0, {"above"}),
        (50, 100, {"below"}),
        (0, 0, {"left of", "above"}),
        (100, 100, {"right of", "below"}),
        (50, 50, set()),  # the same place
        (51.9, 51.9, set()),  # within a tenth of the summed sides
        (48.0, 50, set()),
        (30, 58, {"left of"}),  # steeper than 60 degrees does not count
    ],
)
def test_a_direction_counts_beyond_half_of_the_offset(
    x: float, y: float, expected: set[str]
) -> None:
    assert relations(at("cat", x, y), at("dog", 50, 50)) == expected


def test_near_boxes_have_no_direction_though_their_centres_differ() -> None:
    assert relations(at("cat", 45, 50, 40), at("dog", 50, 50, 40)) == set()
    # offset 10, shortened by 0.1 * (40 + 40) to 2, and 2 / 10 is not beyond a half
    assert relations(at("cat", 40, 50, 40), at("dog", 50, 50, 40)) == set()
    # offset 17, shortened to 9: 9 / 17 is
    assert relations(at("cat", 33, 50, 40), at("dog", 50, 50, 40)) == {"left of"}
    assert relations(at("cat", 40, 50, 40), at("dog", 50, 50, 40), position=0.0) == {"left of"}


places = st.floats(0, 100).map(lambda x: round(x, 3))


@given(places, places, places, places, st.floats(1, 30))
def test_directions_turn_round_with_the_two_objects(
    x: float, y: float, u: float, v: float, side: float
) -> None:
    opposite = dict(zip(RELATIONS, ("right of", "left of", "below", "above"), strict=True))
    one, other = at("cat", x, y, side), at("dog", u, v, side)
    assert {opposite[name] for name in relations(one, other)} == relations(other, one)
    assert not {"left of", "right of"} <= relations(one, other)


@given(st.lists(st.tuples(st.sampled_from(["cat", "dog"]), st.floats(0, 1)), max_size=30))
def test_what_is_kept_is_sorted_bounded_and_above_the_threshold(
    found: list[tuple[str, float]],
) -> None:
    groups = kept([seen(label, score) for label, score in found], 0.3, 5)
    for label, own in groups.items():
        scores = [one.score for one in own]
        assert scores == sorted(scores, reverse=True) and 0 < len(own) <= 5
        assert min(scores) > 0.3 and {one.label for one in own} == {label}


def test_every_tag_counts_alike_in_the_score() -> None:
    assert overall({"single_object": 1.0, "position": 0.0}) == 0.5
    with pytest.raises(ValueError):
        overall({})
    assert len(COLOURS) == 10 and math.isclose(GENEVAL.threshold_for("counting"), 0.9)
    assert GENEVAL.threshold_for("colors") == 0.3
