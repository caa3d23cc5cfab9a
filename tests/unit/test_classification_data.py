"""Labelled images in every form that a suite may name, and what is said of those that are not right."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_pictures

from kdbench.errors import KdbenchError, TaskError
from kdbench.tasks.classification import labelled as labelled_module
from kdbench.tasks.classification.labelled import HubColumns, HubImages, class_of, labelled

COLUMNS = HubColumns(None, "validation", "image", "label")


def picture(level: int) -> np.ndarray:
    return np.full((4, 4, 3), level, np.uint8)


def folder(at: Path) -> Path:
    for label, level in (("cat", 10), ("cat", 20), ("dog", 30)):
        place = at / label / f"{level}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(tiny_pictures.png(picture(level)))
    return at


def told(data: str, base: Path) -> list[tuple[str | int, int]]:
    """Label and grey level of every image."""
    found = labelled(data, base, COLUMNS)
    labels = [one.label for one in found.entries()]
    images = found.read(range(len(labels)))
    assert {one.shape for one in images} == {(4, 4, 3)} and len(set(found.fingerprint())) > 1
    return [(label, int(image[0, 0, 0])) for label, image in zip(labels, images, strict=True)]


def test_folders_arrays_and_tables_say_the_same(tmp_path: Path) -> None:
    folder(tmp_path / "set")
    expected = [("cat", 10), ("cat", 20), ("dog", 30)]
    assert told("set", tmp_path) == expected
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for file in (tmp_path / "set").rglob("*.png"):
            archive.write(file, file.relative_to(tmp_path / "set"))
    assert told("set.zip", tmp_path) == expected
    images = np.stack([picture(level)[..., 0] for _, level in expected])
    np.savez(tmp_path / "set.npz", images=images, labels=[name for name, _ in expected])
    assert told("set.npz", tmp_path) == expected
    np.savez(tmp_path / "numbers.npz", images=images, labels=[0, 0, 1])
    assert told("numbers.npz", tmp_path) == [(0, 10), (0, 20), (1, 30)]
    (tmp_path / "set.csv").write_text(
        "file,label\nset/cat/10.png,cat\nset/cat/20.png,cat\nset/dog/30.png,dog\n"
    )
    assert told("set.csv", tmp_path) == expected
    head = ",".join(["label", *(f"p{n}" for n in range(16))])
    rows = [",".join([name, *[str(level)] * 16]) for name, level in expected]
    (tmp_path / "pixels.csv").write_text("\n".join([head, *rows]))
    assert told("pixels.csv", tmp_path) == expected


def test_a_fingerprint_is_of_images_and_labels_and_not_of_their_place(tmp_path: Path) -> None:
    prints = [labelled(name, tmp_path, COLUMNS) for name in ("a", "b", "c", "d")]
    for name in "abcd":
        folder(tmp_path / name)
    (tmp_path / "c" / "cat" / "10.png").write_bytes(tiny_pictures.png(picture(11)))
    (tmp_path / "d" / "dog").rename(tmp_path / "d" / "wolf")
    first, same, *others = [one.fingerprint() for one in prints]
    assert first == same and len({first, *others}) == 3


def _write(at: Path, name: str, content: bytes) -> None:
    (at / name).parent.mkdir(parents=True, exist_ok=True)
    (at / name).write_bytes(content)


def _npz(**arrays: Any) -> bytes:
    held = io.BytesIO()
    np.savez(held, **arrays)
    return held.getvalue()


@pytest.mark.parametrize(
    ("data", "files", "said"),
    [
        ("set", {}, "no such folder or zip archive"),
        ("set", {"set/notes.md": b"x"}, "no images in it"),
        ("set", {"set/1.png": tiny_pictures.png(picture(1))}, "beside the folders of classes"),
        ("set", {"set/cat/1.png": b"\x89PNG"}, "set/cat/1.png: can't be read as an image"),
        ("x.npz", {}, "no such file of images"),
        ("x.npz", {"x.npz": b"nothing"}, "not an archive of the arrays"),
        ("x.npz", {"x.npz": _npz(images=np.zeros((2, 4, 4)), labels=[0, 1])}, "images are float64"),
        (
            "x.npz",
            {"x.npz": _npz(images=np.zeros((2, 4, 4), np.uint8), labels=[0])},
            "labels are int64 of shape",
        ),
        ("x.csv", {}, "the table of images can't be read"),
        ("x.csv", {"x.csv": b"file,label\n"}, "no images in it"),
        ("x.csv", {"x.csv": b"file,name\na.png,b\n"}, "x.csv:1: no column `label`"),
        ("x.csv", {"x.csv": b"file,label\na.png,b\n"}, "x.csv:2: no image 'a.png' beside"),
        ("x.csv", {"x.csv": b"label,a,b,c,d\n1,0,0,0,300\n"}, "x.csv:2: expected the grey values"),
        ("x.csv", {"x.csv": b"label,a,b\n1,0,0\n"}, "there are 2 columns"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(
    tmp_path: Path, data: str, files: dict[str, bytes], said: str
) -> None:
    for name, content in files.items():
        _write(tmp_path, name, content)
    with pytest.raises(KdbenchError) as caught:
        told(data, tmp_path)
    assert said in str(caught.value)


def test_a_label_is_a_class_by_its_name_or_by_its_number() -> None:
    names = ["cat", "crane", "crane", "dog"]
    assert class_of("dog", names, "the teacher") == 3
    assert class_of(2, names, "the teacher") == 2
    assert class_of("1", names, "the teacher", numbered=True) == 1
    with pytest.raises(TaskError, match=r"label 4: the teacher tells 4 classes apart, from 0 on"):
        class_of(4, names, "the teacher")
    with pytest.raises(TaskError, match=r"no class of that name.*did you mean 'dog'.*`classes`"):
        class_of("dogs", names, "the teacher")
    with pytest.raises(TaskError, match="2 classes of the teacher have this name"):
        class_of("crane", names, "the teacher")


def test_a_data_set_of_the_hub_is_read_by_its_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seam to the datasets library: a real table of it, of two images."""
    import datasets

    features = datasets.Features(
        {"picture": datasets.Image(), "kind": datasets.ClassLabel(names=["cat", "dog"])}
    )
    rows = {
        "picture": [{"bytes": tiny_pictures.png(picture(n)), "path": None} for n in (40, 50)],
        "kind": [1, 0],
    }
    table = datasets.Dataset.from_dict(rows, features=features)
    asked: list[Any] = []

    def load(*where: Any, **how: Any) -> Any:
        asked.append((where, how))
        return table

    commit = "c" * 40
    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(labelled_module.Repository, "commits", lambda self: {commit})
    monkeypatch.setattr(labelled_module.Repository, "_prepared", lambda self: {commit})
    found = HubImages("hf:owner/pets", HubColumns("small", "test", "picture", "kind"))
    assert [one.label for one in found.entries()] == [1, 0]
    assert [int(one[0, 0, 0]) for one in found.read([1, 0])] == [50, 40]
    assert found.downloads() == []
    assert asked == [(("owner/pets", "small"), {"split": "test", "revision": commit})]
    wrong = HubImages("hf:owner/pets", HubColumns("small", "test", "image", "kind"))
    with pytest.raises(TaskError, match=r"no column 'image'.*there are picture, kind"):
        wrong.entries()


