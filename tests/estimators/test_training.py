"""Training: the loop against closed forms, reproducibility, early stopping, and published accuracies."""

import math
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import learning_rate
from graphnas.estimators.function import FunctionEstimator
from graphnas.estimators.training import TrainingEstimator, train
from graphnas.registry import get_space
from graphnas.tasks.augment import Augmentation
from graphnas.tasks.base import Batch, Metric, Signature, Task
from graphnas.tasks.image import ImageTask
from graphnas.tasks.image_data import digits
from graphnas.tasks.node_data import cora, karate

PLAIN = Recipe("sgd", learning_rate=0.5, weight_decay=0.0, momentum=0.0, schedule="constant", clip=None)


class Scripted(Task):
    """One weight whose loss has the gradient 1; the validation metric follows a script, whatever the weight is."""

    name = "scripted"
    signature = Signature("image", (1, 1, 1), 1)
    metric = Metric("error", maximise=False)

    def __init__(self, script, loss=lambda value: value):
        self.script, self.at, self.map = script, 0, loss

    def batches(self, split, generator=None, share=1.0):
        assert split == "train"
        yield Batch((torch.ones(1, 1),), torch.zeros(1))

    def loss(self, output, batch):
        return self.map(output.sum())

    def evaluate(self, network, split):
        assert split == "validation"
        self.at += 1
        return {"error": self.script[self.at - 1]}


def weight(value=10.0):
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, value)
    return network


# -- the loop -----------------------------------------------------------------------------------


def test_early_stopping_restores_the_weights_of_the_best_epoch():
    network = weight()
    history = train(network, Scripted([5, 3, 4, 3, 6, 1]), Recipe(**{**PLAIN.describe(), "patience": 3}), Fidelity(6))
    assert (history.status, history.best, len(history.epochs)) == ("stopped", 2, 5)  # an equal value is no better one
    assert network.weight.item() == 10 - 2 * 0.5  # each epoch subtracts the learning rate
    assert not network.training
    assert [epoch.validation["error"] for epoch in history.epochs] == [5, 3, 4, 3, 6]
    assert [epoch.train_loss for epoch in history.epochs] == [10, 9.5, 9, 8.5, 8]


def test_without_patience_all_epochs_run_and_the_best_is_kept():
    network = weight()
    history = train(network, Scripted([5, 3, 4, 3, 6, 1]), PLAIN, Fidelity(6))
    assert (history.status, history.best, len(history.epochs)) == ("finished", 6, 6)
    assert network.weight.item() == 7


def test_buffers_are_restored_too():
    network = nn.Sequential(nn.BatchNorm1d(1, affine=False), weight())

    class Growing(Scripted):
        def batches(self, split, generator=None, share=1.0):
            yield Batch((torch.tensor([[self.at + 1.0], [self.at + 3.0]]),), torch.zeros(2))

    train(network, Growing([1, 2, 3]), PLAIN, Fidelity(3))
    assert network[0].num_batches_tracked.item() == 1
    assert network[0].running_mean.item() == pytest.approx(0.1 * 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_training_before_it_reaches_the_weights(bad):
    network = weight()
    task = Scripted([2, 1], loss=lambda value: value * bad if value < 9.8 else value)
    history = train(network, task, PLAIN, Fidelity(5))
    assert (history.status, history.best, len(history.epochs)) == ("diverged", 1, 2)
    assert network.weight.item() == 9.5
    assert not math.isfinite(history.epochs[-1].train_loss)


def test_cosine_schedule_is_the_closed_form_and_halves_on_average():
    rates = [learning_rate(Recipe(learning_rate=0.2), epoch, 10) for epoch in range(1, 11)]
    assert rates[0] == 0.2
    assert rates[5] == pytest.approx(0.1)
    assert rates == sorted(rates, reverse=True)
    assert np.mean([*rates, 0.0]) * 11 == pytest.approx(0.2 * (10 + 1) / 2)  # pairs k and 10 - k add up to the start
    task = Scripted([1] * 10)
    network = weight()
    history = train(network, task, Recipe("sgd", 0.2, 0.0, 0.0, "cosine", None), Fidelity(10))
    assert [epoch.learning_rate for epoch in history.epochs] == rates


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        (Recipe("sgd", 0.5, 0.0, 0.0, "constant", None), 10 - 2 * 0.5 * 3),
        (Recipe("sgd", 0.5, 0.0, 0.0, "constant", 1.0), 10 - 2 * 0.5),  # the gradient 3 is cut to 1
        (Recipe("sgd", 0.1, 0.5, 0.0, "constant", None), (10 - 0.1 * 8) - 0.1 * (3 + 0.5 * 9.2)),
        (Recipe("sgd", 0.1, 0.0, 0.5, "constant", None), 10 - 0.1 * (3 + 1.5) - 0.1 * (3 + 0.5 * 4.5)),  # Nesterov
        (Recipe("adam", 0.1, 0.0, 0.0, "constant", None), 10 - 2 * 0.1),  # a constant gradient: steps of the rate
        (Recipe("adamw", 0.1, 0.5, 0.0, "constant", None), (10 * 0.95 - 0.1) * 0.95 - 0.1),
    ],
)
def test_two_steps_of_every_optimiser_equal_the_closed_form(recipe, expected):
    network = weight()
    train(network, Scripted([2, 1], loss=lambda value: 3 * value), recipe, Fidelity(2))
    assert network.weight.item() == pytest.approx(expected, abs=1e-4)


