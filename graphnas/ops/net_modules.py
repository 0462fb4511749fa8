"""Messages between the tiles of a map and the nets that cover them. The class needs PyTorch only: exports carry its source text."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NetMessage(nn.Module):
    """Tiles tell the nets that cover them what they see, and hear from these nets what they are.

    With N(t) the nets that cover tile t and T(n) the tiles of net n with the features f_n::

        u_n = mean over t in T(n) of ReLU(A x_t + a)        z_n = ReLU(B [u_n, f_n] + b)
        y_t = ReLU(norm(C [x_t, norm([sum over n in N(t) of z_n, mean over n in N(t) of z_n])]))

    The sum counts nets and can weigh them as RUDY does; the mean tells what they are like. A net without tiles is heard nowhere, a tile
    without nets hears zeros. On a map ``factor`` times coarser than the tiles, a pixel counts in u_n by the number of its tiles
    that the net covers; the sum is the mean over the pixel's tiles of their sums, the mean that over all pairs of one of its tiles and a net.
    The idea is that of LHNN (Wang et al., DAC 2022), as one operation beside convolutions.

    Args:
        channels, out: of the map before and after.
        features: of a net.
        width: of messages.
        factor: edge of a pixel in tiles.
    """

    def __init__(self, channels: int, out: int, features: int, width: int, factor: int = 1) -> None:
        super().__init__()
        self.factor = factor
        self.send = nn.Linear(channels, width)
        self.net = nn.Linear(width + features, width)
        self.heard = nn.BatchNorm1d(2 * width)
        self.mix = nn.Linear(channels + 2 * width, out, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor, nets: Tensor, covers: Tensor) -> Tensor:
        """``[B, out, H, W]``.

        Args:
            x: ``[B, channels, H, W]``.
            nets: ``[m, features]``, those of all examples.
            covers: ``[2, e]``, net and tile; tiles are numbered ``(example * factor * H + row) * factor * W + column``.
        """
        rows = x.permute(0, 2, 3, 1)
        pixels = rows.flatten(0, 2)
        told = self.between(torch.relu(self.send(pixels)), nets.to(x.dtype), covers, x.shape[3])
        mixed = self.mix(torch.cat([pixels, self.heard(told)], 1)).view(*rows.shape[:3], -1)
        return torch.relu(self.norm(mixed.permute(0, 3, 1, 2).contiguous()))

    def between(self, sent: Tensor, nets: Tensor, covers: Tensor, columns: int) -> Tensor:
        """What pixels hear, ``[B H W, 2 width]``, of what they said, ``[B H W, width]``, on a map of so many columns."""
        row, column = covers[1] // (self.factor * columns), covers[1] % (self.factor * columns)
        pixel = (
            row // self.factor * columns + column // self.factor
        )  # a map has a whole number of pixels: rows go through
        ones = sent.new_ones(len(pixel), 1)
        tiles = sent.new_zeros(len(nets), 1).index_add(0, covers[0], ones).clamp(min=1)
        pairs = sent.new_zeros(len(sent), 1).index_add(0, pixel, ones).clamp(min=1)
        mean = sent.new_zeros(len(nets), sent.shape[1]).index_add(0, covers[0], sent[pixel]) / tiles
        said = torch.relu(self.net(torch.cat([mean, nets], 1)))
        total = torch.zeros_like(sent).index_add(0, pixel, said[covers[0]])
        return torch.cat([total / self.factor**2, total / pairs], 1)
