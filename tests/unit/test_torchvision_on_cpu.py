"""torchvision beside a torch without CUDA."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kdbench.models.torchvision_on_cpu import mend, non_maximum_suppression

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")


def test_torchvision_imports_and_suppresses_boxes():
    mend()
    from torchvision.ops import nms

    boxes = torch.tensor([[0, 0, 10, 10], [1, 1, 10, 10], [20, 20, 30, 30.0]])
    assert nms(boxes, torch.tensor([0.8, 0.9, 0.5]), 0.5).tolist() == [1, 2]
    assert nms(boxes, torch.tensor([0.8, 0.9, 0.5]), 0.9).tolist() == [1, 0, 2]
    assert nms(boxes[:0], torch.zeros(0), 0.5).tolist() == []


def test_suppression_is_that_of_the_definition():
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(60, 2, generator=generator) * 50
    boxes = torch.cat([corners, corners + torch.rand(60, 2, generator=generator) * 40 + 1], 1)
    scores = torch.rand(60, generator=generator)
    kept = []
    for index in scores.argsort(descending=True).tolist():
        if all(overlap(boxes[index], boxes[other]) <= 0.4 for other in kept):
            kept.append(index)
    assert non_maximum_suppression(boxes, scores, 0.4).tolist() == kept


def overlap(one, other):
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    common = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return common / (sum(areas) - common)


def test_mending_imports_nothing_by_itself():
    code = (
        "import sys; from kdbench.models import torchvision_on_cpu as t; t.mend(); t.mend();"
        "from importlib.util import find_spec; assert find_spec('torchvision');"
        "assert not {'torch', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
