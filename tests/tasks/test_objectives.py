"""Losses and metrics against scikit-learn, OGB's evaluators and loops; missing targets; targets that must be refused."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss, mean_absolute_error

from graphnas.errors import GraphnasError
from graphnas.tasks.objectives import BinaryCrossEntropy, CrossEntropy, SquaredError, make_objective, read_target
from graphnas.tasks.ogb_data import _quiet_ogb, evaluate_ogb

NAN = float("nan")


@pytest.fixture
def stored():
    """Scores and yes-or-no labels of 200 graphs for 12 tasks, a fifth of them missing; one task has no yes."""
    rng = np.random.default_rng(0)
    y = (rng.random((200, 12)) < 0.3).astype(np.float32)
    y[:, 5] = 0
    scores = (y + rng.normal(size=y.shape)).astype(np.float32)
    y[rng.random(y.shape) < 0.2] = NAN
    return torch.from_numpy(scores), torch.from_numpy(y)


def own(name, values):
    """What OGB's evaluator says when it is called as its users call it."""
    with _quiet_ogb("ogb.linkproppred" if name.startswith("ogbl") else "ogb.graphproppred") as package:
        return package.Evaluator(name).eval(values)


def test_ogb_evaluators_give_what_they_give_by_themselves(stored):
    scores, y = (part.numpy() for part in stored)
    values = {"y_true": y, "y_pred": scores}
    assert evaluate_ogb("ogbg-moltox21", values) == own("ogbg-moltox21", values)
    target = {"y_true": scores[:, :1], "y_pred": scores[:, 1:2]}
    assert evaluate_ogb("ogbg-molesol", target) == own("ogbg-molesol", target)
    pairs = {"y_pred_pos": stored[0][:, 0], "y_pred_neg": stored[0][:, 1]}
    assert evaluate_ogb("ogbl-collab", pairs) == own("ogbl-collab", pairs)
    with pytest.raises(GraphnasError, match="evaluator of ogbg-molesol refuses"):
        evaluate_ogb("ogbg-molesol", {"y_true": y, "y_pred": scores})


@pytest.mark.parametrize(("metric", "evaluator"), [("rocauc", "ogbg-moltox21"), ("ap", "ogbg-moltox21")])
def test_our_rank_metrics_equal_those_of_ogb(stored, metric, evaluator, monkeypatch):
    scores, y = stored
    with _quiet_ogb("ogb.graphproppred") as package:
        judge = package.Evaluator(evaluator)
    judge.eval_metric = metric  # no data set of OGB has 12 tasks and average precision
    expected = judge.eval({"y_true": y.numpy(), "y_pred": scores.numpy()})[metric]
    assert BinaryCrossEntropy(12, metric).metrics(scores, y)[metric] == pytest.approx(expected, rel=1e-12)


def test_an_objective_with_an_evaluator_reports_its_number(stored):
    scores, y = stored
    expected = own("ogbg-moltox21", {"y_true": y.numpy(), "y_pred": scores.numpy()})["rocauc"]
    assert BinaryCrossEntropy(12, "rocauc", "ogbg-moltox21").metrics(scores, y)["rocauc"] == expected
    one = SquaredError(1, "rmse", "ogbg-molesol").metrics(scores[:, :1], scores[:, 1:2])
    assert (
        one["rmse"] == own("ogbg-molesol", {"y_true": scores[:, 1:2].numpy(), "y_pred": scores[:, :1].numpy()})["rmse"]
    )
    assert one["rmse"] == pytest.approx(SquaredError(1).metrics(scores[:, :1], scores[:, 1:2])["rmse"], rel=1e-6)


def test_micro_f1_and_cross_entropy_equal_scikit_learn(stored):
    scores, y = stored
    there = ~torch.isnan(y)
    values = BinaryCrossEntropy(12).metrics(scores, y)
    assert values["micro_f1"] == pytest.approx(f1_score(y[there], scores[there] > 0), rel=1e-12)
    whole = torch.nan_to_num(y)
    expected = f1_score(whole, scores > 0, average="micro")
    assert BinaryCrossEntropy(12).metrics(scores, whole)["micro_f1"] == pytest.approx(expected, rel=1e-12)
    probability = torch.sigmoid(scores.double())[there]
    assert values["cross_entropy"] == pytest.approx(log_loss(y[there], probability), rel=1e-9)
    nothing = torch.zeros(3, 2)
    assert BinaryCrossEntropy(2).metrics(nothing - 1, nothing)["micro_f1"] == f1_score(
        nothing, nothing, average="micro", zero_division=0
    )


def test_errors_of_regression_are_means_over_targets_of_what_is_there():
    rng = np.random.default_rng(1)
    y, output = rng.normal(size=(50, 3)), rng.normal(size=(50, 3))
    y[rng.random(y.shape) < 0.3] = NAN
    values = SquaredError(3).metrics(torch.from_numpy(output), torch.from_numpy(y))
    there = ~np.isnan(y)
    by_target = [(output[there[:, t], t] - y[there[:, t], t]) for t in range(3)]
    assert values["rmse"] == pytest.approx(np.mean([np.sqrt((e**2).mean()) for e in by_target]), rel=1e-12)
    expected = [mean_absolute_error(y[there[:, t], t], output[there[:, t], t]) for t in range(3)]
    assert values["mae"] == pytest.approx(np.mean(expected), rel=1e-12)
    loss = SquaredError(3).loss(torch.from_numpy(output), torch.from_numpy(y))
    assert float(loss) == pytest.approx(np.mean(np.concatenate(by_target) ** 2), rel=1e-12)


