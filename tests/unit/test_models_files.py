"""Hashes are remembered only while a file stays as it was; GGUF heads are read without a library."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from kdbench.errors import ModelError
from kdbench.models import file_hash
from kdbench.models.adapter import LoadSettings
from kdbench.models.gguf_header import read_header
from kdbench.models.protocols import CHAT_TEMPLATE, Continuation, Prompt
from kdbench.models.transformers import TransformersAdapter, TransformersParams


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "memory"))
    return tmp_path / "memory" / "hashes"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is really read."""
    read: list[Path] = []
    whole = file_hash._read

    def counting(path: Path) -> str:
        read.append(path)
        return whole(path)

    monkeypatch.setattr(file_hash, "_read", counting)
    return read


def _large(path: Path, fill: bytes = b"a") -> Path:
    path.write_bytes(fill * file_hash.REMEMBER_FROM)
    return path


def test_a_large_file_is_read_once(tmp_path: Path, memory: Path, reads: list[Path]) -> None:
    file = _large(tmp_path / "weights")
    expected = hashlib.sha256(file.read_bytes()).hexdigest()
    assert [file_hash.sha256_of(file) for _ in range(3)] == [expected] * 3
    assert reads == [file]
    assert len(list(memory.iterdir())) == 1


def test_a_renamed_file_is_still_known(tmp_path: Path, memory: Path, reads: list[Path]) -> None:
    file = _large(tmp_path / "weights")
    digest = file_hash.sha256_of(file)
    assert file_hash.sha256_of(file.rename(tmp_path / "moved")) == digest
    assert len(reads) == 1


def test_a_changed_file_is_read_again(tmp_path: Path, memory: Path, reads: list[Path]) -> None:
    file = _large(tmp_path / "weights")
    before = file_hash.sha256_of(file)
    state = file.stat()
    with file.open("r+b") as stream:
        stream.write(b"b")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert file_hash.sha256_of(file) != before
    assert len(reads) == 2


def test_a_small_file_is_not_worth_remembering(tmp_path: Path, memory: Path) -> None:
    (tmp_path / "config").write_text("{}")
    assert file_hash.sha256_of(tmp_path / "config") == hashlib.sha256(b"{}").hexdigest()
    assert not memory.exists()


@pytest.mark.parametrize("note", ["", "{", "[]", '{"state": [1, 2, 3, 4]}', '{"sha256": "x"}'])
def test_a_damaged_memory_costs_time_and_nothing_else(
    tmp_path: Path, memory: Path, note: str
) -> None:
    file = _large(tmp_path / "weights")
    digest = file_hash.sha256_of(file)
    (remembered,) = memory.iterdir()
    remembered.write_text(note)
    assert file_hash.sha256_of(file) == digest
    assert json.loads(remembered.read_text())["sha256"] == digest


def test_a_memory_that_cannot_be_written_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "file"))
    assert len(file_hash.sha256_of(_large(tmp_path / "weights"))) == 64


def test_the_memory_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KDBENCH_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert file_hash.cache_dir() == Path("/somewhere/kdbench")
    monkeypatch.setenv("KDBENCH_CACHE", "/elsewhere")
    assert file_hash.cache_dir() == Path("/elsewhere")


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gguf")
    return tiny_models.save_gguf(tiny_models.save_model(folder / "made"), folder / "tiny.gguf")


def _adapter(folder: Path, **params: Any) -> TransformersAdapter:
    return TransformersAdapter(TransformersParams(**params), folder, LoadSettings(device="cpu"))


def test_a_gguf_head_tells_metadata_and_shapes(gguf: Path) -> None:
    header = read_header(gguf)
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["llama.context_length"] == 96
    assert header.metadata["tokenizer.ggml.add_bos_token"] is False
    assert len(header.metadata["tokenizer.ggml.tokens"]) == header.embedding_rows == 400
    assert header.shapes["blk.1.ffn_up.weight"] == (48, 96)


def test_a_gguf_head_is_the_one_that_the_gguf_package_reads(gguf: Path) -> None:
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    header = read_header(gguf)
    assert header.shapes == {t.name: tuple(t.shape.tolist()) for t in reader.tensors}
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    assert header.metadata == {key: field.contents() for key, field in fields.items()}


def test_a_gguf_file_gives_the_scores_of_the_folder_it_was_made_from(gguf: Path) -> None:
    requests = [Continuation("the quick", " brown fox"), Continuation("", "a student learns")]
    prompts = [Prompt("the quick brown", (), 12)]
    from_file = _adapter(gguf.parent, path="tiny.gguf")
    from_file.check()
    assert CHAT_TEMPLATE in from_file.verbs()
    one, other = from_file.load(), _adapter(gguf.parent, path="made").load()
    expected = [score.logprob for score in other.score_text(requests)]
    assert [score.logprob for score in one.score_text(requests)] == pytest.approx(
        expected, abs=1e-4
    )
    assert one.generate_text(prompts) == other.generate_text(prompts)


def test_a_gguf_file_may_be_named_inside_its_folder(gguf: Path) -> None:
    named = _adapter(gguf.parent, path=".", gguf_file="tiny.gguf")
    named.check()
    direct = _adapter(gguf.parent, path="tiny.gguf")
    assert named.fingerprint() == direct.fingerprint()
    assert named.fingerprint()["dtype"] == "float32"
    assert named.tokenizer_fingerprint() == direct.tokenizer_fingerprint()


def test_a_text_with_a_token_that_the_weights_lack_is_refused(gguf: Path) -> None:
    model = _adapter(gguf.parent, path="tiny.gguf").load()
    beyond = [w for w, i in model.encoder.tokenizer.get_vocab().items() if i >= 400]
    assert beyond, "transformers no longer adds tokens of its own; drop the exception for GGUF"
    with pytest.raises(ModelError, match="tokenizer mismatch: a text holds token 400"):
        model.score_text([Continuation("the", beyond[0])])
    with pytest.raises(ModelError, match="tokenizer mismatch"):
        model.generate_text([Prompt(beyond[0], (), 4)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nope", "not a GGUF file"),
        (b"GGUF\x01\x00\x00\x00", "GGUF version 1"),
        (b"GGUF\x00\x00\x00\x03" + b"\x00" * 16, "big endian"),
        (b"GGUF\x03\x00\x00\x00" + b"\xff" * 16, "header is damaged"),
    ],
)
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "bad.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_header(tmp_path / "bad.gguf")


def test_a_gguf_file_that_is_cut_off_is_refused_before_loading(gguf: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.gguf").write_bytes(gguf.read_bytes()[:3000])
    with pytest.raises(ModelError, match="header is damaged"):
        _adapter(tmp_path, path="cut.gguf").check()


def test_checking_and_hashing_a_model_never_import_torch_or_the_hub_library(gguf: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from kdbench.models.adapter import LoadSettings\n"
        "from kdbench.registry import adapters\n"
        "folder = Path(sys.argv[1])\n"
        "for path in ('made', 'tiny.gguf'):\n"
        "    cls = adapters.get('transformers')\n"
        "    adapter = cls(cls.Params(path=path), folder, LoadSettings())\n"
        "    adapter.check(), adapter.verbs(), adapter.fingerprint(), adapter.downloads()\n"
        "    adapter.tokenizer_fingerprint()\n"
        "heavy = ('torch', 'transformers', 'huggingface_hub', 'httpx', 'numpy', 'lm_eval')\n"
        "print([name for name in heavy if name in sys.modules])\n"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", code, str(gguf.parent)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.stdout.strip() == "[]"
