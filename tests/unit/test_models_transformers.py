"""The transformers adapter: what it refuses before loading, what it identifies a model by, what it loads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.protocols import (
    CHAT_TEMPLATE,
    Continuation,
    GeneratesText,
    HasChatTemplate,
    Prompt,
    ScoresRolling,
    ScoresText,
)
from kdbench.models.transformers import TransformersAdapter, TransformersParams

REQUEST = Continuation("the quick", " brown fox")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_models.save_model(tmp_path_factory.mktemp("made") / "student")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A suite's folder with a model of its own in it."""
    shutil.copytree(made, tmp_path / "student")
    return tmp_path


def _adapter(folder: Path, path: str = "student", /, **params: Any) -> TransformersAdapter:
    settings = LoadSettings(
        dtype=params.pop("dtype", "auto"), device="cpu", batch_size=params.pop("batch_size", None)
    )
    return TransformersAdapter(TransformersParams(path=path, **params), folder, settings)


def _edit(file: Path, **changes: Any) -> None:
    held = json.loads(file.read_text())
    held.update(changes)
    file.write_text(json.dumps(held))


def test_a_loaded_model_speaks_every_verb_that_it_announced(folder: Path) -> None:
    adapter = _adapter(folder)
    adapter.check()
    assert CHAT_TEMPLATE in adapter.verbs()
    model = adapter.load()
    for protocol in (ScoresText, ScoresRolling, GeneratesText, HasChatTemplate):
        assert isinstance(model, protocol)
    (score,) = model.score_text([REQUEST])
    assert score.logprob < 0
    assert score.tokens == len(model.encoder.prompts([" brown fox"])[0])
    model.close()


def test_without_a_chat_template_the_verb_is_not_announced(folder: Path) -> None:
    (folder / "student" / "chat_template.jinja").unlink()
    assert CHAT_TEMPLATE not in _adapter(folder).verbs()
    with pytest.raises(ModelError, match="no chat template"):
        _adapter(folder).load().apply_chat_template([{"role": "user", "content": "hi"}])


def test_messages_are_rendered_by_the_models_own_template(folder: Path) -> None:
    model = _adapter(folder).load()
    messages = [{"role": "user", "content": "hi"}]
    assert model.apply_chat_template(messages) == "<user>hi<eot><assistant>"
    answered = [*messages, {"role": "assistant", "content": "4 is"}]
    assert model.apply_chat_template(answered, add_generation_prompt=False).endswith("4 is")
    with pytest.raises(ModelError, match="refuses the messages"):
        model.apply_chat_template([{"role": "system", "content": "be brief"}])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda at: at.rename(at.parent / "studentt"), r"no such folder \(did you mean 'studentt'"),
        (lambda at: (at / "config.json").unlink(), "no config.json"),
        (lambda at: (at / "config.json").write_text("{"), "not JSON"),
        (lambda at: (at / "model.safetensors").unlink(), "no weights"),
        (lambda at: (at / "model.safetensors").rename(at / "pytorch_model.bin"), "are pickled"),
        (lambda at: (at / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda at: _edit(at / "config.json", is_encoder_decoder=True), "encoder-decoder"),
        (lambda at: _edit(at / "config.json", vocab_size=300), "tokenizer mismatch"),
    ],
)
def test_files_that_cannot_work_are_refused_before_loading(
    folder: Path, spoil: Callable[[Path], object], message: str
) -> None:
    spoil(folder / "student")
    with pytest.raises(ModelError, match=message):
        _adapter(folder).check()


