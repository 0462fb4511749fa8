"""AGNN: what an offspring changes, which class is chosen, and which way a reward moves an encoder."""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from graphnas import registry
from graphnas.architecture import node
from graphnas.errors import GraphnasError
from graphnas.search import Search
from graphnas.space import Choice, Decisions, Space
from graphnas.strategies.agnn import AGNN, SELECTIONS
from graphnas.strategies.agnn_encoders import ClassEncoder, component_classes, entropy
from graphnas.strategies.base import Trial
from graphnas.testing import AdditiveEstimator, check_strategy
from spaces.gnn import AGNN as COMPONENTS
from spaces.gnn import agnn


def layered(layers: int = 2, valid: Any = None) -> Space:
    """Three classes (colour 3, size 2, shape 2 options), each with one decision in every layer."""
    nodes = [node("input")]
    for i in range(layers):
        colour = Choice(f"colour{i}", ("r", "g", "b"), "colour")
        size = Choice(f"size{i}", (1, 2), "size")
        shape = Choice(f"shape{i}", ("o", "x"), "shape")
        nodes.append(node(colour, (i,), size=size, shape=shape))
    return Space("layered", [*nodes, node("output", (layers,))], valid=valid)


SPACE = layered()
PLACES = component_classes(SPACE)


def made(space: Space = SPACE, seed: int = 0, hidden: int = 6, **options: Any) -> AGNN:
    return AGNN(space, np.random.default_rng(seed), hidden=hidden, **options)


def trial(d: Decisions, score: float, space: Space = SPACE, status: str = "") -> Trial:
    a = space.decode(d)
    return Trial(0, a, space.key(a), status or ("complete" if score == score else "failed"), score)


def started(score: float = 1.0, best: Decisions = (0,) * 6, space: Space = SPACE, **options: Any) -> AGNN:
    """A strategy whose best architecture is given."""
    strategy = made(space, **options)
    strategy.ask(1)
    strategy.tell([trial(best, score, space)])
    return strategy


def weights(strategy: AGNN) -> dict[str, np.ndarray]:
    return {
        name: torch.cat([p.detach().flatten() for p in encoder.network.parameters()]).numpy().copy()
        for name, encoder in strategy.encoders.items()
    }


def differing(a: Decisions, b: Decisions, places: dict[str, tuple[int, ...]]) -> list[str]:
    return [name for name, where in places.items() if any(a[i] != b[i] for i in where)]


def changed_class(parent: Decisions, name: str, value: int) -> Decisions:
    return tuple(value if i in PLACES[name] else d for i, d in enumerate(parent))


def set_logits(encoder: ClassEncoder, logits: list[list[float]]) -> None:
    """Heads that give these logits whatever is read; without squashing they are what the softmax sees."""
    heads = encoder.network["heads"]
    assert isinstance(heads, torch.nn.Linear)
    encoder.temperature, encoder.tanh_constant = 1.0, None
    with torch.no_grad():
        heads.weight.zero_()
        heads.bias.copy_(torch.tensor(logits).flatten())


# -- classes ------------------------------------------------------------------------------------


def test_the_classes_of_the_agnn_space_are_its_six_components_in_all_layers() -> None:
    classes = component_classes(agnn(3))
    assert list(classes) == list(COMPONENTS)
    names = [choice.name for choice in agnn(3).choices]
    for name, places in classes.items():
        assert [names[i] for i in places] == [f"{name}{layer}" for layer in (1, 2, 3)]


def test_where_one_group_has_most_decisions_every_choice_is_a_class() -> None:
    space = registry.get_space("nasbench_graph")
    assert list(component_classes(space)) == ["link", "op1", "op2", "op3", "op4"]
    assert component_classes(space, "groups") == {"link": (0,), "op": (1, 2, 3, 4)}
    assert list(component_classes(SPACE, "choices")) == [choice.name for choice in SPACE.choices]


# -- the conservative explorer ------------------------------------------------------------------


