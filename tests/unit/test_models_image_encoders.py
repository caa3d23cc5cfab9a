"""Encoders: real classes with small random weights, saved and loaded as published files are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from inception_files import write_random_inception

from kdbench.errors import ModelError
from kdbench.models.encoders import classifier as classifiers
from kdbench.models.encoders import inception as inceptions
from kdbench.models.encoders.catalogue import ENCODERS, encoder_spec
from kdbench.models.encoders.encoder import IMAGENET_MEAN, IMAGENET_STD, normalised
from kdbench.models.resizing import Resize, dialect

torch = pytest.importorskip("torch")


def pixels(count: int, side: int, seed: int = 0) -> Any:
    return 255 * torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_inception(tmp_path_factory.mktemp("weights") / "inception.pth")


def test_torchscript_and_pth_of_the_same_weights_are_the_same_network(
    inception: Path, tmp_path: Path
) -> None:
    from kdbench.models.encoders.inception import InceptionEncoder
    from kdbench.models.encoders.inception_weights import NAMES

    tensors = torch.load(inception, weights_only=True)
    holder = torch.nn.Module()
    kinds = {"weight": "conv.weight", "beta": "bn.bias", "mean": "bn.running_mean"}
    for ours, theirs in NAMES[:3]:
        place = holder
        for part in theirs.split("."):
            if not hasattr(place, part):
                place.add_module(part, torch.nn.Module())
            place = getattr(place, part)
        for kind, name in (*kinds.items(), ("var", "bn.running_var")):
            place.register_buffer(kind, tensors[f"{ours}.{name}"])
        tensors[f"{ours}.bn.weight"] = torch.ones(len(tensors[f"{ours}.bn.bias"]))
    script, plain = tmp_path / "net.pt", tmp_path / "net.pth"
    torch.jit.script(Wrapped(holder)).save(str(script))
    torch.save(tensors, plain)
    x = pixels(1, 299)
    one, two = (InceptionEncoder(file, layer=64).encode(x) for file in (script, plain))
    assert torch.equal(one, two)


class Wrapped(torch.nn.Module):
    """As fid-helper wraps NVIDIA's module: its name stands before the published ones."""

    def __init__(self, net: Any) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_wrong_inceptions_are_refused_by_what_is_wrong(inception: Path, tmp_path: Path) -> None:
    from kdbench.models.encoders.inception import InceptionEncoder

    tensors = torch.load(inception, weights_only=True)
    for change, says in (
        ({"fc.bias": torch.zeros(1000)}, "1000 classes"),
        ({"Conv2d_1a_3x3.conv.weight": torch.zeros(32, 3, 5, 5)}, "expected \\(32, 3, 3, 3\\)"),
    ):
        torch.save({**tensors, **change}, tmp_path / "wrong.pth")
        with pytest.raises(ModelError, match=says):
            InceptionEncoder(tmp_path / "wrong.pth")
    del tensors["Mixed_7c.branch_pool.bn.bias"]
    torch.save(tensors, tmp_path / "wrong.pth")
    with pytest.raises(ModelError, match=r"no Mixed_7c.branch_pool"):
        InceptionEncoder(tmp_path / "wrong.pth")
    (tmp_path / "cut.pth").write_bytes(inception.read_bytes()[:5000])
    with pytest.raises(ModelError, match="fetch the file again"):
        InceptionEncoder(tmp_path / "cut.pth")
    with pytest.raises(ModelError, match="no such file"):
        InceptionEncoder(tmp_path / "none.pth")
    with pytest.raises(ModelError, match="299 x 299"):
        InceptionEncoder(inception, "clip")
    with pytest.raises(ModelError, match="not 100"):
        InceptionEncoder(inception, layer=100)


class Pickled:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


def test_weights_that_would_run_code_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"fc.bias": Pickled()}, tmp_path / "evil.pth")
    with pytest.raises(ModelError, match=r"evil\.pth"):
        encoder_spec("clean", tmp_path / "evil.pth").load()
    assert "this must not run" not in capsys.readouterr().out


