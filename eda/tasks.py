"""The two tasks of Chang et al. (ICCAD 2021): how many nets are violated, and where the hotspots are."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from eda.dataset import PARTS, Dataset, Sample
from eda.metrics import hotspot_metrics, nets_metrics
from eda.preparation import Preparation, stacked
from eda.tile_graph import EXTRA, TileGraph, joined, tile_graph
from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import Batch, Metric, Signature, Task
from graphnas.tasks.measure import device_of, evaluating

_OUTSIDE = -1.0
_SIDE = 32
_SOFT = 0.1
"""A difference in the square root of the rate that counts as one logit."""
_SORTED = 4
"""Batches whose placements are sorted by size, so that little is padded while batches still mix designs."""


class RoutabilityTask(Task):
    """Placements in parts by family of designs.

    Dies have different sizes: a batch is padded at the right and the top to a common multiple of ``multiple`` tiles. Training
    placements are mirrored at random along either axis; not turned, since rows and layers have directions.

    Args:
        dataset: with the parts train and validation at least.
        effort: the routing effort whose labels count; the least by default.
        batch_size: placements a training batch.
        multiple: of the padded sides; networks that halve the map k times need ``2 ** k``.
        mirror: augment by mirroring.
        graph: give networks the graph of cells, nets and tiles (``eda.tile_graph``) after the maps.
        seed: of the subsets that ``share`` selects.

    Raises:
        GraphnasError: no such effort, a part without samples, or samples without a graph where one is asked for.
    """

    recipe: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {"optimiser": "adamw", "learning_rate": 3e-3, "weight_decay": 1e-2, "schedule": "cosine", "clip": 5.0}
    )
    _kind: ClassVar[str]

    def __init__(
        self,
        dataset: Dataset,
        *,
        effort: int | None = None,
        batch_size: int = 16,
        multiple: int = 8,
        mirror: bool = True,
        graph: bool = False,
        seed: int = 0,
    ) -> None:
        efforts = dataset.efforts
        if effort is None:
            effort = min(efforts, default=0)
        if effort not in efforts:
            raise GraphnasError(
                f"the data set has no labels of effort {effort}; it has {', '.join(map(str, efforts)) or 'none'}"
            )
        if batch_size < 2 or multiple < 1:
            raise GraphnasError(f"batch_size is {batch_size} and multiple {multiple}; give at least 2 and 1")
        self.dataset = dataset
        self.effort = effort
        self.batch_size = batch_size
        self.multiple = multiple
        self.mirror = mirror
        self.seed = seed
        self.preparation = Preparation.of(dataset)
        self._samples = {part: dataset.part(part) for part in PARTS if dataset.part(part)}
        for part in ("train", "validation"):
            if part not in self._samples:
                raise GraphnasError(f"the data set has no samples in its {part} part")
        self._inputs = {p: [self.preparation.of_sample(s) for s in some] for p, some in self._samples.items()}
        self._graphs = {p: [_graph(s) for s in some] for p, some in self._samples.items()} if graph else None
        shape = self.preparation.channels, _SIDE, _SIDE
        self.signature = Signature(self._kind, shape, 1, extra=EXTRA if graph else ())
        self._order = np.random.default_rng([seed, 1]).permutation(len(self._samples["train"]))

    @property
    def graph(self) -> bool:
        """Whether networks are given the graph of cells, nets and tiles."""
        return self._graphs is not None

    @property
    def splits(self) -> tuple[str, ...]:
        """The parts that there are."""
        return tuple(self._samples)

    def samples(self, split: str) -> tuple[Sample, ...]:
        """The placements of a part.

        Raises:
            GraphnasError: there is no such part.
        """
        if split not in self._samples:
            raise unknown(f"split of task {self.name}:", split, self._samples)
        return self._samples[split]

    @abstractmethod
    def _target(self, sample: Sample) -> NDArray[np.float32]:
        """What a network shall say of a placement, ``[1, h, w]`` (1 x 1 for a number)."""

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """Batches ``x[B, C, H, W]`` and targets; with a generator in random order, mirrored at random in training."""
        samples = self.samples(split)
        if not 0 < share <= 1:
            raise GraphnasError(f"the share of the training data is {share}; it must be above 0 and at most 1")
        rows = np.arange(len(samples))
        if split == "train":
            rows = np.sort(self._order[: max(2, round(share * len(samples)))])
        chosen = (
            rows.tolist()
            if generator is None
            else [rows[i] for i in torch.randperm(len(rows), generator=generator).tolist()]
        )
        for some in self._grouped(chosen, self._inputs[split], generator is not None):
            maps = [self._inputs[split][i] for i in some]
            x = torch.from_numpy(stacked(maps, self.multiple))
            y = self._targets([samples[i] for i in some])
            flips = [False, False]
            if generator is not None and split == "train" and self.mirror:
                for axis in (2, 3):
                    if torch.rand((), generator=generator) < 0.5:
                        x, y = x.flip(axis), y.flip(axis)
                        flips[axis - 2] = True
            yield Batch((x, *self._graph_inputs(split, some, x, (flips[0], flips[1]))), y)

    def _graph_inputs(
        self, split: str, rows: Sequence[int], x: Tensor, flips: tuple[bool, bool] = (False, False)
    ) -> tuple[Tensor, ...]:
        """What comes after the maps of these placements of a part."""
        if self._graphs is None:
            return ()
        return joined([self._graphs[split][i] for i in rows], (x.shape[2], x.shape[3]), flips)

    def _grouped(self, rows: Sequence[int], maps: Sequence[NDArray[np.float32]], mixed: bool) -> list[list[int]]:
        """Rows in batches; a last one of one row joins the one before, as batch normalisation may not train on it."""
        size, parts = self.batch_size, []
        for start in range(0, len(rows), _SORTED * size):
            group = list(rows[start : start + _SORTED * size])
            if mixed:
                group.sort(key=lambda i: maps[i].shape[1] * maps[i].shape[2])
            parts += [group[i : i + size] for i in range(0, len(group), size)]
        if len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2] += parts.pop()
        return parts

    def _targets(self, samples: Sequence[Sample]) -> Tensor:
        return torch.from_numpy(stacked([self._target(sample) for sample in samples], self.multiple, _OUTSIDE))

    def outputs(self, network: nn.Module, split: str) -> list[NDArray[np.float64]]:
        """What a network says of the placements of a part in evaluation mode: ``[1, h, w]`` or ``[1]`` each."""
        made: list[NDArray[np.float64]] = []
        device, inputs = device_of(network), self._inputs[split]
        with evaluating(network):
            for start in range(0, len(inputs), 2 * self.batch_size):
                rows = range(start, min(start + 2 * self.batch_size, len(inputs)))
                part = [inputs[i] for i in rows]
                x = torch.from_numpy(stacked(part, self.multiple))
                more = [value.to(device) for value in self._graph_inputs(split, rows, x)]
                found = network(x.to(device), *more).double().cpu().numpy()
                made += [
                    row[..., : m.shape[1], : m.shape[2]] if row.ndim == 3 else row
                    for row, m in zip(found, part, strict=True)
                ]
        return made

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """All metrics of a network on a part."""
        samples = self.samples(split)
        return self.measure(self.outputs(network, split), samples)

    @abstractmethod
    def measure(self, outputs: Sequence[NDArray[np.float64]], samples: Sequence[Sample]) -> dict[str, float]:
        """All metrics of what was said of placements."""

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        return {
            "name": self.name,
            "effort": self.effort,
            "sizes": {part: len(some) for part, some in self._samples.items()},
            "designs": {part: sorted({s.design for s in some}) for part, some in self._samples.items()},
            "batch_size": self.batch_size,
            "multiple": self.multiple,
            "mirror": self.mirror,
            "graph": self.graph,
            "seed": self.seed,
        }


def _graph(sample: Sample) -> TileGraph:
    if sample.graph is None:
        raise GraphnasError(f"{sample.name} comes without its cells and nets; a model of graphs needs them")
    rows, columns = sample.features.shape[1:]
    return tile_graph(sample.graph, (rows, columns))


class NetsTask(RoutabilityTask):
    """Rank placements by their rate of violated nets (violated / all); selection by Kendall's tau-b.

    The loss is the squared error of the square root of the rate, which spreads out the many small rates, plus
    ``rank`` times the mean logistic loss over all pairs of a batch with different rates.

    Args:
        dataset, effort, batch_size, multiple, mirror, graph, seed: see RoutabilityTask.
        rank: weight of the pairwise loss.
    """

    name = "routability-nets"
    metric = Metric("tau")
    _kind = "image"

    def __init__(self, dataset: Dataset, *, rank: float = 1.0, **settings: Any) -> None:
        super().__init__(dataset, **settings)
        if rank < 0:
            raise GraphnasError(f"rank is {rank}; it is a weight, 0 or more")
        self.rank = rank

    def _target(self, sample: Sample) -> NDArray[np.float32]:
        return np.full((1, 1, 1), np.sqrt(sample.labels[self.effort].rate), dtype=np.float32)

    def _targets(self, samples: Sequence[Sample]) -> Tensor:
        return torch.from_numpy(np.stack([self._target(sample) for sample in samples]))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of outputs ``[B, 1]``."""
        y = batch.target.view(-1)
        if output.shape != (len(y), 1):
            raise GraphnasError(f"the network returned shape {list(output.shape)}, but the task needs [{len(y)}, 1]")
        x = output.squeeze(1)
        total = functional.mse_loss(x, y)
        if self.rank:
            difference, order = x[:, None] - x, torch.sign(y[:, None] - y)
            pairs = order > 0
            if pairs.any():
                total = total + self.rank * functional.softplus(-difference[pairs] / _SOFT).mean()
        return total

    def measure(self, outputs: Sequence[NDArray[np.float64]], samples: Sequence[Sample]) -> dict[str, float]:
        """``tau`` and ``tau_within`` of the rate, and ``tau_count`` of the number of violated nets."""
        said = np.array([float(np.ravel(row)[0]) for row in outputs])
        labels = [sample.labels[self.effort] for sample in samples]
        designs = [sample.design for sample in samples]
        metrics = nets_metrics(said, [label.rate for label in labels], designs)
        counts = np.square(np.maximum(said, 0)) * [label.nets for label in labels]
        count = nets_metrics(counts, [float(label.violated) for label in labels], designs)["tau"]
        return {**metrics, "tau_count": count}


class HotspotTask(RoutabilityTask):
    """Find the tiles with at least one violation; selection by the ROC-AUC over all tiles.

    The loss is the mean binary cross-entropy over all tiles of a batch that lie on a die.
    """

    name = "routability-hotspots"
    metric = Metric("auc")
    _kind = "map"

    def _target(self, sample: Sample) -> NDArray[np.float32]:
        return (sample.labels[self.effort].hotspots > 0).astype(np.float32)[None]

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The loss of logits ``[B, 1, H, W]``."""
        if output.shape != batch.target.shape:
            raise GraphnasError(
                f"the network returned shape {list(output.shape)}, but the task needs {list(batch.target.shape)}"
            )
        inside = batch.target != _OUTSIDE
        return functional.binary_cross_entropy_with_logits(output[inside], batch.target[inside])

    def measure(self, outputs: Sequence[NDArray[np.float64]], samples: Sequence[Sample]) -> dict[str, float]:
        """``auc``, ``auc_placement`` and ``pr_auc``."""
        return hotspot_metrics(outputs, [self._target(sample) > 0 for sample in samples])
