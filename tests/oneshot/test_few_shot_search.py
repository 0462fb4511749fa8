"""Few-shot search by gradients: parts start from the parent's weights and stay within their options."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import State
from graphnas.oneshot.few_shot_search import FewShotGradientSearch
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.problem import SupernetProblem
from graphnas.oneshot.region_problem import RegionProblem
from graphnas.oneshot.supernet import Supernet
from graphnas.region import Partition, Region
from graphnas.tasks.image import ImageTask
from spaces import nasbench201

SPACE = nasbench201.space()
SIZE = {"channels": 2, "cells": 1}


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    y = np.arange(64) % 4
    x = rng.normal(size=(64, 1, 8, 8)).astype(np.float32) + y[:, None, None, None]
    return ImageTask((x, y), (x, y), name="shifted", classes=4, batch_size=16)


def test_a_part_begins_with_its_parents_function_and_its_own_options(task):
    supernet = Supernet(SPACE, task.signature, seed=0, **SIZE)
    parent = SupernetProblem(supernet, task)
    state = parent.initial(3)
    region = Partition.exhaustive(SPACE, ["0->1"]).regions[3]
    part = RegionProblem(Supernet(SPACE, task.signature, seed=1, **SIZE), task, region, state)
    assert [group.mask[0].tolist() for group in part.groups] == [[False, False, False, True, False]]
    assert all(group.mask[1:].all() for group in part.groups)
    began = part.initial(9)
    assert all(torch.equal(began.parameters[name], p) for name, p in state.parameters.items())
    assert all(p.data_ptr() != state.parameters[name].data_ptr() for name, p in began.parameters.items())
    with pytest.raises(GraphnasError, match="another supernet"):
        RegionProblem(supernet, task, region, State({}, {}))


def test_every_part_is_searched_within_its_options_and_the_least_loss_wins(task, tmp_path):
    made = {"splits": "0->1", "epochs": 1, "tuning_epochs": 1, "steps": 1, "batch": 16, "size": SIZE, "seed": 1}
    few = FewShotGradientSearch(SPACE, task, "darts1", store=tmp_path / "few.db", **made)
    best = few.run()
    assert [part.region for part in few.parts] == list(Partition.exhaustive(SPACE, ["0->1"]).regions)
    for part in few.parts:
        assert part.region.contains(SPACE.encode(part.architecture))
    assert best == few.derived == min(few.parts, key=lambda part: part.loss).architecture
    again = FewShotGradientSearch(SPACE, task, "darts1", store=tmp_path / "few.db", **made)
    assert again.run() == best  # every part was found in its own file
    assert [p.loss for p in again.parts] == [p.loss for p in few.parts]
    assert len(list(tmp_path.glob("*.npz"))) == 6


def test_the_whole_space_as_a_region_changes_nothing(task):
    made = {"epochs": 1, "steps": 2, "batch": 16, "size": SIZE, "seed": 2}
    plain = GradientSearch(SPACE, task, None, "darts1", **made)
    whole = GradientSearch(SPACE, task, None, "darts1", region=Region.whole(SPACE), **made)
    plain.run(), whole.run()
    assert plain.derived == whole.derived
    assert "region" not in plain.settings()
    for name, p in plain.state.weights.parameters.items():
        assert torch.equal(p, whole.state.weights.parameters[name])
    with pytest.raises(GraphnasError, match="at least one split"):
        FewShotGradientSearch(SPACE, task, splits=[], epochs=1)
