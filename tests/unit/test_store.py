"""The sample store: what is committed is kept, what was torn is cut."""

from __future__ import annotations

import json
import multiprocessing
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdbench.errors import StoreError
from kdbench.results.files import publish
from kdbench.results.sample import Sample
from kdbench.results.store import CellRecord, CellStore, Store, cell_key


def sample(index: int, **changes) -> Sample:
    return Sample(
        **{"id": f"i{index}", "index": index, "cluster": "c", "scores": {"acc": 1.0}, **changes}
    )


def filled(cell: CellStore, blocks=((0, 1), (2, 3))) -> CellStore:
    with cell.appending() as log:
        for block in blocks:
            log.append([sample(index) for index in block])
    return cell


def test_samples_come_back_as_they_were_in_the_order_of_their_index(tmp_path):
    cell = CellStore(tmp_path)
    odd = sample(
        1, prompt="ä\n\u2028\ud800", extra={"choices": [1, 2.5, None]}, tags={"category": "x"}
    )
    with cell.appending() as log:
        log.append([odd])
        log.append([sample(0)])
    assert cell.samples() == [sample(0), odd]
    assert cell.samples(limit=1) == [sample(0)]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(min_value=0, max_value=600))
def test_a_log_cut_anywhere_keeps_exactly_its_committed_blocks(tmp_path_factory, cut):
    cell = filled(CellStore(tmp_path_factory.mktemp("cell")))
    path = cell.folder / "samples.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:cut])
    commits = [i + 1 for i in range(len(whole)) if whole[: i + 1].endswith(b'{"commit": 2}\n')]
    kept = sum(end <= cut for end in commits)
    assert len(cell.samples()) == 2 * kept
    with cell.appending() as log:
        assert log.stored == set(range(2 * kept))
        log.append([sample(9)])
    assert [s.index for s in cell.samples()] == [*range(2 * kept), 9]


def test_damage_before_a_commit_is_an_error_with_its_line(tmp_path):
    cell = filled(CellStore(tmp_path))
    path = tmp_path / "samples.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"nonsense\n", *lines[2:]]))
    with pytest.raises(StoreError, match=r"samples\.jsonl:2: damaged"):
        cell.samples()


def test_a_commit_that_counts_wrong_is_damage(tmp_path):
    cell = filled(CellStore(tmp_path))
    path = tmp_path / "samples.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(StoreError, match="damaged"):
        cell.samples()


def test_a_record_covers_what_it_has_measured():
    def covers(limit, **record):
        return CellRecord("k", {}, **{"status": "done", **record}).covers(limit)

    assert covers(None, total=10, covered=10)
    assert not covers(None, total=None, covered=10)
    assert covers(5, total=None, covered=10)
    assert not covers(11, total=None, covered=10)
    assert covers(11, total=10, covered=10)
    assert not covers(5, total=10, covered=10, status="failed")


def test_a_record_keeps_what_was_summarised_of_every_number_of_leading_items():
    ten, five = {"f1": {"value": 0.1}}, {"f1": {"value": 0.5}}
    record = CellRecord("k", {}, status="done", total=10, covered=10, summaries={"10": ten})
    assert record.covers(None) and record.covers(10) and record.covers(99)
    assert record.holds(5) and not record.covers(5)
    assert record.summary(None) == record.summary(99) == ten and record.summary(5) == {}
    both = CellRecord("k", {}, status="done", covered=10, summaries={"10": ten, "5": five})
    assert both.covers(5) and both.summary(5) == five and both.summary(10) == ten
    assert not both.covers(None)


def test_a_summary_from_before_limits_had_their_own_is_that_of_all_that_was_covered(tmp_path):
    cell = CellStore(tmp_path)
    cell.write_record(CellRecord("k", {}, status="done", covered=7))
    path = tmp_path / "cell.json"
    old = json.loads(path.read_text())
    del old["summaries"]
    path.write_text(json.dumps(old | {"summary": {"f1": {"value": 0.5}}}))
    assert cell.record().summary(7) == {"f1": {"value": 0.5}}
    assert cell.record().covers(7) and not cell.record().covers(6)


def test_a_record_of_a_newer_schema_is_refused(tmp_path):
    cell = CellStore(tmp_path)
    cell.write_record(CellRecord("k", {}))
    path = tmp_path / "cell.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "schema": 99}))
    with pytest.raises(StoreError, match="schema 99 by a newer kdbench"):
        cell.record()


def test_a_failure_keeps_the_samples(tmp_path):
    cell = filled(CellStore(tmp_path))
    cell.fail(CellRecord("k", {}), "no luck")
    assert cell.record().reason == "no luck"
    assert len(cell.samples()) == 4


def _hold(folder, ready, release):
    with CellStore(folder).appending() as log:
        ready.set()
        release.wait(10)
        log.append([sample(7)])


def test_a_second_writer_waits_for_the_first(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, ready, release))
    other.start()
    assert ready.wait(20)
    began = time.monotonic()
    release.set()
    with CellStore(tmp_path).appending() as log:
        assert log.stored == {7}
    assert time.monotonic() - began < 10
    other.join()


def test_a_failed_publication_leaves_the_old_file_and_no_litter(tmp_path):
    target = tmp_path / "table.csv"
    publish(target, b"old")
    target_folder = tmp_path / "folder.csv"
    target_folder.mkdir()
    (target_folder / "x").touch()
    with pytest.raises(StoreError):
        publish(target_folder, b"new")
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.csv", "table.csv"]


def test_keys_depend_on_values_and_not_on_the_order_of_names():
    assert cell_key({"a": 1, "b": {"c": 2, "d": 3}}) == cell_key({"b": {"d": 3, "c": 2}, "a": 1})
    assert cell_key({"a": 1}) != cell_key({"a": "1"})


def test_a_store_says_early_that_it_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="file"):
        Store(tmp_path / "file").check_writable()
    Store(tmp_path / "new").check_writable()
    assert list((tmp_path / "new" / "cells").iterdir()) == []
