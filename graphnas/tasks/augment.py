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