def test_a_missing_shard_is_named(folder: Path) -> None:
    at = folder / "student"
    (at / "model.safetensors").rename(at / "model-1.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (at / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match=r"1 of 2 weight files are missing \(model-2.safetensors"):
        _adapter(folder).check()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"dtype": "float33"}, r"no dtype named 'float33' \(did you mean 'float32'"),
        ({"revision": "main"}, "belongs to a hub repository"),
        ({"gguf_file": "model.gguf"}, "no such file"),
        ({"tokenizer": "elsewhere"}, "elsewhere: no such folder"),
        ({"peft": "student"}, "no adapter_config.json"),
    ],
)
def test_parameters_that_cannot_work_are_refused_before_loading(
    folder: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        _adapter(folder, **params).check()


def test_the_same_files_elsewhere_are_the_same_model(folder: Path) -> None:
    shutil.copytree(folder / "student", folder / "deep" / "copy")
    first, second = _adapter(folder), _adapter(folder, "deep/copy")
    assert first.fingerprint() == second.fingerprint()
    assert first.tokenizer_fingerprint() == second.tokenizer_fingerprint()
    assert not any(str(folder) in part for part in first.fingerprint().values())


def test_what_changes_no_answer_changes_no_fingerprint(folder: Path) -> None:
    before = _adapter(folder).fingerprint()
    _edit(folder / "student" / "config.json", transformers_version="9", _name_or_path="/home/me")
    _edit(folder / "student" / "generation_config.json", transformers_version="9")
    (folder / "student" / "README.md").write_text("hello")
    assert _adapter(folder, batch_size=3).fingerprint() == before
    assert _adapter(folder, dtype="float32").fingerprint() == before


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("weights", lambda at: tiny_models.save_llama(at, seed=1)),
        ("config", lambda at: _edit(at / "config.json", rms_norm_eps=0.1)),
        ("generation_config", lambda at: _edit(at / "generation_config.json", eos_token_id=5)),
        ("tokenizer", lambda at: tiny_models.save_tokenizer(at, adds_bos=True)),
        ("chat_template", lambda at: (at / "chat_template.jinja").write_text("{{ messages }}")),
    ],
)
def test_each_file_that_can_change_an_answer_changes_its_part(
    folder: Path, part: str, change: Callable[[Path], object]
) -> None:
    before = _adapter(folder).fingerprint()
    change(folder / "student")
    after = _adapter(folder).fingerprint()
    assert {name for name in after if after[name] != before[name]} == {part}


@pytest.mark.parametrize(
    ("part", "params"),
    [
        ("dtype", {"dtype": "bfloat16"}),
        ("max_length", {"max_length": 32}),
        ("add_bos_token", {"add_bos_token": True}),
        ("attention", {"attn_implementation": "eager"}),
    ],
)
def test_each_setting_that_can_change_an_answer_changes_its_part(
    folder: Path, part: str, params: dict[str, Any]
) -> None:
    before, after = _adapter(folder).fingerprint(), _adapter(folder, **params).fingerprint()
    assert {name for name in after if after[name] != before[name]} == {part}


def test_remote_code_is_part_of_the_fingerprint_where_it_may_run(folder: Path) -> None:
    settings = LoadSettings(device="cpu", trust_remote_code=True)
    adapter = TransformersAdapter(TransformersParams(path="student"), folder, settings)
    before = adapter.fingerprint()
    (folder / "student" / "modeling.py").write_text("x = 1")
    assert adapter.fingerprint()["remote_code"] != before["remote_code"]


def test_tokenizers_agree_whatever_else_their_folders_hold(folder: Path, tmp_path: Path) -> None:
    tiny_models.save_llama(folder / "teacher", seed=9, rows=512)
    tokenizer = tiny_models.save_tokenizer(folder / "teacher")
    tokenizer.backend_tokenizer.enable_padding(length=8)
    tokenizer.save_pretrained(folder / "teacher")
    tiny_models.save_model(folder / "other", adds_bos=True)
    same = _adapter(folder).tokenizer_fingerprint()
    assert _adapter(folder, "teacher").tokenizer_fingerprint() == same
    assert _adapter(folder, "other").tokenizer_fingerprint() != same
    assert _adapter(folder, add_bos_token=True).tokenizer_fingerprint() != same


def test_the_tokenizer_may_come_from_elsewhere(folder: Path) -> None:
    tiny_models.save_tokenizer(folder / "words", template=None)
    (folder / "student" / "tokenizer.json").unlink()
    adapter = _adapter(folder, tokenizer="words")
    adapter.check()
    assert CHAT_TEMPLATE not in adapter.verbs()
    assert adapter.load().score_text([REQUEST])[0].logprob < 0


def test_the_dtype_is_the_stored_one_unless_another_is_asked_for(folder: Path) -> None:
    import torch

    assert _adapter(folder).load().model.dtype == torch.float32
    tiny_models.save_llama(folder / "student", dtype="bfloat16")
    assert _adapter(folder).fingerprint()["dtype"] == "bfloat16"
    assert _adapter(folder).load().model.dtype == torch.bfloat16
    assert _adapter(folder, dtype="float32").load().model.dtype == torch.float32


def test_without_a_declared_dtype_the_weights_themselves_say_it(folder: Path) -> None:
    config = folder / "student" / "config.json"
    held = json.loads(config.read_text())
    config.write_text(
        json.dumps({k: v for k, v in held.items() if k not in ("dtype", "torch_dtype")})
    )
    assert _adapter(folder).dtype() == "float32"


