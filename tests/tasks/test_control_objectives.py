"""The objectives of control against independent computations: PPO, distributions of returns, replay."""

from __future__ import annotations

import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from graphnas.estimators.training import Fidelity, Recipe, train
from graphnas.tasks.control.categorical import duelling, expected, project, support
from graphnas.tasks.control.games import Maze
from graphnas.tasks.control.policy import NetworkPolicy, prepared
from graphnas.tasks.control.ppo import PPO, advantages
from graphnas.tasks.control.rainbow import Rainbow
from graphnas.tasks.control.replay import Replay, SumTree, Transition, Window
from graphnas.tasks.control.task import ControlTask

SMALL = PPO(environments=4, length=6, rollouts=2, batch=12)
LITTLE = Rainbow(environments=2, updates=6, batch=8, capacity=64, start=16, explore=40, length=3)


# -- PPO ----------------------------------------------------------------------------------------


def test_advantages_are_the_discounted_sums_of_surprises():
    rng = np.random.default_rng(0)
    rewards, values, following = rng.normal(size=(3, 7, 4))
    terminated = rng.random((7, 4)) < 0.2
    ended = terminated | (rng.random((7, 4)) < 0.2)
    found = advantages(rewards, values, following, terminated, ended, 0.9, 0.8)
    for n in range(4):
        for t in range(7):
            total, factor = 0.0, 1.0
            for k in range(t, 7):
                next_value = 0.0 if terminated[k, n] else following[k, n]
                total += factor * (rewards[k, n] + 0.9 * next_value - values[k, n])
                factor *= 0.9 * 0.8
                if ended[k, n]:
                    break
            assert found[t, n] == pytest.approx(total)


def test_with_a_trace_of_one_the_return_is_that_of_the_episode():
    rewards = np.array([[1.0], [2.0], [4.0]])
    over = np.array([[False], [False], [True]])
    values, following = np.array([[0.3], [0.1], [0.7]]), np.array([[0.1], [0.7], [9.0]])
    gains = advantages(rewards, values, following, over, over, 0.5, 1.0)
    assert (gains + values)[:, 0].tolist() == pytest.approx([1 + 1 + 1, 2 + 2, 4])


def test_the_loss_is_the_clipped_objective_written_out():
    generator = torch.Generator().manual_seed(0)
    output = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    action = torch.randint(3, (40,), generator=generator)
    numbers = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    target = torch.cat([action[:, None].double(), numbers], 1)
    ppo, total = PPO(clip=0.2, entropy=0.03, value=0.4), 0.0
    for row, (a, old, gain, goal, before) in zip(output.tolist(), target.tolist(), strict=True):
        *logits, value = row
        exps = [math.exp(x) for x in logits]
        p = [e / sum(exps) for e in exps]
        ratio = p[int(a)] / math.exp(old)
        surrogate = min(ratio * gain, max(0.8, min(1.2, ratio)) * gain)
        near = before + max(-0.2, min(0.2, value - before))
        error = max((value - goal) ** 2, (near - goal) ** 2) / 2
        entropy = -sum(x * math.log(x) for x in p)
        total += 0.4 * error - surrogate - 0.03 * entropy
    assert float(ppo.loss(output, target)) == pytest.approx(total / 40)


def test_before_the_first_step_of_learning_the_ratio_is_one():
    task = ControlTask("graphnas/Catch-v0", SMALL)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    batches = list(task.experience(network)(torch.Generator().manual_seed(0), 1.0))
    assert len(batches) == SMALL.batches() == 2 * 2 * 2
    for batch in batches:
        output = network(*batch.inputs).detach()
        action, old, gain, goal, before = batch.target.unbind(1)
        logs = output[:, :-1].log_softmax(1).gather(1, action.long()[:, None])[:, 0]
        torch.testing.assert_close(logs, old)
        torch.testing.assert_close(output[:, -1], before)
        assert gain.mean().abs() < 1e-6
        assert gain.std() == pytest.approx(1.0, abs=1e-4)
        assert not torch.equal(goal, before)


def test_a_cut_episode_counts_on_what_would_have_followed():
    """In a maze of one step, the target of the value is the discounted value of the last image, not of the next maze's."""
    gymnasium.register("graphnas/Short-v0", entry_point=Maze, kwargs={"limit": 1})
    task = ControlTask("graphnas/Short-v0", replace(SMALL, discount=0.5, trace=1.0, passes=1, rollouts=1))
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 49, 5))
    experience = task.played_by(NetworkPolicy(network))
    finals, step = [], experience.environments.step

    def kept(actions):
        made = step(actions)
        finals.append((made.final, made.truncated))
        return made

    experience.environments.step = kept
    goals = torch.cat([batch.target[:, 3] for batch in experience(torch.Generator().manual_seed(0), 1.0)])
    after = torch.cat([network(prepared(x))[:, -1].detach() * torch.from_numpy(cut) for x, cut in finals])
    assert all(cut.all() for _, cut in finals)
    torch.testing.assert_close(goals.sort().values, (0.5 * after).sort().values)
    del gymnasium.registry["graphnas/Short-v0"]


