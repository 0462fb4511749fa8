from collections import Counter

import numpy as np
import pytest
import torch

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.encoding import canonical_forms, decode_dense, encode_dense, vocabulary_of
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Space
from spaces import nasbench101, nasbench201, nasbench_graph

MODULES = [nasbench101, nasbench201, nasbench_graph]


def _some(module, n=60, seed=0):
    space, rng = module.space(), np.random.default_rng(seed)
    if space.distinct and space.enumerable:  # sampling would enumerate the space first
        draws = [[int(rng.integers(r)) for r in space.radices] for _ in range(n)]
        return space, [space.decode(d) for d in draws if space.is_valid(tuple(d))]
    return space, [space.sample(rng) for _ in range(n)]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("canonical", [False, True])
def test_every_entry_is_what_the_nodes_say(module, canonical):
    space, architectures = _some(module)
    batch = encode_dense(space, architectures, canonical)
    tokens = vocabulary_of(space).tokens
    for b, written in enumerate(architectures):
        architecture = space.canonical(written) if canonical else written
        size = len(architecture)
        assert batch.mask[b].tolist() == [v < size for v in range(batch.mask.shape[1])]
        edges = Counter((v, u) for u, v in architecture.edges)
        assert edges == Counter({(v, u): int(batch.adjacency[b, v, u]) for v, u in np.argwhere(batch.adjacency[b])})
        for v, n in enumerate(architecture):
            assert {tokens[k] for k in np.flatnonzero(batch.tokens[b, v])} == {("op", n.op), *n.params}
        assert not batch.tokens[b, size:].any()


@pytest.mark.parametrize("module", MODULES)
def test_decoding_inverts_encoding(module):
    space, architectures = _some(module)
    assert decode_dense(encode_dense(space, architectures, canonical=False), space) == architectures
    forms = [space.canonical(a) for a in architectures]
    assert decode_dense(encode_dense(space, architectures), space) == forms
    assert decode_dense(encode_dense(space, forms, canonical=False), space) == forms


def test_all_nasbench201_cells_survive_and_equal_cells_get_equal_rows():
    space = nasbench201.space()
    architectures = list(space.enumerate())
    batch = encode_dense(space, architectures, canonical=False)
    assert decode_dense(batch, space) == architectures
    batch = encode_dense(space, architectures)
    rows = np.concatenate([batch.kinds, batch.adjacency.reshape(len(batch), -1)], axis=1)
    first = {}
    same = np.array([first.setdefault(space.key(a), i) for i, a in enumerate(architectures)])
    assert np.array_equal(rows, rows[same])
    assert len(np.unique(rows, axis=0)) == len(first) == 6_334  # and different cells get different rows


def test_the_canonical_forms_are_the_space_s():
    space, architectures = _some(nasbench101)
    assert canonical_forms(space, architectures) == [space.canonical(a) for a in architectures]


def test_parallel_edges_are_counted():
    template = [node("input"), node("sum", [0, 0, 0]), node("x", [1]), node("output", [2])]
    space = Space("parallel", template)
    batch = encode_dense(space, [space.decode([])], canonical=False)
    assert batch.adjacency[0, 1, 0] == 3
    assert batch.adjacency.sum() == 5
    assert decode_dense(batch, space)[0].nodes == tuple(template)


def _attention_space():
    orders = Choice("order", ((1, 2), (2, 1), (2, 2)))
    template = [
        node("input"),
        node("a", [0]),
        node("b", [0]),
        Node("attention", tuple(orders.at(*[o[i] for o in orders.options]) for i in (0, 1))),
        node("output", [3]),
    ]
    return Space("attention", template, semantics=Semantics(ordered_ops=frozenset({"attention"})))