def test_protocols_are_known_before_weights_are_read(inception: Path) -> None:
    found = encoder_spec("legacy_pytorch", inception).load()
    assert inceptions.protocol(inception, dialect("legacy_pytorch")) == found.protocol()
    assert found.protocol()["normalise"] == "x / 127.5 - 1"
    clean = inceptions.protocol(inception, dialect("clean"))
    assert (clean["normalise"], clean["resize"]) == ("(x - 128) / 128", "bicubic 299")


def dino(folder: Path, side: int = 70) -> tuple[Path, Any]:
    """timm's DINOv2 with two layers and random weights, in a file as Meta publishes them."""
    import timm

    torch.manual_seed(0)
    model = timm.create_model(
        "vit_small_patch14_dinov2", pretrained=False, depth=2, img_size=side, num_classes=0
    ).eval()
    for weights in model.parameters():
        if weights.dim() < 2:
            torch.nn.init.normal_(weights, 0.5, 0.3)
    torch.nn.init.normal_(model.pos_embed, 0, 0.5)
    file = folder / "dinov2_vits14_pretrain.pth"
    torch.save({**model.state_dict(), "mask_token": torch.zeros(1, 384)}, file)
    return file, model


def test_dinov2_is_timms_from_metas_file_and_from_a_folder(tmp_path: Path) -> None:
    from kdbench.models.encoders.dinov2 import DinoV2Encoder

    file, peer = dino(tmp_path)
    how = Resize(70, "bicubic-uint8")
    encoder = DinoV2Encoder(file, how)
    x = pixels(2, 70)
    with torch.inference_mode():
        expected = peer(normalised(x, IMAGENET_MEAN, IMAGENET_STD))
    assert encoder.dimension == 384
    torch.testing.assert_close(encoder.encode(x), expected, rtol=1e-4, atol=1e-4)
    encoder._model.save_pretrained(tmp_path / "folder")
    again = DinoV2Encoder(tmp_path / "folder", how)
    torch.testing.assert_close(again.encode(x), expected, rtol=1e-4, atol=1e-4)
    assert again.protocol()["weights"] != encoder.protocol()["weights"]


def test_dinov2_stretches_its_position_table_as_metas_code_does() -> None:
    from kdbench.models.encoders.dinov2 import stretched

    table = torch.randn(1, 1 + 37 * 37, 8, generator=torch.Generator().manual_seed(0))
    found = stretched(table, 16)
    assert found.shape == (1, 1 + 16 * 16, 8)
    assert torch.equal(found[:, 0], table[:, 0])
    # at (i + 1/2) * 37 / 16.1 - 1/2, not at (i + 1/2) * 37 / 16 - 1/2
    rows = torch.arange(37.0).view(1, 37, 1, 1).expand(1, 37, 37, 1).reshape(1, -1, 1)
    ramp = stretched(torch.cat([torch.zeros(1, 1, 1), rows], dim=1), 16)[0, 1:, 0].view(16, 16)
    expected = (torch.arange(16) + 0.5) * 37 / 16.1 - 0.5
    torch.testing.assert_close(ramp[2:14, 5], expected[2:14], rtol=0, atol=0.06)
    assert abs(float(ramp[13, 5]) - (13.5 * 37 / 16 - 0.5)) > 0.1


def test_dinov2_refuses_other_weights_and_other_sizes(inception: Path, tmp_path: Path) -> None:
    from kdbench.models.encoders.dinov2 import DinoV2Encoder

    with pytest.raises(ModelError, match="not the weights of DINOv2"):
        DinoV2Encoder(inception)
    file, _ = dino(tmp_path)
    with pytest.raises(ModelError, match="patches of 14 pixels don't divide an image of 100"):
        DinoV2Encoder(file, Resize(100))


@pytest.fixture
def classifier(tmp_path: Path) -> Path:
    from transformers import ResNetConfig, ResNetForImageClassification, ViTImageProcessor

    torch.manual_seed(0)
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 12], "depths": [1, 1]}
    config = ResNetConfig(num_channels=3, layer_type="basic", num_labels=5, **sizes)
    ResNetForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(
        size={"height": 32, "width": 32}, resample=2, image_mean=[0.5] * 3, image_std=[0.25] * 3
    ).save_pretrained(tmp_path)
    return tmp_path