@pytest.mark.parametrize("select", SELECTIONS)
@pytest.mark.parametrize("changes", [1, 2, 3])
def test_an_offspring_differs_from_the_best_in_exactly_the_chosen_classes(changes: int, select: str) -> None:
    strategy = started(changes=changes, select=select, patience=10**6)
    rng = np.random.default_rng(1)
    for _ in range(12):
        parent = strategy.best
        assert parent is not None
        asked = [SPACE.encode(a) for a in strategy.ask(3)]
        for child in asked:
            assert len(differing(parent, child, PLACES)) == changes
        strategy.tell([trial(d, float(rng.normal())) for d in asked])


def test_all_layers_of_the_class_are_drawn_at_once() -> None:
    strategy = started()
    children = [SPACE.encode(a) for a in strategy.ask(400)]
    colours = Counter(tuple(d[i] for i in PLACES["colour"]) for d in children if d[PLACES["size"][0]] == 0)
    assert {(1, 1), (1, 2), (2, 1), (2, 2), (0, 1), (1, 0)} <= set(colours)


def test_the_best_score_never_falls_and_is_the_best_that_was_told() -> None:
    rng = np.random.default_rng(2)
    strategy, told = made(), []
    for _ in range(60):
        asked = strategy.ask(2)
        scores = [float(rng.normal()) if rng.random() < 0.8 else math.nan for _ in asked]
        strategy.tell([trial(SPACE.encode(a), s) for a, s in zip(asked, scores, strict=True)])
        before = max([s for s, _ in told if s == s], default=-np.inf)
        told += list(zip(scores, map(SPACE.encode, asked), strict=True))
        finite = [pair for pair in told if pair[0] == pair[0]]
        if finite:
            best = max(finite, key=lambda pair: pair[0])
            assert (strategy.best_score, strategy.best) == best
            assert strategy.best_score >= before


def test_known_architectures_in_a_row_widen_the_change_until_there_is_a_better_one() -> None:
    strategy, parent = started(patience=4), (0,) * 6
    other = changed_class(parent, "size", 1)
    known, new = trial(other, 0.5, status="duplicate"), trial(other, 0.5)
    for told, expected in (([known] * 3, 1), ([new, *[known] * 3], 1), ([known], 2), ([new], 2), ([known] * 40, 3)):
        strategy.tell(told)
        child = SPACE.encode(strategy.ask(1)[0])
        assert len(differing(parent, child, PLACES)) == expected
    better = changed_class(parent, "shape", 1)
    strategy.tell([trial(better, 1.5)])
    assert len(differing(better, SPACE.encode(strategy.ask(1)[0]), PLACES)) == 1


def test_it_leaves_a_local_optimum_of_single_changes() -> None:
    """Only (1, 1, ...) in two classes at once is better; changes of one class are all worse."""

    def score(d: Decisions) -> float:
        both = all(d[i] == 1 for name in ("size", "shape") for i in PLACES[name])
        return 2.0 if both else 1.0 - sum(d)

    strategy, seen = started(patience=5), set[Decisions]()
    for _ in range(400):
        (a,) = strategy.ask(1)
        d = SPACE.encode(a)
        strategy.tell([trial(d, score(d), status="duplicate" if d in seen else "complete")])
        seen.add(d)
    assert strategy.best_score == 2.0


# -- the guided modifier ------------------------------------------------------------------------


def test_a_uniform_encoder_has_the_entropy_of_its_options_times_its_layers() -> None:
    space = agnn(3)
    strategy = started(best=(0,) * 18, space=space, hidden=4)
    for encoder in strategy.encoders.values():
        heads = encoder.network["heads"]
        assert isinstance(heads, torch.nn.Linear)
        with torch.no_grad():
            heads.weight.zero_()
            heads.bias.zero_()
    expected = {name: 3 * math.log(len(options)) for name, options in COMPONENTS.items()}
    assert strategy.entropies() == pytest.approx(expected, abs=1e-6)


