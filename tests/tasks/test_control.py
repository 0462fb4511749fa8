"""Control: games, and games as tasks."""

from __future__ import annotations

import importlib.util
import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from graphnas import registry
from graphnas.errors import GraphnasError
from graphnas.estimators.training import Fidelity, TrainingEstimator
from graphnas.tasks.control import environments
from graphnas.tasks.control.games import Bars, Catch, Maze
from graphnas.tasks.control.policy import Indifferent
from graphnas.tasks.control.ppo import PPO
from graphnas.tasks.control.rainbow import Rainbow
from graphnas.tasks.control.task import ControlTask
from graphnas.testing import check_estimator, check_task
from spaces import control

SMALL = PPO(environments=4, length=6, rollouts=2, batch=12)
LITTLE = Rainbow(environments=2, updates=6, batch=8, capacity=64, start=16, explore=40, length=3)
SIZE = {"channels": 2, "cells": 1, "stages": 1, "dense": 8}
GAMES = {"Bars": Bars, "Catch": Catch, "Maze": Maze}


# -- games --------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium.*")
@pytest.mark.parametrize("name", GAMES)
def test_games_keep_the_rules_of_gymnasium(name):
    check_env(GAMES[name](), skip_render_check=False)


def rightly_answered(frame: np.ndarray) -> int:
    """The bar's direction as a longest run of pixels tells it."""

    def longest(lines: np.ndarray) -> int:
        runs = "".join("1" if pixel else "0" for line in lines for pixel in (*line, 0))
        return max(map(len, runs.split("0")))

    field = frame[..., 0] > 0
    return int(longest(field) > longest(field.T))


def test_the_bandit_can_be_answered_from_what_is_seen():
    game = Bars()
    rewards, lying = [], 0
    for seed in range(300):
        frame, _ = game.reset(seed=seed)
        _, reward, terminated, truncated, _ = game.step(rightly_answered(frame))
        assert terminated
        assert not truncated
        rewards.append(reward)
        lying += game.lying
    assert np.mean(rewards) > 0.95
    assert 110 < lying < 190


def test_a_paddle_that_follows_the_ball_always_catches_it():
    game, caught = Catch(), []
    for seed in range(100):
        frame, _ = game.reset(seed=seed)
        over, steps = False, 0
        while not over:
            ball = int(frame[:-1, :, 0].any(0).argmax())
            paddle = int(frame[-1, :, 0].argmax())
            frame, reward, over, _, _ = game.step(1 + int(np.sign(ball - paddle)))
            steps += 1
        assert steps == 7
        caught.append(reward)
    assert set(caught) == {1.0}


def distances(free: np.ndarray, start: tuple[int, int]) -> np.ndarray:
    """Steps from a pixel to every other; -1 where no path leads."""
    found = np.full(free.shape, -1)
    found[start] = 0
    edge = [start]
    while edge:
        r, c = edge.pop(0)
        for near in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if free[near] and found[near] < 0:
                found[near] = found[r, c] + 1
                edge.append(near)
    return found


def test_mazes_are_trees_with_player_and_goal_in_two_cells():
    game, goals = Maze(), Counter()
    for seed in range(50):
        frame, _ = game.reset(seed=seed)
        free = frame[..., 0] == 0
        pairs = int((free[:, 1:] & free[:, :-1]).sum() + (free[1:] & free[:-1]).sum())
        assert pairs == free.sum() - 1  # connected (below) and without a loop
        away = distances(free, game.place)
        assert (away[free] >= 0).all()
        assert away[game.goal] >= 2
        assert frame[game.goal][2] == frame[game.place][1] == 255
        goals[game.goal] += 1
    assert len(goals) > 3


def test_the_shortest_path_through_a_maze_ends_it_with_a_reward_and_walls_do_not_move_the_player():
    game = Maze()
    frame, _ = game.reset(seed=3)
    away = distances(frame[..., 0] == 0, game.goal)
    steps, over, whole = 0, False, away[game.place]
    while not over:
        near = [away[game.place[0] + r, game.place[1] + c] for r, c in ((-1, 0), (1, 0), (0, -1), (0, 1))]
        for action, value in enumerate(near):
            if value < 0:
                before = game.place
                game.step(action)
                assert game.place == before
        good = next(a for a, value in enumerate(near) if value == away[game.place] - 1)
        _, reward, over, _, _ = game.step(good)
        game.steps, steps = 0, steps + 1
    assert reward == 1.0
    assert steps == whole


def test_a_maze_is_cut_off_at_its_limit():
    game = Maze(limit=5)
    game.reset(seed=0)
    corner = [game.step(0) for _ in range(5)]  # upwards only: nine cells are not passed so
    assert [c[3] for c in corner] == [False] * 4 + [True]
    assert not any(c[2] for c in corner)


