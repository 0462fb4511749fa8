"""Gradient-based search of recurrent cells: both streams carry their state on, and equal searches are equal bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.methods import get
from graphnas.oneshot.optimisers import SGD, Adam
from graphnas.oneshot.schedules import Constant
from graphnas.oneshot.search import Budget, search
from graphnas.oneshot.task_streams import Following
from graphnas.tasks.language import LanguageTask
from spaces import darts_recurrent

DRY = {"dropout": 0.0, "dropout_hidden": 0.0, "dropout_cell": 0.0, "dropout_input": 0.0}


@pytest.fixture(scope="module")
def task():
    text = np.random.default_rng(0).integers(6, size=200)
    return LanguageTask(text, text[:40], words=tuple("abcdef"), batch_size=2, length=4, validation_batch=1)


@pytest.fixture(scope="module")
def short():
    text = np.random.default_rng(0).integers(6, size=120)
    return LanguageTask(text, text[:40], words=tuple("abcdef"), batch_size=2, length=2, validation_batch=1)


def made(task, method="darts1_recurrent", size=None, **changes):
    settings = {"epochs": 1, "batch": 3, "steps": 2, "size": {"features": 4, **(size or {})}, **changes}
    return GradientSearch("darts_recurrent", task, None, method, **settings)


def test_segments_of_both_parts_follow_each_other_and_begin_again(task):
    streams = task.streams(3, 0.6, 0)
    text = task.text("train")
    for rows, stream, length in (
        (text[:120].view(3, 40), streams.inner, 10),
        (text[120:198].view(3, 26), streams.outer, 7),
    ):
        found = [stream(i) for i in range(length + 1)]
        assert torch.equal(torch.cat([d.batch.inputs[0] for d in found[:-1]], 1), rows[:, :-1])
        assert torch.equal(torch.cat([d.batch.target for d in found[:-1]], 1), rows[:, 1:])
        assert [isinstance(d, Following) for d in found] == [False] + [True] * (length - 1) + [False]
        assert found[0].seed != found[-1].seed  # the same words with other dropout
    assert (streams.length, streams.outer_length) == (10, 7)
    assert torch.equal(task.streams(3, None, 0).outer(0).batch.target, task.streams(3, None, 0).inner(0).batch.target)
    with pytest.raises(GraphnasError, match="choose a smaller batch"):
        task.streams(90, 0.6, 0)
    with pytest.raises(GraphnasError, match="must lie between 0 and 1"):
        task.streams(3, 1.0, 0)


def test_after_steps_that_move_nothing_the_states_are_those_of_the_whole_text_so_far(task):
    still = replace(get("darts1_recurrent"), inner=SGD(Constant(0.0)), architecture=Adam(Constant(0.0)), split=0.6)
    ours = made(task, still, {**DRY, "norm": False}, steps=9)
    ours.run()
    state, problem = ours.state, ours.problem
    mix = ours.weights(state)
    text = task.text("train")
    for rows, stream, end in ((text[:120].view(3, 40), "inner", 36), (text[120:198].view(3, 26), "outer", 8)):
        # Nine inner segments; the outer part was begun again after seven.
        problem.load(state.weights)
        with torch.no_grad():
            _, states = problem.supernet(rows[:, :end], torch.zeros(3, 0), mix=mix)
        torch.testing.assert_close(state.weights.buffers[f"carried.{stream}.0"], states[:, -1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", ["darts2_recurrent", "unas"])
def test_two_searches_with_one_seed_are_equal_bit_for_bit_and_derive_a_cell(short, method):
    found = []
    for _ in range(2):
        ours = made(short, method)
        ours.run()
        found.append(ours)
    first, second = (f.state for f in found)
    assert torch.equal(first.alpha[next(iter(first.alpha))], second.alpha[next(iter(second.alpha))])
    for name, value in first.weights.parameters.items():
        assert torch.equal(value, second.weights.parameters[name])
    assert found[0].derived == found[1].derived
    assert darts_recurrent.space().contains(found[0].derived)


def test_a_search_that_was_saved_goes_on_with_the_states_that_it_had(short, tmp_path):
    ours = made(short)
    whole = search(ours.problem, ours.method, ours.streams, budget=Budget(1, 4), seed=1).state
    half = search(ours.problem, ours.method, ours.streams, budget=Budget(1, 4, pause=2), seed=1).state
    loaded = SearchState.load(half.save(tmp_path / "state.npz"))
    again = search(ours.problem, ours.method, ours.streams, budget=Budget(1, 4), seed=1, state=loaded).state
    assert {"carried.inner.0", "carried.outer.0"} <= set(again.weights.buffers)
    for part in ("parameters", "buffers"):
        for name, value in getattr(whole.weights, part).items():
            assert torch.equal(value, getattr(again.weights, part)[name])


def test_all_edges_are_searched_where_all_are_kept(short):
    with pytest.raises(GraphnasError, match=r"keeps every edge, but .* search darts_recurrent_edges"):
        made(short, "snas")
    ours = GradientSearch(
        "darts_recurrent_edges", short, None, "snas", epochs=1, batch=3, steps=1, size={"features": 4}
    )
    ours.run()
    assert darts_recurrent.edges().contains(ours.derived)


def test_a_cell_has_no_channels_of_which_a_part_could_pass(short):
    with pytest.raises(GraphnasError, match="recurrent cells have no channels"):
        made(short, "pc_darts")
