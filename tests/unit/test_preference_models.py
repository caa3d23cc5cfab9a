"""Judges by their names: CLIPScore, HPSv2, PickScore, ImageReward on small models laid out as published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
import torch
from transformers import BertTokenizer

from kdbench.errors import ModelError
from kdbench.models import weights
from kdbench.models.judges import JUDGES, cosine, image_reward, judge
from kdbench.models.judges.image_reward import LONGEST, MEAN, SPREAD, ImageReward
from kdbench.models.resizing import DIALECTS, Resize, resized
from kdbench.models.weights import Weight, manifest

SMALL = Resize(32, "bicubic-uint8", "short-side")
PROMPTS = ["a red cat", "two dogs on a very long sofa", "a red cat"]
IMAGES = list(np.random.default_rng(2).integers(0, 256, (3, 40, 32, 3), dtype=np.uint8))
PIXELS = resized(IMAGES, SMALL)
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "cat", "two", "dog", "##s", "on"]

VISION: dict[str, Any] = {
    "hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 32, "patch_size": 16, "layer_norm_eps": 1e-6,
}  # fmt: skip
TEXT: dict[str, Any] = {
    "vocab_size": 16, "hidden_size": 16, "encoder_hidden_size": 24, "intermediate_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64,
    "is_decoder": True, "bos_token_id": 2, "sep_token_id": 3,
}  # fmt: skip


@pytest.fixture
def placed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], None]:
    """Small weights under a judge's name, as if they had been placed by hand."""
    own: dict[str, Weight] = {}
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KDBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(manifest, "known", lambda: own)

    def place(name: str, path: Path) -> None:
        known = weights.known()[name]
        file = path / known.file if path.is_dir() else path
        target = tmp_path / name if known.hub else tmp_path / known.file
        target.symlink_to(path, target_is_directory=path.is_dir())
        own[name] = replace(known, sha256=None, begins="")
        assert file.is_file()

    return place