def test_directions():
    better = {
        "accuracy": (90, 80),
        "micro_f1": (0.9, 0.8),
        "rocauc": (0.9, 0.8),
        "ap": (0.9, 0.8),
        "rmse": (1, 2),
        "mae": (1, 2),
    }
    objectives = [CrossEntropy(2), *(BinaryCrossEntropy(1, m) for m in ("micro_f1", "rocauc", "ap"))]
    objectives += [SquaredError(1, m) for m in ("rmse", "mae")]
    assert {o.metric.name for o in objectives} == set(better)
    for objective in objectives:
        good, bad = better[objective.metric.name]
        assert objective.metric.score(good) > objective.metric.score(bad)


OUTPUT = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
CASES = [
    (CrossEntropy(3), OUTPUT, torch.tensor([0, 1, 2, -1, -1, 0])),
    (BinaryCrossEntropy(3), OUTPUT, torch.tensor([[0, 1, NAN]] * 6)),
    (SquaredError(3), OUTPUT, torch.tensor([[0.5, -1, NAN]] * 6)),
]


@pytest.mark.parametrize(("objective", "output", "target"), CASES)
def test_missing_targets_count_nowhere(objective, output, target):
    missing = target < 0 if target.ndim == 1 else torch.isnan(target)
    mask = missing.unsqueeze(1).expand_as(output) if target.ndim == 1 else missing
    output = output.clone().requires_grad_()
    changed = torch.where(mask, output + 5, output)
    assert torch.equal(objective.loss(changed, target), objective.loss(output, target))
    assert objective.metrics(changed.detach(), target) == objective.metrics(output.detach(), target)
    (gradient,) = torch.autograd.grad(objective.loss(output, target), output)
    assert bool((gradient[mask] == 0).all())
    assert bool((gradient[~mask] != 0).all())
    nothing = torch.full_like(target, -1 if target.ndim == 1 else NAN)
    loss = objective.loss(output, nothing)
    assert loss.item() == 0
    assert bool((torch.autograd.grad(loss, output)[0] == 0).all())
    assert all(math.isnan(value) for value in objective.metrics(output.detach(), nothing).values())
    assert objective.loss(output[:0], target[:0]).item() == 0


@pytest.mark.parametrize(("objective", "output", "target"), CASES)
def test_an_output_that_is_not_a_number_has_no_metric(objective, output, target):
    broken = output.clone()
    broken[0, 0] = NAN
    assert all(math.isnan(value) for value in objective.metrics(broken, target).values())


def test_kinds_are_told_apart_by_type():
    assert read_target(torch.tensor([0, 1]), None, 2, "graphs")[1] == "classification"
    assert read_target(torch.tensor([[0], [1]]), None, 2, "graphs")[0].shape == (2,)
    assert read_target(torch.tensor([0.0, 1.0]), None, 2, "graphs")[1] == "regression"
    assert read_target(torch.tensor([[0, 1], [1, 1]]), "binary", 2, "graphs")[0].dtype == torch.float32
    target, kind = read_target(torch.tensor([0, 3, -1]), None, 3, "graphs")
    assert make_objective(kind, target).outputs == 4
    assert make_objective(kind, target, classes=6).outputs == 6


@pytest.mark.parametrize(
    ("y", "kind", "message"),
    [
        (torch.zeros(3), "classification", "classification takes one integer for each of the graphs"),
        (torch.zeros(3, 2, dtype=torch.long), "classification", "choose the objective 'binary'"),
        (torch.tensor([0, 1, -2]), None, "has the label -2"),
        (torch.tensor([-1, -1, -1]), None, "has the label -1"),
        (torch.tensor([0, 1, 2]), "binary", "0, 1, or NaN"),
        (torch.tensor([0, math.inf, 2]), "regression", "infinite values or nothing but NaN"),
        (torch.full((3, 2), NAN), "regression", "nothing but NaN"),
        (torch.zeros(4), None, r"shape \[4\]; 3 graphs need \[3\]"),
        (torch.zeros(3, 2, 2), None, "shape"),
        (torch.zeros(3, 0), None, "shape"),
        (torch.zeros(3), "ranking", "unknown objective 'ranking'"),
    ],
)
def test_wrong_targets_are_answered_with_one_sentence(y, kind, message):
    with pytest.raises(GraphnasError, match=message) as caught:
        read_target(y, kind, 3, "graphs")
    assert "\n" not in str(caught.value)


def test_wrong_metrics_and_classes_are_refused():
    target = torch.tensor([0, 1, 2])
    with pytest.raises(GraphnasError, match="unknown metric of classification: 'rmse'"):
        make_objective("classification", target, "rmse")
    with pytest.raises(GraphnasError, match="has the label 2; labels must be between 0 and 1"):
        make_objective("classification", target, classes=2)
    with pytest.raises(GraphnasError, match="leave classes out"):
        make_objective("regression", torch.zeros(3, 2), classes=3)
