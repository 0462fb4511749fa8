"""One network on PyG and on DGL."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.training import TrainingEstimator
from graphnas.ops.graph_backends import compile_dgl, compile_on, use_backend
from graphnas.registry import get_space, get_task
from graphnas.tasks.base import Signature
from spaces import gnn, nasbench_graph

SIGNATURE = Signature("node", (12,), 5, nodes=30, edges=90)


@pytest.mark.parametrize(
    "space",
    [nasbench_graph.space(), gnn.agnn(), gnn.graphnas_space(), gnn.agnn(3, True, True), gnn.agnn(2, propagation=True)],
)
def test_networks_agree_on_both_backends(space: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 12, generator=generator)
    edges = torch.randint(30, (2, 90), generator=generator)
    rng = np.random.default_rng(0)
    for _ in range(6):
        network = space.network(space.sample(rng), SIGNATURE)
        here, there = compile(network, seed=1).eval(), compile_on(network, "dgl", seed=1).eval()
        assert [(k, v.shape) for k, v in here.state_dict().items()] == [
            (k, v.shape) for k, v in there.state_dict().items()
        ]
        with torch.no_grad():
            expected = here(x, edges)
            scale = max(1.0, float(expected.abs().max()))
            assert torch.allclose(there(x, edges), expected, rtol=0, atol=1e-5 * scale)
            use_backend(there, "pyg")
            assert torch.equal(there(x, edges), expected)


def test_an_estimator_trains_on_dgl() -> None:
    """The first loss is that of PyG: initial weights, dropout and the data are the same."""
    space, task = get_space("nasbench_graph"), get_task("karate")
    architecture = space.decode([8, 1, 4, 0, 6])
    losses = []
    for build in (None, compile_dgl):
        estimator = TrainingEstimator(space, task, Fidelity(1, size={"channels": 8}), build=build)
        losses.append(estimator.evaluate(architecture, seed=3).metrics["train_loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_without_dgl_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    space = nasbench_graph.space()
    network = space.network(space.decode([0, 1, 1, 1, 1]), SIGNATURE, channels=4)
    monkeypatch.setitem(sys.modules, "dgl", None)
    with pytest.raises(GraphnasError, match=r"^DGL is not installed: pip install 'graphnas\[dgl\]'$"):
        compile_dgl(network)
    module = compile(network, seed=0)
    with pytest.raises(GraphnasError, match="unknown backend 'jax'"):
        use_backend(module, "jax")
    module(torch.randn(30, 12), torch.zeros(2, 0, dtype=torch.long))  # the module still works
