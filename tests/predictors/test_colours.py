"""Colours: as many as refinement by hand finds, and networks on them give what they give on dense graphs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphnas.architecture import Architecture, node
from graphnas.encoding.dense import DenseBatch, encode_dense
from graphnas.space import Choice, Space
from predictors.colour_encoder import ColourEncoder
from predictors.colours import Mixing, colour
from predictors.comparator_network import PublishedEncoder
from spaces import nasbench101, nasbench201, nasbench_graph

OPS = Choice("first", ("conv", "pool"), "op"), Choice("second", ("conv", "pool"), "op")
# The sum reads its first input twice, so that one edge has the weight 2.
TWICE = [node("input"), node(OPS[0], (0,)), node(OPS[1], (0,)), node("sum", (1, 1, 2)), node("output", (3,))]
SPACES = [nasbench201.space(), nasbench101.space(), nasbench_graph.space(), Space("twice", TWICE)]


def batch_of(space: Space, n: int = 60, **options: Any) -> DenseBatch:
    rng = np.random.default_rng(0)
    return encode_dense(space, [space.sample(rng) for _ in range(n)], **options)


def dense(encoder: ColourEncoder | PublishedEncoder, batch: DenseBatch) -> Tensor:
    """The layers as their docstrings write them, on all vertices of padded graphs."""
    weights = dict(encoder.named_parameters())
    adjacency = torch.from_numpy(batch.adjacency).double()
    loops = torch.eye(adjacency.shape[1], dtype=torch.float64)
    h = torch.from_numpy(batch.tokens).double() @ weights["embedding.weight"].T
    if isinstance(encoder, PublishedEncoder):
        for i in range(3):
            message = (adjacency + loops) @ h @ weights[f"layers.{i}.weight"].T
            h = torch.relu(message + weights[f"layers.{i}.bias"] + h)
        return h.mean(1)
    mask = torch.from_numpy(batch.mask).double()[:, :, None]
    along, against = ((a + loops) / (a + loops).sum(2, keepdim=True) for a in (adjacency, adjacency.mT))
    for i in range(3):
        message = along @ h @ weights[f"forwards.{i}.weight"].T + against @ h @ weights[f"backwards.{i}.weight"].T
        h = (h + torch.relu(message + weights[f"forwards.{i}.bias"])) * mask
    return h.sum(1) / mask.sum(1)


def refined(batch: DenseBatch, rounds: int, both: bool, padding: bool) -> list[int]:
    """How many colours there are after 0, 1, ... rounds, one vertex after the other."""
    size = batch.kinds.shape[1]
    vertices = [(b, v) for b in range(len(batch)) for v in range(size) if padding or batch.mask[b, v]]
    colours = {(b, v): int(batch.kinds[b, v]) for b, v in vertices}
    counts = [len(set(colours.values()))]
    for _ in range(rounds):
        names: dict[Any, int] = {}
        new = {}
        for b, v in vertices:
            edges = [batch.adjacency[b, v]] + ([batch.adjacency[b, :, v]] if both else [])
            near = [sorted(colours[b, u] for u in range(size) for _ in range(int(row[u]))) for row in edges]
            new[b, v] = names.setdefault((colours[b, v], *map(tuple, near)), len(names))
        colours = new
        counts.append(len(names))
    return counts


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
@pytest.mark.parametrize("kind", [ColourEncoder, PublishedEncoder])
def test_features_and_gradients_are_those_of_dense_graphs(space: Space, kind: Any) -> None:
    batch = batch_of(space, canonical=space.name != "twice", nodes=14)
    torch.manual_seed(0)
    encoder = kind(batch.table.shape[1], 8, 3).double()
    exact = replace(batch, table=batch.table.astype(np.float64))
    graphs = encoder.graphs(exact)
    weights = torch.randn(len(batch), 8, dtype=torch.float64)
    gradients = []
    for found in (encoder(graphs), dense(encoder, batch)):
        encoder.zero_grad()
        (found * weights).sum().backward()
        gradients.append([found.detach(), *[p.grad.clone() for p in encoder.parameters()]])
    for a, b in zip(*gradients, strict=True):
        assert b.abs().max() > 1e-3
        # The weights 1 / n of means are kept in single precision.
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
@pytest.mark.parametrize(("both", "padding"), [(True, False), (False, True)])
def test_there_are_as_many_colours_as_refinement_finds(space: Space, both: bool, padding: bool) -> None:
    batch = batch_of(space, canonical=False)
    graphs = colour(batch, 4, both, padding=padding)
    found = [len(graphs.kinds), *[len(layer.own) for layer in graphs.layers]]
    assert found == refined(batch, 4, both, padding)
    assert found[1] < batch.mask.sum()


def test_chosen_graphs_are_what_they_are_alone() -> None:
    batch = batch_of(SPACES[0])
    encoder = ColourEncoder(batch.table.shape[1], 8, 3)
    graphs = colour(batch, 3)
    rows = np.array([40, 3, 3, 17])
    chosen = graphs[rows]
    assert len(chosen) == 4
    assert len(chosen.layers[-1].own) == len(colour(batch[rows], 3).layers[-1].own)
    with torch.no_grad():
        whole, part = encoder(graphs), encoder(chosen)
        torch.testing.assert_close(part, whole[torch.from_numpy(rows)], rtol=0, atol=1e-6)
        torch.testing.assert_close(part, encoder(colour(batch[rows], 3)), rtol=0, atol=1e-6)


def test_the_sparse_product_is_a_product() -> None:
    rng = np.random.default_rng(0)
    # Rows without entries, and columns that occur twice in a row.
    sizes = np.array([3, 0, 2, 5, 0])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    matrix = Mixing(starts, rng.integers(4, size=10), rng.normal(size=10).astype(np.float32), 4)
    full = np.zeros((5, 4))
    np.add.at(full, (np.repeat(np.arange(5), sizes), matrix.indices), matrix.weights)
    given = torch.from_numpy(rng.normal(size=(4, 3))).requires_grad_()
    np.testing.assert_allclose((matrix @ given).detach().numpy(), full @ given.detach().numpy(), rtol=0, atol=1e-12)
    assert torch.autograd.gradcheck(lambda x: matrix @ x, (given,))
    rows = np.array([3, 1, 0])
    np.testing.assert_allclose((matrix.rows(rows) @ given).detach().numpy(), full[rows] @ given.detach().numpy())


def test_rows_of_many_columns_are_told_apart() -> None:
    """Vertices with so many neighbours that their colours do not fit into one number."""
    ops = [Choice(f"c{i}", ("conv", "pool", "none"), "op") for i in range(40)]
    nodes = [node("input"), *[node(op, (0,)) for op in ops], node("sum", tuple(range(1, 41))), node("output", (41,))]
    space = Space("wide", nodes)
    one = tuple(i % 3 for i in range(40))
    other = (*one[:-1], 1 if one[-1] != 1 else 2)
    drawn = [Architecture.of_space(space, d) for d in (one, other, one[::-1])]
    batch = encode_dense(space, drawn, canonical=False)
    graphs = colour(batch, 2)
    assert [len(graphs.kinds), *[len(layer.own) for layer in graphs.layers]] == refined(batch, 2, True, False)
