"""Parameter sharing of GNNs: what is inherited and why, that it is copied, and that searches go on from their file."""

from __future__ import annotations

import itertools
import pickle
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphnas import registry
from graphnas.architecture import Architecture, node
from graphnas.compile import compile
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.inherited import InheritedTraining
from graphnas.estimators.sharing import RULES, GraphLayer, Sharing, graph_layers
from graphnas.estimators.training import TrainingEstimator
from graphnas.estimators.weight_store import Ancestor, WeightStore
from graphnas.search import Result, Search
from graphnas.space import Choice, Space
from graphnas.strategies.agnn import AGNN
from graphnas.tasks.node_data import karate
from spaces.gnn import SEMANTICS, agnn
from spaces.gnn_network import gnn_network

TASK = karate()
CLASSES: dict[str, tuple[Any, ...]] = {
    "width": (4, 8),
    "attention": ("const", "gcn", "gat", "sym-gat"),
    "heads": (1, 2),
    "combine": ("identity", "mlp"),
    "activation": ("relu", "tanh"),
}
FIXED = {"aggregate": "sum", "width": 4, "attention": "gat", "heads": 1, "combine": "identity", "activation": "relu"}


def small(residual: bool = False, batch_norm: bool = False, aggregates: tuple[str, ...] = ()) -> Space:
    """64 networks (times the aggregates) of two layers, the first of which is searched."""
    classes = {**CLASSES, **({"aggregate": aggregates} if aggregates else {})}
    layer = {**FIXED, **{key: Choice(f"{key}1", options, key) for key, options in classes.items()}}
    nodes = [node("input"), node("agnn", (0,), **layer)]
    if residual:
        nodes.append(node("sum", (0, 1)))
    nodes += [node("agnn", (len(nodes) - 1,), **FIXED), node("output", (len(nodes),))]
    network = partial(gnn_network, batch_norm=batch_norm)
    size = {"dropout": 0.5, "attention_dropout": 0.0}
    return Space("small", nodes, semantics=SEMANTICS, network=network, size=size, accepts=("node",))


SPACE = small()
WIDER = small(aggregates=("sum", "mean", "max"))
"""With a class of which homogeneous sharing takes no notice."""


def layers_of(space: Space, a: Architecture) -> dict[str, GraphLayer]:
    whole = space.network(a, TASK.signature)
    return graph_layers(whole, {name: tuple(t.shape) for name, t in compile(whole, seed=0).state_dict().items()})


def member(space: Space = SPACE, **options: Any) -> Architecture:
    made = {f"{key}1": value for key, value in {**FIXED, **options}.items()}
    return space.decode([c.options.index(made[c.name]) for c in space.choices])


def estimator(space: Space = SPACE, epochs: int = 3, **options: Any) -> InheritedTraining:
    return InheritedTraining(space, TASK, Fidelity(epochs), **options)


# -- what is shared -----------------------------------------------------------------------------

VECTORS = {"const": 0, "gcn": 0, "gat": 2, "sym-gat": 2}


def tensors_by_hand(options: dict[str, Any]) -> tuple[Any, ...]:
    """What decides the shapes of a layer: the product, the vectors of each head, the perceptron over its features."""
    heads, width = options["heads"], options["width"]
    vectors = (heads, width) if VECTORS[options["attention"]] else None
    return heads * width, vectors, width if options["combine"] == "mlp" else None


def test_the_truth_table_of_homogeneous_sharing_over_all_pairs() -> None:
    members = [(SPACE.describe(a), layers_of(SPACE, a)["layer1.conv"]) for a in SPACE.enumerate()]
    assert len(members) == 64
    reasons = set()
    for (a, mine), (b, theirs) in itertools.product(members, repeat=2):
        first, second = ({key[:-1]: value for key, value in d.items()} for d in (a, b))
        if tensors_by_hand(first) != tensors_by_hand(second):
            expected = "other tensors"
        elif first["attention"] != second["attention"]:
            expected = f"other attention ({first['attention']}, not {second['attention']})"
        elif first["activation"] != second["activation"]:
            expected = f"other activation ({first['activation']}, not {second['activation']})"
        else:
            expected = "same tensors, attention and activation"
        verdict = Sharing("homogeneous").judge(mine, theirs)
        assert verdict.reason == expected
        assert verdict.shared == Sharing("homogeneous").compatible(mine, theirs) == expected.startswith("same")
        assert verdict.tensors == (tuple(mine.shapes) if verdict.shared else ())
        reasons.add(expected.split(" (")[0])
    assert reasons == {"other tensors", "other attention", "other activation", "same tensors, attention and activation"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"activation": "tanh"}, "other activation (tanh, not relu)"),
        ({"width": 8}, "other tensors"),
        ({"attention": "sym-gat"}, "other attention (sym-gat, not gat)"),
        ({"combine": "mlp"}, "other tensors"),
    ],
)
def test_one_change_in_words(change: dict[str, Any], reason: str) -> None:
    mine, theirs = (layers_of(SPACE, a)["layer1.conv"] for a in (member(**change), member()))
    assert Sharing().judge(mine, theirs).reason == reason
    assert not Sharing().compatible(mine, theirs)


