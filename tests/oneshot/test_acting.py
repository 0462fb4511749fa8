"""A supernet that acts while it learns: gradients of its architecture, episodes, resuming, and a bandit that is solved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.acting import Acting, SupernetPolicy
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.methods import get
from graphnas.oneshot.optimisers import Adam
from graphnas.oneshot.problem import SupernetProblem
from graphnas.oneshot.schedules import Constant
from graphnas.oneshot.search import Budget, search
from graphnas.oneshot.supernet import Supernet
from graphnas.store import Store
from graphnas.tasks.base import Batch
from graphnas.tasks.control.ppo import PPO
from graphnas.tasks.control.rainbow import Rainbow
from graphnas.tasks.control.task import ControlTask
from spaces import control

SIZE = {"channels": 2, "cells": 1, "stages": 1, "dense": 8}
OBJECTIVES = {
    "ppo": PPO(environments=4, length=6, rollouts=1, batch=12, passes=2),
    "rainbow": Rainbow(environments=2, updates=4, batch=8, capacity=32, start=8, explore=40, length=3),
}


@pytest.fixture(params=OBJECTIVES)
def task(request):
    return ControlTask("graphnas/Catch-v0", OBJECTIVES[request.param], episodes=4)


def made(task, method="rl_darts", **changes):
    return GradientSearch(control.space(), task, None, method, **{"epochs": 2, "size": SIZE, "seed": 1, **changes})


def test_the_gradient_of_the_objective_reaches_alpha_and_is_that_of_finite_differences(task):
    """Through the whole supernet, in double precision; zero competes, so it has a gradient as well."""
    method = get("rl_darts")
    supernet = Supernet(control.space(), task.signature, 0, **SIZE).double()
    problem = SupernetProblem(supernet, task)
    state = problem.state()
    batch = next(task.batches("train", torch.Generator().manual_seed(0)))
    batch = Batch((batch.inputs[0].double(),), batch.target.double())
    generator = torch.Generator().manual_seed(2)
    alpha = {g.name: torch.randn(g.shape, generator=generator, dtype=torch.float64) for g in problem.groups}
    alpha = {name: a.requires_grad_() for name, a in alpha.items()}

    def loss(values):
        return problem.inner_loss(state, method.relaxation.expected(problem.groups, values, 0.0), batch)[0]

    (found,) = torch.autograd.grad(loss(alpha), list(alpha.values()))
    (name,) = alpha
    assert bool((found.abs().sum(1) > 0).all())
    step = 1e-5
    for r, k in [(0, 0), (0, 4), (3, 1), (5, 2), (9, 3), (9, 0)]:
        values = []
        for sign in (1, -1):
            moved = alpha[name].detach().clone()
            moved[r, k] += sign * step
            values.append(float(loss({name: moved}).detach()))
        assert float(found[r, k]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-9)
    torch.testing.assert_close(found.sum(1), torch.zeros(10, dtype=torch.float64), atol=1e-9, rtol=0)


def test_alpha_moves_with_the_weights_and_stays_where_it_is_frozen(task):
    search = made(task, epochs=1)
    search.run()
    assert search.streams.experiences["inner"].steps > 0
    assert all(bool((a != 0).all()) for a in search.state.alpha.values())
    method = get("rl_darts")
    frozen = made(task, replace(method, architecture=Adam(Constant(0.0))), epochs=1)
    frozen.run()
    assert all(bool((a == 0).all()) for a in frozen.state.alpha.values())


def test_the_supernet_acts_with_its_present_weights():
    task = ControlTask("graphnas/Catch-v0", replace(OBJECTIVES["ppo"], batch=24), episodes=4)
    search = made(task, epochs=2)
    checked = []

    class Watched(Acting):
        def inner(self, index):
            new = index not in [i for i, _ in self._last.values()]
            batch = super().inner(index)
            if new and index % self.length == 0:  # the whole rollout, in another order
                context = self._context
                policy = SupernetPolicy(context.problem, context.state, context.expected().detached())
                games = search.task.environments("train")
                words = np.random.SeedSequence([1, 0, index]).generate_state(1, np.uint64)
                generator = torch.Generator().manual_seed(int(words[0] >> 1))
                x = games.reset(int(torch.randint(2**31 - 1, (), generator=generator)))
                values = policy(torch.from_numpy(x).float() / 255)[:, -1]
                known = batch.target[:, 4]
                checked.append(sum(bool((known - v).abs().min() < 1e-5) for v in values))
            return batch

    search.streams = Watched(task, 24, 1)
    search.run()
    assert checked == [4, 4]  # the values of the four first observations, with the weights of each moment
    assert search.state.step == 2 * task.objective.batches() == 4


def test_an_interrupted_search_goes_on_bit_for_bit(task, tmp_path, monkeypatch):
    monkeypatch.setattr("graphnas.oneshot.gradient_search.CHECKPOINT_SECONDS", 0.0)
    whole = made(task, store=tmp_path / "whole.db")
    whole.run()
    stop = whole.streams.length + 2  # within the second epoch

    class Interrupted(Exception):
        pass

    def loss(self, output, batch, known=ControlTask.loss, count=[0]):  # noqa: B006
        count[0] += 1
        if count[0] == stop:
            raise Interrupted
        return known(self, output, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ControlTask, "loss", loss)
        with pytest.raises(Interrupted):
            made(task, store=tmp_path / "parts.db").run()
    saved = SearchState.load(tmp_path / "parts.db.checkpoint.npz")
    assert saved.step == whole.streams.length
    again = made(task, store=tmp_path / "parts.db")
    again.run()
    assert again.derived == whole.derived
    for name, a in whole.state.alpha.items():
        assert torch.equal(again.state.alpha[name], a)
    for name, p in whole.state.weights.parameters.items():
        assert torch.equal(again.state.weights.parameters[name], p)
    with Store(tmp_path / "parts.db", read_only=True) as store:
        assert len(store.get("weights")) == 2


def test_a_search_pauses_within_an_epoch_but_does_not_begin_there(task):
    whole = made(task)
    method, streams, seed = whole.method, Acting(task, 2048, 1), 1
    budget = Budget(2)
    expected = search(whole.problem, method, Acting(task, 2048, 1), budget=budget, seed=seed)
    pause = streams.length + 1
    paused = search(whole.problem, method, streams, budget=replace(budget, pause=pause), seed=seed)
    assert not paused.finished
    with pytest.raises(GraphnasError, match="goes on from the end of an epoch"):
        search(whole.problem, method, Acting(task, 2048, 1), budget=budget, seed=seed, state=paused.state)
    found = search(whole.problem, method, streams, budget=budget, seed=seed, state=paused.state)
    assert all(torch.equal(found.alpha[name], a) for name, a in expected.alpha.items())


def test_two_level_methods_play_twice():
    task = ControlTask("graphnas/Catch-v0", OBJECTIVES["ppo"], episodes=4)
    search = made(task, "darts1", epochs=1)
    search.run()
    inner, outer = (search.streams.experiences[role] for role in ("inner", "outer"))
    assert inner.steps == outer.steps == 24
    assert control.space().contains(search.derived)


def test_batches_come_once_and_in_order_to_one_process():
    task = ControlTask("graphnas/Catch-v0", OBJECTIVES["ppo"], episodes=4)
    search = made(task, "darts1", epochs=1)
    search.run()
    last = search.streams.length - 1
    assert search.streams.inner(last) is search.streams.inner(last)
    for streams, index, text in ((search.streams, last + 2, "come once"), (Acting(task, 12, 0), 0, "in one process")):
        with pytest.raises(GraphnasError, match=text) as caught:
            streams.inner(index)
        assert "\n" not in str(caught.value)


def test_the_bandit_is_solved_by_the_supernet_and_the_derived_cell_is_a_member():
    """Mean reward above 0.9 after 1,792 steps; with equal outputs it is 0.5."""
    rate = {"epsilon": 1e-5, "clip": 0.5}
    fast = replace(get("rl_darts"), inner=Adam(Constant(5e-3), **rate), architecture=Adam(Constant(5e-3), **rate))
    task = ControlTask("graphnas/Bars-v0", PPO(environments=64, length=2, rollouts=14, batch=128, passes=4))
    search = made(task, fast, epochs=1, size={"channels": 4, "cells": 1, "stages": 2, "dense": 32}, seed=0)
    search.run()
    returns = [r for _, r in search.streams.experiences["inner"].returns]
    mix = fast.relaxation.expected(search.supernet.groups, search.state.alpha, 1.0)
    policy = SupernetPolicy(search.problem, search.state.weights, mix.detached())
    assert task.measured(policy, "test")["return"] > 0.9
    assert np.mean(returns[:256]) < 0.7
    assert search.space.contains(search.derived)
    (alpha,) = search.state.alpha.values()
    zero = search.supernet.groups[0].options.index("zero")
    assert float(alpha[:, zero].mean()) < float(alpha.max(1).values.mean())