# -- distributions and memory -------------------------------------------------------------------


def test_projection_is_that_of_a_loop():
    generator, atoms = torch.Generator().manual_seed(0), support(-1.0, 2.0, 7)
    p = torch.rand(20, 7, generator=generator, dtype=torch.float64)
    p /= p.sum(1, keepdim=True)
    returns = torch.randn(20, generator=generator, dtype=torch.float64) * 2
    discounts = torch.rand(20, generator=generator, dtype=torch.float64)
    discounts[:3] = 0.0
    made = project(p, returns, discounts, atoms.double())
    for i in range(20):
        m = [0.0] * 7
        for j in range(7):
            place = (min(2.0, max(-1.0, float(returns[i] + discounts[i] * atoms[j]))) + 1.0) / 0.5
            low, high = math.floor(place + 1e-9), math.ceil(place - 1e-9)
            if low == high:
                m[low] += float(p[i, j])
            else:
                m[low] += float(p[i, j]) * (high - place)
                m[high] += float(p[i, j]) * (place - low)
        assert made[i].tolist() == pytest.approx(m, abs=1e-6)
    torch.testing.assert_close(made.sum(1), torch.ones(20, dtype=torch.float64))


def test_projection_keeps_the_mean_of_what_stays_within_the_atoms():
    atoms = support(0.0, 1.0, 51)
    p = torch.softmax(torch.randn(5, 51, generator=torch.Generator().manual_seed(1)), 1)
    returns, discounts = torch.full((5,), 0.1), torch.full((5,), 0.8)
    made = project(p, returns, discounts, atoms)
    torch.testing.assert_close(made @ atoms, 0.1 + 0.8 * (p @ atoms))
    certain = project(p, torch.full((5,), 0.5), torch.zeros(5), atoms)
    assert certain.argmax(1).tolist() == [25] * 5
    assert certain.max(1).values.tolist() == pytest.approx([1.0] * 5, abs=1e-5)


def test_duelling_ignores_what_all_advantages_have_in_common():
    output = torch.randn(3, 4 * 5, generator=torch.Generator().manual_seed(0))
    logits = duelling(output, 5)
    assert logits.shape == (3, 3, 5)
    value, advantage = output[:, :5], output[:, 5:].view(3, 3, 5)
    torch.testing.assert_close(logits.mean(1), value)
    torch.testing.assert_close(logits[:, 0] - logits[:, 2], advantage[:, 0] - advantage[:, 2])
    assert expected(torch.zeros(1, 3, 5), support(0, 1, 5)).tolist() == [[0.5] * 3]


def test_transitions_sum_the_rewards_of_some_steps():
    rewards = [1.0, 2.0, 4.0, 8.0, 16.0]
    for ending, last in (("terminated", 0.0), ("truncated", None)):
        window, made = Window(3, 0.5), []
        for t, reward in enumerate(rewards):
            over = {ending: t == 4} if ending == "truncated" else {}
            made += window.add(np.array(t), t, reward, np.array(t + 1), ending == "terminated" and t == 4, **over)
        assert [m.action for m in made] == [0, 1, 2, 3, 4]
        for m in made:
            steps = rewards[m.action : m.action + 3]
            assert m.gain == sum(0.5**k * r for k, r in enumerate(steps))
            assert int(m.before) == m.action
            assert int(m.after) == m.action + len(steps)
            reaches = m.action + len(steps) == 5
            assert m.discount == (last if reaches and last is not None else 0.5 ** len(steps))
        assert not window.steps


def test_the_tree_finds_the_place_of_every_running_sum():
    rng = np.random.default_rng(0)
    for size in (1, 2, 5, 37):
        tree, values = SumTree(size), np.zeros(size)
        for _ in range(5):
            places = rng.integers(size, size=3)
            numbers = rng.random(3)
            tree.set(places, numbers)
            for place, number in zip(places, numbers, strict=True):
                values[place] = number
            assert tree.total == pytest.approx(values.sum())
            sums = rng.random(50) * values.sum()
            expected_places = np.searchsorted(np.cumsum(values), sums, side="right")
            assert tree.find(sums).tolist() == expected_places.tolist()


