"""Classification and regression of whole graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from graphnas.errors import unknown
from graphnas.tasks.base import Batch
from graphnas.tasks.graph_data import graph_inputs
from graphnas.tasks.graph_set import GraphSetTask, Splits, joined
from graphnas.tasks.graphs import Graphs, read_graphs
from graphnas.tasks.measure import check_output
from graphnas.tasks.objectives import make_objective, read_target
from graphnas.tasks.readout import READOUTS, pool


class GraphTask(GraphSetTask):
    """One target, or several, for each graph; the network sees a batch of graphs as one graph of several parts.

    The network is called as ``network(x, edge_index)`` and returns a row for each node; the task pools the rows of each
    graph. With ``readout=None`` it is called as ``network(x, edge_index, graph)``, where ``graph[N]`` is the graph of
    each node, and returns a row for each graph itself. With ``edge_features``, ``edge_attr`` comes after
    ``edge_index``.

    Args:
        graphs: PyG ``Data`` objects, or anything with ``x[N, F]``, ``edge_index[2, E]`` and a target ``y`` (a number,
            ``[1]`` or ``[1, T]``); or ``Graphs``, with ``y``.
        splits: numbers of the graphs of "train", "validation" and "test"; see GraphSetTask.
        y: targets ``[G]`` or ``[G, T]``; by default those of ``graphs``.
        objective: "classification" (accuracy), "binary" (T yes-or-no labels) or "regression" (T numbers); by default
            classification for one integer a graph, and regression for real numbers. NaN, or the class -1, is a missing
            target.
        metric: selection is by this one: "accuracy"; "rocauc", "ap" or "micro_f1"; "rmse" or "mae".
        classes: of a classification; by default one more than the largest label.
        readout: "mean", "sum" or "max" over the nodes of a graph, or None.
        evaluator: an OGB data set whose own evaluator computes the metric.

    Other arguments are those of GraphSetTask.

    Raises:
        GraphnasError: graphs, targets or splits that are not as they should be.
    """

    recipe: ClassVar[Mapping[str, Any]] = {  # Hu et al. (2020), the baselines of ogbg
        "optimiser": "adam",
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "schedule": "constant",
        "clip": None,
    }
    _measured_together = 256

    def __init__(
        self,
        graphs: Sequence[Any] | Graphs,
        splits: Splits | None = None,
        *,
        y: Tensor | None = None,
        name: str = "graph",
        objective: str | None = None,
        metric: str | None = None,
        classes: int | None = None,
        readout: str | None = "mean",
        batch_size: int = 32,
        undirected: bool = True,
        edge_features: bool = False,
        shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
        evaluator: str | None = None,
        seed: int = 0,
    ) -> None:
        if readout is not None and readout not in READOUTS:
            raise unknown("readout", readout, READOUTS)
        self.readout = readout
        self.edge_features = edge_features
        if y is None:
            y = joined(graphs) if not isinstance(graphs, Graphs) else torch.empty(0)
        if not isinstance(graphs, Graphs):
            graphs = read_graphs(graphs, undirected=undirected, edge_features=edge_features)
        target, kind = read_target(torch.as_tensor(y).detach().cpu(), objective, len(graphs), "graphs")
        made = make_objective(kind, target, metric or ("rocauc" if kind == "binary" else None), classes, evaluator)
        strata = made.strata(target)
        super().__init__(
            graphs, target, made, splits, name=name, batch_size=batch_size, shares=shares, strata=strata, seed=seed
        )

    def _batch(self, graphs: Tensor) -> Batch:
        union = self.graphs.union(graphs)
        more = []
        if self.edge_features and union.edge_attr is not None:
            more.append(union.edge_attr)
        if self.readout is None:
            more.append(union.graph)
        return Batch(graph_inputs(union.x, union.edge_index, *more), self.y[graphs], parts=union.graph)

    def _read_out(self, output: Tensor, batch: Batch) -> Tensor:
        if self.readout is None or batch.parts is None:
            check_output(output, len(batch.target), self.signature.outputs)
            return output
        check_output(output, len(batch.parts), self.signature.outputs)
        return pool(output, batch.parts, len(batch.target), self.readout)

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        return {**super().describe(), "readout": self.readout}
