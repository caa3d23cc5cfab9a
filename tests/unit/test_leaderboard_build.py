"""What a build makes of results: good ones, old ones, broken ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_results import MadeCell, publish, publish_cells, samples_of
from typer.testing import CliRunner

from kdbench.cli import app
from kdbench.errors import KdbenchError, SettingsConflictError, StoreError
from kdbench.leaderboard import build
from kdbench.leaderboard.badges import badge
from kdbench.leaderboard.data_files import DataFiles, coded, new_site, script
from kdbench.results.sample import Sample
from kdbench.results.table import read_csv
from kdbench.tasks.task import Metric


def data(site: Path, path: str) -> Any:
    """The JSON of a data file."""
    text = (site / path).read_text(encoding="utf-8")
    assert text.startswith(f"kdbench.receive({json.dumps(path)},")
    return json.loads(text[text.index(",") + 1 : text.rindex(")")])


def site_of(tmp_path: Path, *places: Path) -> Path:
    build([str(place) for place in places or (tmp_path / "results",)], tmp_path / "site")
    return tmp_path / "site"


def notices(site: Path) -> str:
    return "\n".join(notice["text"] for notice in data(site, "data/site.js")["notices"])


def test_the_tables_of_a_site_are_the_tables_of_its_runs(tmp_path: Path) -> None:
    one = publish(tmp_path / "results" / "a", suite="a")
    two = publish(tmp_path / "results" / "b", suite="b")
    site = site_of(tmp_path)
    stored = [*read_csv(one.table), *read_csv(two.table)]
    assert len(read_csv(site / "metrics.csv")) == len(stored)
    assert set(read_csv(site / "metrics.csv")) == set(stored)
    assert len(json.loads((site / "metrics.json").read_text())) == len(
        read_csv(site / "metrics.csv")
    )


def test_a_data_file_is_a_script_that_no_text_can_leave() -> None:
    text = script("data/x.js", {"name": "</script>\u2028\u2029<!--"})
    assert "<" not in text and "\u2028" not in text and "\u2029" not in text
    assert json.loads(text[text.index(",") + 1 : -3])["name"] == "</script>\u2028\u2029<!--"
    with pytest.raises(ValueError):
        script("data/x.js", float("nan"))


def test_a_coded_column_gives_its_texts_back() -> None:
    texts = ["b", None, "a", "b"]
    column = coded(texts)
    assert [column["values"][c] if c >= 0 else None for c in column["codes"]] == texts


def test_a_failed_build_leaves_the_old_site_as_it_was(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "a")
    site = site_of(tmp_path)
    before = {p: p.read_bytes() for p in site.rglob("*") if p.is_file()}

    def fail(files: DataFiles) -> None:
        files.text("data/site.js", "half")
        raise KdbenchError("no ink")

    with pytest.raises(KdbenchError), new_site(site) as files:
        fail(files)
    assert {p: p.read_bytes() for p in site.rglob("*") if p.is_file()} == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results", "site"], "nothing left behind"


def test_a_folder_that_is_no_site_is_not_overwritten(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "a")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.tex").write_text("years of work")
    with pytest.raises(SettingsConflictError, match="not a kdbench site"):
        site_of(tmp_path)
    assert (tmp_path / "site" / "thesis.tex").read_text() == "years of work"


def test_of_two_runs_of_a_suite_the_newest_is_shown_and_that_is_said(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "new", started="2026-02-01T00:00:00+00:00")
    publish(tmp_path / "results" / "old", started="2026-01-01T00:00:00+00:00")
    site = site_of(tmp_path)
    assert data(site, "data/front.js")["n"] == 2
    assert {row.created[:7] for row in read_csv(site / "metrics.csv")} == {"2026-02"}
    assert "2 runs" in notices(site) and "results/new" in notices(site)


def test_runs_on_two_machines_stay_rows_of_their_own(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "a", hardware="Abacus x2")
    publish(tmp_path / "results" / "b", hardware="Slide rule x1")
    site = site_of(tmp_path)
    front = data(site, "data/front.js")
    assert front["n"] == 4
    assert sorted(front["columns"]["hardware"]["values"]) == ["Abacus x2", "Slide rule x1"]
    assert len(set(front["columns"]["id"])) == 4
    assert "2 machines" in notices(site)


def test_a_row_that_is_there_twice_counts_once_the_newest(tmp_path: Path) -> None:
    published = publish(tmp_path / "results" / "a")
    lines = published.table.read_text().splitlines()
    older = [line.replace("2026-01-01", "2025-01-01") for line in lines[1:]]
    published.table.write_text("\n".join([*lines, *older]) + "\n")
    site = site_of(tmp_path)
    assert {row.created[:4] for row in read_csv(site / "metrics.csv")} == {"2026"}
    assert f"{len(older)} rows are there twice" in notices(site)


def test_a_broken_folder_is_noticed_and_the_others_are_shown(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "good", suite="good")
    publish(tmp_path / "results" / "newer", suite="newer", record={"schema": 99})
    damaged = publish(tmp_path / "results" / "damaged", suite="damaged")
    damaged.run.write_text("{half")
    lines = publish(tmp_path / "results" / "half", suite="half").table
    lines.write_text(
        lines.read_text().replace("0.95", "many", 1).replace(",60,60,", ",60,sixty,", 1)
    )
    (tmp_path / "results" / "empty").mkdir()
    publish(tmp_path / "results" / "lost", suite="lost").table.unlink()
    site = site_of(tmp_path)
    assert data(site, "data/front.js")["columns"]["suite"]["values"] == ["good"]
    said = notices(site)
    for words in ("newer kdbench", "damaged/run.json", "half/metrics.csv:", "lost/metrics.csv"):
        assert words in said, words


def test_results_of_which_none_can_be_read_are_an_error(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "newer", record={"schema": 99})
    with pytest.raises(StoreError, match="newer kdbench"):
        site_of(tmp_path)
    assert not (tmp_path / "site").exists()


def test_a_site_among_the_results_is_not_taken_for_results(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "a")
    build([str(tmp_path / "results")], tmp_path / "results" / "site")
    assert build([str(tmp_path / "results")], tmp_path / "again").pairs == 2


def test_a_place_that_is_not_there_is_named_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    with pytest.raises(SettingsConflictError, match="did you mean 'results'"):
        site_of(tmp_path, tmp_path / "resutls")


def test_an_older_table_without_its_record_is_shown_with_less(tmp_path: Path) -> None:
    published = publish(tmp_path / "results" / "a")
    published.run.unlink()
    site = site_of(tmp_path)
    front = data(site, "data/front.js")
    assert front["n"] == 2 and front["columns"]["teacher"]["values"] == ["teacher"]
    page = data(site, f"data/pairs/{front['columns']['id'][0]}.js")
    assert page["metrics"][0]["paired"]["retention"]["value"] is not None
    assert page["samples"] == [] and data(site, f"data/runs/{page['run']}.js")["text"] is None


def test_missing_samples_cost_only_the_samples(tmp_path: Path) -> None:
    published = publish(tmp_path / "results" / "a")
    next((published.folder / "samples").iterdir()).unlink()
    site = site_of(tmp_path)
    assert data(site, "data/front.js")["n"] == 2
    assert "missing or damaged" in notices(site)


def test_a_mean_is_not_taken_over_fewer_tasks_in_silence(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "a", failed=[("reasoning/two", "good")])
    columns = data(site_of(tmp_path), "data/front.js")["columns"]
    good = columns["student"]["codes"].index(columns["student"]["values"].index("good"))
    assert columns["quality"]["value"][good] is None and columns["rank_low"][good] is None
    assert columns["status"]["values"][columns["status"]["codes"][good]] == "partial"
    assert "damaged" in columns["reason"]["values"][columns["reason"]["codes"][good]]


def test_every_number_of_a_pair_is_an_axis(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "a")
    found = data(site_of(tmp_path), "data/values.js")
    keys = {measure["key"] for measure in found["measures"]}
    assert {"parameters", "reasoning/one acc student", "reasoning/one acc.retention pair"} <= keys
    accuracy = next(m for m in found["measures"] if m["key"] == "reasoning/one acc student")
    assert len(accuracy["value"]) == len(found["pairs"]) == 2
    assert accuracy["teachers"]["value"][0] == accuracy["teachers"]["value"][1]


def test_a_badge_escapes_what_it_is_given() -> None:
    text = badge('<a onload="x">&\x00', "retains 97.1 % ± 0.6 of teacher")
    from xml.etree import ElementTree

    tree = ElementTree.fromstring(text)
    assert tree.attrib["aria-label"].startswith('<a onload="x">&: retains')
    assert not tree.findall(".//{http://www.w3.org/2000/svg}a")


def test_an_image_from_outside_the_results_is_not_copied(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"\x89PNG\r\n\x1a\nsecret")
    link = tmp_path / "results" / "a" / "link.png"
    link.parent.mkdir(parents=True)
    link.symlink_to(secret)
    (link.parent / "page.png").write_text("<html>")
    for name in ("../../secret.png", str(secret), "link.png", "page.png"):
        given = {
            ("images/one", m): samples_of("images/one", m, 20, 0.5, extra={"image": name})
            for m in ("teacher", "good")
        }
        publish(link.parent, students={"good": 0.5}, tasks=["images/one"], samples=given)
        site = site_of(tmp_path)
        assert not (site / "data" / "images").exists(), name
        assert "image" in notices(site)


def test_the_command_names_what_it_wrote_and_machines_get_json(tmp_path: Path) -> None:
    publish(tmp_path / "results" / "a")
    arguments = ["leaderboard", "build", str(tmp_path / "results"), "--out", str(tmp_path / "site")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0 and "2 pairs" in done.output
    found = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert found["pairs"] == 2 and found["faults"] == []


def test_a_server_serves_the_site_on_this_machine_only(tmp_path: Path) -> None:
    import threading
    from urllib.request import urlopen

    from kdbench.leaderboard.serve import server

    publish(tmp_path / "results" / "a")
    site = site_of(tmp_path)
    with server(site) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        assert serving.server_address[0] == "127.0.0.1"
        with urlopen(f"http://127.0.0.1:{serving.server_port}/script/core.js") as answer:
            assert answer.headers["Content-Type"] == "text/javascript"
        serving.shutdown()
    with pytest.raises(SettingsConflictError, match="leaderboard build"):
        server(tmp_path)


def drafts(task: str) -> list[MadeCell]:
    """A student as a draft, with one headline of `speculative.replay` and a further number."""
    metrics = [
        Metric("alpha", "fraction", "higher", "accepted"),
        Metric("impossible", "fraction", "lower", "never accepted"),
    ]
    own = [Sample(f"s{i}", i, f"s{i}", {"alpha": i / 9, "impossible": 0.0}) for i in range(10)]
    return [MadeCell("drafts/made", task, metrics, own, student="good")]


@pytest.mark.parametrize(
    ("task", "first"),
    [("speculative.replay", ["alpha"]), ("not.installed", ["alpha", "impossible"])],
)
def test_a_pairs_page_knows_the_headlines_of_tasks_that_are_installed_and_else_all_are(
    tmp_path: Path, task: str, first: list[str]
) -> None:
    publish_cells(tmp_path / "results" / "made", drafts(task), students=["good"])
    (page,) = (site_of(tmp_path) / "data" / "pairs").iterdir()
    own = data(tmp_path / "site", f"data/pairs/{page.name}")["own"]
    assert [entry["metric"] for entry in own] == ["alpha", "impossible"]
    assert [entry["metric"] for entry in own if entry["first"]] == first


def test_a_family_without_a_mean_shows_its_own_headlines_on_the_first_page(tmp_path: Path) -> None:
    apart = [
        Metric("forward_kl", "nats/token", "lower", "KL"),
        Metric("reverse_kl", "", "lower", ""),
    ]
    own = [
        Sample(f"s{i}", i, f"s{i}", {"forward_kl": 0.1 * i, "reverse_kl": 0.2}) for i in range(9)
    ]
    cells = [
        MadeCell("fidelity/made", "fidelity", apart, own, student="good"),
        *drafts("speculative.replay"),
    ]
    publish_cells(tmp_path / "results" / "made", cells, students=["good"])
    publish(tmp_path / "results" / "other", suite="other")
    families = {f["name"]: f for f in data(site_of(tmp_path), "data/site.js")["families"]}
    assert families["fidelity"]["columns"] == ["m:fidelity/made forward_kl pair"]
    keys = [m["key"] for m in data(tmp_path / "site", "data/values.js")["measures"]]
    assert "fidelity/made forward_kl pair" in keys
    # a mean speaks for one of the others, the column of acceptance for the other
    assert families["reasoning"]["columns"] == families["drafts"]["columns"] == []
    assert [f["title"] for f in families.values()] == ["Fidelity", "Drafts", "Language"]
