"""Labelled images in memory: read from arrays, data sets or batches, checked, and measured."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from graphnas.errors import GraphnasError


class Images(NamedTuple):
    """Images ``x[N, C, H, W]`` (uint8 or float32) and their classes ``y[N]`` (int64)."""

    x: Tensor
    y: Tensor

    def at(self, rows: Tensor) -> Images:
        """The images of these rows."""
        return Images(self.x[rows], self.y[rows])


def read_images(source: Any, split: str) -> Images:
    """Images and labels of a user's split, whatever its form (see ImageTask), as tensors of their own.

    Raises:
        GraphnasError: not one of the accepted forms, or the arrays do not fit together.
    """
    if isinstance(source, (tuple, list)) and len(source) == 2 and all(hasattr(part, "shape") for part in source):
        pairs: Iterable[Any] = [source]
    elif isinstance(source, Dataset) and not isinstance(source, IterableDataset) and hasattr(source, "__len__"):
        items = (source[i] for i in range(len(source)))
        pairs = ((_array(x, split)[None], np.asarray([y])) for x, y in items)
    elif isinstance(source, Iterable):
        pairs = source
    else:
        raise GraphnasError(
            f"the {split} split is a {type(source).__name__}; give arrays (x, y), a torch Dataset or batches (x, y)"
        )
    xs: list[np.ndarray] = []
    ys: list[np.ndarray] = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise GraphnasError(f"the {split} split yields a {type(pair).__name__}; every batch must be a pair (x, y)")
        x, y = _array(pair[0], split), _labels(pair[1], split)
        if x.ndim != 4:
            hint = "; add the channel axis" if x.ndim == 3 else ""
            raise GraphnasError(f"x of the {split} split has shape {list(x.shape)}; it must be [N, C, H, W]{hint}")
        if len(x) != len(y):
            raise GraphnasError(f"the {split} split has {len(x)} images but {len(y)} labels")
        if xs and x.shape[1:] != xs[0].shape[1:]:
            shapes = f"{list(xs[0].shape[1:])} and {list(x.shape[1:])}"
            raise GraphnasError(f"the {split} split has images of shapes {shapes}; resize them to one shape")
        xs.append(x)
        ys.append(y)
    if sum(map(len, ys)) == 0:
        raise GraphnasError(f"the {split} split is empty; it needs at least one image")
    return Images(torch.from_numpy(np.concatenate(xs)), torch.from_numpy(np.concatenate(ys)))


def _array(values: Any, split: str) -> np.ndarray:
    if not isinstance(values, (np.ndarray, Tensor)):
        raise GraphnasError(
            f"x of the {split} split is a {type(values).__name__}; it must be a tensor or a numpy array"
        )
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.dtype.kind not in "uifb":
        raise GraphnasError(f"x of the {split} split has the type {array.dtype}; it must be numeric")
    if array.dtype != np.uint8:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused below
            array = array.astype(np.float32)
        if not np.isfinite(array).all():
            raise GraphnasError(f"x of the {split} split holds NaN or infinite values; remove or replace them")
    return array


def _labels(values: Any, split: str) -> np.ndarray:
    array = np.asarray(values.detach().cpu() if isinstance(values, Tensor) else values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise GraphnasError(f"y of the {split} split has shape {list(array.shape)}; it must be [N], one class an image")
    if array.dtype.kind not in "uib":
        raise GraphnasError(
            f"y of the {split} split has the type {array.dtype}; it must be integer class numbers from 0"
        )
    return array.astype(np.int64)


def channel_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation ``[C]`` of each channel of ``x[N, C, H, W]``; a constant channel gets 1."""
    pieces = torch.split(x, 4096)  # bounds the memory of the float64 copies
    count = x.numel() // x.shape[1]
    mean = torch.stack([piece.sum(dim=(0, 2, 3), dtype=torch.float64) for piece in pieces]).sum(0) / count
    squares = [(piece.double() - mean.view(1, -1, 1, 1)).square().sum(dim=(0, 2, 3)) for piece in pieces]
    std = (torch.stack(squares).sum(0) / count).sqrt()
    return mean.float(), torch.where(std > 0, std, 1.0).float()
