"""Sparse matrices in compressed rows (CSR) that keep their transposes."""

from __future__ import annotations

import warnings
from functools import cached_property

import numpy as np
import scipy.sparse
import torch
from torch import Tensor


class Pattern:
    """Where the entries of a sparse matrix are, sorted by row.

    Attributes:
        starts: ``[rows + 1]`` int32, the first entry of each row.
        columns: ``[entries]`` int32, the column of each entry.
        shape: (rows, columns).
    """

    def __init__(self, starts: Tensor, columns: Tensor, shape: tuple[int, int]) -> None:
        self.starts, self.columns, self.shape = starts, columns, shape
        self._blank: dict[torch.dtype, Tensor] = {}

    @classmethod
    def of(cls, rows: Tensor, columns: Tensor, shape: tuple[int, int]) -> Pattern:
        """The pattern of entries ``(rows[k], columns[k])`` in any order; entries of one row keep their order."""
        starts, order = _sort(rows, shape[0])
        return cls(starts, columns.index_select(0, order).int(), shape)

    def __len__(self) -> int:
        return len(self.columns)

    @cached_property
    def rows(self) -> Tensor:
        """``[entries]`` int32, the row of each entry."""
        return torch.repeat_interleave(torch.arange(self.shape[0], dtype=torch.int32), self.starts.diff())

    @cached_property
    def counts(self) -> Tensor:
        """``[rows]`` int64, how many entries each row has."""
        return self.starts.diff().long()

    @cached_property
    def _transposed(self) -> tuple[Pattern, Tensor]:
        starts, order = _sort(self.columns, self.shape[1])
        other = Pattern(starts, self.rows.index_select(0, order), (self.shape[1], self.shape[0]))
        return other, order

    @property
    def transposed(self) -> Pattern:
        """The pattern of the transposed matrix."""
        return self._transposed[0]

    @property
    def order(self) -> Tensor:
        """``[entries]`` int32: entry k of the transposed pattern is entry ``order[k]`` of this one."""
        return self._transposed[1]

    @cached_property
    def by_row(self) -> Incidence:
        """Which row each entry is in."""
        return Incidence(self.rows, self.starts, torch.arange(len(self), dtype=torch.int32))

    @cached_property
    def by_column(self) -> Incidence:
        """Which column each entry is in."""
        return Incidence(self.columns, self.transposed.starts, self.order)

    def csr(self, values: Tensor) -> Tensor:
        """The torch matrix with these values."""
        return torch.sparse_csr_tensor(self.starts, self.columns, values, size=self.shape, check_invariants=False)

    def blank(self, dtype: torch.dtype) -> Tensor:
        """The torch matrix with zeros at the places of the entries."""
        if dtype not in self._blank:
            self._blank[dtype] = self.csr(torch.zeros(len(self), dtype=dtype))
        return self._blank[dtype]


def _sort(keys: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """(starts, order) of a stable counting sort of keys from 0 to ``count`` - 1, int32."""
    entries = len(keys)
    where = (np.ones(entries, dtype=np.int8), keys.numpy(), np.arange(entries + 1))
    rows = scipy.sparse.csc_array(where, shape=(count, entries)).tocsr()
    return torch.from_numpy(rows.indptr.astype(np.int32)), torch.from_numpy(rows.indices.astype(np.int32))


class SparseMatrix:
    """A pattern with constant values ``[entries]``.

    Its transpose and its copies in other precisions are made once.
    """

    def __init__(self, pattern: Pattern, values: Tensor) -> None:
        self.pattern, self.values = pattern, values
        self._csr: dict[torch.dtype, Tensor] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        return self.pattern.shape

    def csr(self, dtype: torch.dtype) -> Tensor:
        """The torch matrix in this precision."""
        if dtype not in self._csr:
            self._csr[dtype] = self.pattern.csr(self.values.to(dtype))
        return self._csr[dtype]

    @cached_property
    def transposed(self) -> SparseMatrix:
        """The transposed matrix."""
        return SparseMatrix(self.pattern.transposed, self.values.index_select(0, self.pattern.order))


class Incidence:
    """For every edge one node: ``index [E]``, and the edges of each node (``starts``, ``order``)."""

    def __init__(self, index: Tensor, starts: Tensor, order: Tensor) -> None:
        self.index = index
        self._pattern = Pattern(starts, order, (len(starts) - 1, len(order)))
        self._ones: dict[torch.dtype, Tensor] = {}

    def ones(self, dtype: torch.dtype) -> Tensor:
        """The torch matrix ``[N, E]`` that sums the edges of each node."""
        if dtype not in self._ones:
            self._ones[dtype] = self._pattern.csr(torch.ones(len(self._pattern), dtype=dtype))
        return self._ones[dtype]


with warnings.catch_warnings():  # torch says once that CSR matrices are new; nobody who uses graphnas needs to know
    warnings.simplefilter("ignore")
    torch.sparse_csr_tensor([0, 0], [], torch.zeros(0), size=(1, 1), check_invariants=False)
