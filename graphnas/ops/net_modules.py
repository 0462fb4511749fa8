"""Messages between the tiles of a map and nets. The class needs PyTorch only: an exported network carries its source text."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class NetMessage(nn.Module):
    """Tiles tell nets what they see, and hear from these nets what they are.

    Let T(n) be the tiles that the box of net n covers and P(n) those of its pins, N(t) the nets whose boxes cover tile t and Q(t) those of its
    pins (tiles and nets once for each pin), and f_n the features of the net::

        s_t = ReLU(A x_t + a)
        z_n = ReLU(B [mean over T(n) of s_t, mean over P(n) of s_t, f_n] + b)
        y_t = ReLU(norm(C [x_t, log(1 + [sum over N(t) of z_n, mean over N(t) of z_n, sum over Q(t) of z_n])]))

    Sums count nets and can weigh them as RUDY does; the mean tells what they are like. The logarithm keeps what is crowded comparable
    from design to design without statistics of a batch. A net without tiles is heard nowhere, a tile
    without nets hears zeros. On a map ``factor`` times coarser than the tiles, a pixel counts in T(n) by the number of its tiles
    that the box covers, and in P(n) by its pins; sums are the means over the pixel's tiles of their sums, the mean is that over all pairs of
    one of its tiles and a net. The idea is that of LHNN (Wang et al., DAC 2022), as one operation beside convolutions.

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
        self.net = nn.Linear(2 * width + features, width)
        self.mix = nn.Linear(channels + 3 * width, out, bias=False)
        self.norm = nn.BatchNorm2d(out)

    def forward(self, x: Tensor, nets: Tensor, covers: Tensor, ends: Tensor) -> Tensor:
        """``[B, out, H, W]``.

        Args:
            x: ``[B, channels, H, W]``.
            nets: ``[m, features]``, those of all examples.
            covers: ``[2, e]``, net and tile; tiles are numbered ``(example * factor * H + row) * factor * W + column``.
            ends: ``[2, p]``, net and tile of every pin.
        """
        rows = x.permute(0, 2, 3, 1)
        pixels = rows.flatten(0, 2)
        told = self.between(torch.relu(self.send(pixels)), nets.to(x.dtype), covers, ends, x.shape[3])
        mixed = self.mix(torch.cat([pixels, torch.log1p(told)], 1)).view(*rows.shape[:3], -1)
        return torch.relu(self.norm(mixed.permute(0, 3, 1, 2).contiguous()))

    def between(self, sent: Tensor, nets: Tensor, covers: Tensor, ends: Tensor, columns: int) -> Tensor:
        """What pixels hear, ``[B H W, 3 width]``, of what they said, ``[B H W, width]``, on a map of so many columns."""
        pixels, means = [], []
        for net, tile in (covers, ends):
            row, column = tile // (self.factor * columns), tile % (self.factor * columns)
            # A map has a whole number of pixels, so rows can be counted through the batch.
            pixels.append(row // self.factor * columns + column // self.factor)
            count = sent.new_zeros(len(nets), 1).index_add(0, net, sent.new_ones(len(net), 1)).clamp(min=1)
            means.append(sent.new_zeros(len(nets), sent.shape[1]).index_add(0, net, sent[pixels[-1]]) / count)
        said = torch.relu(self.net(torch.cat([*means, nets], 1)))
        over = torch.zeros_like(sent).index_add(0, pixels[0], said[covers[0]])
        at = torch.zeros_like(sent).index_add(0, pixels[1], said[ends[0]])
        pairs = sent.new_zeros(len(sent), 1).index_add(0, pixels[0], sent.new_ones(len(pixels[0]), 1)).clamp(min=1)
        return torch.cat([over / self.factor**2, over / pairs, at / self.factor**2], 1)