def test_equal_products_of_heads_and_width_with_another_attention_are_not_shared() -> None:
    two = layers_of(SPACE, member(attention="const", heads=2, width=4))["layer1.conv"]
    one = layers_of(SPACE, member(attention="gcn", heads=1, width=8))["layer1.conv"]
    assert two.shapes == one.shapes
    assert Sharing().judge(two, one).reason == "other attention (const, not gcn)"
    assert set(Sharing("free").judge(two, one).tensors) == {"lin.weight", "bias"}


def test_free_sharing_takes_every_tensor_that_fits_and_no_sharing_none() -> None:
    members = [layers_of(SPACE, a)["layer1.conv"] for a in SPACE.enumerate()]
    for mine, theirs in itertools.product(members[::3], members[::5]):
        fitting = {n for n in mine.shapes if n in theirs.shapes and mine.shapes[n] == theirs.shapes[n]}
        assert set(Sharing("free").judge(mine, theirs).tensors) == fitting
        assert not Sharing("none").compatible(mine, theirs)
        assert not Sharing("none").compatible(mine, mine)


@pytest.mark.parametrize("rule", ["homogeneous", "free"])
def test_only_graph_layers_inherit_and_batch_normalisation_never_does(rule: str) -> None:
    for space in (agnn(3, residual=True, jumping_knowledge=True, batch_norm=True), small(True, True)):
        for a in [space.sample(np.random.default_rng(seed)) for seed in range(4)]:
            whole = space.network(a, TASK.signature)
            state = compile(whole, seed=0).state_dict()
            layers = graph_layers(whole, {name: tuple(t.shape) for name, t in state.items()})
            _, names = Sharing(rule, outputs=True).inherited(layers, layers)
            assert set(names) == {name for name in state if ".conv." in name}  # from its own twin all of these
            others = set(state) - set(names)
            assert any(".norm" in name for name in others)
            assert all(name.split(".")[1] in ("norm", "residual", "classifier") or "jump" in name for name in others)


def test_the_layer_that_gives_the_outputs_inherits_only_when_asked_to() -> None:
    layer = layers_of(SPACE, member())["layer2.conv"]
    assert layer.outputs
    assert Sharing().judge(layer, layer).reason == "it gives the outputs of the task"
    assert Sharing(outputs=True).judge(layer, layer).tensors == tuple(layer.shapes)
    hidden = GraphLayer(layer.name, layer.attention, layer.activation, False, layer.shapes)
    for rule in ("homogeneous", "free"):
        verdict = Sharing(rule, outputs=True).judge(hidden, layer)
        assert verdict.reason == "one of them gives the outputs of the task, the other does not"
    assert Sharing().judge(hidden, None).reason == "the ancestor has no such layer"


# -- what is inherited --------------------------------------------------------------------------


def test_inherited_tensors_are_equal_copies_and_the_others_fresh() -> None:
    made = estimator()
    parent = member(combine="mlp")
    score = made.evaluate(parent, seed=0).score
    (ancestor,) = made.store.ancestors()
    assert (ancestor.key, ancestor.seed, ancestor.score) == (SPACE.key(parent), 0, score)
    kept = {name: tensor.clone() for name, tensor in ancestor.tensors.items()}
    child = made.inherit(parent, seed=7)
    fresh = made.scratch.network(parent)
    fresh.load_state_dict(
        estimator().inherit(parent, seed=7).network.state_dict()
    )  # nothing to inherit: as from scratch
    own, plain = child.network.state_dict(), fresh.state_dict()
    assert set(child.tensors) == {name for name in own if name.startswith("layer1.conv.")}
    for name, tensor in own.items():
        if name in child.tensors:
            assert torch.equal(tensor, ancestor.tensors[name])
            assert tensor.data_ptr() != ancestor.tensors[name].data_ptr()
        else:
            assert torch.equal(tensor, plain[name])
    assert not torch.equal(own["layer1.conv.lin.weight"], plain["layer1.conv.lin.weight"])
    with torch.no_grad():
        for parameter in child.network.parameters():
            parameter.add_(1.0)
    made.train(parent, seed=8)
    assert all(torch.equal(ancestor.tensors[name], tensor) for name, tensor in kept.items())


