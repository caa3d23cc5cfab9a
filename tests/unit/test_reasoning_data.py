"""Fingerprints of documents, where they are looked for, and what would have to be fetched."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from reasoning_tasks import CHOICE, ROWS, reasoning, write

from kdbench.errors import TaskError
from kdbench.tasks.lmeval import hub

pytest.importorskip("lm_eval")

COMMIT, OTHER = "a" * 40, "b" * 40
HUB = CHOICE.replace(
    "dataset_path: json", "dataset_path: owner/MyBirds\ndataset_name: wild"
).replace("dataset_kwargs:\n  data_files:\n    test: birds.jsonl\n", "")


@pytest.fixture(autouse=True)
def no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "prepared"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "prepared"))


def place(commit: str, *, branch: str | None = "main", data: bool = True) -> Path:
    """A data set in the hub's cache, as `hf download` leaves it."""
    folder = hub.hub.cache_dir() / "datasets--owner--MyBirds"
    snapshot = folder / "snapshots" / commit
    snapshot.mkdir(parents=True, exist_ok=True)
    if branch:
        (folder / "refs").mkdir(exist_ok=True)
        (folder / "refs" / branch).write_text(commit, encoding="utf-8")
    (snapshot / "README.md").write_text(
        "---\nconfigs:\n- config_name: wild\n"
        "  data_files:\n  - split: test\n    path: wild/*.jsonl\n---\n",
        encoding="utf-8",
    )
    if data:
        (snapshot / "wild").mkdir(exist_ok=True)
        lines = "".join(json.dumps(row) + "\n" for row in ROWS)
        (snapshot / "wild" / "test.jsonl").write_text(lines, encoding="utf-8")
    return snapshot


def prepare(commit: str, configuration: str = "wild") -> None:
    """A folder such as the datasets library leaves for what it has converted."""
    (hub.prepared_cache() / "owner___my_birds" / configuration / "0.0.0" / commit).mkdir(
        parents=True
    )


def test_local_data_is_known_by_its_bytes_not_by_its_place(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    before = reasoning(first).data_fingerprint()
    assert reasoning(second).data_fingerprint() == before
    with (second / "birds.jsonl").open("a", encoding="utf-8") as file:
        file.write("\n")
    assert reasoning(second).data_fingerprint() != before


def test_the_same_files_as_other_splits_are_other_data(tmp_path: Path) -> None:
    one = write(
        tmp_path / "one", CHOICE.replace("test: birds", "train: birds.jsonl\n    test: birds")
    )
    two = write(
        tmp_path / "two", CHOICE.replace("test: birds", "dev: birds.jsonl\n    test: birds")
    )
    assert reasoning(one).data_fingerprint() != reasoning(two).data_fingerprint()


def test_data_is_looked_for_beside_the_yaml_then_the_suite_then_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite, here = tmp_path / "suite", tmp_path / "here"
    write(suite / "tasks")
    here.mkdir()
    monkeypatch.chdir(here)
    own = reasoning(suite, "tasks/task.yaml").data_fingerprint()
    shutil.copy(suite / "tasks" / "birds.jsonl", suite)
    (suite / "tasks" / "birds.jsonl").write_text("{}\n", encoding="utf-8")
    assert reasoning(suite, "tasks/task.yaml").data_fingerprint() != own
    (suite / "tasks" / "birds.jsonl").unlink()
    assert reasoning(suite, "tasks/task.yaml").data_fingerprint() == own
    shutil.move(suite / "birds.jsonl", here)
    assert reasoning(suite, "tasks/task.yaml").data_fingerprint() == own


def test_patterns_and_lists_of_files_are_hashed_in_their_order(tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE.replace("test: birds.jsonl", "test: ['b*.jsonl', more.jsonl]"))
    (folder / "more.jsonl").write_text(json.dumps(ROWS[0]) + "\n", encoding="utf-8")
    before = reasoning(folder).data_fingerprint()
    assert len(reasoning(folder).items(None)) == len(ROWS) + 1
    (folder / "bees.jsonl").write_text(json.dumps(ROWS[1]) + "\n", encoding="utf-8")
    assert reasoning(folder).data_fingerprint() != before


def test_missing_data_says_where_it_was_looked_for(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "birds.jsonl").unlink()
    with pytest.raises(TaskError, match=r"no data file birds\.jsonl; looked in ") as raised:
        reasoning(folder).data_fingerprint()
    assert str(folder) in str(raised.value)


def test_data_on_a_server_is_refused_because_it_can_change(tmp_path: Path) -> None:
    folder = write(tmp_path, CHOICE.replace("birds.jsonl", "https://example.org/birds.jsonl"))
    with pytest.raises(TaskError, match=r"https://example\.org/birds\.jsonl lies on a server"):
        reasoning(folder).data_fingerprint()


def test_a_data_set_of_the_hub_is_known_by_its_commit(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path / "suite", HUB))
    place(COMMIT)
    assert task.data_fingerprint() == f"hf:owner/MyBirds/wild@{COMMIT}"
    place(OTHER)
    assert task.data_fingerprint() == f"hf:owner/MyBirds/wild@{OTHER}"
    assert task.downloads() == []


