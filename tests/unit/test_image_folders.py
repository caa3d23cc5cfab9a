"""Images made elsewhere: read without guessing, matched with their prompts, refused where they don't fit."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_pictures import png, write_images

from kdbench.errors import ModelError
from kdbench.models.adapter import LoadSettings
from kdbench.models.image_files import ImageFiles, decoded, read_prompts
from kdbench.models.image_folder import ImageFolderAdapter, ImageFolderParams
from kdbench.models.images import ImageRequest

RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, (6 + i, 8, 3), dtype=np.uint8) for i in range(4)]
ROWS: list[dict[str, Any]] = [{"prompt": p} for p in ("a cat", "a dog", "a cat", "a bee")]


def _encoded(image: Any, kind: str = "PNG", **more: Any) -> bytes:
    held = io.BytesIO()
    image.save(held, kind, **more)
    return held.getvalue()


def _adapter(path: Path, **params: Any) -> ImageFolderAdapter:
    made = ImageFolderParams(path=path.name, **params)
    return ImageFolderAdapter(made, path.parent, LoadSettings())


@pytest.mark.parametrize("name", ["made", "made.zip"])
def test_the_nth_image_of_a_prompt_answers_its_nth_request(tmp_path: Path, name: str) -> None:
    model = _adapter(write_images(tmp_path / name, PICTURES, ROWS), steps=4).load()
    asked = [("a cat", 1), ("a bee", 0), ("a cat", 0), ("a dog", 0)]
    images = model.generate_images([ImageRequest(p, None, 99, n) for p, n in asked])
    for image, index in zip(images, [2, 3, 0, 1], strict=True):
        assert (image == PICTURES[index]).all()
    assert model.steps == 4
    with pytest.raises(
        ModelError, match=r"2 of 3 requests have no image: 'a cat' \(number 3\), 'a cow'"
    ):
        model.generate_images(
            [
                ImageRequest("a cat", None, 0, 2),
                ImageRequest("a cow", None, 0),
                ImageRequest("a dog", None, 0),
            ]
        )


def test_labels_a_list_of_prompts_no_table_and_genevals_layout_are_known(tmp_path: Path) -> None:
    labelled = write_images(tmp_path / "labelled", PICTURES[:2], [{"label": 3}, {"label": "3"}])
    assert [(e.prompt, e.label) for e in ImageFiles(labelled).entries] == [("", 3), ("", 3)]
    listed = write_images(tmp_path / "listed", PICTURES[:2])
    assert [e.prompt for e in ImageFiles(listed).entries] == ["", ""]
    (listed / "prompts.txt").write_text("first\nsecond\n")
    assert [e.prompt for e in ImageFiles(listed).entries] == ["first", "second"]
    table = write_images(tmp_path / "table", PICTURES[:2])
    (table / "metadata.csv").write_text("file_name,caption\n00001.png,one\n00000.png,none\n")
    assert [(e.file, e.prompt) for e in ImageFiles(table).entries] == [
        ("00001.png", "one"),
        ("00000.png", "none"),
    ]
    for number in range(2):
        samples = tmp_path / "geneval" / f"{number:05d}" / "samples"
        write_images(samples, PICTURES[:2])
        (samples.parent / "metadata.jsonl").write_text(
            json.dumps({"prompt": f"prompt {number}", "tag": "x"})
        )
    found = ImageFiles(tmp_path / "geneval").entries
    assert [(e.file, e.prompt) for e in found][2:] == [
        ("00001/samples/00000.png", "prompt 1"), ("00001/samples/00001.png", "prompt 1"),
    ]  # fmt: skip


def test_prompts_without_images_and_images_without_prompts_are_named(tmp_path: Path) -> None:
    place = write_images(tmp_path / "made", PICTURES, ROWS)
    (place / "00002.png").unlink()
    with pytest.raises(ModelError, match=r"names 1 images that are not there: 00002\.png"):
        _adapter(place).check()
    (place / "00002.png").write_bytes(png(PICTURES[2]))
    (place / "more.png").write_bytes(png(PICTURES[2]))
    with pytest.raises(ModelError, match=r"1 images have no line in metadata\.jsonl: more\.png"):
        _adapter(place).check()
    (place / "more.png").unlink()
    (place / "metadata.jsonl").write_text('{"file_name": "00000.png", "prompt": "a"}\n' * 2)
    with pytest.raises(ModelError, match=r"00000\.png stands twice"):
        _adapter(place).check()
    (place / "metadata.jsonl").write_text("{no json")
    with pytest.raises(ModelError, match="not a table of images"):
        _adapter(place).check()
    (place / "metadata.jsonl").unlink()
    (place / "prompts.txt").write_text("only one\n")
    with pytest.raises(ModelError, match="1 prompts for 4 images"):
        _adapter(place).check()


def test_a_place_without_images_and_one_that_is_to_be_made_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no images in it"):
        _adapter(tmp_path / "empty").check()
    with pytest.raises(ModelError, match="no such folder or zip"):
        _adapter(tmp_path / "nowhere").check()
    (tmp_path / "broken.zip").write_bytes(b"PK nothing")
    with pytest.raises(ModelError, match="not a zip archive"):
        _adapter(tmp_path / "broken.zip").check()
    coming = _adapter(tmp_path / "later", made_by="python generate.py")
    coming.check()
    assert [item.by_hand for item in coming.downloads()] == ["python generate.py"]
    with pytest.raises(ModelError, match=r"python generate\.py"):
        coming.fetch()


def test_the_fingerprint_follows_contents_and_not_the_place(tmp_path: Path) -> None:
    first = _adapter(write_images(tmp_path / "one", PICTURES, ROWS)).fingerprint()
    assert _adapter(write_images(tmp_path / "two", PICTURES, ROWS)).fingerprint() == first
    assert _adapter(tmp_path / "one", steps=2).fingerprint() != first
    (tmp_path / "two" / "00000.png").write_bytes(png(PICTURES[1]))
    assert _adapter(tmp_path / "two").fingerprint() != first
    other = write_images(tmp_path / "three", PICTURES, [{"prompt": "x"}] * 4)
    assert _adapter(other).fingerprint() != first


def test_grey_palettes_and_opaque_alpha_are_rgb(tmp_path: Path) -> None:
    picture = Image.fromarray(PICTURES[0])
    assert (decoded(_encoded(picture.convert("RGBA")), "a") == PICTURES[0]).all()
    grey = decoded(_encoded(picture.convert("L")), "a")
    assert (grey == np.asarray(picture.convert("L"))[..., None]).all()
    palette = picture.quantize(8)
    assert (decoded(_encoded(palette), "a") == np.asarray(palette.convert("RGB"))).all()


def _clear() -> bytes:
    picture = Image.fromarray(PICTURES[0]).convert("RGBA")
    picture.putalpha(100)
    return _encoded(picture)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"not an image", "can't be read as an image"),
        (png(PICTURES[0])[:80], "damaged or cut short"),
        (_encoded(Image.fromarray(PICTURES[0]), "JPEG")[:-60], "damaged or cut short"),
        (_encoded(Image.fromarray(PICTURES[0]).convert("CMYK"), "JPEG"), "CMYK"),
        (_encoded(Image.fromarray(np.full((4, 4), 40000, np.uint16))), "more than 8 bits"),
        (
            _encoded(
                Image.fromarray(PICTURES[0]), "GIF", save_all=True,
                append_images=[Image.fromarray(PICTURES[0][::-1])],
            ),
            "an animation of 2 frames",
        ),
        (_clear(), "transparent"),
    ],
)  # fmt: skip
def test_a_file_with_no_one_meaning_is_refused_by_its_name(content: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=rf"some/name\.png: .*{message}"):
        decoded(content, "some/name.png")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.txt", "one\n\ntwo\n"),
        ("p.csv", "id,caption\n1,one\n2,two\n"),
        ("p.jsonl", '{"prompt": "one"}\n{"text": "two"}\n'),
        ("p.json", '{"a": {"category": "x", "prompt": "one"}, "b": {"prompt": "two"}}'),
        ("p.json", '[{"prompt": "one"}, {"prompt": "two"}]'),
    ],
)
def test_prompts_are_read_from_texts_and_tables(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_prompts(tmp_path / name) == ["one", "two"]


def test_a_table_without_prompts_says_which_line(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"prompt": "one"}\n{"title": "two"}\n')
    with pytest.raises(ModelError, match="entry 2 has no prompt"):
        read_prompts(tmp_path / "p.jsonl")
    (tmp_path / "p.txt").write_text("\n")
    with pytest.raises(ModelError, match="no prompts in it"):
        read_prompts(tmp_path / "p.txt")
