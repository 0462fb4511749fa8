"""Random crops and mirror images for training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from graphnas.errors import GraphnasError


@dataclass(frozen=True)
class Augmentation:
    """Random crop of the zero-padded image, then a horizontal flip (He et al., 2016, section 4.2).

    Attributes:
        padding: zeros on every side before an image of the old size is cut out; 0 crops nothing.
        flip: mirror left and right with probability 1/2.
    """

    padding: int = 4
    flip: bool = True

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise GraphnasError(f"the padding of an augmentation is {self.padding}; it must be 0 or more pixels")

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Augmented copies of images ``x[B, C, H, W]``, each with its own offset and coin."""
        count, _, height, width = x.shape
        row = torch.arange(height).expand(count, height)
        column = torch.arange(width).expand(count, width)
        if self.flip:
            mirrored = torch.rand(count, 1, generator=generator) < 0.5
            column = torch.where(mirrored, width - 1 - column, column)
        if self.padding:
            x = functional.pad(x, (self.padding,) * 4)
            offset = torch.randint(2 * self.padding + 1, (2, count, 1), generator=generator)
            row, column = row + offset[0], column + offset[1]
        image = torch.arange(count).view(-1, 1, 1)
        # indices on both sides of the channel slice put the channels last
        return x[image, :, row.unsqueeze(2), column.unsqueeze(1)].permute(0, 3, 1, 2).contiguous()


def cutout(x: Tensor, part: float, generator: torch.Generator) -> Tensor:
    """Images ``x[B, C, H, W]`` with a square of zeros, whose centre is a random pixel (DeVries & Taylor, 2017).

    Zero is the mean of standardised images. The part of the square that lies outside of the image is lost.

    Args:
        x: images; they stay as they are.
        part: side of the square, as part of the image's shorter side, rounded to an even number of pixels.
        generator: draws the centres.
    """
    count, _, height, width = x.shape
    half = round(part * min(height, width) / 2)
    rows = torch.randint(height, (count, 1), generator=generator)
    columns = torch.randint(width, (count, 1), generator=generator)
    above, left = torch.arange(height) - rows, torch.arange(width) - columns
    hit = ((above >= -half) & (above < half))[:, :, None] & ((left >= -half) & (left < half))[:, None, :]
    return x.masked_fill(hit[:, None], 0.0)
