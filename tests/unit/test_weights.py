"""Published weights: listed, found, fetched, and refused where they are not what their name promises."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kdbench.cli import app
from kdbench.errors import ModelError
from kdbench.models import hub, weights
from kdbench.models.hub import HubRef, Wanted
from kdbench.models.weights import Weight, files, manifest

CONTENT = bytes(range(256)) * 40
DIGEST = sha256(CONTENT).hexdigest()


@dataclass
class Server:
    """Serves `CONTENT` under every path; `cut` ends the connection after so many bytes, once."""

    url: str = ""
    content: bytes = CONTENT
    cut: int | None = None
    ranges: list[str | None] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    here = Server()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            here.ranges.append(asked)
            start = int(re.findall(r"\d+", asked)[0]) if asked else 0
            body = here.content[start:]
            if not body:
                self.send_response(416)
                self.end_headers()
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body if here.cut is None else body[: here.cut])
            here.cut = None

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    here.url = f"http://127.0.0.1:{listening.server_port}"
    yield here
    listening.shutdown()
    listening.server_close()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> Path:
    """An empty cache, and a manifest of three: a pinned file, one nobody has hashed, a repository."""
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("KDBENCH_WEIGHTS", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    common = {"about": "test", "licence": "MIT"}
    own = [
        Weight(
            "pinned", file="a.pt", url=f"{server.url}/a.pt", sha256=DIGEST, size=10240, **common
        ),
        Weight("unpinned", file="b.pt", url=f"{server.url}/b.pt", **common),
        Weight("prefix", file="c.pt", url=f"{server.url}/c.pt", begins=DIGEST[:8], **common),
        Weight("repo", file="m.bin", hub=f"org/tiny@{'1' * 40}", sha256=DIGEST, **common),
    ]
    monkeypatch.setattr(manifest, "known", lambda: {one.name: one for one in own})
    return tmp_path / "cache"


def test_every_entry_that_ships_has_an_address_a_licence_and_a_file_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shipped = weights.known()
    assert len({one.by_hand() for one in shipped.values()}) == len(shipped)
    for name, one in shipped.items():
        assert name == one.name and one.licence and one.about
        assert bool(one.url) != bool(one.hub)
        assert one.address.startswith("https://") and one.file
        assert one.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", one.sha256)
        assert one.size is None or one.size > 0


def test_a_fetched_file_is_checked_and_found_again_without_the_network(server: Server) -> None:
    assert not weights.at_hand("pinned")
    first = weights.fetch("pinned")
    assert first.read_bytes() == CONTENT and first == weights.path_of("pinned")
    weights.fetch("pinned")
    assert len(server.ranges) == 1


def test_a_download_that_was_cut_continues_where_it_ended(server: Server) -> None:
    server.cut = 5000
    with pytest.raises(ModelError, match=r"can't be fetched .*what has come is kept"):
        weights.fetch("pinned")
    assert not weights.at_hand("pinned")
    assert weights.fetch("pinned").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=5000-"]


def test_wrong_content_from_the_server_never_gets_the_name(server: Server, cache: Path) -> None:
    server.content = b"something else" * 100
    with pytest.raises(ModelError, match=rf"is not pinned: its sha256 is .*expected {DIGEST}"):
        weights.fetch("pinned")
    assert not weights.at_hand("pinned")
    assert not list((cache / "weights").glob("*.part"))


def test_wrong_weights_under_the_right_name_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "by-hand"
    folder.mkdir()
    (folder / "a.pt").write_bytes(b"other")
    monkeypatch.setenv("KDBENCH_WEIGHTS", str(folder))
    with pytest.raises(ModelError, match=r"by-hand/a\.pt is not pinned.*remove it and fetch it"):
        weights.path_of("pinned")


def test_a_published_beginning_of_a_hash_is_demanded_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_WEIGHTS", str(tmp_path))
    (tmp_path / "c.pt").write_bytes(b"other")
    with pytest.raises(ModelError, match=rf"expected {DIGEST[:8]}\.\.\."):
        weights.path_of("prefix")
    (tmp_path / "c.pt").write_bytes(CONTENT)
    assert weights.path_of("prefix") == tmp_path / "c.pt"


def test_the_folder_placed_by_hand_is_looked_at_before_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    weights.fetch("pinned")
    monkeypatch.setenv("KDBENCH_WEIGHTS", str(tmp_path))
    assert weights.path_of("pinned").parent != tmp_path
    (tmp_path / "a.pt").write_bytes(CONTENT)
    assert weights.path_of("pinned") == tmp_path / "a.pt"


def test_a_hash_that_nobody_published_is_remembered_and_demanded_from_then_on(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    assert (weights.trust_of("unpinned"), weights.digest_of("unpinned")) == ("not seen",) * 2
    place = weights.fetch("unpinned")
    assert DIGEST in caplog.text and "trusted from now on" in caplog.text
    assert (weights.trust_of("unpinned"), weights.digest_of("unpinned")) == ("first use", DIGEST)
    place.write_bytes(b"tampered with")
    with pytest.raises(ModelError, match="has changed: unpinned had the sha256"):
        weights.path_of("unpinned")


def test_a_missing_file_is_asked_for_by_name_address_hash_and_place(cache: Path) -> None:
    with pytest.raises(ModelError) as told:
        weights.path_of("pinned")
    for part in (
        "pinned",
        "/a.pt",
        DIGEST,
        str(cache / "weights" / "a.pt"),
        "weights fetch pinned",
    ):
        assert part in str(told.value)
    (asked,) = weights.download("pinned")
    assert asked.size == 10240 and "MIT" in asked.what and "/a.pt" in asked.by_hand


def test_nothing_is_fetched_where_the_network_is_forbidden(
    monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        weights.fetch("pinned")
    assert server.ranges == []


def test_a_repository_is_a_folder_from_the_hub_cache_or_placed_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / ("1" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert not weights.at_hand("repo")  # other programs may have fetched a part
    (snapshot / "m.bin").write_bytes(CONTENT)
    assert weights.path_of("repo") == snapshot
    (tmp_path / "own" / "repo").mkdir(parents=True)
    (tmp_path / "own" / "repo" / "m.bin").write_bytes(b"wrong")
    monkeypatch.setenv("KDBENCH_WEIGHTS", str(tmp_path / "own"))
    with pytest.raises(ModelError, match="is not repo"):
        weights.path_of("repo")


def test_a_repository_is_fetched_with_its_small_files_and_then_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"not what was published"

    def from_hub(repository: HubRef, wanted: Wanted) -> Path:
        assert str(repository) == f"hf:org/tiny@{'1' * 40}"
        assert [name in wanted for name in ("m.bin", "config.json", "merges.txt")] == [True] * 3
        assert [name in wanted for name in ("tf_model.h5", "onnx/m.bin")] == [False] * 2
        snapshot = tmp_path / "hub" / "models--org--tiny" / "snapshots" / ("1" * 40)
        snapshot.mkdir(parents=True, exist_ok=True)
        (snapshot / "m.bin").write_bytes(content)
        return snapshot

    monkeypatch.setattr(hub, "fetch", from_hub)
    with pytest.raises(ModelError, match="is not repo"):
        weights.fetch("repo")
    content = CONTENT
    (tmp_path / "hub" / "models--org--tiny" / "snapshots" / ("1" * 40) / "m.bin").unlink()
    assert weights.fetch("repo").name == "1" * 40


def test_a_large_file_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server
) -> None:
    server.content = bytes(2 << 20)
    weights.fetch("unpinned")
    from kdbench.models import file_hash

    weights.path_of("unpinned")
    monkeypatch.setattr(file_hash, "_read", lambda path: pytest.fail("read again"))
    weights.path_of("unpinned")


def test_the_command_lists_fetches_and_finds(server: Server) -> None:
    run = CliRunner()
    listed = json.loads(run.invoke(app, ["weights", "list", "--json"]).stdout)
    assert (listed[0]["name"], listed[0]["trust"]) == ("pinned", "published")
    got = json.loads(run.invoke(app, ["weights", "fetch", "pinned", "--json"]).stdout)
    found = run.invoke(app, ["weights", "path", "pinned"]).stdout.strip()
    assert got == {"pinned": found} and Path(found).read_bytes() == CONTENT
    assert "here" in run.invoke(app, ["weights", "list"]).stdout


def test_a_licence_is_told_with_the_document_that_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Weight("read", "a test", "r.pt", "MIT", url="u", licence_from="its README")
    unread = Weight("unread", "a test", "u.pt", "MIT", url="u")
    monkeypatch.setattr(manifest, "known", lambda: {"read": read, "unread": unread})
    lines = CliRunner().invoke(app, ["weights", "list"]).stdout.splitlines()
    assert "MIT (its README)" in lines[0] and "MIT (unverified)" in lines[1]
    assert lines[2].startswith("unverified: no document")
    told = json.loads(CliRunner().invoke(app, ["weights", "list", "--json"]).stdout)
    assert [one["licence_from"] for one in told] == ["its README", ""]


def test_the_command_knows_wrong_names_before_it_fetches_anything(server: Server) -> None:
    done = CliRunner().invoke(app, ["weights", "fetch", "pinned", "unpined"])
    assert isinstance(done.exception, ModelError) and done.exception.exit_code == 3
    assert "did you mean 'unpinned'" in str(done.exception) and server.ranges == []
    with pytest.raises(ModelError, match="did you mean"):
        files.path_of("pined")
