"""Single paths: who is drawn, who learns, and what a score is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch import nn
from torch.nn import functional

from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.oneshot.path_scoring import PathScorer, calibration_inputs
from graphnas.oneshot.path_stages import PathStages
from graphnas.oneshot.path_training import PathTrainer, PathTraining, weights_of
from graphnas.oneshot.paths import sampler
from graphnas.oneshot.supernet import Supernet
from graphnas.region import Region
from graphnas.tasks.image import ImageTask
from spaces import darts, nasbench201

SPACE = nasbench201.space()
SIZE = {"channels": 2, "cells": 1}
WHOLE = Region.whole(SPACE)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    y = np.arange(96) % 4
    x = rng.normal(size=(96, 1, 8, 8)).astype(np.float32) + y[:, None, None, None]
    return ImageTask((x[:64], y[:64]), (x[64:], y[64:]), name="shifted", classes=4, batch_size=16)


@pytest.fixture
def supernet(task):
    return Supernet(SPACE, task.signature, seed=0, **SIZE)


# -- who is drawn -----------------------------------------------------------------------------------


def test_uniform_paths_are_uniform(supernet):
    draw, rng = sampler("uniform", supernet, WHOLE), np.random.default_rng(0)
    drawn = np.array([SPACE.encode(draw(rng)[0]) for _ in range(6000)])
    for column in drawn.T:
        assert chisquare(np.bincount(column, minlength=5)).pvalue > 1e-3
    pairs = Counter(map(tuple, drawn[:, [0, 5]].tolist()))
    assert chisquare([pairs[a, b] for a in range(5) for b in range(5)]).pvalue > 1e-3


def test_fair_steps_run_every_option_of_every_decision_once(supernet):
    draw, rng = sampler("fair", supernet, WHOLE), np.random.default_rng(0)
    orders = set()
    for _ in range(50):
        columns = np.array([SPACE.encode(path) for path in draw(rng)]).T
        assert all(sorted(column) == [0, 1, 2, 3, 4] for column in columns.tolist())
        orders.add(tuple(columns[0].tolist()))
        assert len({tuple(column) for column in columns.tolist()}) > 1  # each decision has an order of its own
    assert len(orders) > 10


def test_fair_steps_of_a_region_differ_by_at_most_one_run(supernet):
    region = Region(((0, 1, 2, 3, 4), (3,), (1, 2), (0, 1, 2), (4,), (0, 4)))
    columns = np.array([SPACE.encode(path) for path in sampler("fair", supernet, region)(np.random.default_rng(0))]).T
    for column, allowed in zip(columns.tolist(), region.options, strict=True):
        counts = [column.count(option) for option in allowed]
        assert sum(counts) == 5
        assert max(counts) - min(counts) <= 1


def test_sandwich_steps_have_the_cheapest_and_the_dearest_path(supernet, task):
    paths = sampler("sandwich", supernet, WHOLE)(np.random.default_rng(0))
    macs = [cost(SPACE.network(a, task.signature, **supernet.size)).macs for a in paths]
    assert len(paths) == 4
    assert macs[0] == min(macs)
    assert set(SPACE.describe(paths[1]).values()) == {"nor_conv_3x3"}
    assert set(SPACE.describe(paths[0]).values()) <= {"none", "skip_connect", "avg_pool_3x3"}


def test_samplers_that_do_not_suit_are_refused(task):
    signature = task.signature
    with pytest.raises(GraphnasError, match="uniform"):
        sampler("fair", Supernet(darts.space(), signature, 0, channels=2, cells=2), WHOLE)
    with pytest.raises(GraphnasError, match="sampled by"):
        PathTraining(sampling="greedy")


# -- who learns -------------------------------------------------------------------------------------


def test_only_the_weights_of_the_path_learn(supernet, task):
    path = SPACE.decode([3, 0, 1, 2, 4, 3])
    region = Region(tuple((d,) for d in SPACE.encode(path)))
    before = weights_of(supernet)
    trainer = PathTrainer(supernet, task, PathTraining(epochs=1, batch=16), 0, region)
    after = trainer.run(trainer.start(before)).weights
    chosen = supernet.chosen(path)
    for name, _ in supernet.named_parameters():
        at, _, rest = name.removeprefix("network.").partition(".options.")
        used = not rest or int(rest.split(".")[0]) == chosen[at]
        assert torch.equal(before[name], after[name]) != used, name


def test_a_path_alone_is_trained_as_its_child_is(task):
    supernet = Supernet(SPACE, task.signature, seed=3, **SIZE)
    path = SPACE.decode([3, 1, 2, 4, 3, 2])
    training = PathTraining(epochs=3, batch=16, learning_rate=0.1, final_rate=0.01, weight_decay=1e-3, clip=None)
    trainer = PathTrainer(supernet, task, training, 5, Region(tuple((d,) for d in SPACE.encode(path))))
    child = supernet.child(path).train()
    state = trainer.run(trainer.start(weights_of(supernet)))

    optimiser = torch.optim.SGD(child.parameters(), 0.1, momentum=0.9, weight_decay=1e-3, nesterov=True)
    losses = []
    for step in range(12):
        progress = step // 4 / 3
        optimiser.param_groups[0]["lr"] = 0.01 + 0.09 * (1 + np.cos(np.pi * progress)) / 2
        batch = trainer.streams.inner(step).batch
        loss = functional.cross_entropy(child(*batch.inputs), batch.target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    trained = supernet.state_of(path)
    for name, value in child.state_dict().items():
        torch.testing.assert_close(trained[name], value, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(state.losses, np.reshape(losses, (3, 4)).mean(1), rtol=1e-4)


def test_the_gradients_of_the_paths_of_a_step_are_added(supernet, task):
    training = PathTraining(epochs=1, batch=64, sampling="fair", momentum=0.0, weight_decay=0.0, clip=None)
    trainer = PathTrainer(supernet, task, training, 0)
    start = weights_of(supernet)
    batch = trainer.streams.inner(0).batch
    twin = Supernet(SPACE, task.signature, seed=0, **SIZE).train()
    paths = trainer.paths(np.random.default_rng([0, 11, 0]))
    total = sum(functional.cross_entropy(twin(*batch.inputs, mix=twin.one_hot(path)), batch.target) for path in paths)
    gradients = torch.autograd.grad(total, list(twin.parameters()), allow_unused=True)
    moved = trainer.run(trainer.start(start)).weights
    for (name, p), g in zip(twin.named_parameters(), gradients, strict=True):
        expected = p.detach() - (0 if g is None else training.learning_rate * g)
        torch.testing.assert_close(moved[name], expected, atol=1e-6, rtol=1e-5)


def test_interrupted_training_goes_on_as_if_nothing_had_happened(task, tmp_path, monkeypatch):
    monkeypatch.setattr("graphnas.oneshot.path_stages._SECONDS", -1.0)
    training = PathTraining(epochs=3, batch=16)

    def trainer():
        return PathTrainer(Supernet(SPACE, task.signature, seed=0, **SIZE), task, training, 0)

    whole = trainer()
    straight = whole.run(whole.start(weights_of(whole.supernet)))
    first = trainer()
    stages = PathStages(tmp_path / "weights.pt", "mine")

    def stop(state):
        stages.note("whole", state)
        if len(state.losses) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        first.run(first.start(weights_of(first.supernet)), stop)
    again = PathStages(tmp_path / "weights.pt", "mine")
    resumed = trainer().run(again.current("whole"))
    assert resumed.losses == straight.losses
    assert all(torch.equal(resumed.weights[name], w) for name, w in straight.weights.items())


def test_files_of_others_are_refused(tmp_path):
    path = tmp_path / "weights.pt"
    PathStages(path, "mine").finish("whole", PathTrainer.start(None, {}))  # type: ignore[arg-type]
    with pytest.raises(GraphnasError, match="other settings"):
        PathStages(path, "yours")
    path.write_bytes(b"no archive")
    with pytest.raises(GraphnasError, match="no file of supernets"):
        PathStages(path, "mine")


def test_a_loss_that_is_not_finite_stops_training(supernet, task):
    trainer = PathTrainer(supernet, task, PathTraining(epochs=5, batch=16, learning_rate=1e20, clip=None), 0)
    with pytest.raises(GraphnasError, match="smaller learning rate"):
        trainer.run(trainer.start(weights_of(supernet)))


# -- what a score is --------------------------------------------------------------------------------


def test_a_score_is_that_of_the_extracted_child(supernet, task):
    scorer = PathScorer(supernet, task, calibration=32)
    x = task.prepare(task.images("validation").x)
    for seed in range(6):
        path = SPACE.sample(np.random.default_rng(seed))
        found = scorer.score(path)
        child = scorer.child(path)
        assert found == pytest.approx(task.evaluate(child, "validation"), abs=1e-5)
        with torch.no_grad():
            ours = scorer.network(path).eval()(x)
            torch.testing.assert_close(ours, child(x), atol=1e-6, rtol=1e-6)


def test_recalibrated_statistics_are_those_of_the_training_examples(supernet, task):
    scorer = PathScorer(supernet, task, calibration=32)
    child = scorer.child(SPACE.decode([3, 1, 2, 4, 3, 2]))
    ((inputs,),) = calibration_inputs(task, 32)
    assert len(inputs) == 32
    norms = {name: module for name, module in child.named_modules() if isinstance(module, nn.BatchNorm2d)}
    seen = {}
    hooks = [
        m.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
        for name, m in norms.items()
    ]
    for module in norms.values():
        module.train()  # so that every layer sees what it saw in recalibration
    kept = {name: (m.running_mean.clone(), m.running_var.clone()) for name, m in norms.items()}
    with torch.no_grad():
        child(inputs)
    for hook in hooks:
        hook.remove()
    assert len(norms) > 3
    for name, (mean, var) in kept.items():
        torch.testing.assert_close(mean, seen[name].mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(var, seen[name].var((0, 2, 3)), atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("norms", ["recalibrated", "batch", "running"])
def test_scoring_changes_no_weight_and_no_later_score(supernet, task, norms):
    weights = {name: p.clone() for name, p in supernet.named_parameters()}
    scorer = PathScorer(supernet, task, norms, 32)
    paths = [SPACE.sample(np.random.default_rng(seed)) for seed in range(5)]
    first = [scorer.score(path) for path in paths]
    assert [scorer.score(path) for path in reversed(paths)][::-1] == first
    assert all(torch.equal(weights[name], p) for name, p in supernet.named_parameters())
