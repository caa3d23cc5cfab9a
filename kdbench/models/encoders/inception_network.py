"""The Inception v3 of 2015-12-05, as the Frechet Inception Distance knows it.

torchvision's Inception v3 is another network. This one, as Google published it, averages without the padding
in its pooled branches, and takes the maximum instead of the mean in the last block's. Batch normalisation is
folded into the convolutions, in float64, when weights are read.

Sources: Szegedy et al. (2016), "Rethinking the Inception architecture for computer vision"; the differences
as pytorch-fid documents them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

LAYERS = {64: 1, 192: 2, 768: 3, 2048: 4}
"""Width of the features -> how many stages lead to them."""

EPSILON = 1e-3
"""Of the batch normalisations."""

Padding = tuple[int, int]


class Convolution(nn.Module):
    """A convolution with its folded batch normalisation, and ReLU."""

    def __init__(
        self,
        into: int,
        out: int,
        kernel: int | tuple[int, int] = 1,
        stride: int = 1,
        same: bool = True,
    ) -> None:
        super().__init__()
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(into, out, size, stride, padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(x)
        return found.relu_()


class Branches(nn.Module):
    """Several ways through, their channels side by side."""

    def __init__(self, *ways: nn.Module) -> None:
        super().__init__()
        self.ways = nn.ModuleList(ways)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([way(x) for way in self.ways], dim=1)


def _way(into: int, *steps: tuple[int, int | tuple[int, int]]) -> nn.Sequential:
    """Convolutions (width, kernel) one after the other."""
    widths = [into, *(out for out, _ in steps)]
    parts = [Convolution(w, out, kernel) for w, (out, kernel) in zip(widths, steps, strict=False)]
    return nn.Sequential(*parts)


def _pooled(into: int, out: int, pool: nn.Module | None = None) -> nn.Sequential:
    mean = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return nn.Sequential(pool or mean, Convolution(into, out))


def _block_a(into: int, pooled: int) -> Branches:
    return Branches(
        _way(into, (64, 1)),
        _way(into, (48, 1), (64, 5)),
        _way(into, (64, 1), (96, 3), (96, 3)),
        _pooled(into, pooled),
    )


def _block_b(into: int) -> Branches:
    return Branches(
        Convolution(into, 384, 3, stride=2, same=False),
        nn.Sequential(_way(into, (64, 1), (96, 3)), Convolution(96, 96, 3, stride=2, same=False)),
        nn.MaxPool2d(3, stride=2),
    )


def _block_c(into: int, width: int) -> Branches:
    flat, tall = (1, 7), (7, 1)
    return Branches(
        _way(into, (192, 1)),
        _way(into, (width, 1), (width, flat), (192, tall)),
        _way(into, (width, 1), (width, tall), (width, flat), (width, tall), (192, flat)),
        _pooled(into, 192),
    )


def _block_d(into: int) -> Branches:
    return Branches(
        nn.Sequential(_way(into, (192, 1)), Convolution(192, 320, 3, stride=2, same=False)),
        nn.Sequential(
            _way(into, (192, 1), (192, (1, 7)), (192, (7, 1))),
            Convolution(192, 192, 3, stride=2, same=False),
        ),
        nn.MaxPool2d(3, stride=2),
    )


def _block_e(into: int, pool: nn.Module | None = None) -> Branches:
    def both() -> Branches:
        return Branches(Convolution(384, 384, (1, 3)), Convolution(384, 384, (3, 1)))

    return Branches(
        _way(into, (320, 1)),
        nn.Sequential(Convolution(into, 384), both()),
        nn.Sequential(_way(into, (448, 1), (384, 3)), both()),
        _pooled(into, 192, pool),
    )


class InceptionNetwork(nn.Module):
    """Four stages; each one's features are the mean over its map."""

    def __init__(self, layer: int = 2048) -> None:
        super().__init__()
        stages = [
            nn.Sequential(
                Convolution(3, 32, 3, stride=2, same=False),
                Convolution(32, 32, 3, same=False),
                Convolution(32, 64, 3),
                nn.MaxPool2d(3, stride=2),
            ),
            nn.Sequential(
                Convolution(64, 80), Convolution(80, 192, 3, same=False), nn.MaxPool2d(3, stride=2)
            ),
            nn.Sequential(
                _block_a(192, 32), _block_a(256, 64), _block_a(288, 64), _block_b(288),
                _block_c(768, 128), _block_c(768, 160), _block_c(768, 160), _block_c(768, 192),
            ),
            nn.Sequential(
                _block_d(768), _block_e(1280), _block_e(2048, nn.MaxPool2d(3, stride=1, padding=1))
            ),
        ]  # fmt: skip
        self.stages = nn.Sequential(*stages[: LAYERS[layer]])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features [N, layer] of normalised pixels [N, 3, 299, 299], about -1..1."""
        found: torch.Tensor = self.stages(x)
        return found.mean(dim=(2, 3))

    def convolutions(self) -> list[nn.Conv2d]:
        """All of them, in the order of `inception_weights.NAMES`."""
        return [module for module in self.modules() if isinstance(module, nn.Conv2d)]

    @torch.no_grad()
    def fill(self, weights: Mapping[int, Mapping[str, torch.Tensor]]) -> None:
        """Take convolution i's `weight`, `scale`, `shift`, `mean`, `variance`, normalisation folded in."""
        for index, conv in enumerate(self.convolutions()):
            part = {name: value.double() for name, value in weights[index].items()}
            factor = part["scale"] / (part["variance"] + EPSILON).sqrt()
            conv.weight.copy_(part["weight"] * factor.view(-1, 1, 1, 1))
            assert conv.bias is not None
            conv.bias.copy_(part["shift"] - part["mean"] * factor)
