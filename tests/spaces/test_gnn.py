"""The spaces of AGNN and GraphNAS: their sizes, their component classes, their links, and the networks they build."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.architecture import Architecture, node
from graphnas.compile import compile, layers_of
from graphnas.cost import cost, example_inputs
from graphnas.encoding.vocabulary import Vocabulary
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.training import TrainingEstimator
from graphnas.export import export_onnx, python_source
from graphnas.registry import get_task
from graphnas.tasks.base import Signature
from graphnas.testing import check_space
from spaces.gnn import AGNN, GRAPHNAS, agnn, graphnas_space

SIGNATURE = Signature("node", (12,), 5, nodes=20, edges=50)
SPACES = [
    agnn(),
    agnn(2, residual=True),
    agnn(2, jumping_knowledge=True),
    agnn(3, residual=True, jumping_knowledge=True, batch_norm=True),
    agnn(2, propagation=True),
    agnn(3, residual=True, jumping_knowledge=True, propagation=True),
    graphnas_space(),
]


def decided(space: Any, **options: Any) -> Architecture:
    """The architecture with these options by name (others: the first)."""
    return space.decode([c.options.index(options[c.name]) if c.name in options else 0 for c in space.choices])


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_sizes_are_those_of_the_papers(layers: int) -> None:
    assert agnn(layers).size == 14_112**layers
    assert graphnas_space(layers).size == 9_408**layers
    assert agnn(layers, residual=True).size == 28_224**layers
    assert agnn(layers, propagation=True).size == 4 * (14_112 // 7 * 8) ** layers
    if layers > 1:
        assert agnn(layers, jumping_knowledge=True).size == 3 * 14_112**layers


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_spaces_keep_the_rules(space: Any) -> None:
    check_space(space, samples=4, signature=SIGNATURE)


def test_component_classes_are_groups() -> None:
    groups = [c.group for c in agnn(2).choices]
    assert groups == [*AGNN, *AGNN]
    assert [c.group for c in graphnas_space(2).choices] == [*GRAPHNAS, *GRAPHNAS]
    assert [len(AGNN[g]) for g in AGNN] == [7, 7, 6, 3, 2, 8]
    linked = agnn(2, residual=True, jumping_knowledge=True)
    assert [c.group for c in linked.choices] == [*AGNN, "residual", *AGNN, "residual", "jumping_knowledge"]


@pytest.mark.parametrize("group", AGNN)
def test_a_mutation_changes_one_class_only(group: str) -> None:
    space, rng = agnn(3), np.random.default_rng(0)
    for _ in range(20):
        a = space.sample(rng)
        before, after = space.describe(a), space.describe(space.mutate(a, rng, group=group))
        changed = [name for name in before if before[name] != after[name]]
        assert len(changed) == 1
        assert changed[0][:-1] == group


def test_a_layer_is_one_node_with_the_choices_as_its_parameters() -> None:
    a = agnn(2).sample(np.random.default_rng(1))
    assert [n.op for n in a.nodes] == ["input", "agnn", "agnn", "output"]
    for n in a.nodes[1:3]:
        assert set(dict(n.params)) == set(AGNN)
    vocabulary = Vocabulary(agnn(4))
    assert len(vocabulary) == 5 + 7 + 7 + 6 + 3 + 2 + 8  # input, output, sum, concat, agnn, and one token an option


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_other_writings_are_recognised(space: Any) -> None:
    """The canonical form, in which unused links are gone, has the same decisions and the same network."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        a = space.sample(rng)
        form = Architecture(space.canonical(a).nodes)
        assert space.encode(form) == space.encode(a)
        assert space.network(form, SIGNATURE) == space.network(a, SIGNATURE)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("agnn", [0])],
        [node("sum", [0, 0]), node("agnn", [1])],
        [node("agnn", [0]), node("agnn", [0]), node("sum", [1, 2])],
        [node("agnn", [0]), node("agnn", [1]), node("concat", [0, 2])],
    ],
)
def test_other_graphs_are_no_members(nodes: list[Any]) -> None:
    space = agnn(2, residual=True, jumping_knowledge=True)
    params = dict(space.sample(np.random.default_rng(0)).nodes[1].params)
    filled = [node(n.op, n.inputs, **(params if n.op == "agnn" else {})) for n in nodes]
    assert not space.contains(Architecture([node("input"), *filled, node("output", [len(nodes)])]))


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_counted_parameters_are_those_of_the_module(space: Any) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        network = space.network(space.sample(rng), SIGNATURE)
        module = compile(network, seed=0).eval()
        assert cost(network).params == sum(p.numel() for p in module.parameters())
        assert module(*example_inputs(network)).shape == (20, 5)


def test_multiply_adds_of_a_layer_counted_by_hand() -> None:
    """20 nodes, 50 edges and 20 self-loops; 12 features, two heads of 8, averaged heads of 5 at the end."""
    space = agnn(2)
    options = {"attention1": "gat", "heads1": 2, "width1": 8, "attention2": "cos", "heads2": 1, "combine2": "mlp"}
    network = space.network(decided(space, **options), SIGNATURE)
    first = 20 * 12 * 16 + 2 * 20 * 16 + 70 * 16
    second = 20 * 16 * 5 + 2 * 20 * 5 + 2 * 70 * 5 + 20 * (5 * 128 + 128 + 128 * 5 + 5)
    assert cost(network).macs == first + second