def test_share_of_the_data_is_passed_on_and_losses_are_means_over_examples():
    x, y = np.random.default_rng(0).normal(size=(30, 1, 2, 2)).astype(np.float32), np.arange(30) % 3
    task = ImageTask((x, y), (x, y), batch_size=8)
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    frozen = Recipe("sgd", 1e-30, 0.0, 0.0, "constant", None)
    history = train(network, task, frozen, Fidelity(1, data=0.5))
    (subset,) = ImageTask((x, y), (x, y), batch_size=30).batches("train", share=0.5)
    assert len(subset.target) == 15  # two batches of different size
    assert history.epochs[0].train_loss == pytest.approx(
        nn.functional.cross_entropy(network(*subset.inputs), subset.target).item(), rel=1e-6
    )


# -- reproducibility ----------------------------------------------------------------------------


def small_digits():
    task = digits()
    train, validation, test = (task.images(split) for split in task.splits)
    return ImageTask(
        tuple(train.at(torch.arange(120))),
        tuple(validation.at(torch.arange(60))),
        tuple(test.at(torch.arange(60))),
        augmentation=Augmentation(1, flip=False),
        classes=10,
    )


def on_images(**options):
    fidelity = Fidelity(2, size={"channels": 4, "cells": 1})
    return TrainingEstimator(get_space("nasbench201"), small_digits(), fidelity, **options)


def on_nodes(**options):
    return TrainingEstimator(get_space("nasbench_graph"), karate(), Fidelity(5, size={"channels": 8}), **options)


def architecture(estimator, seed=0):
    return estimator.space.sample(np.random.default_rng(seed))


@pytest.mark.parametrize("make", [on_images, on_nodes])
def test_equal_calls_are_bit_equal_in_any_process_and_leave_global_state_alone(make):
    estimator = make()
    one, other = architecture(estimator), architecture(estimator, 1)
    torch.manual_seed(123)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    first = estimator.evaluate(one, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    torch.rand(11)
    estimator.evaluate(other, seed=7)
    try:
        torch.set_num_threads(2)
        assert estimator.evaluate(one, seed=7) == first
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert pickle.loads(pickle.dumps(estimator)).evaluate(one, seed=7) == first
    assert estimator.evaluate(one, seed=8).metrics["train_loss"] != first.metrics["train_loss"]
    assert math.isfinite(first.score)


def test_a_spawned_process_returns_the_same_evaluation():
    estimator = on_nodes()
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        there = pool.submit(estimator.evaluate, architecture(estimator), seed=3).result()
    assert there == estimator.evaluate(architecture(estimator), seed=3)


def test_training_by_itself_leaves_global_state_alone():
    state = torch.get_rng_state()
    results = []
    for _ in range(2):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(64, 10))
        torch.set_rng_state(state)
        train(network, small_digits(), fidelity=Fidelity(2), generator=torch.Generator().manual_seed(1))
        results.append(network[2].weight.detach().clone())
    assert torch.equal(*results)
    assert torch.equal(torch.get_rng_state(), state)