def test_the_kept_weights_are_those_of_the_trained_network() -> None:
    made, twin = estimator(), estimator()
    made.evaluate(member(), seed=3)
    trained = twin.train(member(), seed=3)[0].state_dict()
    (ancestor,) = made.store.ancestors()
    assert set(ancestor.tensors) == set(trained)  # both layers are graph layers
    assert all(torch.equal(tensor, trained[name]) for name, tensor in ancestor.tensors.items())


def test_without_sharing_it_is_training_from_scratch_bit_for_bit() -> None:
    made, plain = estimator(sharing=Sharing("none")), TrainingEstimator(SPACE, TASK, Fidelity(3))
    for seed, a in enumerate([member(), member(heads=2), member()]):
        found, expected = made.evaluate(a, seed=seed), plain.evaluate(a, seed=seed)
        assert (found.score, found.cost) == (expected.score, expected.cost)
        assert {name: found.metrics[name] for name in expected.metrics} == expected.metrics
        assert found.metrics["inherited_layers"] == found.metrics["inherited_params"] == 0


def test_cost_counts_epochs_and_the_first_architecture_may_have_more() -> None:
    made = estimator(epochs=2, first=Fidelity(9))
    first, second = made.evaluate(member(), seed=0), made.evaluate(member(), seed=1)
    assert (first.cost, first.metrics["epochs"], first.metrics["inherited_layers"]) == (9, 9, 0)
    assert (second.cost, second.metrics["epochs"], second.metrics["inherited_layers"]) == (2, 2, 1)
    layer = layers_of(SPACE, member())["layer1.conv"]
    assert second.metrics["inherited_params"] == sum(np.prod(shape) for shape in layer.shapes.values())


def test_inheriting_goes_on_where_the_ancestor_stopped() -> None:
    """With everything inherited, no dropout and plain data, 1 + 1 epochs of SGD without momentum are 2 epochs."""
    recipe = TrainingEstimator(SPACE, TASK).recipe
    changes = {"optimiser": "sgd", "learning_rate": 0.5, "momentum": 0.0, "schedule": "constant", "clip": None}
    options: dict[str, Any] = {"recipe": replace(recipe, **changes), "sharing": Sharing(outputs=True)}
    whole = InheritedTraining(SPACE, TASK, Fidelity(2, size={"dropout": 0.0}), **options)
    for seed in range(20):
        expected, together = whole.train(member(), seed=seed)
        if together.best == 2:  # else the weights of the first epoch are kept
            break
    assert together.best == 2
    one = InheritedTraining(SPACE, TASK, Fidelity(1, size={"dropout": 0.0}), **options)
    one.evaluate(member(), seed=seed)
    network, history = one.train(member(), seed=99)
    assert history.epochs[0].train_loss == pytest.approx(together.epochs[1].train_loss, rel=1e-5)
    for name, tensor in expected.state_dict().items():
        assert torch.allclose(network.state_dict()[name], tensor, atol=1e-6)


# -- from whom ----------------------------------------------------------------------------------


def ancestor_of(score: float, seed: int) -> Ancestor:
    return Ancestor("key", seed, score, {}, {"w": torch.full((2,), score)})


def test_the_store_keeps_the_best_and_of_equal_ones_the_first() -> None:
    rng = np.random.default_rng(0)
    store = WeightStore(3)
    told: list[tuple[float, int]] = []
    for seed in range(60):
        score = float(rng.integers(8))
        store.add(ancestor_of(score, seed))
        told.append((-score, seed))
        assert [(-a.score, a.seed) for a in store.ancestors()] == sorted(told)[:3]
        left_out = sorted(told)[0][1]
        assert [a.seed for a in store.ancestors("key", left_out)] == [s for _, s in sorted(told) if s != left_out][:3]
    assert len(store) == 4