def test_a_classifiers_features_are_what_its_last_layer_takes_in(classifier: Path) -> None:
    from transformers import ResNetForImageClassification

    encoder = encoder_spec("classifier", classifier).load()
    assert (encoder.dimension, encoder.resize) == (12, Resize(32, "bilinear"))
    x = pixels(3, 32)
    found = encoder.encode(x)
    peer = ResNetForImageClassification.from_pretrained(classifier).eval()
    with torch.inference_mode():
        prepared = (x / 255 - 0.5) / 0.25
        torch.testing.assert_close(found, peer.resnet(prepared).pooler_output.flatten(1))
        assert torch.equal(peer.classifier[-1](found), peer(prepared).logits)
    assert encoder.protocol() == classifiers.protocol(classifier)
    assert encoder.protocol()["normalise"] == "mean 0.5 0.5 0.5, deviation 0.25 0.25 0.25"


def test_a_classifier_that_does_not_say_how_it_sees_is_refused(classifier: Path) -> None:
    place = classifier / "preprocessor_config.json"
    place.write_text(place.read_text().replace('"height": 32', '"height": 48'))
    with pytest.raises(ModelError, match="resized to a square"):
        encoder_spec("classifier", classifier).load()
    place.unlink()
    with pytest.raises(ModelError, match=r"no preprocessor_config\.json"):
        encoder_spec("classifier", classifier).load()


def test_the_squared_distance_of_embeddings_is_torchmetrics_lpips(tmp_path: Path) -> None:
    import torchvision
    from torchmetrics.functional.image import lpips

    from kdbench.metrics.vendi import mean_pairwise_distance
    from kdbench.models.encoders.lpips import LpipsEncoder

    torch.manual_seed(0)
    backbone = torchvision.models.alexnet(weights=None)
    torch.save(backbone.state_dict(), tmp_path / "alexnet.pth")
    encoder = LpipsEncoder(tmp_path / "alexnet.pth", resize=Resize(64))
    peer = lpips._LPIPS(pretrained=True, net="alex", pnet_rand=True)
    features = {f"features.{n.partition('.')[2]}": v for n, v in peer.net.state_dict().items()}
    for name, value in features.items():
        value.copy_(backbone.state_dict()[name])
    x = pixels(2, 64)
    theirs = float(peer(x[:1] / 127.5 - 1, x[1:] / 127.5 - 1))
    found = encoder.encode(x)
    assert found.shape == (2, encoder.dimension)
    assert mean_pairwise_distance(found.numpy(), squared=True) == pytest.approx(theirs, rel=1e-4)
    assert np.isclose(theirs, 0) is np.False_


def test_lpips_refuses_another_backbone(inception: Path) -> None:
    from kdbench.models.encoders.lpips import LpipsEncoder

    with pytest.raises(ModelError, match="not torchvision's weights of vgg"):
        LpipsEncoder(inception, "vgg")


def test_no_digits_are_lost_to_tf32_while_encoding_and_settings_come_back(inception: Path) -> None:
    from kdbench.models.encoders.encoder import exact

    seen = []
    before = torch.backends.cudnn.allow_tf32
    with exact():
        seen.append(torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32)
    assert seen == [False] and torch.backends.cudnn.allow_tf32 == before
    encoder = encoder_spec("clean", inception).load()
    encoder._network.register_forward_pre_hook(
        lambda *_: seen.append(torch.backends.cudnn.allow_tf32)
    )
    encoder.encode(pixels(1, 299))
    assert seen == [False, False]


def test_an_unknown_encoder_and_missing_weights_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="did you mean 'legacy_pytorch'"):
        encoder_spec("legacy-pytorch", tmp_path).load()
    with pytest.raises(ModelError, match="name its folder"):
        encoder_spec("classifier").load()
    monkeypatch.setenv("KDBENCH_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="kdbench weights fetch inception-torchscript"):
        encoder_spec("clean").load()


def test_the_command_that_makes_references_names_every_encoder() -> None:
    from kdbench.commands.reference import make

    hints = get_type_hints(make, include_extras=True)["encoder"]
    (option,) = hints.__metadata__
    assert sorted(re.findall(r"[\w-]+", option.help.replace(" or ", " "))) == sorted(ENCODERS)