# -- the estimator ------------------------------------------------------------------------------


def test_score_is_the_validation_metric_of_the_best_epoch():
    estimator = on_images()
    result = estimator.evaluate(architecture(estimator), seed=0)
    assert result.score == result.metrics["validation_accuracy"]
    assert result.metrics["epochs"] == 2
    assert result.cost == 2
    assert (estimator.metric, estimator.maximise) == ("validation accuracy", True)
    minimised = TrainingEstimator(estimator.space, Scripted([4.0]), Fidelity(1), build=lambda network: weight())
    assert minimised.evaluate(architecture(estimator), seed=0).score == -4
    assert not minimised.maximise
    whole = estimator.network(architecture(estimator))
    assert result.metrics["params"] == sum(p.numel() for p in whole.parameters())
    half = estimator.at(Fidelity(3, data=0.5, size={"channels": 8, "cells": 1}))
    again = half.evaluate(architecture(estimator), seed=0)
    assert again.cost == 1.5
    assert again.metrics["params"] > result.metrics["params"]
    assert estimator.evaluate(architecture(estimator), seed=0) == result


def test_repeats_are_averaged_with_their_deviation():
    single, double = on_images(), on_images(repeats=2)
    alone = single.evaluate(architecture(single), seed=0)
    a = alone.score
    result = double.evaluate(architecture(single), seed=0)
    assert result.metrics["train_loss"] != alone.metrics["train_loss"]  # the second training differs from the first
    b = 2 * result.score - a
    assert result.metrics["validation_accuracy_std"] == pytest.approx(abs(a - b) / math.sqrt(2))
    assert result.cost == 4
    assert result.metrics["epochs"] == 2


class Sealed(ImageTask):
    """Fails when the test split is read."""

    def evaluate(self, network, split):
        assert split != "test"
        return super().evaluate(network, split)

    def batches(self, split, generator=None, share=1.0):
        assert split == "train"
        return super().batches(split, generator, share)


def test_evaluation_never_reads_the_test_split():
    images = [tuple(small_digits().images(split)) for split in ("train", "validation", "test")]
    estimator = TrainingEstimator(
        get_space("nasbench201"), Sealed(*images, classes=10), Fidelity(1, size={"channels": 4, "cells": 1})
    )
    assert math.isfinite(estimator.evaluate(architecture(estimator), seed=0).score)
    with pytest.raises(AssertionError):
        estimator.test(architecture(estimator))


def test_test_trains_the_same_network_and_reads_the_test_split():
    estimator = on_images()
    one = architecture(estimator)
    validation = estimator.evaluate(one, seed=5).metrics
    images = [tuple(small_digits().images(split)) for split in ("train", "validation")]
    shown = ImageTask(*images, images[1], classes=10, augmentation=Augmentation(1, flip=False))  # test is validation
    result = TrainingEstimator(estimator.space, shown, estimator.fidelity).test(one, seed=5)
    assert result == {
        "test_accuracy": validation["validation_accuracy"],
        "test_cross_entropy": validation["validation_cross_entropy"],
    }
    assert TrainingEstimator(estimator.space, ImageTask(*images, classes=10), estimator.fidelity).test(one) == {}


class Exploding(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(10))

    def forward(self, x):
        return self.bias * float("inf") + x.flatten(1).sum(1, keepdim=True)


def test_a_diverged_training_scores_nan_and_is_paid_for():
    result = on_images(build=Exploding, repeats=2).evaluate(architecture(on_images()), seed=0)
    assert math.isnan(result.score)
    assert result.cost == 1  # it ended in the first epoch of the first repeat


