"""Cells for control: the spaces, their networks, and the encoder that they are compared with."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphnas.compile import compile
from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Mix
from graphnas.oneshot.discretisers import TopKInputs
from graphnas.oneshot.supernet import Supernet
from graphnas.ops.registry import infer
from graphnas.tasks.base import Signature
from spaces import control
from spaces.control_network import impala

SIGNATURE = Signature("image", (3, 9, 9), 5)
SIZE = {"channels": 2, "cells": 1, "stages": 2, "dense": 4}
KINDS = [
    *((ops, macro, "concat") for ops in control.OPS for macro in control.MACROS),
    ("micro", "impala", "sum"),
    ("classic", "reduction", "last"),
]


@pytest.mark.parametrize("kind", KINDS, ids="-".join)
def test_one_hot_weights_are_the_child_and_both_spaces_write_the_same_cells(kind):
    space, rng = control.space(*kind), np.random.default_rng(0)
    supernet = Supernet(space, SIGNATURE, seed=0, **SIZE)
    x = torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        architecture = space.sample(rng)
        edges = control.to_edges(architecture, *kind)
        assert control.from_edges(edges, *kind) == architecture
        hot = supernet.one_hot(architecture)
        assert supernet.decode(hot) == architecture
        for training in (True, False):  # the normalisation is by the batch in both
            child = supernet.train(training).child(architecture)
            torch.testing.assert_close(supernet(x, mix=hot), child(x), rtol=0, atol=1e-6)
        whole = space.network(architecture, SIGNATURE, **SIZE)
        assert cost(whole).params == sum(p.numel() for p in child.parameters())


def test_the_sizes_are_those_of_counting():
    """Node 1: an operation; nodes 2, 3, 4: one of 1, 3, 6 pairs of states with two operations."""
    for ops, count in (("micro", 4), ("classic", 5)):
        cell = count * (1 * count**2) * (3 * count**2) * (6 * count**2)
        assert control.space(ops).size == cell
        assert control.space(ops, "reduction").size == cell**2
        assert control.edges(ops).size == (count + 1) ** 10


def test_the_macros_have_the_depths_and_resolutions_of_the_paper():
    image = Signature("image", (3, 64, 64), 16)
    for macro in control.MACROS:
        space = control.space("micro", macro)
        network = space.network(space.sample(np.random.default_rng(0)), image)
        shapes = dict(zip((n.get("name") for n in network.nodes), (s for s, _ in infer(network.nodes)), strict=True))
        assert [shapes[f"stage{s}.cell2.output"] for s in (1, 2, 3)] == [(16, 32, 32), (32, 16, 16), (32, 8, 8)]
        assert shapes["head.flatten"] == (2048,)
        assert shapes["head.dense"] == (256,)
        assert shapes["head.outputs"] == (16,)


def test_the_impala_encoder_has_the_parameters_of_its_layers():
    def conv(i, o):
        return 9 * i * o + o

    stages = [conv(3, 16) + 4 * conv(16, 16), conv(16, 32) + 4 * conv(32, 32), conv(32, 32) + 4 * conv(32, 32)]
    network = impala(Signature("image", (3, 64, 64), 16))
    assert cost(network).params == sum(stages) + 2048 * 256 + 256 + 256 * 16 + 16
    assert compile(network, seed=0)(torch.rand(2, 3, 64, 64)).shape == (2, 16)
    # A residual block: the input and two convolutions, each behind a ReLU.
    only = impala(Signature("image", (16, 15, 15), 5), stages=1, cells=1)
    small = compile(only, seed=0)
    seen = {}
    small.stage1.block1.first_relu.register_forward_pre_hook(lambda _, inputs: seen.update(z=inputs[0]))
    small.head.flatten.register_forward_pre_hook(lambda _, inputs: seen.update(after=inputs[0]))
    small(torch.rand(1, 16, 15, 15))
    own = small.stage1.block1
    made = seen["z"] + own.second(torch.relu(own.first(torch.relu(seen["z"]))))
    torch.testing.assert_close(seen["after"], made)


def test_strided_operations_average_first_and_skip_is_no_identity_there():
    space = control.space("micro", "reduction")
    names = {c.name: c for c in space.choices}
    skips = {name: (c.options.index("skip") if "op" in name else 0) for name, c in names.items()}
    network = compile(space.network(space.decode([skips[c.name] for c in space.choices]), SIGNATURE, **SIZE), seed=0)
    x = torch.rand(2, 3, 9, 9)
    seen = {}
    network.stage1.reduce.input.register_forward_hook(lambda _, inputs, y: seen.update(state=y))
    network.stage1.reduce.node2_norm.register_forward_pre_hook(lambda _, inputs: seen.update(first=inputs[0]))
    network(x)
    pooled = torch.nn.functional.avg_pool2d(seen["state"], 3, 2, 1, count_include_pad=False)
    torch.testing.assert_close(seen["first"], pooled)


def test_a_normalised_sum_of_one_operation_is_not_left_out():
    """relu of the input, and relu of the normalised input, are different functions: their keys differ."""
    space = control.space()
    at = {c.name: 0 for c in space.choices}
    relu, skip = 1, 3
    at |= {"normal.1.op1": skip, "normal.2.op1": relu, "normal.2.op2": relu}
    first = space.decode([at[c.name] for c in space.choices])
    assert sum(n.op == "norm_sum" for n in space.canonical(first).nodes) == control.NODES
    ops = [n.op for n in space.canonical(first).nodes]
    assert "skip" not in ops


def test_zero_is_never_derived_even_where_its_weight_is_greatest():
    space = control.space("classic", "reduction")
    supernet = Supernet(space, SIGNATURE, seed=0, **SIZE)
    weights = {}
    for g in supernet.groups:
        w = torch.rand(g.shape, generator=torch.Generator().manual_seed(0))
        w[:, g.options.index("zero")] = 5.0
        weights[g.name] = w
        assert g.keep == 2
    derived = supernet.decode(TopKInputs()(supernet.groups, Mix(weights, rows=weights)))
    chosen = space.describe(derived)
    assert "zero" not in chosen.values()
    for g in supernet.groups:  # the best two of a node, by their best operation other than zero
        best = weights[g.name][:, :-1].max(1)
        for target in (2, 3, 4):
            rows = [r for r, name in enumerate(g.rows) if name.endswith(f"->{target}")]
            kept = sorted(sorted(rows, key=lambda r: -float(best.values[r]))[:2])
            sources = chosen.get(f"{g.name}.{target}.inputs", (0, 1))
            assert [g.rows[r] for r in kept] == [f"{g.name}.{s}->{target}" for s in sources]
            ops = [g.options[best.indices[r]] for r in kept]
            assert [chosen[f"{g.name}.{target}.op{i}"] for i in (1, 2)] == ops


def test_what_is_no_member_is_refused_in_one_line():
    whole = control.edges()
    with pytest.raises(GraphnasError, match="node 2 of the normal cell has 0 operations") as caught:
        control.from_edges(whole.decode([0, 4, 4, *[0] * 7]))
    assert "\n" not in str(caught.value)
    for wrong in (("macro",), ("micro", "resnet"), ("micro", "impala", "mean")):
        with pytest.raises(GraphnasError, match="unknown"):
            control.space(*wrong)
