"""Messages through nets by sparse products: which net is at which pixel is worked out once for a batch and a resolution."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.ops.aggregate import eager, product, transposed_product
from graphnas.ops.neighbourhood import remembered
from graphnas.ops.net_modules import NetMessage
from graphnas.ops.sparse_matrix import Pattern, SparseMatrix


class Coverage:
    """How often every net is at every pixel.

    Args:
        pairs: ``[2, e]`` int64, net and tile, as ``NetMessage.forward`` takes them.
        nets: how many.
        pixels: of all maps of the batch.
        columns: pixels in a row of a map.
        factor: edge of a pixel in tiles.

    Raises:
        GraphnasError: a net or a tile that there is not.
    """

    def __init__(self, pairs: Tensor, nets: int, pixels: int, columns: int, factor: int) -> None:
        net, tile = pairs.numpy()
        for what, found, count in (("net", net, nets), ("tile", tile, pixels * factor**2)):
            if len(found) and not 0 <= found.min() <= found.max() < count:
                wrong = found.min() if found.min() < 0 else found.max()
                raise GraphnasError(
                    f"a pair of net and tile names {what} {wrong}; the {count} {what}s of the batch are 0 to {count - 1}"
                )
        row, column = np.divmod(tile, factor * columns)
        entries = (np.ones(len(net), np.float32), (net, row // factor * columns + column // factor))
        made = scipy.sparse.coo_array(entries, shape=(nets, pixels)).tocsr()  # adds up the pairs of a pixel
        starts, pixel = (torch.from_numpy(a.astype(np.int32)) for a in (made.indptr, made.indices))
        self.matrix = SparseMatrix(Pattern(starts, pixel, (nets, pixels)), torch.from_numpy(made.data))
        self.of_net = torch.from_numpy(np.maximum(np.bincount(net, minlength=nets), 1))[:, None]
        self.of_pixel = torch.from_numpy(np.maximum(made.sum(0), 1))[:, None]

    def mean(self, x: Tensor) -> Tensor:
        """For each net the mean of ``x [pixels, F]``, 0 where it is nowhere."""
        return product(self.matrix, x) / self.of_net

    def sum(self, x: Tensor) -> Tensor:
        """For each pixel the sum of ``x [nets, F]``."""
        return transposed_product(self.matrix, x)


class FastNetMessage(NetMessage):
    """The same on the CPU with sparse products; elsewhere, and compiled or transformed, the plain one."""

    def between(self, sent: Tensor, nets: Tensor, covers: Tensor, ends: Tensor, columns: int) -> Tensor:
        """See ``NetMessage``."""
        if sent.device.type != "cpu" or sent.dtype not in (torch.float32, torch.float64) or not eager():
            return super().between(sent, nets, covers, ends, columns)
        given = len(nets), len(sent), columns, self.factor
        boxes: Coverage = remembered(covers, given, lambda: Coverage(covers, *given))
        pins: Coverage = remembered(ends, given, lambda: Coverage(ends, *given))
        said = torch.relu(self.net(torch.cat([boxes.mean(sent), pins.mean(sent), nets], 1)))
        over = boxes.sum(said)
        return torch.cat([over / self.factor**2, over / boxes.of_pixel, pins.sum(said) / self.factor**2], 1)
