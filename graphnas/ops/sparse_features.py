"""Node features that are mostly zeros, such as bags of words: dropout and linear maps work on the other entries only."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from graphnas.ops.aggregate import eager, product
from graphnas.ops.dropout import Dropout, dropout
from graphnas.ops.neighbourhood import remembered
from graphnas.ops.sparse_matrix import Pattern, SparseMatrix

DENSITY = 0.1
"""Features with at most this share of non-zero entries are treated as sparse."""


class SparseFeatures:
    """A matrix ``[N, F]`` that graph layers read instead of a dense tensor; it gets no gradient."""

    def __init__(self, matrix: SparseMatrix) -> None:
        self.matrix = matrix

    @property
    def shape(self) -> tuple[int, int]:
        """(N, F)."""
        return self.matrix.shape

    @property
    def dtype(self) -> torch.dtype:
        """That of the values."""
        return self.matrix.values.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def dense(self) -> Tensor:
        """The same as a tensor."""
        return self.matrix.csr(self.dtype).to_dense()

    def dropped(self, p: float) -> SparseFeatures:
        """With dropout: zeros stay zeros, so only the others need a draw."""
        return SparseFeatures(SparseMatrix(self.matrix.pattern, dropout(self.matrix.values, p)))


Features = Tensor | SparseFeatures


def sparse_features(x: Tensor) -> SparseFeatures | None:
    """The sparse form of ``x [N, F]`` where it is worth while, or None; found once for each tensor.

    It is on the CPU, for constant inputs with at most ``DENSITY`` of non-zero entries.
    """
    if x.dim() != 2 or x.requires_grad or x.device.type != "cpu" or x.dtype not in (torch.float32, torch.float64):
        return None
    if not eager():
        return None

    def make() -> SparseFeatures | None:
        if not 0 < int(torch.count_nonzero(x)) <= DENSITY * x.numel():
            return None
        rows, columns = x.detach().nonzero(as_tuple=True)
        pattern = Pattern.of(rows, columns, (x.shape[0], x.shape[1]))  # entries are in order already
        return SparseFeatures(SparseMatrix(pattern, x.detach()[rows, columns]))

    return remembered(x, "features", make)  # type: ignore[no-any-return]


def linear(x: Features, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``x weight^T + bias`` with ``weight [out, F]``, as ``torch.nn.functional.linear``."""
    if isinstance(x, Tensor):
        return functional.linear(x, weight, bias)
    result = product(x.matrix, weight.t())
    return result if bias is None else result + bias


class FeatureDropout(Dropout):
    """Dropout of the features of nodes; its result is a SparseFeatures where the input is sparse."""

    def forward(self, x: Tensor) -> Features:  # type: ignore[override]
        """``x [N, F]``."""
        sparse = sparse_features(x)
        if sparse is None:
            return super().forward(x)
        return sparse.dropped(self.p) if self.training and self.p else sparse


class FeatureLinear(torch.nn.Linear):
    """``torch.nn.Linear`` that also takes SparseFeatures."""

    def forward(self, x: Features) -> Tensor:
        """``x [N, F]`` gives ``[N, out]``."""
        return linear(x, self.weight, self.bias)