def test_places_are_drawn_in_proportion_to_powers_of_their_priorities():
    replay = Replay(10, (1,), exponent=0.8)
    for i in range(8):  # two places are empty
        replay.add(Transition(np.zeros(1, np.uint8), i, 0.0, 0.0, np.zeros(1, np.uint8)))
    priorities = np.array([0.1, 0.5, 1.0, 2.0, 4.0, 0.2, 3.0, 0.7])
    replay.set_priorities(np.arange(8), priorities)
    wanted = priorities**0.8 / (priorities**0.8).sum()
    np.testing.assert_allclose(replay.chances(np.arange(8)), wanted)
    rng, n = np.random.default_rng(0), 200_000
    counts = np.bincount(np.concatenate([replay.draw(rng.random(100)) for _ in range(n // 100)]), minlength=10)
    assert counts[8:].sum() == 0
    assert (np.abs(counts[:8] / n - wanted) < 4 * np.sqrt(wanted * (1 - wanted) / n)).all()
    replay.add(Transition(np.zeros(1, np.uint8), 8, 0.0, 0.0, np.zeros(1, np.uint8)))
    assert replay.tree.leaves(np.array([8]))[0] == pytest.approx(4.0**0.8)  # as the greatest


def test_a_full_memory_forgets_the_oldest_and_its_state_is_all_of_it():
    replay = Replay(3, (1,), 1.0)
    for i in range(5):
        replay.add(Transition(np.full(1, i, np.uint8), i, float(i), 0.5, np.full(1, i + 1, np.uint8)))
    assert len(replay) == 3
    assert sorted(replay.action.tolist()) == [2, 3, 4]
    replay.set_priorities(np.array([1]), np.array([7.0]))
    other = Replay(3, (1,), 1.0)
    other.restore(replay.state())
    assert np.array_equal(other.tree.sums, replay.tree.sums)
    assert other.state().keys() == replay.state().keys()
    assert all(np.array_equal(other.state()[name], value) for name, value in replay.state().items())


def test_rainbow_learns_the_bandit():
    """With equal outputs the mean return is 0.5, and 0.07 the spread of the mean of 64 episodes."""
    rainbow = Rainbow(environments=8, updates=200, explore=1200, start=400, target=100, learning_rate=2e-3)
    task = ControlTask("graphnas/Bars-v0", rainbow)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 3 * 51))
    train(network, task, Recipe(**task.recipe), Fidelity(epochs=1))
    assert task.evaluate(network, "test")["return"] > 0.7


def test_targets_are_the_target_network_s_worth_of_the_action_that_the_policy_chooses():
    task = ControlTask("graphnas/Catch-v0", replace(LITTLE, importance=0.4))
    torch.manual_seed(0)
    network, atoms = nn.Sequential(nn.Flatten(), nn.Linear(64, 4 * 51)), support(0, 1, 51)
    experience = task.played_by(NetworkPolicy(network))
    frozen = NetworkPolicy(network).frozen()
    batches = experience(torch.Generator().manual_seed(0), 1.0)
    first = next(batches)
    with torch.no_grad():
        network[1].weight.add_(0.3 * torch.randn(network[1].weight.shape))  # what a step of learning does
    replay = experience.replay
    drawn, chances = [], replay.chances
    replay.chances = lambda places: drawn.append((places, chances(places))) or drawn[-1][1]
    batch = next(batches)
    places, p = drawn[0]
    after = prepared(replay.after[places])
    best = expected(duelling(network(after), 51), atoms).argmax(1)
    worth = duelling(frozen(after), 51)[torch.arange(8), best].softmax(1)
    wanted = project(worth, torch.from_numpy(replay.gain[places]), torch.from_numpy(replay.discount[places]), atoms)
    torch.testing.assert_close(batch.target[:, 2:], wanted)
    weights = (len(replay) * p) ** -0.4
    np.testing.assert_allclose(batch.target[:, 1].numpy(), weights / weights.max(), rtol=1e-5)
    # The priorities are the divergences before the step.
    chosen = duelling(network(*batch.inputs).detach(), 51)[torch.arange(8), batch.target[:, 0].long()].log_softmax(1)
    divergence = torch.nn.functional.kl_div(chosen, wanted, reduction="none").sum(1)
    found = dict(zip(places.tolist(), replay.tree.leaves(places).tolist(), strict=True))
    for place, value in zip(places.tolist(), divergence.tolist(), strict=True):
        assert found[place] == pytest.approx((value + 1e-6) ** 0.8, rel=1e-3)
    loss = task.loss(network(*batch.inputs).detach(), batch)
    cross = -(wanted * chosen).sum(1)
    assert float(loss) == pytest.approx(float((batch.target[:, 1] * cross).mean()), rel=1e-5)
    assert first.target.shape == (8, 53)