def test_a_split_of_a_large_data_set_is_read_from_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets
    import huggingface_hub

    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "prepared")
    commit = "d" * 40

    def download(repo: str, **how: Any) -> None:
        """What the hub's library leaves behind."""
        assert repo == "owner/pets" and how["allow_patterns"] == ["data/validation-*.parquet"]
        place = tmp_path / "hub" / "datasets--owner--pets"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text(commit)
        target = place / "snapshots" / commit / "data" / "validation-0.parquet"
        target.parent.mkdir(parents=True)
        features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
        rows = {"image": [{"bytes": tiny_pictures.png(picture(60)), "path": None}], "label": [7]}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(target)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    columns = HubColumns(None, "validation", "image", "label", "data/validation-*.parquet")
    found = HubImages("hf:owner/pets", columns)
    (item,) = found.downloads()
    assert item.what == "data/validation-*.parquet of the data set owner/pets"
    assert item.by_hand.endswith("owner/pets --include 'data/validation-*.parquet'`")
    found.fetch()
    assert found.downloads() == []
    found = HubImages("hf:owner/pets", columns)
    assert [one.label for one in found.entries()] == [7]
    assert int(found.read([0])[0][0, 0, 0]) == 60
    assert found._commit == commit


def test_a_data_set_that_is_not_here_is_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name, raising=False)
    (item,) = HubImages("hf:owner/pets@abc", COLUMNS).downloads()
    assert item.what == "data set owner/pets"
    assert item.by_hand == "`hf download --repo-type dataset owner/pets --revision abc`"
