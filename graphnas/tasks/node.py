"""Node classification: the nodes of one graph as a Task, full-batch or neighbour-sampled."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import SPLITS, Batch, Metric, Signature, Task
from graphnas.tasks.graph_data import edges_of, features_of, graph_inputs, labels_of, masked_rows
from graphnas.tasks.image import parts_of, share_of
from graphnas.tasks.measure import Classification, check_output, device_of, evaluating
from graphnas.tasks.sampling import NeighbourSampler, check_neighbours
from graphnas.tasks.splits import stratified_order, stratified_split


class NodeTask(Task):
    """Classification of the nodes of one graph; selection is by validation accuracy (in %).

    The network sees all features and edges; loss and metrics read the rows of one split only. Self-loops and
    normalisation are left to the layers.

    For graphs on which that does not fit in memory, ``batch`` trains on so many nodes at a time and a sample of the
    nodes around them (GraphSAGE; Hamilton et al., 2017), and ``evaluation_batch`` measures layer by layer with all
    neighbours. What is sampled follows the generator that is passed to ``batches``.

    Args:
        data: a PyG ``Data`` or anything with ``x[N, F]``, ``edge_index[2, E]``, ``y[N]`` and, if it has them, boolean
            masks ``train_mask``, ``val_mask``, ``test_mask`` of shape ``[N]`` or ``[N, k]`` for k splits. Nodes of
            class -1 are unlabelled and must not be in a mask.
        name: for settings and reports.
        split: which of the k splits to use.
        classes: number of classes; by default one more than the largest label.
        undirected: add the reverse of every edge and remove duplicates.
        shares: train, validation and test parts of the labelled nodes where ``data`` has no masks (stratified).
            With training and test masks only, the validation part is set aside from the training nodes.
        batch: training nodes in a batch; None takes the whole graph at once.
        neighbours: how many incoming edges a node takes in each hop around a batch, such as (25, 10); -1 takes
            all. As many hops as the network has layers let every layer count; see NeighbourSampler on exactness.
        evaluation_batch: nodes at a time in a layer in ``evaluate``; None computes a layer for all nodes at once. The
            result is the same up to rounding, for networks of layers that each read one hop.
        seed: of those parts, of the subsets that ``share`` selects, and of samples without a generator.

    Raises:
        GraphnasError: shapes that do not fit together, edges to nodes that do not exist, values that are not finite,
            labels out of range, empty or overlapping splits.
    """

    metric = Metric("accuracy")

    def __init__(
        self,
        data: Any,
        *,
        name: str = "node",
        split: int = 0,
        classes: int | None = None,
        undirected: bool = True,
        shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
        batch: int | None = None,
        neighbours: Sequence[int] = (25, 10),
        evaluation_batch: int | None = None,
        seed: int = 0,
    ) -> None:
        self.name = name
        self.batch = batch
        self.neighbours = check_neighbours(neighbours, batch, evaluation_batch)
        self.evaluation_batch = evaluation_batch
        self.split = split
        self.undirected = undirected
        self.seed = seed
        self.x = features_of(data)
        self.edge_index = edges_of(data, len(self.x), undirected)
        self.y = labels_of(data, len(self.x), classes)
        self._rows = self._splits_of(data, shares)
        classes = classes or int(self.y.max()) + 1
        self.signature = Signature("node", (self.x.shape[1],), classes, len(self.x), self.edge_index.shape[1])
        train = self._rows["train"]
        self._order = train[stratified_order(self.y[train].numpy(), np.random.default_rng([seed, 1]))]

    def _splits_of(self, data: Any, shares: tuple[float, float, float]) -> dict[str, Tensor]:
        rows = masked_rows(data, self.y, self.split)
        rng = np.random.default_rng([self.seed, 0])
        if not rows:
            labelled = torch.nonzero(self.y >= 0).flatten()
            parts = stratified_split(self.y[labelled].numpy(), shares, rng)
            return {split: labelled[torch.from_numpy(part)] for split, part in zip(SPLITS, parts, strict=True)}
        if "train" not in rows:
            raise GraphnasError(
                "the graph has masks but no train_mask; add one, or remove the others for a random split"
            )
        if "validation" not in rows:
            train = rows["train"]
            kept = shares[0] / (shares[0] + shares[1])
            parts = stratified_split(self.y[train].numpy(), (kept, 1 - kept), rng)
            rows["train"], rows["validation"] = (train[torch.from_numpy(part)] for part in parts)
        return {split: rows[split] for split in SPLITS if split in rows}

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are; "test" may be missing."""
        return tuple(self._rows)

    def rows(self, split: str) -> Tensor:
        """Indices of the nodes of a split, sorted.

        Raises:
            GraphnasError: there is no such split.
        """
        if split not in self._rows:
            raise unknown(f"split of task {self.name}:", split, self.splits)
        return self._rows[split]

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One batch: the whole graph, with the rows of the split; or, with ``batch``, its nodes in parts.

        A part has the features of its nodes and of those sampled around them; its own rows come first and are the ones
        that count. Order and samples are drawn from the generator; for the whole graph, nothing is. ``share`` of the
        training rows is a fixed stratified subset; a smaller share is contained in a larger one.

        Raises:
            GraphnasError: there is no such split, or the share is not in (0, 1].
        """
        rows = self.rows(split)
        if split == "train":
            rows = self._order[: share_of(len(rows), share)].sort().values
        if self.batch is None:
            return iter([Batch(graph_inputs(self.x, self.edge_index), self.y, rows)])
        seed = [self.seed, 2]
        if generator is not None:
            rows = rows[torch.randperm(len(rows), generator=generator)]
            seed = [int(torch.randint(2**62, (), generator=generator))]
        return self._sampled(parts_of(rows, self.batch), np.random.default_rng(seed))

    def _sampled(self, parts: list[Tensor], rng: np.random.Generator) -> Iterator[Batch]:
        for seeds in parts:
            nodes, edges = self.sampler.sample(seeds, self.neighbours, rng)
            yield Batch(graph_inputs(self.x[nodes], edges), self.y[nodes], torch.arange(len(seeds)))

    @cached_property
    def sampler(self) -> NeighbourSampler:
        """Samples of the graph's edges."""
        return NeighbourSampler(self.edge_index, len(self.x))

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean cross entropy in nats over the rows of the batch."""
        check_output(output, len(batch.target), self.signature.outputs)
        rows = slice(None) if batch.rows is None else batch.rows
        return functional.cross_entropy(output[rows], batch.target[rows])

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """``accuracy`` in % and mean ``cross_entropy`` in nats over the nodes of a split."""
        rows, device, meter = self.rows(split), device_of(network), Classification()
        inputs = [value.to(device) for value in graph_inputs(self.x, self.edge_index)]
        with evaluating(network):
            if self.evaluation_batch is None:
                output = network(*inputs)
            else:
                from graphnas.tasks.layerwise import infer

                output = infer(network, inputs, self.sampler, self.evaluation_batch, self.undirected)
        check_output(output, len(self.x), self.signature.outputs)
        meter.add(output[rows.to(device)], self.y[rows].to(device))
        return meter.result()

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        sampled = {} if self.batch is None else {"batch": self.batch, "neighbours": list(self.neighbours)}
        return {
            "name": self.name,
            "classes": self.signature.outputs,
            "nodes": self.signature.nodes,
            "edges": self.signature.edges,
            "sizes": {split: len(rows) for split, rows in self._rows.items()},
            "split": self.split,
            "undirected": self.undirected,
            "seed": self.seed,
            **sampled,
        }
