"""Messages through nets by sparse products: which net covers which pixel is worked out once for a batch and a resolution."""

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
    """How many tiles of every pixel each net covers.

    Args:
        covers: ``[2, e]`` int64, net and tile, as ``NetMessage.forward`` takes them.
        nets: how many.
        pixels: of all maps of the batch.
        columns: pixels in a row of a map.
        factor: edge of a pixel in tiles.

    Raises:
        GraphnasError: a net or a tile that there is not.
    """

    def __init__(self, covers: Tensor, nets: int, pixels: int, columns: int, factor: int) -> None:
        net, tile = covers.numpy()
        for what, found, count in (("net", net, nets), ("tile", tile, pixels * factor**2)):
            if len(found) and not 0 <= found.min() <= found.max() < count:
                wrong = found.min() if found.min() < 0 else found.max()
                raise GraphnasError(
                    f"covers names {what} {wrong}; the {count} {what}s of the batch are 0 to {count - 1}"
                )
        row, column = np.divmod(tile, factor * columns)
        entries = (np.ones(len(net), np.float32), (net, row // factor * columns + column // factor))
        made = scipy.sparse.coo_array(entries, shape=(nets, pixels)).tocsr()  # adds up the tiles of a pixel
        starts, pixel = (torch.from_numpy(a.astype(np.int32)) for a in (made.indptr, made.indices))
        self.matrix = SparseMatrix(Pattern(starts, pixel, (nets, pixels)), torch.from_numpy(made.data))
        self.tiles = torch.from_numpy(np.maximum(np.bincount(net, minlength=nets), 1))[:, None]
        self.pairs = torch.from_numpy(np.maximum(made.sum(0), 1))[:, None]


class FastNetMessage(NetMessage):
    """The same on the CPU with sparse products; elsewhere, and compiled or transformed, the plain one."""

    def between(self, sent: Tensor, nets: Tensor, covers: Tensor, columns: int) -> Tensor:
        """See ``NetMessage``."""
        if sent.device.type != "cpu" or sent.dtype not in (torch.float32, torch.float64) or not eager():
            return super().between(sent, nets, covers, columns)
        given = len(nets), len(sent), columns, self.factor
        found: Coverage = remembered(covers, given, lambda: Coverage(covers, *given))
        mean = product(found.matrix, sent) / found.tiles
        said = torch.relu(self.net(torch.cat([mean, nets], 1)))
        total = transposed_product(found.matrix, said)
        return torch.cat([total / self.factor**2, total / found.pairs], 1)
