"""A supernet as pure losses: what a mixing says about norms, channels and pruned options is what is computed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Mix
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.discretisers import TopKInputs
from graphnas.oneshot.methods import get
from graphnas.oneshot.problem import SupernetProblem
from graphnas.oneshot.search import Budget, search
from graphnas.oneshot.supernet import Supernet
from graphnas.oneshot.task_streams import Drawn, streams_of
from graphnas.ops.mixture import Row
from graphnas.ops.registry import get as op
from graphnas.tasks.base import Batch
from graphnas.tasks.image import ImageTask
from spaces import darts, darts_s1, nasbench201

SOURCES = {2: (0,), 5: (0, 1), 9: (0, 1, 2)}
"""Sums of the cell of NAS-Bench-201 and the states that their edges, the nodes just before them, read."""


@pytest.fixture(scope="module")
def task():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(256, (64, 3, 8, 8), generator=generator, dtype=torch.uint8)
    y = torch.arange(64) % 4
    return ImageTask((x, y), (x[:8], y[:8]), name="squares")


def one(task) -> Drawn:
    return streams_of(task, 6).inner(0)


def weights_of(supernet, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    return {g.name: torch.rand(g.shape, generator=generator).requires_grad_(requires_grad) for g in supernet.groups}


def dense(supernet: Supernet, x: Tensor, weights: Tensor, part: int = 1, norm: bool = False) -> Tensor:
    """The supernet of NAS-Bench-201 with one cell a stage: every option of every edge by hand."""
    module = supernet.network.get_submodule
    x = module("stem")(x)
    for stage in (1, 2, 3):
        if stage > 1:
            name = f"reduction{stage - 1}"
            x = module(f"{name}.short_cut")(x) + module(f"{name}.conv_b")(module(f"{name}.conv_a")(x))
        states, row = [x], 0
        for total, sources in SOURCES.items():
            terms = []
            for source, node in zip(sources, range(total - len(sources), total), strict=True):
                options, h = module(f"stage{stage}.cell1.node{node}").options, states[source]
                width = h.shape[1] // part
                mixed = sum(w * option(h[:, :width]) for w, option in zip(weights[row], options, strict=True))
                whole = torch.cat([mixed, h[:, width:] * weights[row].sum()], 1)
                # Channel c of the result is channel (c mod part) * width + c div part.
                order = [(c % part) * width + c // part for c in range(h.shape[1])]
                terms.append(whole[:, order])
                row += 1
            made = sum(terms)
            states.append(functional.batch_norm(made, None, None, training=True) if norm else made)
        x = states[-1]
    return module("head.classifier")(module("head.pool")(module("head.activation")(x)))


@pytest.mark.parametrize(("part", "norm"), [(1, False), (1, True), (2, False), (2, True)])
def test_norms_and_partial_channels_are_those_of_a_dense_computation(task, part, norm):
    supernet = Supernet(nasbench201.space(), task.signature, 0, part=part, node_norm=norm, channels=4, cells=1)
    problem = SupernetProblem(supernet, task)
    weights = weights_of(supernet, requires_grad=True)
    batch = one(task)
    mix = Mix(weights, node_norm=norm, channels=part)
    output, _ = problem.output(problem.state(), mix, batch)
    expected = dense(supernet, batch.batch.inputs[0], weights["op"], part, norm)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    found, wanted = (torch.autograd.grad(y.square().sum(), [weights["op"]])[0] for y in (output, expected))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def test_channels_that_bypass_a_reduction_are_pooled():
    options = tuple((name, (("stride", 2), ("affine", False))) for name in ("darts_avg_pool_3x3", "factorized_reduce"))
    expression = op("mixed").layer({"options": options, "part": 4}, [(8, 6, 6)])
    assert expression.shape((8, 6, 6)) == (8, 3, 3)
    mixed = expression.build().eval()
    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    weights = torch.tensor([0.1, 0.3])
    passed = sum(w * option(x[:, :2]) for w, option in zip(weights, mixed.options, strict=True))
    bypass = 0.4 * functional.max_pool2d(x[:, 2:], 2)
    expected = torch.cat([passed, bypass], 1)[:, [0, 2, 4, 6, 1, 3, 5, 7]]
    torch.testing.assert_close(mixed(x, Row(weights, (0, 1))), expected)


def test_a_method_and_a_supernet_must_agree(task):
    supernet = Supernet(nasbench201.space(), task.signature, 0, channels=4, cells=1)
    problem = SupernetProblem(supernet, task)
    for change, message in (({"channels": 4}, "make it with part=4"), ({"node_norm": True}, "node_norm=True")):
        with pytest.raises(GraphnasError, match=message):
            problem.output(problem.state(), replace(Mix(weights_of(supernet)), **change), one(task))
    whole = Supernet(nasbench201.space(), task.signature, 0, part=2, channels=4, cells=1)
    with pytest.raises(GraphnasError, match="inherit=False"):
        whole.child(nasbench201.space().decode([0] * 6))
    with pytest.raises(GraphnasError, match="one channel in 3"):
        Supernet(nasbench201.space(), task.signature, 0, part=3, channels=4, cells=1)


def test_pruned_options_do_not_run_and_change_nothing(task):
    supernet = Supernet(nasbench201.space(), task.signature, 0, channels=4, cells=1)
    problem = SupernetProblem(supernet, task)
    live = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)) > 0.4
    live[4] = False  # a whole edge
    weights = {"op": (weights_of(supernet)["op"] * live).requires_grad_()}
    ran = set()
    for name, module in supernet.mixed().items():
        for k, option in enumerate(module.options):
            last = option[-1] if isinstance(option, torch.nn.Sequential) else option
            last.register_forward_hook(lambda *_, at=(name, k): ran.add(at))
    outputs = []
    for mask in ({"op": live}, None):
        ran.clear()
        outputs.append(problem.output(problem.state(), Mix(weights, live=mask), one(task))[0])
        if mask:
            nodes = dict(zip((1, 3, 4, 6, 7, 8), live.tolist(), strict=True))
            expected = {(int(n.rsplit("node")[-1]), k) for n, k in ran if k}
            assert expected == {(node, k) for node, row in nodes.items() for k, on in enumerate(row) if on and k}
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)
    first, second = (torch.autograd.grad(y.square().sum(), [weights["op"]])[0][live] for y in outputs)
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4 * float(second.abs().max()))


def test_initial_weights_are_those_of_a_supernet_with_that_seed(task):
    first, second = (Supernet(darts.space(), task.signature, seed, channels=4, cells=3) for seed in (0, 5))
    own = SupernetProblem(first, task).state()
    drawn = SupernetProblem(first, task).initial(5)
    for part, wanted in zip(drawn, SupernetProblem(second, task).state(), strict=True):
        assert part.keys() == wanted.keys()
        assert all(torch.equal(part[name], wanted[name]) for name in part)
    after = SupernetProblem(first, task).state()
    assert all(torch.equal(own.parameters[name], after.parameters[name]) for name in own.parameters)


# -- seeds --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def noisy(task):
    return SupernetProblem(Supernet(darts.s4(), task.signature, 0, channels=4, cells=3), task)


def test_evaluations_of_one_batch_agree_and_those_of_another_have_other_noise(task, noisy):
    streams = streams_of(task, 8)
    seeds = {streams.inner(i).seed for i in range(20)} | {streams.outer(i).seed for i in range(20)}
    assert len(seeds) == 40
    state, mix = noisy.state(), Mix(weights_of(noisy.supernet))
    batch = streams.inner(0)
    before = torch.get_rng_state()
    first, second = (noisy.output(state, mix, batch)[0] for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(first, noisy.output(state, mix, batch._replace(seed=batch.seed + 1))[0])
    assert torch.equal(batch.batch.inputs[0], streams.inner(0).batch.inputs[0])


def test_a_search_with_noise_goes_on_bit_for_bit(task, noisy, tmp_path):
    method = get("zarts_gld")
    method = replace(method, gate=replace(method.gate, n=2, warmup=0.0), outer=replace(method.outer, steps=1))
    streams, budget = streams_of(task, 8, method.split), Budget(epochs=1, length=4)
    whole = search(noisy, method, streams, budget=budget)
    half = search(noisy, method, streams, budget=replace(budget, pause=2))
    path = half.state.save(tmp_path / "half.npz")
    again = search(noisy, method, streams_of(task, 8, method.split), budget=budget, state=SearchState.load(path))
    for name, alpha in whole.alpha.items():
        assert torch.equal(alpha, again.alpha[name])
    for name, weight in whole.state.weights.parameters.items():
        assert torch.equal(weight, again.state.weights.parameters[name])


# -- spaces whose nodes keep two inputs ------------------------------------------------------------


@pytest.mark.parametrize("family", list(darts.FAMILIES))
def test_two_inputs_of_every_node_are_derived_and_decoded(task, family):
    space = darts.space(family)
    supernet = Supernet(space, task.signature, 0, channels=4, cells=3)
    assert [g.keep for g in supernet.groups] == [2, 2]
    competes = bool(supernet.groups[0].mask[:, 0].any())
    assert competes == (family in ("darts", "darts_s3"))
    derived = TopKInputs()(supernet.groups, Mix(weights_of(supernet)))
    for g in supernet.groups:
        assert [float(derived[g.name][list(rows)].sum()) for rows in g.nodes] == [2, 2, 2, 2]
        assert float(derived[g.name][:, 0].sum()) == 0
    architecture = supernet.decode(derived)
    assert space.contains(architecture)
    again = supernet.one_hot(architecture)
    for name, matrix in derived.items():
        kept = matrix.any(1)
        assert torch.equal(again[name][kept], matrix[kept])
        assert bool((again[name][~kept, 0] == 1).all())


def test_the_supernet_of_s1_holds_the_two_operations_of_every_edge(task):
    space = darts_s1.space()
    supernet = Supernet(space, task.signature, 0, channels=4, cells=3)
    for g in supernet.groups:
        for name, mask in zip(g.rows, g.mask, strict=True):
            cell, _, edge = name.partition(".")
            source, _, target = edge.partition("->")
            left = {o for o, on in zip(g.options, mask.tolist(), strict=True) if on}
            assert left == set(darts_s1.OPS[cell, int(source), int(target)])
    # What a search may not choose has no weights: those that are left are counted by a supernet of one-hot masks.
    whole = Supernet(darts.space(), task.signature, 0, channels=4, cells=3)
    per_option = {g.name: c for g, c in zip(whole.groups, whole.costs().values(), strict=True)}
    expected = sum(float(per_option[g.name][g.mask][:, 0].sum()) for g in supernet.groups)
    assert sum(p.numel() for p in supernet.parameters()) == expected + supernet.fixed_cost().params
    derived = supernet.decode(TopKInputs()(supernet.groups, Mix(weights_of(supernet))))
    assert space.contains(derived)
    x = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    supernet.eval()
    torch.testing.assert_close(supernet(x, mix=supernet.one_hot(derived)), supernet.child(derived)(x))


def test_accuracy_counts_the_examples_of_a_batch(task):
    supernet = Supernet(nasbench201.space(), task.signature, 0, channels=4, cells=1)
    problem = SupernetProblem(supernet, task)
    mix = Mix(weights_of(supernet))
    batch = one(task)
    guess = problem.output(problem.state(), mix, batch)[0].argmax(1)
    right = Batch(batch.batch.inputs, torch.cat([guess[:3], (guess[3:] + 1) % 4]))
    assert problem.accuracy(problem.state(), mix, batch._replace(batch=right)) == pytest.approx(50.0)
