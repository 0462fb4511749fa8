import numpy as np
import pytest

from graphnas.encoding import adjacency_encoding, encode_dense, one_hot, vocabulary_of
from graphnas.errors import GraphnasError
from spaces import nasbench101, nasbench201, nasbench_graph

MODULES = [nasbench101, nasbench201, nasbench_graph]


def _some(module, n=60):
    space, rng = module.space(), np.random.default_rng(0)
    draws = [tuple(int(rng.integers(r)) for r in space.radices) for _ in range(n)]
    return space, [space.decode(d) for d in draws if space.is_valid(d)]


@pytest.mark.parametrize("module", MODULES)
def test_one_hot_is_the_decisions(module):
    space, architectures = _some(module)
    encoded = one_hot(space, architectures)
    blocks = np.split(encoded, np.cumsum(space.radices)[:-1], axis=1)
    assert encoded.shape[1] == sum(space.radices)
    assert all((block.sum(axis=1) == 1).all() for block in blocks)
    decisions = np.stack([block.argmax(axis=1) for block in blocks], axis=1)
    assert [space.decode(d) for d in decisions.tolist()] == architectures


@pytest.mark.parametrize("module", MODULES)
def test_adjacency_encoding_holds_the_whole_graph(module):
    space, architectures = _some(module)
    batch = encode_dense(space, architectures, canonical=False)
    size, width = batch.kinds.shape[1], len(vocabulary_of(space))
    encoded = adjacency_encoding(space, architectures, canonical=False)
    assert size == len(space.template)
    assert encoded.shape == (len(architectures), size * (size - 1) // 2 + size * width)
    at = 0
    for v in range(1, size):
        for u in range(v):
            assert np.array_equal(encoded[:, at], batch.adjacency[:, v, u])
            at += 1
    assert np.array_equal(encoded[:, at:].reshape(-1, size, width), batch.tokens)


def test_adjacency_encoding_of_all_architectures_has_one_width_and_is_canonical():
    space, architectures = _some(nasbench201)
    encoded = adjacency_encoding(space, architectures)
    alone = np.concatenate([adjacency_encoding(space, [a]) for a in architectures])
    assert np.array_equal(encoded, alone)
    keys = [space.key(a) for a in architectures]
    for i in range(len(keys)):
        for j in range(i):
            assert np.array_equal(encoded[i], encoded[j]) == (keys[i] == keys[j])


def test_one_hot_of_an_outsider_is_refused():
    with pytest.raises(GraphnasError, match="not a member of space 'nasbench201'"):
        one_hot(nasbench201.space(), _some(nasbench_graph)[1][:1])