def test_the_parent_of_a_search_by_agnn_is_the_ancestor() -> None:
    made = estimator(WIDER, epochs=4)
    parents = []

    class Watched(AGNN):
        def ask(self, n: int) -> list[Architecture]:
            kept = made.store.ancestors()
            assert (kept[0].key if kept else None) == (self.best and WIDER.key(WIDER.decode(self.best)))
            parents.append(self.best)
            return super().ask(n)

    Search(WIDER, made, Watched(WIDER, np.random.default_rng(0), hidden=6), budget=12, seed=1).run()
    assert len(set(parents)) > 2


def test_each_layer_inherits_from_the_best_of_several_ancestors_that_fits() -> None:
    made = estimator(capacity=3)
    for seed, a in enumerate([member(), member(width=8), member(heads=2)]):
        made.evaluate(a, seed=seed)
    ranked = made.store.ancestors()
    for a in (member(), member(width=8), member(heads=2)):
        found = made.inherit(a, seed=9)
        source = next(r for r in ranked if r.key == SPACE.key(a))
        assert torch.equal(
            found.network.state_dict()["layer1.conv.lin.weight"], source.tensors["layer1.conv.lin.weight"]
        )


# -- as an estimator ----------------------------------------------------------------------------


def run(folder: Path, budget: int) -> Result:
    made = estimator(WIDER, epochs=2, weights=folder / "weights.pt", sharing=Sharing("free"))
    options = {"hidden": 6, "initial": 2}
    return Search(WIDER, made, "agnn", options=options, budget=budget, seed=4, store=folder / "search.db").run()


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    for name in ("whole", "parts", "killed"):
        (tmp_path / name).mkdir()
    whole = [(t.key, t.score, t.metrics) for t in run(tmp_path / "whole", 8).trials]
    run(tmp_path / "parts", 4)
    shutil.copy(tmp_path / "parts" / "search.db", tmp_path / "killed" / "search.db")
    for budget in (5, 8):
        parts = [(t.key, t.score, t.metrics) for t in run(tmp_path / "parts", budget).trials]
        if budget == 5:  # killed between writing the weights and recording the trial: 5 trainings, 4 trials
            shutil.copy(tmp_path / "parts" / "weights.pt", tmp_path / "killed" / "weights.pt")
    killed = [(t.key, t.score, t.metrics) for t in run(tmp_path / "killed", 8).trials]
    assert parts == whole
    assert killed == whole
    assert {metrics["inherited_layers"] for _, _, metrics in whole} == {0.0, 1.0}


def test_workers_are_refused_in_one_sentence() -> None:
    with pytest.raises(GraphnasError, match="inherited weights stay in one process; search with workers=1"):
        pickle.dumps(estimator())
    with pytest.raises(GraphnasError, match="inherited weights stay in one process"):
        Search(SPACE, estimator(), "random", budget=4, workers=2).run()


def test_the_test_split_is_read_after_training_from_scratch() -> None:
    made = estimator(final=Fidelity(4))
    made.evaluate(member(), seed=0)
    expected = TrainingEstimator(SPACE, TASK, Fidelity(4)).test(member(), seed=5)
    assert made.test(member(), seed=5) == expected


def test_another_fidelity_starts_without_ancestors() -> None:
    made = estimator()
    made.evaluate(member(), seed=0)
    other = made.at(Fidelity(1))
    assert other.evaluate(member(), seed=1).metrics["inherited_layers"] == 0
    assert len(made.store) == 1


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    estimator(weights=path).evaluate(member(), seed=0)
    assert len(estimator(weights=path).store) == 1
    with pytest.raises(GraphnasError, match="holds weights of an estimator with other settings"):
        estimator(epochs=4, weights=path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(GraphnasError, match="is no file of weights of graphnas"):
        estimator(weights=path)
    torch.save({"form": "something else"}, path)
    with pytest.raises(GraphnasError, match="is no file of weights of graphnas"):
        estimator(weights=path)


def test_impossible_options_are_refused() -> None:
    assert RULES == ("homogeneous", "free", "none")
    with pytest.raises(GraphnasError, match="unknown rule of sharing 'fre'; nearest: free"):
        Sharing("fre")
    with pytest.raises(GraphnasError, match="room for at least 1"):
        estimator(capacity=0)
    with pytest.raises(GraphnasError, match="no AGNN layers"):
        InheritedTraining(registry.get_space("nasbench_graph"), TASK)
    with pytest.raises(GraphnasError, match="has none; train from scratch"):
        graph_layers(Architecture([node("input"), node("output", (0,))]), {})
    with pytest.raises(GraphnasError, match="no repeats"):
        estimator().train(member(), seed=0, repeat=1)