@pytest.mark.parametrize("name", GAMES)
def test_a_seed_fixes_everything(name):
    def played(seed):
        games = environments.make(f"graphnas/{name}-v0", 3, "train")
        rng = np.random.default_rng(0)
        seen = [games.reset(seed)]
        for _ in range(40):
            step = games.step(rng.integers(games.actions, size=3))
            seen += [*step]
        return seen

    first, again, other = played(1), played(1), played(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_environments_begin_anew_by_themselves_and_tell_what_was_last():
    games = environments.make("graphnas/Maze-v0", 2, "train")
    x = games.reset(0)
    assert x.shape == (2, *games.shape) == (2, 3, 7, 7)
    for number in range(1, 31):
        step = games.step(np.array([0, 0]))
        assert step.truncated.tolist() == [number == 30 and not t for t in step.terminated.tolist()]
    assert not np.array_equal(step.final[0, 0], step.observations[0, 0])  # another maze
    assert np.array_equal(step.final[0, 0], x[0, 0])


def test_what_is_no_game_of_images_is_refused_in_one_line():
    for name, text in (
        ("CartPole-v1", "images"),
        ("graphnas/Chess-v0", "no environment"),
        ("procgen/chess", "Procgen"),
    ):
        with pytest.raises(GraphnasError, match=text) as caught:
            ControlTask(name)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("procgen") is not None, reason="Procgen is installed")
def test_procgen_without_its_package_says_what_to_install():
    with pytest.raises(GraphnasError, match=r"graphnas\[procgen\]"):
        registry.get_task("procgen-coinrun")


@pytest.mark.skipif(importlib.util.find_spec("procgen") is None, reason="Procgen is not installed")
def test_procgen_is_played_and_its_seed_fixes_it():
    seen = []
    for _ in range(2):
        games = environments.make("procgen/coinrun", 2, "train")
        seen.append([games.reset(5), *(games.step(np.array([7, 7])) for _ in range(20))])
    assert seen[0][0].shape == (2, 3, 64, 64)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(seen[0][1:], seen[1][1:], strict=True))


class Fake:
    """gym3's interface: what an episode begins with comes with the reward of the step before."""

    def __init__(self, num, rand_seed, **options):
        self.num, self.options, self.t = num, options, 0

    def observe(self):
        x = np.full((self.num, 64, 64, 3), self.t, np.uint8)
        return np.full(self.num, self.t, np.float32), {"rgb": x}, np.full(self.num, self.t % 3 == 0)

    def act(self, actions):
        assert actions.dtype == np.int32
        self.t += 1

    def close(self):
        pass


def test_the_interface_of_procgen_is_translated(monkeypatch):
    made = []

    def find(name):
        if name == "procgen.env":
            return type("env", (), {"ENV_NAMES": ["coinrun"]})
        return type("procgen", (), {"ProcgenGym3Env": lambda **given: made.append(given) or Fake(**given)})

    monkeypatch.setattr("graphnas.tasks.control.environments.importlib.import_module", find)
    games = environments.make("procgen/coinrun", 2, "validation")
    assert games.reset(7).tolist() == np.zeros((2, 3, 64, 64)).tolist()
    steps = [games.step(np.array([0, 1])) for _ in range(3)]
    assert [s.rewards[0] for s in steps] == [1.0, 2.0, 3.0]
    assert [s.terminated[0] for s in steps] == [False, False, True]
    assert (made[0]["start_level"], made[0]["num_levels"], made[0]["rand_seed"]) == (200, 200, 7)


# -- the task -----------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [SMALL, LITTLE], ids=["ppo", "rainbow"])
def test_control_tasks_keep_the_rules_of_tasks(objective):
    check_task(ControlTask("graphnas/Catch-v0", objective, episodes=4))


def test_every_environment_plays_equally_many_episodes():
    task = ControlTask("graphnas/Maze-v0", SMALL, episodes=6)
    found = task.measured(Indifferent(5), "test")
    assert found["return"] in {i / 8 for i in range(9)}  # two each in four environments
    assert 1 <= found["length"] <= 30


def test_the_best_policy_gets_the_best_return():
    task = ControlTask("graphnas/Bars-v0", replace(SMALL, environments=8), episodes=64)

    class Right:
        def __call__(self, x):
            frames = x.numpy().transpose(0, 2, 3, 1)
            return torch.tensor([[0.0, 50.0, 0.0] if rightly_answered(f) else [50.0, 0.0, 0.0] for f in frames])

    assert task.measured(Right(), "test")["return"] > 0.95
    assert 0.3 < task.measured(Indifferent(3), "test")["return"] < 0.7


@pytest.mark.parametrize("objective", [SMALL, LITTLE], ids=["ppo", "rainbow"])
def test_training_an_agent_is_an_estimator_that_keeps_the_rules(objective):
    task = ControlTask("graphnas/Bars-v0", objective, episodes=4)
    estimator = TrainingEstimator(control.space(), task, Fidelity(epochs=2, data=0.5, size=SIZE))
    assert estimator.metric == "validation return"
    assert estimator.recipe.optimiser == "adam"
    rng = np.random.default_rng(0)
    check_estimator(estimator, architectures=[control.space().sample(rng) for _ in range(2)])


def test_any_space_of_images_makes_agents():
    task = ControlTask("graphnas/Bars-v0", SMALL, episodes=4)
    space = registry.get_space("nasbench201")
    estimator = TrainingEstimator(space, task, Fidelity(epochs=1, size={"channels": 4, "cells": 1}))
    assert 0 <= estimator.evaluate(space.sample(np.random.default_rng(0)), seed=0).score <= 1


def test_tasks_are_pickled_without_their_environments():
    task = pickle.loads(pickle.dumps(registry.get_task("pixel-catch-rainbow")))
    assert task.describe()["objective"]["name"] == "rainbow"
    assert task.signature.outputs == 4 * 51
    assert task.recipe["clip"] == 10.0
