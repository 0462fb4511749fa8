"""From rows of nodes to rows of graphs: sum, mean or maximum over the nodes of each graph."""

from __future__ import annotations

from torch import Tensor

READOUTS = ("mean", "sum", "max")


def pool(values: Tensor, graph: Tensor, graphs: int, readout: str) -> Tensor:
    """One row a graph ``[G, D]``, whatever the order of its nodes.

    Mean and sum of what a linear last layer returns are that layer on the mean and (but for its bias, which counts
    every node) the sum of the features before it, so pooling after the classifier is the usual mean or sum readout.

    Args:
        values: rows of nodes, ``[N, D]``.
        graph: the graph of each row, ``[N]``, in 0 to G - 1.
        graphs: G.
        readout: one of ``READOUTS``. A graph without nodes gets zeros.
    """
    result = values.new_zeros(graphs, values.shape[1])
    if readout == "max":
        index = graph.unsqueeze(1).expand_as(values)
        return result.scatter_reduce(0, index, values, "amax", include_self=False)
    result = result.index_add(0, graph, values)
    if readout == "mean":
        sizes = values.new_zeros(graphs).index_add(0, graph, values.new_ones(len(graph)))
        result = result / sizes.clamp(min=1).unsqueeze(1)
    return result
