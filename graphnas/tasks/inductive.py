"""Inductive node classification: the nodes of graphs that were not there in training (the form of PPI)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graphnas.tasks.base import Batch
from graphnas.tasks.graph_data import graph_inputs
from graphnas.tasks.graph_set import GraphSetTask, Splits, joined
from graphnas.tasks.graphs import Graphs, read_graphs
from graphnas.tasks.measure import check_output
from graphnas.tasks.objectives import make_objective, read_target


class InductiveNodeTask(GraphSetTask):
    """Targets for the nodes of several graphs; whole graphs are for training, for validation or for test.

    The network is called as ``network(x, edge_index)`` and returns a row for each node. The default objective is that of
    PPI (Hamilton et al., 2017): any number of yes-or-no labels a node, binary cross entropy, micro-averaged F1 of all
    labels of all nodes.

    Args:
        graphs: PyG ``Data`` objects, or anything with ``x[N, F]``, ``edge_index[2, E]`` and ``y[N]`` or ``y[N, T]``.
        splits: numbers of the graphs of "train", "validation" and "test"; see GraphSetTask.
        y: targets of all nodes, one graph after the other; by default those of ``graphs``.
        objective: "binary", "classification" or "regression". NaN, or the class -1, is a missing target.
        metric: selection is by this one: "micro_f1", "rocauc" or "ap"; "accuracy"; "rmse" or "mae".
        classes: of a classification; by default one more than the largest label.

    Other arguments are those of GraphSetTask.

    Raises:
        GraphnasError: graphs, targets or splits that are not as they should be.
    """

    recipe: ClassVar[Mapping[str, Any]] = {  # Velickovic et al. (2018, section 3.3)
        "optimiser": "adam",
        "learning_rate": 0.005,
        "weight_decay": 0.0,
        "schedule": "constant",
        "clip": None,
    }

    def __init__(
        self,
        graphs: Sequence[Any] | Graphs,
        splits: Splits | None = None,
        *,
        y: Tensor | None = None,
        name: str = "inductive",
        objective: str = "binary",
        metric: str | None = None,
        classes: int | None = None,
        batch_size: int = 1,
        undirected: bool = True,
        shares: tuple[float, float, float] = (0.6, 0.2, 0.2),
        seed: int = 0,
    ) -> None:
        if y is None:
            y = joined(graphs) if not isinstance(graphs, Graphs) else torch.empty(0)
        if not isinstance(graphs, Graphs):
            graphs = read_graphs(graphs, undirected=undirected, edge_features=False)
        target, kind = read_target(torch.as_tensor(y).detach().cpu(), objective, len(graphs.x), "nodes")
        super().__init__(
            graphs,
            target,
            make_objective(kind, target, metric, classes),
            splits,
            name=name,
            batch_size=batch_size,
            shares=shares,
            strata=np.zeros(len(graphs), dtype=np.int64),
            seed=seed,
        )

    def _batch(self, graphs: Tensor) -> Batch:
        union = self.graphs.union(graphs)
        return Batch(graph_inputs(union.x, union.edge_index), self.y[union.rows])

    def _read_out(self, output: Tensor, batch: Batch) -> Tensor:
        check_output(output, len(batch.target), self.signature.outputs)
        return output
