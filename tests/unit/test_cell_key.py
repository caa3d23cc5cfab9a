"""Every ingredient of a cell's key: changing it misses, changing only a path hits."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdbench import registry
from kdbench.models.adapter import Adapter, AdapterParams
from kdbench.results.store import cell_key
from kdbench.run.plan import ingredients, loaded_as
from kdbench.tasks.task import Context, Item, Metric, ModelTask, TaskParams


class Params(TaskParams):
    shots: int = 0


class Plain(ModelTask):
    name = "plain"
    version = 1
    about = source = "a test"
    Params = Params
    data = "documents"
    dialect = "d1"

    @property
    def label(self):
        return "plain/plain"

    def verbs(self):
        return frozenset()

    def metrics(self):
        return [Metric("acc", "fraction", "higher", "")]

    def protocol(self):
        return {"dialect": self.dialect}

    def data_fingerprint(self):
        return self.data

    def items(self, limit):
        return [Item("i", 0, "c", None)]

    def measure(self, model, items, context: Context):
        return []


BASE = {
    "adapter": "x",
    "weights": "w",
    "tokenizer": "t",
    "chat_template": "c",
    "dtype": "f",
    "revision": "r",
}


def key(task=None, fingerprint=BASE, seed=0, hardware="cpu"):
    task = task or Plain(Params(), Path("/a"))
    return cell_key(ingredients(task, {"model": fingerprint}, seed, hardware))


def variant(folder="/a", shots=0, **attributes):
    cls = type("Variant", (Plain,), attributes)
    return cls(Params(shots=shots), Path(folder))


@pytest.mark.parametrize(
    "changed",
    [
        {"task": variant(name="other")},
        {"task": variant(version=2)},
        {"task": variant(shots=1)},
        {"task": variant(data="other documents")},
        {"task": variant(dialect="d2")},
        {"seed": 1},
        *({"fingerprint": {**BASE, part: "changed"}} for part in BASE),
        {"task": variant(timing=True)},
    ],
    ids=["name", "version", "parameters", "data", "protocol", "seed", *BASE, "timing"],
)
def test_changing_an_ingredient_misses(changed):
    assert key(**changed) != key()


def test_the_hardware_is_an_ingredient_of_timings_alone():
    assert key(hardware="gpu") == key(hardware="cpu")
    timed = variant(timing=True)
    assert key(timed, hardware="gpu") != key(timed, hardware="cpu")


def test_the_cell_that_a_cell_rests_on_is_an_ingredient():
    def resting(basis):
        task = Plain(Params(), Path("/a"))
        return cell_key(ingredients(task, {"model": BASE}, 0, "", basis))

    assert resting("") == key() and len({resting(""), resting("one"), resting("two")}) == 3


def test_the_roles_of_two_models_are_ingredients():
    task = Plain(Params(), Path("/a"))
    other = {**BASE, "weights": "v"}
    one = cell_key(ingredients(task, {"teacher": BASE, "student": other}, 0, ""))
    two = cell_key(ingredients(task, {"teacher": other, "student": BASE}, 0, ""))
    assert one != two


def test_changing_only_the_folder_hits():
    assert key(variant(folder="/somewhere/else", name="plain")) == key(variant(name="plain"))


def test_a_registered_name_taken_twice_is_refused():
    @registry.adapter("test-cell-key")
    class First(Adapter):
        Params = AdapterParams
        about = ""

    with pytest.raises(registry.UnknownNameError, match="two adapters are named"):

        @registry.adapter("test-cell-key")
        class Second(Adapter):
            Params = AdapterParams
            about = ""

    assert registry.adapters.get("test-cell-key") is First


def test_the_number_of_threads_is_an_ingredient_of_timings_alone():
    def keys(timing):
        task = Plain(Params(), Path())
        task.timing = timing
        models = {"model": BASE}
        return {cell_key(ingredients(task, models, 0, "cpu", threads=count)) for count in (1, 2)}

    assert len(keys(False)) == 1
    assert len(keys(True)) == 2


def test_a_timings_protocol_says_how_both_models_were_loaded():
    alike = {"dtype": "float32", "attention": "sdpa"}
    assert loaded_as({"teacher": alike, "student": alike}) == {
        "loaded_dtype": "float32",
        "loaded_attention": "sdpa",
    }
    other = {**alike, "dtype": "bfloat16"}
    said = loaded_as({"teacher": alike, "student": other})["loaded_dtype"]
    assert said == "teacher float32, student bfloat16"
