import importlib

import numpy as np
import pytest

from graphnas.encoding import encode_dense, from_dgl, to_dgl
from graphnas.errors import GraphnasError
from graphnas.space import Space
from spaces import nasbench101, nasbench201


def _some(space: Space):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(20)]


def test_without_dgl_one_sentence_says_what_to_install(monkeypatch):
    def missing(name: str):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(importlib, "import_module", missing)
    space = nasbench201.space()
    for call in (lambda: to_dgl(space, _some(space)), lambda: from_dgl(space, object())):
        with pytest.raises(GraphnasError) as error:
            call()
        assert str(error.value) == "DGL is not installed: pip install 'graphnas[dgl]'"


@pytest.mark.parametrize("space", [nasbench101.space(), nasbench201.space()], ids=lambda s: s.name)
def test_round_trip_of_one_and_of_many(space):
    pytest.importorskip("dgl")
    architectures = _some(space)
    assert from_dgl(space, to_dgl(space, architectures)) == architectures
    for architecture in architectures:
        assert from_dgl(space, to_dgl(space, architecture)) == architecture


def test_parallel_edges_and_the_order_of_inputs_survive():
    pytest.importorskip("dgl")
    from graphnas.architecture import node

    template = [node("input"), node("a", [0]), node("mix", [1, 0, 1, 1]), node("output", [2])]
    space = Space("parallel", template)
    graph = to_dgl(space, space.decode([]))
    assert graph.num_edges() == 6
    assert from_dgl(space, graph).nodes == tuple(template)


def test_a_batch_agrees_with_the_dense_batch():
    dgl = pytest.importorskip("dgl")
    space = nasbench201.space()
    architectures = _some(space)
    dense = encode_dense(space, architectures)
    for b, graph in enumerate(dgl.unbatch(to_dgl(space, architectures, canonical=True))):
        size = graph.num_nodes()
        assert np.array_equal(graph.ndata["x"].numpy(), dense.tokens[b, :size])
        adjacency = np.zeros((size, size))
        source, target = graph.edges()
        np.add.at(adjacency, (target.numpy(), source.numpy()), 1)
        assert np.array_equal(adjacency, dense.adjacency[b, :size, :size])
        assert dense.mask[b].sum() == size
