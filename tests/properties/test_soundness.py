"""What simplification removes does not matter: an architecture and its canonical form compute the same function."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics, canonical, key
from graphnas.compile import compile
from graphnas.tasks.base import Signature
from graphnas.testing.rules import shuffled
from spaces import nasbench201
from spaces.nasbench101 import small_space

WIDTH = 5
OPS = ("a", "b", "zero", "skip", "sum", "mix", "att")
SEMANTICS = Semantics(
    zero_ops=frozenset({"zero"}),
    identity_ops=frozenset({"skip"}),
    merge_ops=frozenset({"sum", "mix"}),
    ordered_ops=frozenset({"att"}),
)
VARIANTS = {
    "plain": SEMANTICS,
    "flatten": replace(SEMANTICS, flatten=frozenset({"sum"})),
    "share": replace(SEMANTICS, share=True),
    "share and flatten": replace(SEMANTICS, share=True, flatten=frozenset({"sum"})),
    "drop raw inputs": replace(SEMANTICS, drop_input_ops=frozenset({"mix"})),
    "keep dead ends": replace(SEMANTICS, prune=False),
}


class Interpreter:
    """Numbers for DAGs: each label has fixed random weights; the rules of the semantics hold by construction.

    An op maps zeros to zero and sums over its inputs after a nonlinear map, so their order does not matter; ``att`` has a
    matrix for each place. ``mix`` (sum plus sum of pairwise products) is commutative and has zero as its neutral
    element, but it is not associative, so that flattening it would be noticed.
    """

    def __init__(self, drop: bool) -> None:
        self.drop = drop
        self.weights: dict[Any, np.ndarray] = {}

    def matrix(self, *label: Any) -> np.ndarray:
        if label not in self.weights:
            rng = np.random.default_rng(list(repr(label).encode()))
            self.weights[label] = rng.normal(size=(WIDTH, WIDTH))
        return self.weights[label]

    def __call__(self, architecture: Architecture) -> np.ndarray:
        values: list[np.ndarray] = []
        raw: list[bool] = []
        result = []
        for op, inputs, params in architecture.nodes:
            x = [values[j] for j in inputs]
            is_raw = False
            if op == "input":
                value, is_raw = self.matrix("input", params)[0], True
            elif op == "output":
                value = sum(map(np.sin, x), np.zeros(WIDTH))  # so that an output of two is not an output of their sum
                result.append(value)
            elif op == "zero":
                value = np.zeros(WIDTH)
            elif op == "skip":
                value, is_raw = x[0], raw[inputs[0]]
            elif op == "sum":
                value = sum(x, np.zeros(WIDTH))
                is_raw = self.alone(x, inputs, raw)
            elif op == "mix":
                kept = list(zip(x, inputs, strict=True))
                if self.drop:
                    hidden = [(v, j) for v, j in kept if not raw[j] and v.any()]
                    kept = hidden or [(v, j) for v, j in kept if v.any()][:1]
                value = sum((v for v, _ in kept), np.zeros(WIDTH))
                value = sum((u * v for (u, _), (v, _) in itertools.combinations(kept, 2)), value)
                is_raw = self.alone([v for v, _ in kept], [j for _, j in kept], raw)
            elif op == "att":
                total = sum((self.matrix(op, params, place) @ v for place, v in enumerate(x)), np.zeros(WIDTH))
                value = np.tanh(total)
            else:
                value = np.tanh(self.matrix(op, params) @ sum((np.tanh(v) for v in x), np.zeros(WIDTH)))
            values.append(value)
            raw.append(is_raw)
        return np.array(sorted(map(tuple, result)))

    @staticmethod
    def alone(x: Sequence[np.ndarray], inputs: Sequence[int], raw: Sequence[bool]) -> bool:
        """Whether a merge hands on one raw input unchanged."""
        live = [j for v, j in zip(x, inputs, strict=True) if v.any()]
        return len(live) == 1 and raw[live[0]]


def labelled(a: Architecture) -> Architecture:
    """The same DAG, where every operation has weights of its own."""
    free = ("input", "output", "zero", "skip", "sum", "mix")
    return Architecture(n if n.op in free else Node(n.op, n.inputs, (("own", i),)) for i, n in enumerate(a.nodes))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_canonical_form_computes_the_same(
    variant: str, tied: bool, random_dag: Callable[..., Architecture]
) -> None:
    semantics = VARIANTS[variant]
    interpret = Interpreter(drop="drop" in variant)
    rng = np.random.default_rng(5)
    shorter = 0
    for _ in range(400):
        a = random_dag(rng, int(rng.integers(2, 9)), OPS, inputs=1 if "drop" in variant else 2)
        a = a if tied else labelled(a)
        form = canonical(a, semantics)
        shorter += len(form) < len(a)
        assert np.allclose(interpret(a), interpret(form), rtol=0, atol=1e-10), (a, form)
        assert canonical(form, semantics) == form
        assert canonical(shuffled(a, rng), semantics) == form
        assert key(form.nodes, semantics) == key(a.nodes, semantics)
    assert shorter > 200


def test_equal_keys_mean_equal_functions_and_different_keys_different_ones(
    random_dag: Callable[..., Architecture],
) -> None:
    """With shared weights and flat sums, keys and function values divide random DAGs in the same way."""
    semantics = replace(VARIANTS["share and flatten"], ordered_ops=frozenset())
    interpret = Interpreter(drop=False)
    rng = np.random.default_rng(6)
    values: dict[str, np.ndarray] = {}
    for _ in range(1500):
        a = random_dag(rng, int(rng.integers(1, 6)), ("a", "b", "zero", "skip", "sum"))
        found = interpret(a)
        assert np.allclose(values.setdefault(key(a.nodes, semantics), found), found, rtol=0, atol=1e-10)
    flat = np.array([v.ravel() for v in values.values()])
    assert len(flat) > 300
    order = flat[np.argsort(flat[:, 0])]
    close = np.abs(np.diff(order, axis=0)).max(axis=1) < 1e-9
    assert close.mean() < 1e-3


SIGNATURE = Signature("image", (3, 8, 8), 4)
SMALL = {"channels": 4, "cells": 1}


def module_of(space: Any, a: Architecture) -> torch.nn.Module:
    """A compiled float64 network in evaluation mode; operations map zeros to zero, as at initialisation."""
    return compile(space.network(a, SIGNATURE, **SMALL), seed=0).double().eval()


def tie(module: torch.nn.Module, name_of: Callable[[str], str]) -> torch.nn.Module:
    """Weights that depend on ``name_of(layer)`` and nothing else."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.dim() > 1 or name == "head.classifier.bias":  # normalisation keeps its scale 1 and shift 0
                seed = list(f"{name_of(name)} {tuple(parameter.shape)}".encode())
                drawn = np.random.default_rng(seed).normal(size=parameter.shape)
                parameter.copy_(torch.from_numpy(drawn / np.sqrt(max(1, parameter[0].numel()))))
    return module