def test_pairs_that_cannot_work_are_refused_at_once():
    with pytest.raises(GraphnasError, match="builds networks for image tasks, but the task 'karate' is of kind 'node'"):
        TrainingEstimator(get_space("nasbench201"), karate())
    with pytest.raises(GraphnasError, match="unknown size of nasbench201 networks 'chanels'; nearest: channels"):
        TrainingEstimator(get_space("nasbench201"), small_digits(), Fidelity(1, size={"chanels": 4}))
    with pytest.raises(GraphnasError, match="repeats"):
        on_images(repeats=0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fidelity(0), "number of epochs is 0"),
        (lambda: Fidelity(1, data=1.5), "share of the training data is 1.5"),
        (lambda: Recipe("sdg"), "unknown optimiser 'sdg'; nearest: sgd"),
        (lambda: Recipe(schedule="step"), "unknown schedule"),
        (lambda: Recipe(learning_rate=math.nan), "learning rate is nan"),
        (lambda: Recipe(weight_decay=-1), "weight decay is -1"),
        (lambda: Recipe(momentum=1), "momentum is 1"),
        (lambda: Recipe(clip=0), "clipped at 0"),
        (lambda: Recipe(patience=0), "patience is 0"),
    ],
)
def test_bad_settings_are_answered_with_one_sentence(make, message):
    with pytest.raises(GraphnasError, match=message):
        make()


# -- a user's own function ----------------------------------------------------------------------


def test_function_estimator_takes_numbers_and_mappings():
    space = get_space("nasbench201")
    one = space.sample(np.random.default_rng(0))
    assert FunctionEstimator(space, len).evaluate(one, seed=0).score == len(one)
    loss = FunctionEstimator(
        space, lambda a, seed: {"loss": np.float32(seed), "cost": 3, "depth": a.depth()}, metric="loss", maximise=False
    ).evaluate(one, seed=2)
    assert (loss.score, loss.cost, loss.metrics) == (-2, 3, {"loss": 2, "depth": one.depth()})
    for returned, message in [({"a": 1}, "but not 'score'"), ("good", "must be a number"), (None, "must be a number")]:
        with pytest.raises(GraphnasError, match=message):
            FunctionEstimator(space, lambda a, value=returned: value).evaluate(one, seed=0)


# -- published accuracies -----------------------------------------------------------------------


class GraphConvolution(nn.Module):
    """Kipf & Welling (2017), equations 2 and 9: two layers, dropout 0.5 before each, ReLU between them."""

    def __init__(self, edge_index, nodes):
        super().__init__()
        adjacency = torch.zeros(nodes, nodes)
        adjacency[edge_index[1], edge_index[0]] = 1
        adjacency += torch.eye(nodes)
        scale = adjacency.sum(1).rsqrt()
        self.register_buffer("adjacency", (scale[:, None] * adjacency * scale).to_sparse_csr(), persistent=False)
        self.first, self.second = nn.Linear(1433, 16, bias=False), nn.Linear(16, 7, bias=False)

    def forward(self, x, edge_index):
        x = self.adjacency @ self.first(nn.functional.dropout(x, 0.5, self.training))
        return self.adjacency @ self.second(nn.functional.dropout(x.relu(), 0.5, self.training))


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")
def test_two_graph_convolutions_reach_the_published_accuracy_on_cora():
    if find("planetoid/Cora/raw/ind.cora.x") is None:
        pytest.skip("planetoid/Cora/raw/ind.cora.x is not below GRAPHNAS_DATA")
    task = cora()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = GraphConvolution(task.edge_index, task.signature.nodes)
    history = train(network, task, fidelity=Fidelity(100))
    assert history.best_epoch.validation["accuracy"] > 76
    assert task.evaluate(network, "test")["accuracy"] > 78  # published after 200 epochs: 81.5


def test_a_small_convolutional_network_reads_digits():
    task = digits()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 10),
        )
    train(network, task, fidelity=Fidelity(12))
    assert task.evaluate(network, "test")["accuracy"] > 95