def test_argmax_selects_the_class_of_greatest_entropy() -> None:
    strategy = started(select="argmax")
    assert {differing((0,) * 6, SPACE.encode(a), PLACES)[0] for a in strategy.ask(30)} == {"colour"}
    set_logits(strategy.encoders["colour"], [[9.0, 0.0, 0.0]] * 2)  # nearly sure: now the others are more open
    set_logits(strategy.encoders["size"], [[3.0, 0.0]] * 2)
    set_logits(strategy.encoders["shape"], [[0.0, 0.0]] * 2)
    strategy._tables.clear()
    assert {differing((0,) * 6, SPACE.encode(a), PLACES)[0] for a in strategy.ask(30)} == {"shape"}


@pytest.mark.parametrize("select", SELECTIONS)
def test_a_deterministic_encoder_has_no_entropy_and_is_not_chosen(select: str) -> None:
    strategy = started(select=select)
    set_logits(strategy.encoders["colour"], [[0.0, 0.0, 1e4]] * 2)
    assert entropy(strategy.encoders["colour"].table((0,) * 6)) == 0.0
    assert strategy.entropies()["colour"] == 0.0
    assert "colour" not in {differing((0,) * 6, SPACE.encode(a), PLACES)[0] for a in strategy.ask(200)}


@pytest.mark.parametrize("select", ["softmax", "proportional"])
def test_classes_are_drawn_as_often_as_their_entropies_say(select: str) -> None:
    strategy = started(select=select)
    set_logits(strategy.encoders["size"], [[1.0, -1.0]] * 2)
    values = np.array(list(strategy.entropies().values()))
    p = np.exp(values) / np.exp(values).sum() if select == "softmax" else values / values.sum()
    draws = 3000
    counts = Counter(differing((0,) * 6, SPACE.encode(a), PLACES)[0] for a in strategy.ask(draws))
    observed = np.array([counts[name] for name in PLACES])
    assert chi2.sf(((observed - draws * p) ** 2 / (draws * p)).sum(), len(p) - 1) > 1e-3


def test_an_encoder_does_not_read_its_own_class() -> None:
    strategy = made(seed=3)
    for name, encoder in strategy.encoders.items():
        table = encoder.table((0,) * 6)
        assert np.array_equal(encoder.table(changed_class((0,) * 6, name, 1)), table)
        for other in set(PLACES) - {name}:
            assert not np.array_equal(encoder.table(changed_class((0,) * 6, other, 1)), table)


def test_draws_follow_the_encoder_without_what_the_best_has() -> None:
    logits = [[0.4, -0.3, 0.2], [1.0, 0.0, -0.5]]
    strategy = started(best=(2, 0, 0, 0, 1, 1), select="argmax")
    set_logits(strategy.encoders["colour"], logits)
    first, second = (np.exp(row) / np.exp(row).sum() for row in logits)
    old = tuple((2, 0, 0, 0, 1, 1)[i] for i in PLACES["colour"])
    outcomes = [pair for pair in itertools.product(range(3), range(3)) if pair != old]
    p = np.array([first[a] * second[b] for a, b in outcomes])
    draws = 4000
    counts = Counter(tuple(SPACE.encode(a)[i] for i in PLACES["colour"]) for a in strategy.ask(draws))
    observed, expected = np.array([counts[o] for o in outcomes]), draws * p / p.sum()
    assert observed.sum() == draws
    assert chi2.sf(((observed - expected) ** 2 / expected).sum(), len(outcomes) - 1) > 1e-3


# -- the learner --------------------------------------------------------------------------------