def output(module: torch.nn.Module) -> torch.Tensor:
    x = torch.randn(3, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return module(x)


def without_node(name: str) -> str:
    return ".".join("node" if part.startswith("node") else part for part in name.split("."))


def test_nasbench201_cells_of_one_key_compute_the_same() -> None:
    """Real compiled networks; weights are tied among operations of one shape in one cell."""
    space = nasbench201.space()
    shared = replace(space.semantics, share=True, flatten=frozenset({"sum"}))
    classes: dict[str, list[tuple[int, ...]]] = {}
    for cell in itertools.product(range(5), repeat=6):
        classes.setdefault(key(space.build(cell), shared), []).append(cell)
    rng = np.random.default_rng(0)
    several = [members for members in classes.values() if len(members) > 1]
    outputs = []
    for i in rng.choice(len(several), 12, replace=False):
        first, second = (space.decode(several[i][k]) for k in rng.choice(len(several[i]), 2, replace=False))
        a, b = (output(tie(module_of(space, x), without_node)) for x in (first, second))
        assert torch.allclose(a, b, rtol=0, atol=1e-10), (first, second)
        outputs.append(a)
    for a, b in itertools.combinations(outputs, 2):
        assert (a - b).abs().max() > 1e-6


def test_nasbench201_cells_equal_their_canonical_form_with_weights_copied_node_by_node() -> None:
    space = nasbench201.space()
    rng = np.random.default_rng(3)
    checked = 0
    while checked < 12:
        a = space.sample(rng)
        free = ("input", "output", "sum", "none", "skip_connect")
        owned = [n if n.op in free else Node(n.op, n.inputs, (("own", i),)) for i, n in enumerate(a.nodes)]
        form = canonical(Architecture(owned), space.semantics)
        if not form.nodes[-1].inputs:
            continue  # the constant zero has no network
        checked += 1
        original = {f"node{i}": f"node{n.get('own', i)}" for i, n in enumerate(form.nodes)}

        def name_of(name: str, original: dict[str, str] = original) -> str:
            return ".".join(original.get(part, part) for part in name.split("."))

        bare = Architecture(Node(n.op, n.inputs) for n in form.nodes)
        one = output(tie(module_of(space, a), lambda name: name))
        other = output(tie(module_of(space, bare), name_of))
        assert torch.allclose(one, other, rtol=0, atol=1e-10), a


def test_nasbench101_dead_vertices_do_not_change_the_network() -> None:
    space = small_space(5)
    classes: dict[str, list[Architecture]] = {}
    rng = np.random.default_rng(0)
    while sum(len(members) > 1 for members in classes.values()) < 6:
        made = tuple(rng.integers(0, space.radices).tolist())
        if space.is_valid(made):
            a = space.decode(made)
            classes.setdefault(space.key(a), []).append(a)
    for members in (m for m in classes.values() if len(m) > 1):
        counts = {sum(p.numel() for p in module_of(space, a).parameters()) for a in members}
        assert len(counts) == 1 or max(counts) / min(counts) < 1.01  # remainders of channels go to the first vertices


def test_a_cell_of_zeros_and_its_canonical_form_have_networks() -> None:
    space = nasbench201.space()
    a = space.decode([0] * 6)
    assert torch.equal(output(module_of(space, a)), output(module_of(space, space.canonical(a))))


def test_a_raw_input_is_dropped_only_beside_another_input() -> None:
    semantics = VARIANTS["drop raw inputs"]
    both = Architecture([node("input"), node("a", [0]), node("mix", [0, 1]), node("output", [2])])
    one = Architecture([node("input"), node("a", [0]), node("output", [1])])
    only = Architecture([node("input"), node("mix", [0, 0]), node("output", [1])])
    assert key(both.nodes, semantics) == key(one.nodes, semantics)
    assert canonical(only, semantics) == Architecture([node("input"), node("output", [0])])


def test_equal_ordered_nodes_with_a_zero_are_shared() -> None:
    semantics = VARIANTS["share"]
    layer = [node("input"), node("zero", [0])]
    twice = Architecture([*layer, node("att", [0, 1]), node("att", [0, 1]), node("sum", [2, 3]), node("output", [4])])
    once = Architecture([*layer, node("att", [0, 1]), node("sum", [2, 2]), node("output", [3])])
    assert key(twice.nodes, semantics) == key(once.nodes, semantics)


def test_an_empty_sum_may_stand_in_a_place() -> None:
    nodes = [node("input"), node("sum", []), node("att", [0, 1]), node("output", [2])]
    semantics = Semantics(ordered_ops=frozenset({"att"}))
    form = canonical(Architecture(nodes), semantics)
    interpret = Interpreter(drop=False)
    assert np.allclose(interpret(Architecture(nodes)), interpret(form), rtol=0, atol=1e-10)


def test_only_merges_of_equal_parameters_are_flattened() -> None:
    semantics = Semantics(flatten=frozenset({"concat"}))

    def of(inner: int) -> str:
        nodes = [node("input"), node("a", [0]), node("concat", [0, 1], dim=inner), node("concat", [2, 1], dim=1)]
        return key([*nodes, node("output", [3])], semantics)

    assert of(1) != of(2)