def test_weights_that_would_be_filled_at_random_are_refused(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "student" / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(ModelError, match=r"lack 1 tensors \(model.layers.1.mlp.up_proj.weight\)"):
        _adapter(folder).load()


def test_damaged_weights_are_an_error_with_the_folder_in_it(folder: Path) -> None:
    (folder / "student" / "model.safetensors").write_bytes(b"nonsense" * 40)
    with pytest.raises(ModelError, match="student: transformers can't load the model"):
        _adapter(folder).load()


def test_an_unknown_architecture_is_an_error_with_a_remedy(folder: Path) -> None:
    _edit(folder / "student" / "config.json", model_type="nobody_knows", architectures=["Nobody"])
    with pytest.raises(ModelError, match="transformers knows its architecture"):
        _adapter(folder).load()


def test_code_of_the_repository_is_not_run_unless_trusted(folder: Path) -> None:
    ran = folder / "ran"
    (folder / "student" / "modeling_evil.py").write_text(f"open({str(ran)!r}, 'w')")
    _edit(
        folder / "student" / "config.json",
        model_type="evil",
        auto_map={"AutoConfig": "modeling_evil.C", "AutoModelForCausalLM": "modeling_evil.M"},
    )
    with pytest.raises(ModelError, match="trust_remote_code: true"):
        _adapter(folder).load()
    assert not ran.exists()


def test_token_ids_beyond_the_embedding_are_caught_at_load_too(folder: Path) -> None:
    from kdbench.models.loading import load_causal_lm

    tiny_models.save_llama(folder / "student", rows=300)
    adapter = _adapter(folder)
    with pytest.raises(ModelError, match="a token 399, the model's embedding only 300 rows"):
        load_causal_lm(adapter.files, adapter.params, adapter.settings, "float32")


def test_a_peft_adapter_is_merged_into_the_weights(folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(folder / "student")
    torch.manual_seed(1)
    config = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], init_lora_weights=False)
    tuned = get_peft_model(base, config).eval()
    tuned.save_pretrained(folder / "lora")
    adapter = _adapter(folder, peft="lora")
    model = adapter.load()
    assert not any("lora" in name for name, _ in model.model.named_parameters())
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.inference_mode():
        assert torch.allclose(model.model(ids).logits, tuned(ids).logits, atol=1e-4)
    before = adapter.fingerprint()
    assert "peft" not in _adapter(folder).fingerprint()
    _edit(folder / "lora" / "adapter_config.json", base_model_name_or_path="/somewhere/else")
    assert adapter.fingerprint() == before
    _edit(folder / "lora" / "adapter_config.json", lora_alpha=99)
    assert adapter.fingerprint()["peft"] != before["peft"]


def test_a_peft_adapter_may_bring_more_embedding_rows(folder: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = AutoModelForCausalLM.from_pretrained(folder / "student")
    base.resize_token_embeddings(408, mean_resizing=False)
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    tuned = get_peft_model(base, config).eval()
    tuned.save_pretrained(folder / "lora")
    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    tokenizer.add_tokens([f"<new{index}>" for index in range(8)])
    tokenizer.save_pretrained(folder / "words")
    with pytest.raises(ModelError, match="tokenizer mismatch"):
        _adapter(folder, tokenizer="words").check()
    model = _adapter(folder, tokenizer="words", peft="lora").load()
    ids = torch.tensor([[5, 6, 401, 8]])
    with torch.inference_mode():
        assert torch.allclose(model.model(ids).logits, tuned(ids).logits, atol=1e-4)


def test_a_peft_adapter_of_another_model_is_refused(folder: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForCausalLM

    other = LlamaForCausalLM(
        LlamaConfig(vocab_size=400, hidden_size=64, intermediate_size=64, num_hidden_layers=1,
                    num_attention_heads=4)
    )  # fmt: skip
    get_peft_model(other, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(
        folder / "lora"
    )
    with pytest.raises(ModelError, match="does not fit the model"):
        _adapter(folder, peft="lora").load()


def test_pickled_adapters_are_refused(folder: Path) -> None:
    (folder / "lora").mkdir()
    (folder / "lora" / "adapter_config.json").write_text("{}")
    (folder / "lora" / "adapter_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"no adapter_model.safetensors"):
        _adapter(folder, peft="lora").check()


def test_max_length_shortens_what_the_model_sees(folder: Path) -> None:
    model = _adapter(folder, max_length=8).load()
    long = Continuation("the lazy dog " * 20 + "and the", " cat")
    row = model.encoder.continuations([long])[0]
    assert len(row.tokens) == 9
    assert model.generate_text([Prompt("the lazy dog " * 9, (), 4)])[0].tokens <= 4


def test_an_unknown_device_is_refused(folder: Path) -> None:
    settings = LoadSettings(device="gpu0")
    adapter = TransformersAdapter(TransformersParams(path="student"), folder, settings)
    with pytest.raises(ModelError, match="no device named 'gpu0'"):
        adapter.load()
