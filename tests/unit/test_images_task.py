"""The task `images` in its parts: names, conditions, one pass, features that survive, scores over folds."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from kdbench.errors import ModelError, TaskError
from kdbench.metrics import kid
from kdbench.models.resizing import dialect
from kdbench.results.sample import Sample
from kdbench.run.progress import Pace
from kdbench.tasks.images import one_pass
from kdbench.tasks.images.conditions import ConditionParams, Conditions, described
from kdbench.tasks.images.feature_store import FeatureStore
from kdbench.tasks.images.metrics import KINDS, parsed
from kdbench.tasks.images.one_pass import OnePass
from kdbench.tasks.images.running import frechet_so_far
from kdbench.tasks.images.scored import Images, ImagesParams
from kdbench.tasks.images.set_scores import FeatureSet, folds_of, of_prompt, score
from kdbench.tasks.summaries import estimate_of, paired
from kdbench.tasks.task import Context

RNG = np.random.default_rng(0)


def _real(count: int = 400, width: int = 6) -> Any:
    from kdbench.models.reference import Reference

    rows = np.random.default_rng(9).normal(size=(count, width)).astype(np.float32)
    return Reference(Path("real"), "0", None, None, rows, count)


def _set(rows: Any, clusters: Any = None, reference: Any = None) -> FeatureSet:
    names = list(range(len(rows))) if clusters is None else clusters
    return FeatureSet(rows, folds_of(names), names, reference or _real(width=rows.shape[1]))


def _asked(name: str) -> Any:
    return parsed([name], None)[0][0]


# names


def test_a_score_names_its_encoder_where_it_is_not_the_usual_one() -> None:
    scores, judges = parsed(
        ["fid", "fid[legacy_pytorch]", "prdc[dinov2]", "clipscore-dmd2-g14"], None
    )
    assert [m.name for s in scores for m in s.metrics] == [
        "fid", "fid[legacy_pytorch]",
        "precision[dinov2]", "recall[dinov2]", "density[dinov2]", "coverage[dinov2]",
    ]  # fmt: skip
    assert [judge.name for judge in judges] == ["clipscore-dmd2-g14"]
    assert parsed(["prdc"], "classifier")[0][0].encoder == "classifier"
    assert parsed(["fid"], "classifier")[0][0].encoder == "clean"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["fidd"], "did you mean 'fid'"),
        (["fid[dinov2]"], "with other features it is called frechet"),
        (["frechet"], "needs an encoder in brackets"),
        (["fid", "fid[clean]"], "'fid' is asked for twice"),
        (["cmmd[clip-b32]"], "clip-l14-336"),
    ],
)
def test_names_that_mean_nothing_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(TaskError, match=message):
        parsed(names, None)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"metrics": ["fid"], "images": 49}, "fid needs at least 50 images, the suite asks for 49"),
        ({"metrics": ["kid_100x1000"], "images": 999}, "at least 1000 images"),
        ({"metrics": ["vendi_per_prompt"], "images": 60}, "set per_prompt >= 2"),
        ({"metrics": ["pickscore"], "images": 60}, "judges images with their prompts"),
    ],
)
def test_what_the_images_can_not_bear_is_refused_while_the_suite_is_read(
    params: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        Images(ImagesParams(reference="real", **params), Path()).label  # noqa: B018


def test_a_score_that_compares_needs_a_reference() -> None:
    with pytest.raises(TaskError, match="need a reference"):
        Images(ImagesParams(images=60), Path()).label  # noqa: B018
    assert (
        Images(ImagesParams(images=60, metrics=["vendi"]), Path()).label == "images/unconditional"
    )


def test_the_protocol_holds_number_of_images_encoder_and_reference(tmp_path: Path) -> None:
    (tmp_path / "real.npz").write_bytes(b"one")
    params = {"labels": 10, "images": 100, "reference": "real.npz"}
    first = Images(ImagesParams(**params), tmp_path).protocol()
    assert first["images"] == "100" and "bicubic 299" in first["encoder[clean]"]
    for changed in ({"images": 200}, {"metrics": ["fid[legacy_tensorflow]"]}, {"per_prompt": 2}):
        assert Images(ImagesParams(**(params | changed)), tmp_path).protocol() != first
    (tmp_path / "real.npz").write_bytes(b"two")
    assert Images(ImagesParams(**params), tmp_path).protocol() != first
    assert not any(";" in value for value in first.values())


# conditions


def test_requests_have_seeds_of_their_own_that_follow_from_item_and_suite(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("a cat\na dog\na cat\n")
    asked = Conditions(ConditionParams(prompts="p.txt", per_prompt=2), tmp_path)
    items = asked.items(None)
    requests = asked.requests(items, Context(1))
    assert [(r.prompt, r.number) for r in requests] == [
        ("a cat", 0), ("a cat", 1), ("a dog", 0), ("a dog", 1), ("a cat", 2), ("a cat", 3),
    ]  # fmt: skip
    assert len({r.seed for r in requests}) == 6
    assert items[0].cluster == items[2].cluster != items[1].cluster
    assert asked.requests(items[1:], Context(1)) == requests[2:]
    assert asked.requests(items, Context(2))[0].seed != requests[0].seed
    assert asked.items(2) == items[:2]
    with pytest.raises(TaskError, match="4 prompts are asked for, and it has 3"):
        Conditions(ConditionParams(prompts="p.txt", images=4), tmp_path).items(None)


def test_labels_come_in_turn_and_conditions_are_one_thing() -> None:
    items = Conditions(ConditionParams(labels=3, images=5), Path()).items(None)
    assert [item.payload for item in items] == [
        ("", 0, 0), ("", 1, 0), ("", 2, 0), ("", 0, 1), ("", 1, 1),
    ]  # fmt: skip
    assert len({item.id for item in items}) == 5
    for wrong in ({"labels": 3, "prompts": "p.txt"}, {}, {"images": 5, "per_prompt": 2}):
        with pytest.raises(ValidationError):
            ConditionParams(**wrong)


# one pass


class _Encoder:
    name, dimension = "fake", 3

    def __init__(self, dialect_name: str) -> None:
        self.resize, self.seen = dialect(dialect_name), 0

    def encode(self, pixels: Any) -> Any:
        self.seen += len(pixels)
        return pixels.mean(dim=(2, 3))


class _Judge:
    resize = dialect("clean")

    def scores(self, pixels: Any, prompts: Any) -> list[float]:
        return [float(p.mean()) + len(text) for p, text in zip(pixels, prompts, strict=True)]


def test_each_image_is_resized_once_a_dialect_and_seen_once_by_each_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, int]] = []
    plain = one_pass.resized

    def counting(images: Any, how: Any, device: str) -> Any:
        calls.append((how.name, len(images)))
        return plain(images, how, device)

    monkeypatch.setattr(one_pass, "resized", counting)
    encoders = {"a": _Encoder("clean"), "b": _Encoder("clean"), "c": _Encoder("legacy_pytorch")}
    images = [RNG.integers(0, 256, (5 + i % 3, 7, 3), dtype=np.uint8) for i in range(40)]
    seen = OnePass(encoders, {"j": _Judge()})(images, ["x" * (i % 2) for i in range(40)])
    assert sorted(calls) == [
        ("clean", 8), ("clean", 32), ("legacy_pytorch", 8), ("legacy_pytorch", 32),
    ]  # fmt: skip
    assert [encoder.seen for encoder in encoders.values()] == [40, 40, 40]
    assert seen.features["a"].shape == (40, 3)
    assert (seen.features["a"] == seen.features["b"]).all()
    assert seen.scores["j"][1] == pytest.approx(seen.features["a"][1].mean() + 1, abs=1e-3)


def test_features_that_are_not_finite_are_refused() -> None:
    class Broken(_Encoder):
        def encode(self, pixels: Any) -> Any:
            return super().encode(pixels) * float("nan")

    with pytest.raises(ModelError, match="not finite"):
        OnePass({"a": Broken("clean")}, {})([np.zeros((4, 4, 3), np.uint8)], [""])


# features on disk


def test_features_survive_and_a_block_that_is_measured_again_overwrites_its_rows(
    tmp_path: Path,
) -> None:
    rows = RNG.normal(size=(6, 4)).astype(np.float32)
    store = FeatureStore(tmp_path / "artifacts", "clip/b 32", 4)
    store.write([0, 1, 2], rows[3:])
    store.write([0, 1, 2], rows[:3])
    again = FeatureStore(tmp_path / "artifacts", "clip/b 32", 4)
    again.write([5, 4, 3], rows[[5, 4, 3]])
    found = again.read(range(6))
    assert isinstance(found, np.memmap) and (found == rows).all()
    assert (again.read([4, 1]) == rows[[4, 1]]).all()
    assert again.stored() == list(range(6))


def test_rows_that_are_missing_are_told_with_what_to_delete(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cell" / "artifacts", "clean", 4)
    store.write([0, 2], np.ones((2, 4), np.float32))
    with pytest.raises(TaskError, match=f"delete {tmp_path / 'cell'} and run again"):
        store.read([0, 1, 2])
    with (tmp_path / "cell" / "artifacts" / "clean.f32").open("r+b") as file:
        file.truncate(40)
    with pytest.raises(TaskError, match="missing"):
        store.read([2])
    with pytest.raises(TaskError, match="missing"):
        FeatureStore(tmp_path / "other" / "artifacts", "clean", 4).read([0])


def test_the_running_distance_waits_for_enough_images(tmp_path: Path) -> None:
    store, rows = FeatureStore(tmp_path, "clean", 6), RNG.normal(size=(600, 6)).astype(np.float32)
    store.write(range(100), rows[:100])
    assert frechet_so_far(store, _real()) is None
    store.write(range(100, 600), rows[100:])
    whole = score(_asked("frechet[dinov2]"), _set(rows))["frechet[dinov2]"].estimate
    assert frechet_so_far(store, _real()) == pytest.approx(whole.value)


# scores


def test_every_score_refuses_one_image_fewer_than_it_can_bear_and_names_the_least() -> None:
    for kind in KINDS.values():
        if kind.per_sample:
            continue
        name = kind.name if kind.encoder else f"{kind.name}[dinov2]"
        rows = RNG.normal(size=(kind.fewest - 1, 6)).astype(np.float32)
        for found in score(_asked(name), _set(rows)).values():
            assert found.estimate is None
            assert f"at least {kind.fewest} images, here are {kind.fewest - 1}" in found.reason


def test_scores_are_those_of_the_metrics_with_intervals_from_folds() -> None:
    from kdbench.metrics.frechet import frechet_from_features, frechet_of_folds
    from kdbench.metrics.moments import Moments
    from kdbench.metrics.prdc import prdc

    rows, real = RNG.normal(0.3, 1.1, size=(600, 6)).astype(np.float32), _real()
    given = _set(rows)
    frechet = score(_asked("frechet[dinov2]"), given)["frechet[dinov2]"]
    assert frechet.estimate.value == pytest.approx(frechet_from_features(rows, *real.gaussian()))
    assert frechet.estimate.low < frechet.estimate.value < frechet.estimate.high
    assert frechet.folded.without.size == 20
    four = score(_asked("prdc"), given)
    assert four["coverage"].estimate.value == prdc(real.rows(), rows).coverage.value
    fit = score(_asked("frechet_infinity[dinov2]"), given)["frechet_infinity[dinov2]"]
    sizes, distances = fit.folded.line.sizes, fit.folded.line.values
    assert sizes[-1] == 600 and distances[-1] == pytest.approx(frechet.estimate.value)
    assert np.polyfit(1 / sizes, distances, 1)[1] == pytest.approx(fit.estimate.value)
    # with fewer images than features the small form is taken; it is the same distance
    wide = RNG.normal(size=(60, 80)).astype(np.float32)
    given = _set(wide, reference=_real(300, 80))
    small = score(_asked("frechet[dinov2]"), given)["frechet[dinov2]"]
    parts = [Moments.of(wide[given.labels == fold]) for fold in range(given.folds)]
    large = frechet_of_folds(parts, *given.gaussian)
    assert small.estimate.value == pytest.approx(large.value, rel=1e-6)
    assert small.folded.without == pytest.approx(large.without, rel=1e-6)


def test_a_difference_over_the_same_folds_is_paired() -> None:
    teacher = RNG.normal(size=(400, 6)).astype(np.float32)
    student = teacher + RNG.normal(0, 0.02, size=teacher.shape).astype(np.float32)
    asked = _asked("frechet[dinov2]")
    first, second = (score(asked, _set(r))["frechet[dinov2]"].to_json() for r in (teacher, student))
    gap = paired(first, second, 0.95)
    assert gap.value == pytest.approx(second["value"] - first["value"])
    alone = estimate_of(second, 0.95)
    assert gap.high - gap.low < 0.5 * (alone.high - alone.low)
    assert paired(first, first, 0.95).high == 0
    fewer = score(asked, _set(student[:300]))["frechet[dinov2]"].to_json()
    assert paired(first, fewer, 0.95) == "400 and 300 images can't be paired"
    few = score(asked, _set(student[:20]))["frechet[dinov2]"].to_json()
    assert "at least 50 images" in paired(first, few, 0.95)
    narrow, wide = (estimate_of(first, level) for level in (0.8, 0.99))
    assert narrow.high - narrow.low < wide.high - wide.low


def test_every_score_has_a_difference_that_is_read_back_from_what_the_cell_keeps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kid, "kid_subsets", partial(kid.kid_subsets, subsets=3))
    teacher = RNG.normal(0.2, 1.1, size=(1000, 6)).astype(np.float32)
    student = teacher + RNG.normal(0.05, 0.05, size=teacher.shape).astype(np.float32)
    names = ["frechet_infinity[clip-b32]", "kernel[clip-b32]", "kid_100x1000", "prdc", "vendi"]
    real = _real(1000)
    for name in names:
        count = 1000 if name == "kid_100x1000" else 500
        first, second = (
            {
                metric: json.loads(json.dumps(one.to_json()))
                for metric, one in score(_asked(name), _set(rows[:count], reference=real)).items()
            }
            for rows in (teacher, student)
        )
        for metric in first:
            gap = paired(first[metric], second[metric], 0.95)
            assert not isinstance(gap, str), (metric, gap)
            value = second[metric]["value"] - first[metric]["value"]
            assert gap.value == pytest.approx(value)
            alone = [estimate_of(held[metric], 0.95) for held in (first, second)]
            assert (alone[0].low, alone[0].high) == pytest.approx(
                (first[metric]["low"], first[metric]["high"])
            )
            wide = np.hypot(*(one.high - one.low for one in alone))
            assert 0 < gap.high - gap.low < wide, metric
    kept = score(_asked("kid_100x1000"), _set(teacher, reference=real))["kid_100x1000"]
    assert kept.details["deviation"] > 0
    assert kept.estimate.method == "grouped jackknife (20, and 20 of the reference)"


def test_images_of_a_prompt_are_folded_together() -> None:
    labels = folds_of([f"prompt {i // 4}" for i in range(200)])
    assert all(len(set(labels[i : i + 4])) == 1 for i in range(0, 200, 4))
    assert (labels == folds_of([f"prompt {i // 4}" for i in range(200)])).all()


def test_every_fold_of_class_conditional_images_has_all_classes_alike(tmp_path: Path) -> None:
    task = Images(ImagesParams(labels=10, images=400, metrics=["vendi"]), tmp_path)
    items = task.items(None)
    samples = [Sample(i.id, i.index, i.cluster, {}, prompt=described(i)) for i in items]
    own = task.folds(samples)
    for label in range(10):
        assert np.bincount(own[label::10]).tolist() == [2] * 20
    for each, count in ((30, 15), (50, 10), (20, 20), (37, 20)):
        classes = np.tile(np.arange(10), each)
        dealt = folds_of(range(classes.size), classes)
        assert dealt.max() + 1 == count
        if each % count == 0:
            assert np.bincount(dealt[classes == 3]).tolist() == [each // count] * count
    (tmp_path / "p.txt").write_text("\n".join(f"prompt {n}" for n in range(100)))
    asked = ImagesParams(prompts="p.txt", per_prompt=4, metrics=["vendi"])
    task = Images(asked, tmp_path)
    samples = [Sample(i.id, i.index, i.cluster, {}, prompt=described(i)) for i in task.items(None)]
    by_prompt = task.folds(samples).reshape(100, 4)
    assert (by_prompt == by_prompt[:, :1]).all()
    assert np.bincount(by_prompt[:, 0]).tolist() == [5] * 20


def test_diversity_of_a_prompt_is_one_image_where_all_are_equal() -> None:
    same, apart = np.ones((3, 4), np.float32), np.eye(3, dtype=np.float32)
    assert of_prompt(_asked("vendi_per_prompt"), same) == pytest.approx(1)
    assert of_prompt(_asked("vendi_per_prompt"), apart) == pytest.approx(3)
    assert of_prompt(_asked("distance_per_prompt"), same) == pytest.approx(0)
    assert of_prompt(_asked("distance_per_prompt"), apart) == pytest.approx(1)


def test_a_long_cell_tells_pace_time_left_and_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("kdbench.run.progress.time.monotonic", lambda: now[0])
    pace = Pace(100, 7300)
    now[0] += 50
    pace.add(100, {"fid": 23.4567})
    assert str(pace) == "200 of 7300, 2/s, 59 min 10 s left, fid 23.46 so far"
    pace.add(100, {})
    assert "fid 23.46 so far" in str(pace)
