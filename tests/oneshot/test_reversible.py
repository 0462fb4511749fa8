"""Reversible execution gives the gradients of plain execution, in memory that does not depend on depth."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from graphnas.architecture import INPUT, OUTPUT, Architecture, Node, node
from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.oneshot.reversible import make_reversible
from graphnas.oneshot.reversible_chain import Chain, Step
from graphnas.oneshot.supernet import Supernet
from graphnas.space import Choice, Space
from graphnas.tasks.base import Signature
from spaces import nasbench201, transformer

SIGNATURE = Signature("translation", (5, 4), 11)
SIZE = {"embedding": 8, "heads": 1}


def mlp_network(architecture, signature, *, layers, splits):
    """Layers of couplings whose operations are written on the one node ``step`` of a space."""
    nodes = [node(INPUT, name="x", shape=signature.input)]
    (features,) = signature.input
    state = []
    for k in range(splits):
        nodes.append(node("feature_slice", [0], start=k * features // splits, size=features // splits))
        state.append(len(nodes) - 1)
    (step,) = (n for n in architecture.nodes if n.op == "open" or n.op in OPS)
    for layer in range(layers):
        for k in range(splits):
            nodes.append(node("maximum", [x for i, x in enumerate(state) if i != k]))
            name = f"layer{layer}.split{k}"
            if step.op == "open":
                given = [(op, (("features", features // splits), ("reads", 1))) for op, _ in step.get("options")]
                nodes.append(node("mixed", [len(nodes) - 1], options=given, rows=step.get("rows"), name=name))
            else:
                nodes.append(node(step.op, [len(nodes) - 1], features=features // splits, name=name))
            nodes.append(node("coupling", [state[k], len(nodes) - 1], chain="all", split=k))
            state[k] = len(nodes) - 1
    nodes.append(node("concat", state, dim=-1))
    return Architecture([*nodes, node(OUTPUT, [len(nodes) - 1])])


OPS = ("linear", "sequence_glu", "sequence_ffn")


def mlp_space():
    """A space that is no Transformer."""
    template = [node("input"), Node(Choice("step", OPS), (0,)), node("output", [1])]
    return Space("mlp", template, network=mlp_network, size={"layers": 1, "splits": 2}, accepts=("rows",))


def sentences(generator):
    source = torch.randint(1, 11, (3, 5), generator=generator)
    source[1, 3:] = 0
    return source, torch.randint(1, 11, (3, 4), generator=generator)


def mlp_case(splits, depth, **options):
    supernet = Supernet(mlp_space(), Signature("rows", (24,), 24), 0, layers=depth, splits=splits, **options)
    return supernet, lambda generator: (torch.randn(3, 24, generator=generator, dtype=torch.float64),)


def transformer_case(splits, depth, **options):
    space = transformer.space(splits, 1)
    size = {**SIZE, "width": splits * (splits + 1) * 2, "blocks": depth}
    return Supernet(space, SIGNATURE, 0, dropout=0.3, **size, **options), sentences


def gradients(supernet, inputs, seed=5):
    generator = torch.Generator().manual_seed(seed)
    mix = {
        g.name: torch.rand(g.shape, generator=generator, dtype=torch.float64)
        .softmax(-1)
        .to(next(supernet.parameters()))
        for g in supernet.groups
    }
    asked = {name: w.requires_grad_() for name, w in mix.items()}
    torch.manual_seed(seed)
    output = supernet(*inputs, mix=asked)
    names = [*asked, *(name for name, _ in supernet.named_parameters())]
    found = torch.autograd.grad(output.square().mean(), [*asked.values(), *supernet.parameters()], allow_unused=True)
    return {"output": output.detach(), **dict(zip(names, found, strict=True))}


def check_equal(first, second, tolerance):
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert (value is None) == (second[name] is None), name
        if value is not None:
            scale = max(1.0, float(value.abs().max()))
            assert float((value - second[name]).abs().max()) <= tolerance * scale, name


@pytest.mark.parametrize(
    ("case", "splits", "depth", "dtype", "tolerance"),
    [
        (transformer_case, 2, 2, torch.float64, 1e-11),
        (transformer_case, 3, 2, torch.float64, 1e-11),
        (transformer_case, 2, 4, torch.float32, 1e-5),
        (mlp_case, 2, 16, torch.float64, 1e-9),
        (mlp_case, 3, 16, torch.float64, 1e-9),
        (mlp_case, 4, 16, torch.float64, 1e-9),
        (mlp_case, 4, 4, torch.float32, 1e-5),
    ],
)
def test_gradients_are_those_of_plain_execution(case, splits, depth, dtype, tolerance):
    """With dropout, masks and a memory that all steps read, and for two to five splits (a decoder has one more)."""
    made = []
    for memory in ("store", "reversible"):
        supernet, draw = case(splits, depth, memory=memory)
        supernet = supernet.to(dtype).train()
        inputs = [x.to(dtype) if x.is_floating_point() else x for x in draw(torch.Generator().manual_seed(0))]
        made.append(gradients(supernet, inputs))
    check_equal(*made, tolerance)
    assert any(value is not None and value.abs().max() > 1e-4 for value in made[0].values())


def test_names_and_shapes_of_the_weights_are_those_of_a_plain_supernet():
    plain, reversible = (transformer_case(2, 2, memory=m)[0].state_dict() for m in ("store", "reversible"))
    assert list(plain) == list(reversible)
    assert all(torch.equal(value, reversible[name]) for name, value in plain.items())


def saved_bytes(supernet, inputs):
    """What autograd keeps for the backward pass, weights apart; each piece of memory once."""
    own = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
    kept = {}

    def pack(x):
        storage = x.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = x, storage.nbytes()
        return x

    mix = {g.name: torch.full(g.shape, 0.1, requires_grad=True) for g in supernet.groups}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        output = supernet(*inputs, mix=mix)
    found = sum(size for _, size in kept.values())
    assert output.requires_grad
    return found


def test_saved_bytes_do_not_depend_on_depth():
    inputs = sentences(torch.Generator().manual_seed(0))
    found = {
        memory: [saved_bytes(transformer_case(2, depth, memory=memory)[0], inputs) for depth in depths]
        for memory, depths in (("store", (1, 4)), ("reversible", (1, 4, 16)))
    }
    assert len(set(found["reversible"])) == 1
    assert found["store"][1] > 3 * found["store"][0] > 3 * found["reversible"][0]


def test_every_state_is_worked_out_again():
    """The arguments of every step, in the backward pass, are those of the forward pass."""
    seen = []

    class Recorded(nn.Module):
        def __init__(self, number):
            super().__init__()
            self.number = number
            self.linear = nn.Linear(3, 3).double()

        def forward(self, *others):
            seen.append((self.number, [x.detach().clone() for x in others]))
            return self.linear(torch.stack(others).sum(0)).tanh()

    torch.manual_seed(0)
    steps = [Step(t % 3, tuple(i for i in range(3) if i != t % 3), (), Recorded(t)) for t in range(48)]
    state = [torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    torch.stack(Chain(3, steps)(*state)).square().sum().backward()
    forward, backward = seen[:48], seen[48:]
    assert [number for number, _ in backward] == list(range(47, -1, -1))
    for (_, first), (_, again) in zip(forward, reversed(backward), strict=True):
        for x, y in zip(first, again, strict=True):
            torch.testing.assert_close(x, y, rtol=0, atol=1e-11)


def test_gradients_of_gradients_are_those_of_plain_execution():
    def product(memory):
        supernet, draw = transformer_case(2, 1, memory=memory)
        supernet = supernet.double().train()
        mix = {g.name: torch.full(g.shape, 0.1, dtype=torch.float64, requires_grad=True) for g in supernet.groups}
        torch.manual_seed(0)
        loss = supernet(*draw(torch.Generator().manual_seed(0)), mix=mix).square().mean()
        wanted = [p for p in supernet.parameters() if p.ndim > 1]
        first = torch.autograd.grad(loss, wanted, create_graph=True, allow_unused=True)
        slope = torch.stack([(g * torch.linspace(-1, 1, g.numel()).view(g.shape)).sum() for g in first]).sum()
        second = torch.autograd.grad(slope, [*mix.values(), *wanted], allow_unused=True)
        return {str(i): g for i, g in enumerate(second)}

    plain, reversible = product("store"), product("reversible")
    check_equal(plain, reversible, 1e-9)
    assert float(plain["0"].abs().max()) > 1e-3


def test_the_random_state_moves_as_in_plain_execution():
    states = []
    for memory in ("store", "reversible"):
        supernet, draw = transformer_case(2, 2, memory=memory)
        inputs = draw(torch.Generator().manual_seed(0))
        torch.manual_seed(1)
        mix = {g.name: torch.full(g.shape, 0.1, requires_grad=True) for g in supernet.groups}
        loss = supernet.train()(*inputs, mix=mix).sum()
        states.append(torch.get_rng_state())
        loss.backward()
        states.append(torch.get_rng_state())
    assert all(torch.equal(states[0], other) for other in states[1:])


def test_one_hot_weights_give_the_child():
    supernet, draw = transformer_case(3, 2, memory="reversible")
    supernet.eval()
    inputs = draw(torch.Generator().manual_seed(0))
    for seed in range(3):
        architecture = supernet.original.sample(np.random.default_rng(seed))
        expected = supernet.child(architecture)(*inputs)
        torch.testing.assert_close(supernet(*inputs, mix=supernet.one_hot(architecture)), expected, rtol=0, atol=1e-6)


def test_a_space_without_couplings_is_refused():
    with pytest.raises(GraphnasError, match="networks of space 'nasbench201' have no state in splits"):
        Supernet(nasbench201.space(), Signature("image", (3, 8, 8), 3), memory="reversible", channels=2, cells=1)


def chain_of(*couplings):
    """A network of two slices and these nodes (op, inputs, params); the sum of the last two is the output."""
    nodes = [node(INPUT, name="x", shape=(4,))]
    nodes += [node("feature_slice", [0], start=2 * k, size=2) for k in (0, 1)]
    nodes += [node(op, inputs, **params) for op, inputs, params in couplings]
    nodes += [node("sum", [len(nodes) - 2, len(nodes) - 1]), node(OUTPUT, [len(nodes)])]
    return compile(Architecture(nodes), seed=0)


step = partial(dict, chain="c")


@pytest.mark.parametrize(
    ("couplings", "message"),
    [
        ([("relu", [1], {}), ("coupling", [1, 3], step(split=0))], "step 0 reads part 0, to which it adds"),
        (
            [
                ("relu", [2], {}),
                ("coupling", [1, 3], step(split=0)),
                ("relu", [1], {}),
                ("coupling", [2, 5], step(split=1)),
            ],
            "step 1 reads a part as it was before another step",
        ),
        (
            [
                ("relu", [2], {}),
                ("coupling", [1, 3], step(split=0)),
                ("coupling", [4, 3], step(split=0)),
                ("coupling", [2, 5], step(split=1)),
            ],
            "steps 0 and 1 share the value node_3",
        ),
        (
            [("relu", [2], {}), ("coupling", [1, 3], step(split=0)), ("coupling", [1, 2], step(split=0))],
            "step 1 adds to another value than part 0",
        ),
        (
            [
                ("relu", [2], {}),
                ("coupling", [1, 3], step(split=0)),
                ("relu", [4], {}),
                ("coupling", [2, 5], step(split=1)),
                ("sum", [5, 6], {}),
            ],
            "reads node_5, which lies within the chain",
        ),
    ],
)
def test_couplings_that_cannot_be_undone_are_refused(couplings, message):
    with pytest.raises(GraphnasError, match=f"chain 'c' is not reversible: .*{message}") as caught:
        make_reversible(chain_of(*couplings))
    assert "\n" not in str(caught.value)
