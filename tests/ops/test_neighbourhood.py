"""Prepared graphs: what is kept, for how long, and what is refused."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.errors import GraphnasError
from graphnas.ops.neighbourhood import LOOPS, neighbourhood_of, with_loops

BACKENDS = ("pyg", "dgl")


@pytest.mark.parametrize("backend", BACKENDS)
def test_sums_means_and_norms(backend: str, small_graph: Any) -> None:
    x = small_graph.x
    dense = {"keep": small_graph.adjacency, "drop": small_graph.without_loops, "one": small_graph.with_loops}
    for loops, a in dense.items():
        graph = neighbourhood_of(small_graph.edge_index, small_graph.nodes, loops, backend)
        counts = np.maximum(a.sum(1), 1)[:, None]
        received, sent = (np.where(d > 0, 1 / np.sqrt(np.maximum(d, 1)), 0) for d in (a.sum(1), a.sum(0)))
        expected = {
            "sum": a @ x.numpy(),
            "mean": a @ x.numpy() / counts,
            "gcn": received[:, None] * a * received @ x.numpy(),
            "symmetric": sent[:, None] * a * sent @ x.numpy(),
        }
        for name, value in expected.items():
            assert np.allclose(getattr(graph, name)(x).numpy(), value, rtol=0, atol=1e-12), (loops, name)
        assert np.array_equal(graph.counts.numpy(), counts)


def test_self_loops_are_kept_dropped_or_made_one() -> None:
    edges = torch.tensor([[0, 1, 1, 2], [1, 1, 1, 0]])
    assert with_loops(edges, 4, "keep") is edges
    assert with_loops(edges, 4, "drop").tolist() == [[0, 2], [1, 0]]
    assert with_loops(edges, 4, "one").tolist() == [[0, 2, 0, 1, 2, 3], [1, 0, 0, 1, 2, 3]]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_graph_is_prepared_once_and_forgotten_with_its_edges(backend: str) -> None:
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    for loops in LOOPS:
        first = neighbourhood_of(edges, 3, loops, backend)
        assert neighbourhood_of(edges, 3, loops, backend) is first
        assert neighbourhood_of(edges, 4, loops, backend) is not first
        assert neighbourhood_of(edges.clone(), 3, loops, backend) is not first
    last = weakref.ref(neighbourhood_of(edges, 3, "keep", backend))
    tensor = weakref.ref(edges)
    del edges, first
    gc.collect()
    assert tensor() is None
    assert last() is None


@pytest.mark.parametrize("backend", BACKENDS)
def test_edges_that_are_written_to_are_prepared_again(backend: str) -> None:
    edges = torch.tensor([[0, 1, 2], [1, 2, 0]])
    x = torch.eye(3)
    before = neighbourhood_of(edges, 3, "keep", backend).sum(x)
    edges[0, 0] = 2
    after = neighbourhood_of(edges, 3, "keep", backend).sum(x)
    assert before.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    assert after.tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 0]]


def test_tensors_of_inference_mode_work() -> None:
    with torch.inference_mode():
        edges = torch.tensor([[0, 1], [1, 0]])
        assert neighbourhood_of(edges, 2, "keep").sum(torch.eye(2)).tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize("edge", [3, -1])
@pytest.mark.parametrize("backend", BACKENDS)
def test_edges_to_nodes_that_do_not_exist_are_refused(edge: int, backend: str) -> None:
    edges = torch.tensor([[0, 1], [1, edge]])
    with pytest.raises(GraphnasError, match=f"edge_index names node {edge}; the 3 nodes of the graph are 0 to 2"):
        neighbourhood_of(edges, 3, "keep", backend)