def test_a_pinned_revision_is_the_one_that_counts(tmp_path: Path) -> None:
    folder = write(tmp_path / "suite", HUB)
    place(COMMIT, branch=None)
    place(OTHER)
    pinned = reasoning(folder, overrides={"dataset_kwargs": {"revision": COMMIT}})
    assert pinned.data_fingerprint() == f"hf:owner/MyBirds/wild@{COMMIT}"


def test_a_description_without_files_is_not_the_data(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path / "suite", HUB))
    place(COMMIT, data=False)
    (wanted,) = task.downloads()
    assert wanted.what == "data set owner/MyBirds (wild)"
    assert wanted.size is None
    assert wanted.by_hand == "hf download --repo-type dataset owner/MyBirds"
    with pytest.raises(TaskError, match=r"owner/MyBirds \(wild\) is not in .*hf download"):
        task.data_fingerprint()


def test_what_the_datasets_library_has_prepared_counts_too(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path / "suite", HUB))
    prepare(OTHER, "tame")
    assert task.downloads() != []
    prepare(COMMIT)
    assert task.data_fingerprint() == f"hf:owner/MyBirds/wild@{COMMIT}"


def test_several_prepared_commits_must_be_told_apart(tmp_path: Path) -> None:
    folder = write(tmp_path / "suite", HUB)
    prepare(COMMIT)
    prepare(OTHER)
    with pytest.raises(TaskError, match=r"prepared at several commits.*revision"):
        reasoning(folder).data_fingerprint()
    pinned = reasoning(folder, overrides={"dataset_kwargs": {"revision": OTHER}})
    assert pinned.data_fingerprint().endswith(OTHER)


def test_a_data_set_placed_by_hand_loads_without_the_network(tmp_path: Path) -> None:
    task = reasoning(write(tmp_path / "suite", HUB))
    place(COMMIT)
    items = task.items(None)
    assert [item.payload.document["question"] for item in items] == [r["question"] for r in ROWS]


def test_an_unreachable_hub_does_not_keep_a_run_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "_reachable", lambda: False)
    task = reasoning(write(tmp_path / "suite", HUB))
    assert [wanted.size for wanted in task.downloads()] == [None]
    place(COMMIT)
    assert len(task.items(None)) == len(ROWS)


def test_a_hub_that_refuses_says_how_to_fetch_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def refuse(*_: object, **__: object) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(TaskError, match=r"can't be fetched: refused; by hand: hf download"):
        reasoning(write(tmp_path / "suite", HUB)).fetch()


def test_one_file_of_a_data_set_on_the_hub_is_read_from_the_cache(tmp_path: Path) -> None:
    address = "hf://datasets/owner/MyBirds/wild/test.jsonl"
    task = reasoning(write(tmp_path / "suite", CHOICE.replace("birds.jsonl", address)))
    (wanted,) = task.downloads()
    assert wanted.by_hand == "hf download --repo-type dataset owner/MyBirds wild/test.jsonl"
    with pytest.raises(
        TaskError, match=r"wild/test\.jsonl of the data set owner/MyBirds is not in"
    ):
        task.data_fingerprint()
    place(COMMIT)
    assert task.downloads() == []
    assert task.data_fingerprint() == reasoning(write(tmp_path / "local")).data_fingerprint()


def test_documents_made_by_python_are_known_by_its_source(tmp_path: Path) -> None:
    folder = write(tmp_path, HUB + "custom_dataset: !function code.load\n")
    (folder / "code.py").write_text("def load(**_):\n    return 1\n", encoding="utf-8")
    before = reasoning(folder).data_fingerprint()
    assert before.startswith("python:")
    (folder / "code.py").write_text("def load(**_):\n    return 2\n", encoding="utf-8")
    assert reasoning(folder).data_fingerprint() != before


def test_the_caches_are_where_hugging_face_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HOME", os.path.join("~", "hf"))  # noqa: PTH118 - the user's own spelling
    assert hub.hub.cache_dir() == Path.home() / "hf" / "hub"
    assert hub.prepared_cache() == Path.home() / "hf" / "datasets"
