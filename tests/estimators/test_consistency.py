"""Consistency of noisy passes: the term itself, what it learns from, and selection by the loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from graphnas.errors import GraphnasError
from graphnas.estimators.consistency import disagreement
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import train
from graphnas.estimators.training import TrainingEstimator
from graphnas.registry import get_task
from graphnas.tasks.node import NodeTask
from spaces.gnn import agnn, manual_network
from spaces.gnn_baselines import baseline, draw

NODES = 40


def outputs(views: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(7, 4, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(views)]


@pytest.mark.parametrize("views", [2, 3])
@pytest.mark.parametrize("temperature", [0.3, 0.5, 1.0])
def test_disagreement_and_its_gradient_are_those_of_the_formula(views: int, temperature: float) -> None:
    """Feng et al. (2020), equations 4 and 5, in numpy; the gradient by hand, with the target as a constant."""
    scores = outputs(views)
    value = disagreement(scores, temperature)
    value.backward()  # type: ignore[no-untyped-call]
    raw = [s.detach().numpy() for s in scores]
    p = np.stack([np.exp(s) / np.exp(s).sum(1, keepdims=True) for s in raw])
    powers = p.mean(0) ** (1 / temperature)
    q = powers / powers.sum(1, keepdims=True)
    assert float(value.detach()) == pytest.approx(((p - q) ** 2).sum(2).mean(), rel=1e-12)
    for s, own in zip(scores, p, strict=True):
        outer = 2 * (own - q) / (views * len(q))
        by_hand = own * (outer - (own * outer).sum(1, keepdims=True))
        assert s.grad is not None
        assert np.allclose(s.grad.numpy(), by_hand, rtol=0, atol=1e-14)


def test_equal_and_certain_passes_agree_at_any_temperature() -> None:
    certain = torch.tensor([[200.0, 0.0, 0.0], [0.0, -1e4, 1e4]])
    for temperature in (0.01, 0.5, 1.0):
        assert float(disagreement([certain, certain], temperature)) == 0
    even = torch.zeros(5, 3)
    assert float(disagreement([even, even], 1.0)) == 0
    one, other = torch.tensor([[200.0, 0.0]]), torch.tensor([[0.0, 200.0]])
    assert float(disagreement([one, other], 0.5)) == pytest.approx(0.5)  # (1, 0) and (0, 1) from (1/2, 1/2)


def separate(changed: float) -> NodeTask:
    """Nodes without edges, half of them without a label; one of these has a feature of its own."""
    x = torch.randn(NODES, 6, generator=torch.Generator().manual_seed(0))
    x[:, 5] = 0
    x[NODES - 1, 5] = changed
    y = torch.arange(NODES) % 3
    y[NODES // 2 :] = -1
    return NodeTask(Data(x=x, edge_index=torch.zeros(2, 0, dtype=torch.long), y=y), classes=3)


def trained(task: NodeTask, **options: Any) -> dict[str, torch.Tensor]:
    space = baseline("gcn")
    recipe = Recipe("adam", learning_rate=0.05, schedule="constant", weight_decay=0.0, clip=None, **options)
    estimator = TrainingEstimator(space, task, Fidelity(12, size={"width": 8, "dropout": 0.5}), recipe)
    network, history = estimator.train(space.decode(()), seed=0)
    assert history.status == "finished"
    return dict(network.state_dict())


def test_examples_without_labels_teach_only_with_consistency() -> None:
    for options, equal in (({}, True), ({"consistency": 1.0}, False)):
        one, other = trained(separate(0.0), **options), trained(separate(3.0), **options)
        assert all(torch.equal(one[name], other[name]) for name in one) is equal


def test_the_loss_of_a_step_is_the_mean_of_the_passes_and_their_disagreement() -> None:
    """Without dropout the passes are equal, and what is left is the distance of a prediction to itself, sharpened."""
    task, space = get_task("karate"), baseline("gcn")
    size = {"width": 8, "dropout": 0.0}
    recipe = Recipe(
        "adam", learning_rate=0.01, schedule="constant", clip=None, consistency=2.0, views=3, temperature=0.5
    )
    estimator = TrainingEstimator(space, task, Fidelity(1, size=size), recipe)
    torch.manual_seed(4)
    network = estimator.network(space.decode(()))
    (batch,) = task.batches("train")
    with torch.no_grad():
        scores = network(*batch.inputs)
        p = scores.double().softmax(1).numpy()
        q = p**2 / (p**2).sum(1, keepdims=True)
        expected = float(task.loss(scores, batch)) + 2 * ((p - q) ** 2).sum(1).mean()
    history = train(network, task, recipe, Fidelity(1))
    assert history.epochs[0].train_loss == pytest.approx(expected, rel=1e-5)


def test_selection_by_the_loss_keeps_its_lowest_epoch_and_scores_by_it() -> None:
    task, space = get_task("karate"), agnn()
    a = manual_network(space)
    fidelity = Fidelity(60)
    recipes = {
        by: Recipe("adam", learning_rate=0.02, schedule="constant", clip=None, select_by=by)
        for by in ("metric", "loss")
    }
    made = {by: TrainingEstimator(space, task, fidelity, recipe) for by, recipe in recipes.items()}
    histories = {by: estimator.train(a, seed=2)[1] for by, estimator in made.items()}
    losses = [e.validation["cross_entropy"] for e in histories["loss"].epochs]
    accuracies = [e.validation["accuracy"] for e in histories["metric"].epochs]
    assert losses == [e.validation["cross_entropy"] for e in histories["metric"].epochs]
    assert histories["loss"].best == int(np.argmin(losses)) + 1
    assert histories["metric"].best == int(np.argmax(accuracies)) + 1
    assert histories["loss"].best != histories["metric"].best
    found = made["loss"].evaluate(a, seed=2)
    assert (found.score, found.metrics["validation_cross_entropy"]) == (-min(losses), min(losses))
    assert (made["loss"].metric, made["loss"].maximise) == ("validation cross_entropy", False)
    assert (made["metric"].metric, made["metric"].maximise) == ("validation accuracy", True)
    with_patience = Recipe("adam", learning_rate=0.02, schedule="constant", clip=None, select_by="loss", patience=1)
    stopped = TrainingEstimator(space, task, fidelity, with_patience).train(a, seed=2)[1]
    first_rise = next(i for i in range(1, len(losses)) if losses[i] >= min(losses[:i]))
    assert (stopped.status, len(stopped.epochs)) == ("stopped", first_rise + 1)


def test_tuned_baselines_share_what_is_not_drawn() -> None:
    base = Recipe("adam", schedule="constant", clip=None, consistency=1.5, select_by="loss")
    estimator = draw("gcn", get_task("karate"), np.random.default_rng(0), 5, 3, base)
    assert (estimator.recipe.consistency, estimator.recipe.select_by, estimator.recipe.patience) == (1.5, "loss", 3)
    plain = draw("gcn", get_task("karate"), np.random.default_rng(0), 5, 3)
    assert plain.recipe.consistency == 0
    assert plain.recipe.learning_rate == estimator.recipe.learning_rate


def test_recipes_that_change_nothing_are_described_as_before() -> None:
    assert not {"select_by", "consistency", "views", "temperature"} & set(Recipe().describe())
    described = Recipe(consistency=1.0, views=4, temperature=0.2, select_by="loss").describe()
    assert [described[name] for name in ("consistency", "views", "temperature", "select_by")] == [1.0, 4, 0.2, "loss"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"consistency": -1.0}, "the weight of consistency is -1.0; it must be 0 or more"),
        ({"consistency": float("nan")}, "the weight of consistency is nan"),
        ({"views": 1}, "consistency takes 1 passes; it must be at least 2"),
        ({"temperature": 0.0}, "the temperature is 0.0; it must be above 0 and at most 1"),
        ({"select_by": "luck"}, "unknown measure to select by: 'luck'"),
    ],
)
def test_bad_settings_are_answered_with_one_sentence(options: dict[str, Any], said: str) -> None:
    with pytest.raises(GraphnasError, match=said) as caught:
        Recipe(**options)
    assert "\n" not in str(caught.value)


def test_tasks_without_classes_are_refused_at_once() -> None:
    task = get_task("karate")
    task.metric = type(task.metric)("error", maximise=False)
    for options in ({"consistency": 1.0}, {"select_by": "loss"}):
        with pytest.raises(GraphnasError, match="measured by error; consistency and select_by='loss' are for class"):
            TrainingEstimator(agnn(), task, Fidelity(1), Recipe(**options))
