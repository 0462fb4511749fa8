"""From feature maps to what a network reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eda.dataset import Dataset, Sample
from graphnas.errors import GraphnasError

_QUANTILE = 0.99
_MOST = 4.0
EXTRA = ("layers", "inside")


@dataclass(frozen=True)
class Preparation:
    """Scales every map by the 99 % quantile of its training tiles and adds two channels.

    ``layers`` is the number of routing layers less 3 on every tile, because supply depends on it and no other map shows it; ``inside`` is 1 on the
    die and 0 on the padding around smaller dies of a batch.

    Args:
        maps: names of the maps, in the order in which they come.
        scale: of every map, positive.
        layers: the numbers of routing layers in the training part, ascending.
        tile: edge of its tiles in microns, which are one row high.
        cells: most cells of a training placement; 0 where the data does not tell.
    """

    maps: tuple[str, ...]
    scale: tuple[float, ...]
    layers: tuple[int, ...]
    tile: float
    cells: int = 0

    @classmethod
    def of(cls, dataset: Dataset) -> Preparation:
        """Scales from the training part of a data set alone."""
        samples = dataset.part("train")
        if not samples:
            raise GraphnasError("the data set has no training part to take the scales of its maps from")
        tiles = np.concatenate([sample.features.reshape(len(dataset.maps), -1) for sample in samples], axis=1)
        scale = np.quantile(np.abs(tiles), _QUANTILE, axis=1)
        layers = tuple(sorted({sample.recipe.layers for sample in samples}))
        cells = max(int(sample.facts.get("cells", 0)) for sample in samples)
        return cls(dataset.maps, tuple(float(s) if s > 0 else 1.0 for s in scale), layers, dataset.tile, cells)

    @property
    def channels(self) -> int:
        """Channels that a network reads."""
        return len(self.maps) + len(EXTRA)

    def __call__(self, features: NDArray[np.float32], layers: int) -> NDArray[np.float32]:
        """float32 ``[channels, H, W]`` of the maps ``[maps, H, W]`` of a placement with so many routing layers."""
        if len(features) != len(self.maps):
            raise GraphnasError(
                f"got {len(features)} feature maps, but {len(self.maps)} are needed: {', '.join(self.maps)}"
            )
        scaled = np.clip(features / np.array(self.scale, dtype=np.float32)[:, None, None], -_MOST, _MOST)
        constant = np.broadcast_to(
            np.array([layers - 3.0, 1.0], dtype=np.float32)[:, None, None], (2, *features.shape[1:])
        )
        return np.concatenate([scaled, constant]).astype(np.float32)

    def of_sample(self, sample: Sample) -> NDArray[np.float32]:
        """The same of a sample of a data set."""
        return self(sample.features, sample.recipe.layers)

    def describe(self) -> dict[str, object]:
        """As JSON values; ``from_json`` is the inverse."""
        return {
            "maps": list(self.maps),
            "scale": list(self.scale),
            "layers": list(self.layers),
            "tile": self.tile,
            "cells": self.cells,
        }

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> Preparation:
        """The inverse of ``describe``.

        Raises:
            GraphnasError: something is missing or out of range.
        """
        try:
            maps = tuple(str(name) for name in given["maps"])
            scale = tuple(float(value) for value in given["scale"])
            layers = tuple(int(value) for value in given["layers"])
            tile, cells = float(given["tile"]), int(given["cells"])
        except (KeyError, TypeError, ValueError):
            raise GraphnasError(
                "the preparation of a routability model needs the lists maps, scale and layers, and the numbers tile and cells"
            ) from None
        if len(maps) != len(scale) or not maps or not all(0 < value < float("inf") for value in scale):
            raise GraphnasError("the preparation of a routability model needs one positive scale for each map")
        if not layers or min(layers) < 1 or not 0 < tile < float("inf") or cells < 0:
            raise GraphnasError("the layers, tile or cells of the preparation of a routability model are out of range")
        return cls(maps, scale, layers, tile, cells)


def side(longest: int, multiple: int) -> int:
    """The least multiple that is at least ``longest``."""
    return -(-longest // multiple) * multiple


def stacked(maps: Sequence[NDArray[np.float32]], multiple: int, fill: float = 0.0) -> NDArray[np.float32]:
    """Maps ``[C, h, w]`` of different sizes as one array ``[B, C, H, W]``; H and W are multiples of ``multiple``."""
    height, width = (side(max(m.shape[axis] for m in maps), multiple) for axis in (1, 2))
    made = np.full((len(maps), len(maps[0]), height, width), fill, dtype=np.float32)
    for row, m in zip(made, maps, strict=True):
        row[:, : m.shape[1], : m.shape[2]] = m
    return made