def test_inner_heads_are_joined_and_those_of_the_last_layer_averaged() -> None:
    space = agnn(3)
    a = decided(space, heads1=4, width1=8, heads2=2, width2=16, heads3=6, width3=256)
    layers = {name: dict(layer.arguments) for name, layer in layers_of(space.network(a, SIGNATURE)).values()}
    sizes = [(v["in_channels"], v["out_channels"], v["heads"], v["concat"]) for v in layers.values() if "heads" in v]
    assert sizes == [(12, 8, 4, True), (32, 16, 2, True), (32, 5, 6, False)]


def test_links_add_what_a_layer_reads_and_join_layers() -> None:
    """The compiled network against its layers called by hand; the first two layers are of different width."""
    space = agnn(3, residual=True, jumping_knowledge=True)
    x, edges = torch.randn(20, 12), torch.randint(20, (2, 50))
    widths = {"width1": 8, "width2": 16, "width3": 16, "heads1": 2, "heads2": 2, "heads3": 2}
    for first, third, jump in itertools.product([False, True], [False, True], ["last", "concat", "max"]):
        a = decided(space, **widths, residual1=first, residual3=third, jumping_knowledge=jump)
        m: Any = compile(space.network(a, SIGNATURE), seed=0).eval()
        one = m.layer1.conv(x, edges)
        one = one + m.layer1.residual(x) if first else one
        two = m.layer2.conv(one, edges)
        if jump == "last":
            last = m.layer3.conv(two, edges)
            expected = last + m.layer3.residual(two) if third else last
            assert m.layer3.conv.out_channels == 5
        else:
            three = m.layer3.conv(two, edges)
            three = three + two if third else three  # of equal width: as it is
            assert not hasattr(m.layer3, "residual")
            layers = [one, two, three]
            largest = torch.stack([m.jump.layer1(one), two, three]).amax(0) if jump == "max" else None
            joined = torch.cat(layers, 1) if largest is None else largest
            expected = m.head.classifier(joined)
        assert torch.allclose(m(x, edges), expected, rtol=0, atol=1e-6)


def test_batch_normalisation_precedes_every_layer_but_the_first() -> None:
    space = agnn(3, batch_norm=True)
    network = space.network(space.sample(np.random.default_rng(0)), SIGNATURE)
    norms = [i for i, n in enumerate(network.nodes) if n.op == "feature_norm"]
    readers = [n.get("name") for n in network.nodes if n.op == "agnn" and n.inputs[0] in norms]
    assert readers == ["layer2.conv", "layer3.conv"]


def test_names_of_weights_tell_layer_and_role_in_every_architecture() -> None:
    """What sharing needs: equal names mean the same role, and layers differ in shapes or in their descriptions."""
    space, rng = agnn(2), np.random.default_rng(4)
    roles = {
        "lin.weight",
        "left",
        "right",
        "vector",
        "bias",
        "mlp.0.weight",
        "mlp.0.bias",
        "mlp.2.weight",
        "mlp.2.bias",
    }
    for _ in range(20):
        network = space.network(space.sample(rng), SIGNATURE)
        for name in compile(network, seed=0).state_dict():
            layer, conv, role = name.split(".", 2)
            assert layer in ("layer1", "layer2")
            assert conv == "conv"
            assert role in roles
        for n in network.nodes:
            if n.op == "agnn":
                (described,) = [dict(e.arguments) for name, e in layers_of(network).values() if name == n.get("name")]
                assert described["attention"] == n.get("attention")
                assert described["aggregate"] == n.get("aggregate")


@pytest.mark.parametrize("attention", AGNN["attention"])
def test_exported_networks_need_no_graphnas_and_compute_the_same(attention: str, tmp_path: Any) -> None:
    space = agnn(2, residual=True)
    a = decided(
        space, attention1=attention, attention2=attention, heads1=2, aggregate1="max", combine2="mlp", residual1=True
    )
    network = space.network(a, SIGNATURE)
    module = compile(network, seed=0).eval()
    names: dict[str, Any] = {}
    text = python_source(network)
    assert "graphnas" not in text.split("\n", 1)[1]
    exec(text, names)
    plain = names["Network"]()
    plain.load_state_dict(module.state_dict())
    inputs = example_inputs(network)
    with torch.no_grad():
        assert torch.allclose(plain.eval()(*inputs), module(*inputs), rtol=0, atol=1e-5)
    if attention == "gat":  # one is enough: this takes seconds
        assert export_onnx(network, tmp_path / "network.onnx", module) < 1e-4


def test_networks_learn_the_karate_club() -> None:
    """Four groups of which one node each is known (Kipf & Welling, 2017, appendix A)."""
    task, space = get_task("karate"), agnn(2)
    a = decided(space, attention1="gcn", width1=16, activation1="tanh", attention2="gcn", activation2="linear")
    estimator = TrainingEstimator(space, task, Fidelity(epochs=100, size={"dropout": 0.0}))
    network, history = estimator.train(a, seed=0)
    assert history.epochs[-1].train_loss < 0.2 < 1.2 < history.epochs[0].train_loss
    assert task.evaluate(network, "validation")["accuracy"] >= 65  # the largest group is 38 % of the club


def test_bad_requests_are_refused_in_one_line() -> None:
    for make in (lambda: agnn(0), lambda: graphnas_space(0), lambda: agnn(1.5)):  # type: ignore[arg-type]
        with pytest.raises(GraphnasError, match="a GNN needs at least 1 layer, not"):
            make()
    with pytest.raises(GraphnasError, match="jumping knowledge joins layers; with only 1 there is nothing to join"):
        agnn(1, jumping_knowledge=True)
    with pytest.raises(GraphnasError, match="builds networks for node tasks, not for 'image'"):
        agnn().network(agnn().sample(np.random.default_rng(0)), Signature("image", (3, 8, 8), 10))