def test_the_expected_step_is_the_gradient_of_the_expected_reward() -> None:
    """The REINFORCE estimator, summed over all offspring, against finite differences of the enumerated expectation."""
    parent: Decisions = (2, 1, 0, 1, 0, 1)
    encoder = ClassEncoder(SPACE, PLACES["colour"], np.random.default_rng(4), hidden=3, scale=1.0)
    encoder.network.double()
    old = tuple(parent[i] for i in PLACES["colour"])
    rewards = {o: math.sin(3 * o[0] + 5 * o[1]) for o in itertools.product(range(3), range(3)) if o != old}

    def child(outcome: tuple[int, int]) -> Decisions:
        d = list(parent)
        for i, value in zip(PLACES["colour"], outcome, strict=True):
            d[i] = value
        return tuple(d)

    def probability(outcome: tuple[int, int]) -> float:
        """By the definition: the product of the softmaxes over the sum for all outcomes but the parent's."""
        p = np.exp(encoder.log_probs(parent).detach().numpy())
        return float(p[0, outcome[0]] * p[1, outcome[1]] / sum(p[0, a] * p[1, b] for a, b in rewards))

    def expected() -> float:
        return sum(probability(o) * r for o, r in rewards.items())

    assert sum(map(probability, rewards)) == pytest.approx(1.0, abs=1e-12)
    parameters = list(encoder.network.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for outcome, reward in rewards.items():
        value = encoder.objective(parent, child(outcome))
        assert math.exp(float(value.detach())) == pytest.approx(probability(outcome), rel=1e-9)
        for sum_, gradient in zip(total, torch.autograd.grad(value, parameters), strict=True):
            sum_ += probability(outcome) * reward * gradient
    step = 1e-6
    for parameter, gradient in zip(parameters, total, strict=True):
        flat = parameter.detach().view(-1)
        for i in range(0, len(flat), max(1, len(flat) // 7)):
            sides = []
            for sign in (1, -1):
                flat[i] += sign * step
                sides.append(expected())
                flat[i] -= sign * step
            assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(float(gradient.view(-1)[i]), abs=1e-8)


@pytest.mark.parametrize("name", list(PLACES))
def test_only_the_encoder_of_the_changed_class_learns(name: str) -> None:
    strategy = started(1.0)
    before = weights(strategy)
    strategy.tell([trial(changed_class((0,) * 6, name, 1), 0.4)])
    for other, after in weights(strategy).items():
        assert np.array_equal(after, before[other]) == (other != name)


@pytest.mark.parametrize("score", [0.4, 1.6])
@pytest.mark.parametrize("name", list(PLACES))
def test_a_negative_reward_makes_what_was_sampled_less_likely_and_a_positive_one_more(name: str, score: float) -> None:
    """The sign: gradient ascent on the reward."""
    parent = (0,) * 6
    child = changed_class(parent, name, 1)
    strategy = started(1.0, learning_rate=1e-3)
    before = strategy.encoders[name].table(parent)[:, 1]
    strategy.tell([trial(child, score)])
    after = strategy.encoders[name].table(parent)[:, 1]
    assert ((after < before) if score < 1.0 else (after > before)).all()


def test_one_step_of_adam_for_every_told_trial() -> None:
    strategy = started(1.0)
    child = changed_class((0,) * 6, "size", 1)
    strategy.tell([trial(child, 0.4)] * 3)
    strategy.tell([trial(child, 0.4)])
    assert strategy.encoders["size"].state_dict()["steps"] == 4.0
    assert "steps" not in strategy.encoders["shape"].state_dict()


def test_the_trials_of_one_batch_are_rewarded_against_the_same_best() -> None:
    """A better offspring does not make the reward of the next one of its batch negative."""
    better, good = changed_class((0,) * 6, "size", 1), changed_class((0,) * 6, "shape", 1)
    strategy = started(1.0, learning_rate=1e-3)
    before = strategy.encoders["shape"].table((0,) * 6)[:, 1]
    strategy.tell([trial(better, 9.0), trial(good, 1.5)])
    assert (strategy.encoders["shape"].table((0,) * 6)[:, 1] > before).all()
    assert strategy.best == better


def test_a_failed_trial_is_pushed_away_and_an_equal_one_teaches_nothing() -> None:
    child = changed_class((0,) * 6, "size", 1)
    failed, equal = started(1.0), started(1.0)
    before, unmoved = failed.encoders["size"].table((0,) * 6)[:, 1], weights(equal)
    failed.tell([trial(child, math.nan)])
    equal.tell([trial(child, 1.0)])
    assert (failed.encoders["size"].table((0,) * 6)[:, 1] < before).all()
    assert all(np.array_equal(after, unmoved[name]) for name, after in weights(equal).items())
    assert equal.best == (0,) * 6


def test_the_random_architectures_at_the_start_teach_nothing() -> None:
    strategy = made(initial=5)
    before = weights(strategy)
    for i, a in enumerate(strategy.ask(2) + strategy.ask(3)):
        strategy.tell([trial(SPACE.encode(a), float(i))])
    assert all(np.array_equal(after, before[name]) for name, after in weights(strategy).items())


def test_a_given_start_comes_first_and_is_the_first_best() -> None:
    start = [(1, 0, 1, 0, 1, 0), (0, 1, 0, 1, 0, 1)]
    strategy = made(initial=0, start=start)
    assert [SPACE.encode(a) for a in strategy.ask(2)] == start
    strategy.tell([trial(start[0], 2.0), trial(start[1], 1.0)])
    assert (strategy.best, strategy.best_score) == (start[0], 2.0)
    (child,) = strategy.ask(1)
    assert len(differing(start[0], SPACE.encode(child), strategy.classes)) == 1
    strategy = made(initial=1, start=start[:1])
    first, _ = strategy.ask(2)
    assert SPACE.encode(first) == start[0]
    with pytest.raises(GraphnasError):
        made(start=[(9,) * 6])


def test_what_is_learned_is_asked_for() -> None:
    """Colour b in both layers is worth most, the rest is noise around m*: the encoder comes to prefer it."""
    strategy = started(0.0, select="argmax", learning_rate=0.02, temperature=1.0)
    for _ in range(150):
        d = SPACE.encode(strategy.ask(1)[0])
        colours = [d[i] for i in PLACES["colour"]]
        strategy.tell([trial(d, -1.0 + 0.4 * sum(c == 2 for c in colours))])
    p = np.exp(strategy.encoders["colour"].table((0,) * 6))
    assert (p[:, 2] > 0.7).all()


# -- as a strategy ------------------------------------------------------------------------------


@pytest.mark.parametrize("select", SELECTIONS)
def test_the_rules_of_strategies(select: str) -> None:
    def make(space: Space, rng: np.random.Generator) -> AGNN:
        return AGNN(space, rng, select=select, hidden=5, initial=2, patience=3)

    check_strategy(make, SPACE, rounds=6)


def test_a_rule_that_ties_two_classes_together_is_kept() -> None:
    """Size equals shape in every layer: no single class can change alone, so two change after some known ones."""
    space = layered(valid=lambda d: d[1] == d[2] and d[4] == d[5])
    strategy = started(best=(0,) * 6, space=space, patience=2)
    found = Search(space, AdditiveEstimator(space, 1), strategy=strategy, budget=25, seed=0).run()
    assert all(space.is_valid(space.encode(t.architecture)) for t in found.trials)
    assert len({t.key for t in found.trials if space.encode(t.architecture)[1]}) > 5


def test_the_state_is_strict_json_and_complete() -> None:
    strategy = made()
    strategy.tell([trial(SPACE.encode(strategy.ask(1)[0]), math.nan)])
    json.dumps(strategy.state_dict(), allow_nan=False)
    state = started(1.0).state_dict()
    del state["encoders"]["size"]
    with pytest.raises(GraphnasError, match="lacks the encoder of class 'size'"):
        made().load_state_dict(json.loads(json.dumps(state)))


def test_impossible_options_are_refused() -> None:
    for options in ({"changes": 0}, {"changes": 4}, {"initial": 0}, {"patience": 0}):
        with pytest.raises(
            GraphnasError, match=r"AGNN needs initial >= 1 \(or a start\), patience >= 1 and changes in 1\.\.3"
        ):
            made(**options)
    for options in ({"hidden": 0}, {"temperature": 0.0}, {"learning_rate": -1.0}, {"tanh_constant": math.inf}):
        with pytest.raises(GraphnasError, match="AGNN needs hidden in"):
            made(**options)
    with pytest.raises(GraphnasError, match="unknown selection of a class 'softmx'; nearest: softmax"):
        made(select="softmx")
    with pytest.raises(GraphnasError, match="unknown kind of classes 'group'; nearest: groups"):
        made(classes="group")
    with pytest.raises(GraphnasError, match="nothing for AGNN to change"):
        made(Space("fixed", [node("input"), node("op", (0,)), node("output", (1,))]))
    with pytest.raises(GraphnasError, match="no best architecture yet"):
        made().entropies()
