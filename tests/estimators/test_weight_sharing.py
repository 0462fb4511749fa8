"""Shared weights as an estimator: with any strategy, in any process, from the command line."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphnas.errors import GraphnasError
from graphnas.estimators.few_shot import FewShot
from graphnas.estimators.random_labels import RandomLabels
from graphnas.estimators.weight_sharing import WeightSharing
from graphnas.oneshot.path_training import PathTraining
from graphnas.oneshot.splitting import GradientMatching
from graphnas.region import Region
from graphnas.search import Search
from graphnas.settings import Settings
from graphnas.tasks.image import ImageTask
from graphnas.testing import check_estimator
from spaces import nasbench201

SPACE = nasbench201.space()
SIZE = {"channels": 2, "cells": 1}
TRAINING = PathTraining(epochs=2, batch=16, learning_rate=0.1)


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    y = np.arange(96) % 4
    x = rng.normal(size=(96, 1, 8, 8)).astype(np.float32) + y[:, None, None, None]
    return ImageTask((x[:64], y[:64]), (x[64:], y[64:]), (x[64:], y[64:]), name="shifted", classes=4, batch_size=16)


@pytest.fixture(scope="module")
def one_shot(task):
    return WeightSharing(SPACE, task, TRAINING, size=SIZE, calibration=32).fit()


def some(count=12):
    return [SPACE.sample(np.random.default_rng(seed)) for seed in range(count)]


def scores(estimator, architectures):
    return [estimator.evaluate(a, seed=0).score for a in architectures]


def test_the_rules_of_estimators_hold(one_shot, task):
    check_estimator(one_shot)
    check_estimator(one_shot.read_by("angle"))
    check_estimator(FewShot(SPACE, task, TRAINING, splits="0->1", size=SIZE, parent=one_shot))
    check_estimator(RandomLabels(SPACE, task, TRAINING, size=SIZE))


def test_any_strategy_searches_with_shared_weights(one_shot):
    for strategy, options in (
        ("evolution", {"population": 4}),
        ("single_path_evolution", {"population": 6, "mutants": 3, "crossovers": 3}),
    ):
        result = Search(SPACE, one_shot, strategy, options=options, budget=8, seed=0).run()
        best = result.best.architecture
        assert result.failed == 0
        assert one_shot.evaluate(best, seed=5).score == max(t.score for t in result.trials)


def test_training_is_found_again_in_its_file(task, one_shot, tmp_path, monkeypatch):
    path = tmp_path / "supernet.pt"
    made = {"size": SIZE, "calibration": 32, "weights": path}
    first = scores(WeightSharing(SPACE, task, TRAINING, **made), some(3))
    assert first == scores(one_shot, some(3))
    monkeypatch.setattr("graphnas.oneshot.path_training.PathTrainer.run", None)  # nothing is trained again
    assert scores(WeightSharing(SPACE, task, TRAINING, **made), some(3)) == first
    with pytest.raises(GraphnasError, match="other settings"):
        WeightSharing(SPACE, task, TRAINING, **{**made, "seed": 1}).fit()


def test_the_angle_reads_no_label(task):
    twin = ImageTask(
        (task.images("train").x.numpy(), np.roll(task.images("train").y.numpy(), 1)),
        (task.images("validation").x.numpy(), np.roll(task.images("validation").y.numpy(), 1)),
        name="shifted",
        classes=4,
        batch_size=16,
    )
    ours, other = (RandomLabels(SPACE, t, TRAINING, size=SIZE, label_seed=2) for t in (task, twin))
    assert scores(ours, some()) == scores(other, some())
    assert len(set(scores(ours, some()))) > 6
    assert ours.metric == "angle"
    assert scores(ours, some(4)) != scores(RandomLabels(SPACE, task, TRAINING, size=SIZE, label_seed=3), some(4))


# -- few-shot ---------------------------------------------------------------------------------------


def test_parts_start_as_exact_copies_of_their_parent(task, one_shot):
    still = PathTraining(1, 16, learning_rate=1e-30, final_rate=0.0, momentum=0.0, weight_decay=0.0)
    few = FewShot(SPACE, task, TRAINING, splits="0->1", tuning=still, size=SIZE, calibration=32, parent=one_shot)
    assert scores(few, some()) == scores(
        one_shot, some()
    )  # bit for bit: only statistics moved, and they are computed anew
    pointers = {w["network.stem.0.weight"].data_ptr() for w in [*few.fitted_weights(), *one_shot.fitted_weights()]}
    assert len(pointers) == 6


def test_every_architecture_is_scored_by_its_own_part(task, one_shot):
    few = FewShot(SPACE, task, TRAINING, splits="0->1", size=SIZE, calibration=32, parent=one_shot)
    assert len(few.regions) == 5
    for a in some(4):
        number = few.region(a)
        decisions = SPACE.encode(a)
        assert [i for i, region in enumerate(few.regions) if region.contains(decisions)] == [number]
        assert few.regions[number].options[0] == (decisions[0],)
        child = few.child(a)
        shared = few.fitted_weights()[number]["network.stem.0.weight"]
        assert torch.equal(child.state_dict()["stem.0.weight"], shared)
        assert few.evaluate(a, seed=0).score == pytest.approx(task.evaluate(child, "validation")["accuracy"])
    assert scores(few, some(5)) != scores(one_shot, some(5))


def test_a_part_learns_from_its_own_paths_alone(task, one_shot):
    few = FewShot(SPACE, task, TRAINING, splits="0->1", size=SIZE, parent=one_shot).fit()
    (start,) = one_shot.fitted_weights()
    place = next(n.get("name") for n in one_shot.supernet().architecture.nodes if one_shot.supernet().place_in(n, 0))
    for number, weights in enumerate(few.fitted_weights()):
        for k in (2, 3):
            name = f"network.{place}.options.{k}.1.weight"
            assert torch.equal(weights[name], start[name]) == (k != number)


def test_two_rounds_of_gradient_matching_make_four_parts(task, one_shot, tmp_path):
    splits = [GradientMatching(repeats=1, batch=16)] * 2
    made = {"splits": splits, "tuning_epochs": 1, "size": SIZE, "parent": one_shot, "weights": tmp_path / "few.pt"}
    few = FewShot(SPACE, task, TRAINING, **made).fit()
    assert len(few.regions) == 4
    assert sum(region.writings for region in few.regions) == Region.whole(SPACE).writings
    again = FewShot(SPACE, task, TRAINING, **made).fit()
    assert again.regions == few.regions
    assert scores(again, some(3)) == scores(few, some(3))


def test_parents_with_other_settings_are_refused(task, one_shot):
    with pytest.raises(GraphnasError, match="parent"):
        FewShot(SPACE, task, PathTraining(epochs=3), splits="0->1", size=SIZE, parent=one_shot)
    with pytest.raises(GraphnasError, match="at least one split"):
        FewShot(SPACE, task, TRAINING, splits=[], size=SIZE)


# -- by name ----------------------------------------------------------------------------------------


def test_the_command_line_chooses_the_estimator():
    given = {"epochs": 1, "size": SIZE, "scoring": {"sampling": "fair", "splits": "0->1", "seed": 3}}
    few = Settings("nasbench201", "digits", scored_by="few_shot", **given).estimator()
    assert isinstance(few, FewShot)
    assert (few.training.epochs, few.training.sampling, few.seed, few.size) == (1, "fair", 3, SIZE)
    fitted = {"samples": 50, "base": "random_labels", "predictor": "surrogate"}
    estimator = Settings("nasbench201", "digits", scored_by="fitted", epochs=1, size=SIZE, scoring=fitted).estimator()
    assert estimator.metric == "fitted angle"
    words = Settings("nasbench201", "digits", scored_by="few_shot", **given).shell("s.db")
    assert "--estimator few_shot" in words
    assert "--estimator-option splits='0->1'" in words or "--estimator-option 'splits=0->1'" in words


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"on": "nasbench201/cifar10", "scored_by": "weight_sharing"}, "needs a task"),
        ({"scored_by": "weight_sharing", "repeats": 2}, "leave out the repeats"),
        ({"scored_by": "weight_sharing", "data": 0.5}, "all training data"),
        ({"scored_by": "weight_sharing", "scoring": {"colour": 3}}, "does not take these options"),
        ({"scored_by": "weight_sharing", "scoring": {"norms": "none"}}, "batch statistics"),
        ({"scored_by": "weigth_sharing"}, "weight_sharing"),
        ({"scoring": {"norms": "batch"}}, "--estimator"),
    ],
)
def test_what_does_not_fit_is_told(changes, message):
    given = {"space": "nasbench201", "on": "digits", **changes}
    with pytest.raises(GraphnasError, match=message):
        Settings(**given).estimator()
