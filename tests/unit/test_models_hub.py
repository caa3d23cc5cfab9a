"""Repositories of the hub: found in the cache, counted before a run, fetched, or placed by hand."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from kdbench.errors import ModelError
from kdbench.models import hub
from kdbench.models.adapter import LoadSettings
from kdbench.models.hub import HubRef
from kdbench.models.protocols import CHAT_TEMPLATE, Continuation
from kdbench.models.transformers import TransformersAdapter, TransformersParams

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class FakeHub:
    """A hub with one repository, `org/tiny`, whose files lie in a folder."""

    files: Path
    asked: list[str] = field(default_factory=list)
    status: int = 200
    url: str = ""

    def info(self) -> dict[str, Any]:
        siblings = [
            {"rfilename": file.name, "size": file.stat().st_size, "blobId": "0" * 40}
            for file in sorted(self.files.iterdir())
        ]
        return {"id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "siblings": siblings}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on loopback; the cache is an empty folder."""
    hub_here = FakeHub(tiny_models.save_model(tmp_path / "upstream"))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub_here.asked.append(self.path)
            path = self.path.split("?")[0]
            if hub_here.status != 200:
                self._send(hub_here.status, b"{}")
            elif path.startswith("/api/models/org/tiny/tree/"):
                tree = [
                    {
                        "type": "file",
                        "path": file.name,
                        "size": file.stat().st_size,
                        "oid": "0" * 40,
                    }
                    for file in sorted(hub_here.files.iterdir())
                ]
                self._send(200, json.dumps(tree).encode())
            elif path in ("/api/models/org/tiny", "/api/models/org/tiny/revision/main"):
                self._send(200, json.dumps(hub_here.info()).encode())
            elif path.startswith("/api/models/org/tiny/revision/"):
                self._send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
            elif path.startswith(f"/org/tiny/resolve/{COMMIT}/"):
                file = hub_here.files / path.rsplit("/", 1)[1]
                found = file.is_file()
                self._send(200 if found else 404, file.read_bytes() if found else b"")
            else:
                self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})

        def _send(self, status: int, body: bytes, more: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {
                "Content-Type": "application/json",
                "Content-Length": str(len(body)),
                "X-Repo-Commit": COMMIT,
                "ETag": f'"{hash(self.path) & 0xFFFFFFFF:040x}"',
                **(more or {}),
            }.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hub_here.url = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", hub_here.url)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("TRANSFORMERS_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    yield hub_here
    server.shutdown()
    server.server_close()


def _adapter(path: str = "hf:org/tiny", **params: Any) -> TransformersAdapter:
    settings = LoadSettings(device="cpu")
    return TransformersAdapter(TransformersParams(path=path, **params), Path("/nowhere"), settings)


def _place(files: Path, cache: Path, revision: str = "main") -> Path:
    """Put a repository into the hub's cache as its library lays it out."""
    repo = cache / "models--org--tiny"
    (repo / "refs").mkdir(parents=True, exist_ok=True)
    (repo / "refs" / revision).write_text(COMMIT)
    return Path(shutil.copytree(files, repo / "snapshots" / COMMIT))


def test_a_repository_that_is_not_here_is_named_with_its_size_and_its_place(fake: FakeHub) -> None:
    adapter = _adapter()
    adapter.check()
    (download,) = adapter.downloads()
    assert download.what == "hf:org/tiny@main"
    assert download.size == sum(file.stat().st_size for file in fake.files.iterdir())
    assert "hf download org/tiny --revision main" in download.by_hand
    assert str(hub.cache_dir() / "models--org--tiny") in download.by_hand
    with pytest.raises(ModelError, match="not in the hub cache"):
        adapter.fingerprint()
    assert adapter.tokenizer_fingerprint() is None
    assert CHAT_TEMPLATE in adapter.verbs()


def test_only_the_files_that_are_needed_count(fake: FakeHub) -> None:
    before = _adapter().downloads()[0].size
    (fake.files / "pytorch_model.bin").write_bytes(b"x" * 1000)
    (fake.files / "consolidated.safetensors").write_bytes(b"x" * 1000)
    (fake.files / "model.onnx").write_bytes(b"x" * 1000)
    assert _adapter().downloads()[0].size == before


def test_a_repository_with_pickles_only_is_refused_before_the_run(fake: FakeHub) -> None:
    (fake.files / "model.safetensors").rename(fake.files / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"no \*.safetensors"):
        _adapter().downloads()


def test_a_fetched_repository_is_the_same_model_as_its_files(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = _adapter()
    adapter.fetch()
    assert adapter.downloads() == []
    local = TransformersAdapter(
        TransformersParams(path=str(fake.files)), fake.files, LoadSettings(device="cpu")
    )
    there, here = adapter.fingerprint(), local.fingerprint()
    assert {name for name in there if there[name] != here[name]} == {"revision"}
    assert there["revision"] == COMMIT
    assert adapter.tokenizer_fingerprint() == local.tokenizer_fingerprint()

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    fake.asked.clear()
    adapter.check()
    request = [Continuation("the quick", " brown")]
    assert adapter.load().score_text(request) == local.load().score_text(request)
    assert fake.asked == []


def test_a_repository_placed_by_hand_needs_no_network(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert _adapter().downloads()[0].size is None
    _place(fake.files, hub.cache_dir())
    assert _adapter().downloads() == []
    assert _adapter(f"hf:org/tiny@{COMMIT}").downloads() == []
    assert _adapter(revision=COMMIT).fingerprint()["revision"] == COMMIT
    assert _adapter("hf:org/tiny@v2").downloads() != []
    assert fake.asked == []


def test_a_half_fetched_repository_is_completed(fake: FakeHub) -> None:
    snapshot = _place(fake.files, hub.cache_dir())
    (snapshot / "model.safetensors").unlink()
    adapter = _adapter()
    adapter.check()
    assert len(adapter.downloads()) == 1
    adapter.fetch()
    assert adapter.downloads() == []
    assert (snapshot / "model.safetensors").is_file()


def test_fetching_offline_says_how_to_do_without(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"HF_HUB_OFFLINE forbids fetching it; `hf download"):
        _adapter().fetch()


def test_an_unreachable_hub_leaves_the_size_open(
    fake: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    (download,) = _adapter().downloads()
    assert download.size is None
    with pytest.raises(ModelError, match="the hub can't be reached"):
        _adapter().fetch()


def test_a_hub_that_is_broken_leaves_the_size_open(fake: FakeHub) -> None:
    fake.status = 500
    assert _adapter().downloads()[0].size is None


def test_an_unknown_repository_is_an_error_with_a_remedy(fake: FakeHub) -> None:
    with pytest.raises(ModelError, match=r"hf:org/typo@main: the hub refuses .*check the name"):
        _adapter("hf:org/typo").downloads()


def test_an_unknown_revision_is_an_error(fake: FakeHub) -> None:
    with pytest.raises(ModelError, match="has no revision 'v9'"):
        _adapter("hf:org/tiny@v9").downloads()


def test_tokenizer_and_weights_of_two_repositories_are_two_downloads(fake: FakeHub) -> None:
    adapter = _adapter(tokenizer="hf:org/tiny@main", peft=None)
    sizes = [download.size for download in adapter.downloads()]
    weights = (fake.files / "model.safetensors").stat().st_size
    assert sizes[0] is not None
    assert sizes[1] is not None
    assert sizes[0] - sizes[1] == weights


def test_one_gguf_file_of_a_repository_is_all_that_is_fetched(fake: FakeHub) -> None:
    tiny_models.save_gguf(fake.files, fake.files / "tiny.gguf")
    adapter = _adapter(gguf_file="tiny.gguf")
    assert adapter.downloads()[0].size == (fake.files / "tiny.gguf").stat().st_size
    adapter.fetch()
    adapter.check()
    snapshot = HubRef("org/tiny").snapshot()
    assert snapshot is not None
    assert [file.name for file in snapshot.iterdir()] == ["tiny.gguf"]


@pytest.mark.parametrize(
    ("text", "revision", "expected"),
    [
        ("hf:org/name", None, HubRef("org/name", "main")),
        ("hf:org/name@v1.0", None, HubRef("org/name", "v1.0")),
        ("hf:gpt2", "dev", HubRef("gpt2", "dev")),
        ("hf:org/name@v1", "v1", HubRef("org/name", "v1")),
    ],
)
def test_repositories_are_named_with_or_without_a_revision(
    text: str, revision: str | None, expected: HubRef
) -> None:
    assert HubRef.parse(text, revision) == expected


@pytest.mark.parametrize(
    ("text", "revision", "message"),
    [
        ("hf:", None, "names no hub repository"),
        ("hf:a/b/c", None, "names no hub repository"),
        ("hf:../../etc", None, "names no hub repository"),
        ("hf:a/b@v1", "v2", "name two revisions"),
        ("hf:a/b@../../x", None, "names no revision"),
    ],
)
def test_what_names_no_repository_is_refused(text: str, revision: str | None, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        HubRef.parse(text, revision)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HF_HUB_CACHE": "/a", "HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/a"),
        ({"HF_HOME": "/b", "XDG_CACHE_HOME": "/c"}, "/b/hub"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/d"}, "/d/.cache/huggingface/hub"),
    ],
)
def test_the_cache_is_where_the_hub_library_has_it(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: str
) -> None:
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert hub.cache_dir() == Path(expected)
