"""What every routability model must beat: saying nothing, RUDY, and gradient boosting on simple statistics of the maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from eda.dataset import Dataset, Sample

Floats = NDArray[np.float64]
NEIGHBOURHOODS = (3, 7)
_QUANTILES = (0.5, 0.75, 0.9, 0.98)

NetsBaseline = Callable[[Dataset, int, int], Callable[[Sequence[Sample]], Floats]]
"""``(data set, effort, seed) -> predict``: one number for every placement."""
HotspotBaseline = Callable[[Dataset, int, int], Callable[[Sequence[Sample]], list[Floats]]]
"""``(data set, effort, seed) -> predict``: a map ``[ny, nx]`` for every placement."""


def placement_statistics(sample: Sample) -> Floats:
    """Of every map the mean, the standard deviation, the maximum and four quantiles; the layers and the number of tiles."""
    maps = sample.features.reshape(len(sample.features), -1).astype(np.float64)
    columns = [maps.mean(1), maps.std(1), maps.max(1), *np.quantile(maps, _QUANTILES, axis=1)]
    return np.concatenate([*columns, [sample.recipe.layers, maps.shape[1]]])


def tile_statistics(sample: Sample) -> Floats:
    """For every tile its own maps and their means over 3x3 and 7x7 tiles (edges repeated), and the layers: ``[tiles, columns]``."""
    from scipy.ndimage import uniform_filter

    maps = sample.features.astype(np.float64)
    wide = [uniform_filter(maps, (0, size, size), mode="nearest") for size in NEIGHBOURHOODS]
    columns = np.concatenate([maps, *wide]).reshape(-1, maps.shape[1] * maps.shape[2]).T
    return np.column_stack([columns, np.full(len(columns), float(sample.recipe.layers))])


def zero_nets(dataset: Dataset, effort: int, seed: int) -> Callable[[Sequence[Sample]], Floats]:
    """No violation anywhere."""
    return lambda samples: np.zeros(len(samples))


def mean_rudy(dataset: Dataset, effort: int, seed: int) -> Callable[[Sequence[Sample]], Floats]:
    """The mean of the RUDY map."""
    channel = dataset.channel("rudy")
    return lambda samples: np.array([float(sample.features[channel].mean()) for sample in samples])


def boosted_nets(dataset: Dataset, effort: int, seed: int) -> Callable[[Sequence[Sample]], Floats]:
    """Gradient boosting of the rate on statistics of the placement."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    known = dataset.part("train")
    model = HistGradientBoostingRegressor(
        max_iter=200,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=10,
        l2_regularization=1.0,
        random_state=seed,
    )
    rates = np.sqrt([sample.labels[effort].rate for sample in known])
    model.fit(np.stack([placement_statistics(sample) for sample in known]), rates)
    return lambda samples: np.asarray(model.predict(np.stack([placement_statistics(sample) for sample in samples])))


def zero_hotspots(dataset: Dataset, effort: int, seed: int) -> Callable[[Sequence[Sample]], list[Floats]]:
    """No hotspot anywhere."""
    return lambda samples: [np.zeros(sample.features.shape[1:]) for sample in samples]


def tile_rudy(dataset: Dataset, effort: int, seed: int) -> Callable[[Sequence[Sample]], list[Floats]]:
    """The RUDY of the tile."""
    channel = dataset.channel("rudy")
    return lambda samples: [sample.features[channel].astype(np.float64) for sample in samples]


def boosted_hotspots(dataset: Dataset, effort: int, seed: int) -> Callable[[Sequence[Sample]], list[Floats]]:
    """Gradient boosting on the maps around each tile."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    known = dataset.part("train")
    model = HistGradientBoostingClassifier(
        max_iter=200,
        learning_rate=0.1,
        max_leaf_nodes=31,
        min_samples_leaf=50,
        l2_regularization=1.0,
        random_state=seed,
    )
    hot = np.concatenate([sample.labels[effort].hotspots.ravel() > 0 for sample in known])
    model.fit(np.concatenate([tile_statistics(sample) for sample in known]), hot)

    def predict(samples: Sequence[Sample]) -> list[Floats]:
        return [
            model.decision_function(tile_statistics(sample)).reshape(sample.features.shape[1:]) for sample in samples
        ]

    return predict


NETS: dict[str, NetsBaseline] = {"zero": zero_nets, "mean RUDY": mean_rudy, "gradient boosting": boosted_nets}
HOTSPOTS: dict[str, HotspotBaseline] = {
    "zero": zero_hotspots,
    "tile RUDY": tile_rudy,
    "gradient boosting": boosted_hotspots,
}