@pytest.mark.parametrize("canonical", [False, True])
def test_the_order_of_ordered_inputs_is_seen_and_kept(canonical):
    space = _attention_space()
    architectures = list(space.enumerate())
    batch = encode_dense(space, architectures, canonical)
    back = decode_dense(batch, space)
    assert back == ([space.canonical(a) for a in architectures] if canonical else architectures)
    assert len(np.unique(np.c_[batch.kinds, batch.adjacency.reshape(3, -1)], axis=0)) == 3


def test_tensors_equal_the_arrays_and_rows_can_be_chosen():
    space, architectures = _some(nasbench_graph)
    batch = encode_dense(space, architectures)
    tensors = batch.torch()
    for name in ("kinds", "table", "adjacency", "mask", "tokens"):
        assert np.array_equal(getattr(tensors, name).numpy(), getattr(batch, name)), name
    assert (tensors.kinds.dtype, tensors.adjacency.dtype) == (torch.int64, torch.float32)
    weights = torch.randn(batch.table.shape[1], 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close((tensors.table @ weights)[tensors.kinds], tensors.tokens @ weights)
    rows = [5, 0, 5]
    assert decode_dense(batch[rows], space) == [space.canonical(architectures[i]) for i in rows]
    assert torch.equal(tensors[torch.tensor(rows)].adjacency, tensors.adjacency[rows])


def test_nodes_pads_and_bounds():
    space, architectures = _some(nasbench201)
    batch = encode_dense(space, architectures, canonical=False, nodes=15)
    assert batch.kinds.shape[1] == 15
    assert decode_dense(batch, space) == architectures
    with pytest.raises(GraphnasError, match="raise nodes to 11"):
        encode_dense(space, architectures, canonical=False, nodes=10)


def test_an_empty_batch_is_a_batch():
    space = nasbench201.space()
    batch = encode_dense(space, [], nodes=4)
    assert batch.adjacency.shape == (0, 4, 4)
    assert decode_dense(batch, space) == []


def test_foreign_architectures_and_broken_batches_are_refused():
    space, architectures = _some(nasbench201, n=3)
    with pytest.raises(GraphnasError, match="has no op 'gat'"):
        encode_dense(space, [Architecture([node("input"), node("gat", [0]), node("output", [1])])], canonical=False)
    batch = encode_dense(space, architectures)
    with pytest.raises(GraphnasError, match="tokens"):
        decode_dense(batch, nasbench_graph.space())
    backwards = encode_dense(space, architectures)
    backwards.adjacency[0, 0, 1] = 1
    with pytest.raises(GraphnasError, match="lower triangular"):
        decode_dense(backwards, space)
    headless = encode_dense(space, architectures)
    headless.mask[1] = False
    headless.adjacency[1] = 0
    with pytest.raises(GraphnasError, match=r"row 1 .* no output"):
        decode_dense(headless, space)


def test_places_without_their_edges_are_refused():
    space = _attention_space()
    batch = encode_dense(space, list(space.enumerate())[:1], canonical=False)
    place = next(v for v, n in enumerate(batch.tokens[0]) if n[vocabulary_of(space).tokens.index(("#place", 0))])
    batch.adjacency[0, place] = 0
    with pytest.raises(GraphnasError, match="exactly one edge"):
        decode_dense(batch, space)


def test_a_zero_written_at_an_ordered_place_is_a_token_and_fits():
    op = Choice("op", ("none", "conv"))
    template = [
        node("input"),
        node(op, [0]),
        Node("attention", (1, 0)),
        Node("attention", (1, 2)),
        node("output", [3]),
    ]
    semantics = Semantics(zero_ops=frozenset({"none"}), ordered_ops=frozenset({"attention"}))
    space = Space("zeros", template, semantics=semantics)
    forms = [space.canonical(a) for a in space.enumerate()]
    assert any(n.op == "none" for n in forms[0])
    batch = encode_dense(space, list(space.enumerate()))
    assert decode_dense(batch, space) == forms
    assert batch.mask.sum(axis=1).max() <= vocabulary_of(space).max_nodes