def test_hpsv2_is_a_hundred_cosines_of_open_clips_model(
    placed: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is a training checkpoint of open_clip: the weights under `state_dict`."""
    import open_clip

    file = tiny_clip.save_open_clip(tmp_path / "made")
    placed("hpsv2.1", file)
    spec = replace(judge("hpsv2.1"), resize=SMALL)
    known = cosine.open_clip
    monkeypatch.setattr(
        cosine, "open_clip", lambda spec, _, *rest: known(spec, "tiny-open-clip", *rest)
    )
    scores = spec.load().scores(PIXELS, PROMPTS)

    model, _, transform = open_clip.create_model_and_transforms(
        "tiny-open-clip", pretrained=str(file)
    )
    from PIL import Image

    with torch.no_grad():
        seen = torch.stack([transform(Image.fromarray(image)) for image in IMAGES])
        image = model.eval().encode_image(seen, normalize=True)
        text = model.encode_text(open_clip.tokenize(PROMPTS), normalize=True)
    assert scores == pytest.approx((100 * (image * text).sum(1)).tolist(), abs=1e-3)


def test_pickscore_is_the_models_own_logit(
    placed: Callable[[str, Path], None], tmp_path: Path
) -> None:
    from PIL import Image
    from transformers import CLIPModel, CLIPProcessor

    folder = tiny_clip.save_hugging_face(tmp_path / "made", "gelu")
    placed("pickscore", folder)
    words = [
        file for file in folder.iterdir() if file.stem.startswith(("token", "vocab", "merges"))
    ]
    aside = tmp_path / "words"  # published in another repository than the weights
    aside.mkdir()
    for file in words:
        file.rename(aside / file.name)
    scores = replace(judge("pickscore"), resize=SMALL).load().scores(PIXELS, PROMPTS)

    for file in words:
        (aside / file.name).rename(file)
    model, processor = (
        CLIPModel.from_pretrained(folder).eval(),
        CLIPProcessor.from_pretrained(folder),
    )
    square = [Image.fromarray(np.uint8(one.permute(1, 2, 0).numpy())) for one in PIXELS]
    asked = processor(
        text=PROMPTS,
        images=square,
        padding=True,
        truncation=True,
        max_length=77,
        return_tensors="pt",
    )
    with torch.no_grad():
        logits = model(**asked).logits_per_image.diagonal()
    assert scores == pytest.approx(logits.tolist(), abs=1e-3)
    assert weights.trust_of("pickscore") == "first use"
    assert judge("pickscore").protocol()["weights"] == weights.digest_of("pickscore")


def as_published(folder: Path) -> Path:
    """The weights as OpenAI's ViT-B/32 has them on the hub: one file of PyTorch, no safetensors."""
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    torch.save(load_file(file), folder / "pytorch_model.bin")
    file.unlink()
    return folder


def test_hessels_score_is_two_and_a_half_cosines_of_a_photo_that_depicts_the_prompt(
    placed: Callable[[str, Path], None], tmp_path: Path
) -> None:
    from transformers import CLIPModel, CLIPTokenizer

    folder = as_published(tiny_clip.save_hugging_face(tmp_path / "made"))
    placed("clip-vit-base-patch32", folder)
    scores = replace(judge("clipscore-hessel-b32"), resize=SMALL).load().scores(PIXELS, PROMPTS)

    model, words = CLIPModel.from_pretrained(folder).eval(), CLIPTokenizer.from_pretrained(folder)
    asked = words([f"A photo depicts {one}" for one in PROMPTS], padding=True, return_tensors="pt")
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    with torch.no_grad():
        found = model(pixel_values=(PIXELS / 255 - mean) / std, **asked)
    cosine_of_each = (found.image_embeds * found.text_embeds).sum(1)
    assert scores == pytest.approx((2.5 * cosine_of_each.clamp(min=0)).tolist(), abs=1e-5)

    (tmp_path / "clip-vit-large-patch14").symlink_to(folder)
    placed_large = replace(weights.known()["clip-vit-large-patch14"], sha256=None)
    manifest.known()["clip-vit-large-patch14"] = replace(placed_large, file="pytorch_model.bin")
    sana = replace(judge("clipscore-sana-l14"), resize=SMALL).load().scores(PIXELS, PROMPTS)
    plain = words(PROMPTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        found = model(pixel_values=(PIXELS / 255 - mean) / std, **plain)
    assert sana == pytest.approx(found.logits_per_image.diagonal().tolist(), abs=1e-3)


def test_dmd2s_score_is_a_cosine_after_two_resizes_and_a_spliced_prefix(
    placed: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import open_clip
    from PIL import Image
    from torchvision.transforms.functional import center_crop

    file = tiny_clip.save_open_clip(tmp_path / "made")
    placed("open-clip-vit-g-14", file)
    small = Resize(32, "bicubic-uint8", "short-side", before=Resize(48, "lanczos-uint8", "square"))
    known = cosine.open_clip

    def tiny(spec: Any, _: str, *rest: Any, **options: Any) -> Any:
        return known(spec, "tiny-open-clip", *rest, **options)

    monkeypatch.setattr(cosine, "open_clip", tiny)
    loaded = replace(judge("clipscore-dmd2-g14"), resize=small).load()
    large = list(np.random.default_rng(6).integers(0, 256, (3, 70, 90, 3), dtype=np.uint8))
    scores = loaded.scores(resized(large, small), PROMPTS)

    model, _, transform = open_clip.create_model_and_transforms(
        "tiny-open-clip", pretrained=str(file)
    )
    seen = []
    for one in large:
        square = center_crop(Image.fromarray(one), 70).resize((48, 48), Image.Resampling.LANCZOS)
        seen.append(transform(square))
    tokens = open_clip.tokenize([f"A photo depicts {one}" for one in PROMPTS])
    with torch.no_grad():
        image, text = model.eval().encode_image(torch.stack(seen)), model.encode_text(tokens)
    expected = torch.nn.functional.cosine_similarity(image, text)
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)


def published_names(vision: torch.nn.Module, text: torch.nn.Module, mlp: torch.nn.Module) -> Any:
    """The weights as ImageReward.pt names them: timm's ViT, BERT, and the MLP among its dropouts."""
    state = {}
    for name, weight in vision.state_dict().items():
        new = name.replace("encoder.layers.", "blocks.").replace("post_layernorm", "norm")
        new = new.replace("self_attn.projection", "attn.proj").replace("self_attn", "attn")
        new = new.replace("layer_norm", "norm").replace("embeddings.class_embedding", "cls_token")
        new = new.replace("embeddings.position_embedding", "pos_embed")
        new = new.replace("embeddings.patch_embedding", "patch_embed.proj")
        state[f"blip.visual_encoder.{new}"] = weight
    for name, weight in text.state_dict().items():
        state[f"blip.text_encoder.{name}"] = weight
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(64)[None]
    for name, weight in mlp.state_dict().items():
        place, kind = name.split(".")
        state[f"mlp.layers.{2 * int(place) if int(place) < 4 else 7}.{kind}"] = weight
    return state


@pytest.fixture(scope="module")
def parts() -> Any:
    from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel

    torch.manual_seed(4)
    vision = BlipVisionModel(BlipVisionConfig(**VISION)).eval()
    text = BlipTextModel(BlipTextConfig(**TEXT), add_pooling_layer=False).eval()
    sizes = (16, 1024, 128, 64, 16, 1)
    mlp = torch.nn.Sequential(*(torch.nn.Linear(a, b) for a, b in pairwise(sizes)))
    for module in (vision, text, mlp):
        tiny_clip.widen(module)
    return vision, text, mlp


def tokenizer() -> BertTokenizer:
    return BertTokenizer(
        vocab={word: index for index, word in enumerate(WORDS)}, do_lower_case=True
    )


def test_imagereward_reads_prompt_and_image_together(parts: Any) -> None:
    vision, text, mlp = parts
    found = ImageReward(published_names(*parts), tokenizer(), SMALL, vision=VISION, text=TEXT)
    scores = found.scores(PIXELS, PROMPTS)

    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    expected = []
    with torch.no_grad():
        for pixels, prompt in zip(PIXELS, PROMPTS, strict=True):  # one at a time, as published
            asked = tokenizer()(
                prompt, padding="max_length", truncation=True, max_length=35, return_tensors="pt"
            )
            image = vision(((pixels / 255 - mean) / std)[None]).last_hidden_state
            read = text(
                asked.input_ids, attention_mask=asked.attention_mask, encoder_hidden_states=image,
                encoder_attention_mask=torch.ones(image.shape[:2]),
            )  # fmt: skip
            expected.append(float((mlp(read.last_hidden_state[:, 0]) - 0.16717) / 1.03334))
    assert scores == pytest.approx(expected, abs=1e-3)
    assert max(scores) - min(scores) > 0.01
    assert pytest.approx((0.16717, 1.03334), abs=1e-5) == (MEAN, SPREAD)


def test_imagereward_reads_no_more_than_35_word_pieces(parts: Any) -> None:
    found = ImageReward(published_names(*parts), tokenizer(), SMALL, vision=VISION, text=TEXT)
    start = "cat " * (LONGEST - 2)
    same, other = found.scores(PIXELS[:1].repeat(2, 1, 1, 1), [start + "red dog", start + "on a"])
    assert same == pytest.approx(other, abs=1e-6)
    assert found.scores(PIXELS[:1], ["dog " + start]) != pytest.approx([same], abs=1e-6)


def test_imagereward_without_all_of_its_weights_is_refused(parts: Any, tmp_path: Path) -> None:
    state = published_names(*parts)
    del state["blip.visual_encoder.blocks.1.attn.qkv.weight"]
    with pytest.raises(ModelError, match=r"1 are missing, encoder\.layers\.1\.self_attn\.qkv"):
        ImageReward(state, tokenizer(), SMALL, vision=VISION, text=TEXT)
    (tmp_path / "bad.pt").write_bytes(b"no")
    with pytest.raises(ModelError, match="no state dict of PyTorch"):
        weights.read_state(tmp_path / "bad.pt")


def test_word_pieces_come_from_the_published_list(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    read = image_reward.word_pieces(tmp_path / "vocab.txt")
    assert read("Two DOGS")["input_ids"] == [2, 8, 9, 10, 3]


def test_every_judge_has_a_dialect_of_its_own_and_tells_what_it_needs() -> None:
    dialects = {tuple(sorted(spec.protocol().items())) for spec in JUDGES.values()}
    assert len(dialects) == len(JUDGES) == 8
    for spec in JUDGES.values():
        assert all(name in weights.known() for name in spec.weights)
    with pytest.raises(ModelError, match=r"did you mean 'hpsv2\.1'"):
        judge("hpsv2.l")


def test_images_and_prompts_must_be_as_many(parts: Any) -> None:
    found = ImageReward(published_names(*parts), tokenizer(), SMALL, vision=VISION, text=TEXT)
    with pytest.raises(ModelError, match="3 images came with 2 prompts"):
        found.scores(PIXELS, PROMPTS[:2])


def test_hpsv2_shrinks_to_the_longer_side_and_fills_with_black() -> None:
    wide = np.full((100, 200, 3), 250, np.uint8)
    (found,) = resized([wide], DIALECTS["hpsv2"])
    assert found.shape == (3, 224, 224)
    assert (found[:, 56:168] == 250).all() and not found[:, :56].any() and not found[:, 168:].any()
    (tall,) = resized([wide.transpose(1, 0, 2).copy()], DIALECTS["hpsv2"])
    assert torch.equal(tall, found.transpose(1, 2))
    assert "black border" in DIALECTS["hpsv2"].protocol()
