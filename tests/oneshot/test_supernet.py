"""A supernet is every architecture of its space: one-hot weights give the child, other weights the weighted sum."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.func import functional_call

from graphnas.architecture import node
from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.oneshot.opened import groups_of, opened
from graphnas.oneshot.supernet import Supernet, rows_of
from graphnas.ops.mixture import Mixed, Row, Select, product
from graphnas.space import Choice, Space
from graphnas.tasks.base import Signature
from spaces import darts, nasbench201

SIGNATURE = Signature("image", (3, 8, 8), 5)
SPACES = {
    "nasbench201": (nasbench201.space(), {"channels": 2, "cells": 1}),
    "darts": (darts.space(), {"channels": 2, "cells": 3}),
    "darts_edges": (darts.edges(), {"channels": 2, "cells": 3}),
}


@pytest.fixture(params=SPACES)
def case(request):
    space, size = SPACES[request.param]
    return space, Supernet(space, SIGNATURE, seed=0, **size)


@pytest.fixture
def images():
    return torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def random_mix(supernet, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    mix = {g.name: torch.softmax(torch.randn(g.shape, generator=generator), -1) for g in supernet.groups}
    return {name: w.requires_grad_(requires_grad) for name, w in mix.items()}


@pytest.mark.parametrize("training", [True, False])
def test_one_hot_weights_give_the_child_with_the_same_weights(case, images, training):
    space, supernet = case
    supernet.train(training)
    for seed in range(4):
        architecture = space.sample(np.random.default_rng(seed))
        child = supernet.child(architecture)
        assert child.training == training
        torch.testing.assert_close(
            supernet(images, mix=supernet.one_hot(architecture)), child(images), rtol=0, atol=1e-6
        )


def test_one_hot_weights_with_a_gradient_give_the_same_output(case, images):
    space, supernet = case
    supernet.eval()
    hot = supernet.one_hot(space.sample(np.random.default_rng(0)))
    with_gradient = {name: w.clone().requires_grad_() for name, w in hot.items()}
    torch.testing.assert_close(supernet(images, mix=with_gradient), supernet(images, mix=hot), rtol=0, atol=1e-5)


def test_one_hot_weights_and_architectures_are_inverse(case):
    space, supernet = case
    for seed in range(5):
        architecture = space.sample(np.random.default_rng(seed))
        assert space.key(supernet.decode(supernet.one_hot(architecture))) == space.key(architecture)


def test_a_child_without_inheritance_has_other_weights_of_the_same_names(case):
    space, supernet = case
    architecture = space.sample(np.random.default_rng(0))
    own = supernet.child(architecture, inherit=False, seed=5).state_dict()
    shared = supernet.state_of(architecture)
    assert own.keys() == shared.keys()
    assert any(not torch.equal(own[name], shared[name]) for name in own if name.endswith("weight"))


def test_costs_of_decisions_add_up_to_the_cost_of_the_network(case):
    space, supernet = case
    if space is not supernet.space:
        space = supernet.space
    fixed = supernet.fixed_cost()
    for seed in range(4):
        architecture = space.sample(np.random.default_rng(seed))
        hot = supernet.one_hot(architecture)
        total = sum((table * hot[name][..., None]).sum((0, 1)) for name, table in supernet.costs().items())
        true = cost(space.network(architecture, SIGNATURE, **supernet.size))
        assert total.tolist() == [true.params - fixed.params, true.macs - fixed.macs]


def test_only_the_operations_of_a_one_hot_architecture_run(images):
    supernet = Supernet(nasbench201.space(), SIGNATURE, seed=0, channels=2, cells=1)
    ran = []
    for name, module in supernet.mixed().items():
        for k, option in enumerate(module.options):
            option.register_forward_hook(lambda *_, at=(name, k): ran.append(at))
    architecture = nasbench201.space().decode([3, 2, 1, 0, 4, 3])
    supernet(images, mix=supernet.one_hot(architecture))
    assert sorted(ran) == sorted(supernet.chosen(architecture).items())


def test_an_option_none_never_runs_and_its_weight_has_a_zero_gradient(images):
    supernet = Supernet(nasbench201.space(), SIGNATURE, seed=0, channels=2, cells=1)
    for module in supernet.mixed().values():
        module.options[0].register_forward_hook(lambda *_: pytest.fail("none was run"))
    mix = random_mix(supernet, requires_grad=True)
    (gradient,) = torch.autograd.grad(supernet(images, mix=mix).square().sum(), [mix["op"]])
    assert torch.equal(gradient[:, 0], torch.zeros(6))
    assert bool((gradient[:, 1:].abs() > 0).all())


def test_gradients_of_the_weights_are_those_of_finite_differences():
    supernet = Supernet(nasbench201.space(), SIGNATURE, seed=0, channels=2, cells=1).double().eval()
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mix = random_mix(supernet)["op"].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda w: supernet(x, mix={"op": w}).square().sum(), (mix,))


def test_one_row_for_each_example_is_each_example_alone(images):
    supernet = Supernet(nasbench201.space(), SIGNATURE, seed=0, channels=2, cells=1).eval()
    each = [random_mix(supernet, seed)["op"] for seed in range(3)]
    together = supernet(images, mix={"op": torch.stack(each)})
    alone = torch.cat([supernet(images[i : i + 1], mix={"op": each[i]}) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)


def test_recomputation_changes_neither_gradients_nor_running_means(images):
    for space, size in SPACES.values():
        gradients, means = [], []
        for memory in ("store", "checkpoint"):
            supernet = Supernet(space, SIGNATURE, seed=0, memory=memory, **size).train()
            mix = random_mix(supernet, requires_grad=True)
            # Other weights than the module's own, as a virtual step evaluates.
            weights = {name: (p.detach() * 1.1).requires_grad_() for name, p in supernet.named_parameters()}
            buffers = {name: b.clone() for name, b in supernet.named_buffers()}
            loss = functional_call(supernet, {**weights, **buffers}, (images,), {"mix": mix}).square().sum()
            gradients.append(torch.autograd.grad(loss, [*weights.values(), *mix.values()], allow_unused=True))
            means.append(buffers)
        for a, b in zip(*gradients, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)  # the sums run in another order
        assert all(torch.equal(means[0][name], means[1][name]) for name in means[0])


def test_recomputation_keeps_fewer_bytes_for_the_backward_pass():
    kept = {}
    for memory in ("store", "checkpoint"):
        supernet = Supernet(darts.space(), SIGNATURE, seed=0, memory=memory, channels=4, cells=3).train()
        sizes = []

        def pack(t, sizes=sizes):
            sizes.append(t.numel())
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            supernet(torch.randn(4, 3, 8, 8), mix=random_mix(supernet, requires_grad=True))
        kept[memory] = sum(sizes)
    assert kept["checkpoint"] < kept["store"] / 2


def test_a_supernet_is_the_same_for_the_same_seed():
    first, second = (Supernet(darts.space(), SIGNATURE, seed=3, channels=2, cells=3).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


# -- the parts ----------------------------------------------------------------------------------


class Times(torch.nn.Module):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return x * self.factor


def test_a_mixed_operation_is_the_weighted_sum_of_its_options():
    mixed = Mixed(Times(1.0), Times(10.0), Times(100.0))
    x = torch.tensor([[1.0], [2.0]])
    weights = torch.tensor([0.2, 0.3, 0.5])
    assert mixed(x, Row(weights, (0, 1, 2)))[:, 0].tolist() == pytest.approx([53.2, 106.4])
    assert mixed(x, Row(weights, (0, 2)))[:, 0].tolist() == pytest.approx([50.2, 100.4])
    each = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]])
    assert mixed(x, Row(each, (0, 1)))[:, 0].tolist() == pytest.approx([1.0, 10.0])


def test_the_weights_of_options_that_do_not_run_get_a_gradient_on_request():
    mixed = Mixed(Times(1.0), Times(10.0))
    weights = torch.tensor([0.0, 1.0], requires_grad=True)
    x = torch.tensor([[1.0], [2.0]])
    output = mixed(x, rows_of(weights[None], rest=True)[0])
    assert output[:, 0].tolist() == [10.0, 20.0]
    (gradient,) = torch.autograd.grad(output.sum(), weights)
    assert gradient.tolist() == [2.0, 30.0]  # one for each number that it is added to; the option's own output


def test_a_selected_input_is_the_weighted_sum_of_the_candidates():
    select = Select((1, -1, 0))
    a, b = torch.tensor([[1.0]]), torch.tensor([[10.0]])
    row = Row(torch.tensor([0.5, 0.2, 0.3]), (0, 1, 2))
    assert select(a, b, row).item() == pytest.approx(0.5 * 10 + 0.3 * 1)
    assert select(a, b, Row(torch.tensor([0.0, 1.0, 0.0]), (1,))).item() == 0.0


def test_the_row_of_two_decisions_is_their_outer_product():
    a, b = Row(torch.tensor([0.25, 0.75]), (0, 1)), Row(torch.tensor([0.0, 0.4, 0.6]), (1, 2))
    both = product(a, b)
    assert both.weights.tolist() == pytest.approx([0, 0.1, 0.15, 0, 0.3, 0.45])
    assert both.live == (1, 2, 4, 5)


def test_groups_follow_the_groups_of_choices_with_missing_options_masked():
    wide, narrow = Choice("a", ("x", "y", "z"), "g"), Choice("b", ("x", "y"), "g")
    alone = Choice("c", ("p", "q"))
    nodes = [node("input"), node(wide, (0,)), node(narrow, (1,)), node(alone, (2,)), node("output", (3,))]
    groups, places = groups_of(Space("small", nodes))
    assert [(g.name, g.rows, g.options) for g in groups] == [
        ("g", ("a", "b"), ("x", "y", "z")),
        ("c", ("c",), ("p", "q")),
    ]
    assert groups[0].mask.tolist() == [[True, True, True], [True, True, False]]
    assert places == {wide: ("g", 0), narrow: ("g", 1), alone: ("c", 0)}


def test_the_open_template_lists_every_option_and_every_input():
    link, op, width = Choice("link", (0, 1)), Choice("op", ("f", "g")), Choice("width", (8, 16))
    nodes = [
        node("input"),
        node("f", (0,)),
        node(op, (link.at(0, 1),), width=width),
        node("output", (2,)),
    ]
    architecture, _ = opened(Space("small", nodes))
    n = architecture.nodes[2]
    assert n.op == "open"
    assert n.inputs == (0, 1)
    assert n.get("rows") == (("op", 0), ("width", 0))
    assert n.get("options") == tuple((o, (("width", w),)) for o in "fg" for w in (8, 16))
    assert n.get("slots") == ((("link", 0), (0, 1)),)


def test_too_many_combinations_in_one_operation_are_refused():
    params = {f"p{i}": Choice(f"p{i}", tuple(range(8))) for i in range(3)}
    space = Space("large", [node("input"), node("f", (0,), **params), node("output", (1,))])
    with pytest.raises(GraphnasError, match="p0, p1, p2, more than 256 combinations"):
        opened(space)


def test_unknown_memory_mode():
    with pytest.raises(GraphnasError, match="memory mode"):
        Supernet(nasbench201.space(), SIGNATURE, memory="little")
