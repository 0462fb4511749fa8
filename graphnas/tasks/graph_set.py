"""What tasks on several graphs share: splits by graph, batches of disjoint unions, one objective."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import SPLITS, Batch, Signature, Task
from graphnas.tasks.graphs import Graphs
from graphnas.tasks.image import parts_of, share_of
from graphnas.tasks.measure import device_of, evaluating
from graphnas.tasks.objectives import Objective
from graphnas.tasks.splits import stratified_order, stratified_split

Splits = Mapping[str, Any]
"""Numbers of the graphs of "train", "validation" and "test"; the last two may be missing."""


class GraphSetTask(Task):
    """A task whose examples are graphs, or their nodes, and whose splits are by graph.

    Args:
        graphs: all of them.
        y: targets, for each graph or each node.
        objective: loss and metrics.
        splits: numbers of the graphs of each split, or None for random ones.
        name: for settings and reports.
        batch_size: graphs a training batch.
        shares: train, validation and test parts of the graphs where no splits are given, in the shares of
            ``strata``. Where validation alone is missing, it is set aside from the training graphs.
        strata: a class for each graph, ``[G]``.
        seed: of those parts and of the subsets that ``share`` selects.

    Attributes:
        settings: what else tells how the task was made, for ``describe``.
    """

    _measured_together = 1  # graphs in one call of the network in evaluation

    def __init__(
        self,
        graphs: Graphs,
        y: Tensor,
        objective: Objective,
        splits: Splits | None,
        *,
        name: str,
        batch_size: int,
        shares: tuple[float, float, float],
        strata: NDArray[np.int64],
        seed: int,
    ) -> None:
        if batch_size < 1:
            raise GraphnasError(f"the batch size is {batch_size}; it must be at least 1 graph")
        self.name = name
        self.graphs = graphs
        self.y = y
        self.objective = objective
        self.metric = objective.metric
        self.batch_size = batch_size
        self.seed = seed
        self.settings: dict[str, Any] = {}
        self._rows = _splits_of(splits, shares, strata, np.random.default_rng([seed, 0]))
        nodes, edges = int(graphs.nodes.max()), int(graphs.edges.max())
        self.signature = Signature("node", (graphs.width,), objective.outputs, nodes, edges)
        train = self._rows["train"]
        self._order = train[stratified_order(strata[train.numpy()], np.random.default_rng([seed, 1]))]

    @abstractmethod
    def _batch(self, graphs: Tensor) -> Batch:
        """The batch of the graphs of these numbers."""

    @abstractmethod
    def _read_out(self, output: Tensor, batch: Batch) -> Tensor:
        """One row of ``output`` for each target, or an error that names the shape that is needed."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are; "validation" always is, "test" may be missing."""
        return tuple(self._rows)

    def rows(self, split: str) -> Tensor:
        """Numbers of the graphs of a split, sorted.

        Raises:
            GraphnasError: there is no such split.
        """
        if split not in self._rows:
            raise unknown(f"split of task {self.name}:", split, self.splits)
        return self._rows[split]

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass over the graphs of a split, ``batch_size`` at a time, in an order drawn from the generator.

        ``share`` of the training graphs is a fixed subset, stratified where they have classes; a smaller share is
        contained in a larger one.

        Raises:
            GraphnasError: there is no such split, or the share is not in (0, 1].
        """
        rows = self.rows(split)
        if split == "train":
            rows = self._order[: share_of(len(rows), share)].sort().values
        if generator is not None:
            rows = rows[torch.randperm(len(rows), generator=generator)]
        return (self._batch(part) for part in parts_of(rows, self.batch_size))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The mean loss of the batch; targets that are missing do not count."""
        return self.objective.loss(self._read_out(output, batch), batch.target)

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """The metrics of the objective on a split."""
        device, outputs, targets = device_of(network), [], []
        with evaluating(network):
            for part in torch.split(self.rows(split), self._measured_together):
                batch = self._batch(part).to(device)
                outputs.append(self._read_out(network(*batch.inputs), batch).cpu())
                targets.append(batch.target.cpu())
        return self.objective.metrics(torch.cat(outputs), torch.cat(targets))

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        return {
            "name": self.name,
            "objective": self.objective.name,
            "metric": self.metric.name,
            "graphs": len(self.graphs),
            "nodes": int(self.graphs.nodes.sum()),
            "edges": int(self.graphs.edges.sum()),
            "sizes": {split: len(rows) for split, rows in self._rows.items()},
            "batch_size": self.batch_size,
            "seed": self.seed,
            **self.settings,
        }


def _splits_of(
    splits: Splits | None, shares: tuple[float, float, float], strata: NDArray[np.int64], rng: np.random.Generator
) -> dict[str, Tensor]:
    if splits is None:
        parts = stratified_split(strata, shares, rng)
        return {split: torch.from_numpy(part) for split, part in zip(SPLITS, parts, strict=True)}
    rows = _checked(splits, len(strata))
    if "validation" not in rows:
        train = rows["train"]
        kept = shares[0] / (shares[0] + shares[1])
        parts = stratified_split(strata[train.numpy()], (kept, 1 - kept), rng)
        rows["train"], rows["validation"] = (train[torch.from_numpy(part)] for part in parts)
    return {split: rows[split] for split in SPLITS if split in rows}


def _checked(splits: Splits, graphs: int) -> dict[str, Tensor]:
    rows: dict[str, Tensor] = {}
    for split, given in splits.items():
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        numbers = torch.as_tensor(given)
        if numbers.ndim != 1 or len(numbers) == 0 or numbers.is_floating_point() or numbers.dtype == torch.bool:
            raise GraphnasError(
                f"the {split} split has shape {list(numbers.shape)} and type {numbers.dtype}; "
                "give the numbers of its graphs, at least one"
            )
        numbers = numbers.long().cpu().sort().values
        if int(numbers[0]) < 0 or int(numbers[-1]) >= graphs:
            wrong = int(numbers[0]) if int(numbers[0]) < 0 else int(numbers[-1])
            raise GraphnasError(f"the {split} split names graph {wrong}; there are graphs 0 to {graphs - 1}")
        for other, taken in [*rows.items(), (split, numbers[:-1][numbers[:-1] == numbers[1:]])]:
            shared = torch.isin(numbers, taken)
            if bool(shared.any()):
                raise GraphnasError(
                    f"graph {int(numbers[shared][0])} is in {other} and again in {split}; once is right"
                )
        rows[split] = numbers
    if "train" not in rows:
        raise GraphnasError("the splits have no 'train'; give it, or no splits at all for random ones")
    return rows


def joined(graphs: Sequence[Any], attribute: str = "y") -> Tensor:
    """The targets of PyG ``Data`` objects, one after the other.

    Raises:
        GraphnasError: a graph has none, or they do not fit together.
    """
    parts = []
    for number, data in enumerate(graphs):
        value = getattr(data, attribute, None)
        if value is None:
            raise GraphnasError(f"graph {number} has no {attribute}")
        part = torch.as_tensor(value).detach().cpu()
        parts.append(part.reshape(1) if part.ndim == 0 else part)
        if parts[-1].shape[1:] != parts[0].shape[1:]:
            raise GraphnasError(
                f"{attribute} of graph {number} has shape {list(parts[-1].shape)}, "
                f"that of graph 0 has {list(parts[0].shape)}"
            )
    if not parts:
        raise GraphnasError("there are no graphs; a task needs at least one for each split")
    return torch.cat(parts)
