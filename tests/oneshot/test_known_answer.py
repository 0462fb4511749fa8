"""T10: every method finds the teacher's operations, by the one search; and how short a new method is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from graphnas.oneshot.base import Mix, State
from graphnas.oneshot.gates import Every
from graphnas.oneshot.known_answer import EDGES, GROUP, KnownAnswer
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods import get, names
from graphnas.oneshot.optimisers import SGD, Adam
from graphnas.oneshot.outer import GLD, MGS, RandomSmoothing
from graphnas.oneshot.schedules import Constant, Cosine
from graphnas.oneshot.search import Result, search

SEEDS = (0, 1, 2)
# The papers' rates and lengths are for images. Here all methods have one optimiser for the weights and one for alpha, but
# methods that draw one-hot samples need weights that are trained before they commit themselves, or a faster alpha.
DIFFERENT: dict[str, dict[str, Any]] = {
    "snas": {"alpha": 0.1, "weights": 0.03, "epochs": 14},
    "gdas": {"alpha": 0.2, "weights": 0.03, "epochs": 28},
    "drnas": {"epochs": 28},
    "idarts": {"epochs": 28},
    "darts_pt": {"epochs": 40},
    "unas_edges": {"alpha": 0.03, "epochs": 30, "gate": Every(1, warmup=0.3)},
    "zarts_mgs": {"epochs": 40, "gate": Every(5, warmup=0.2), "outer": MGS(4, 3, sigma=Cosine(0.025, 0.0, begin=0.2))},
    "zarts_rs": {
        "epochs": 24,
        "alpha": 0.15,
        "gate": Every(8, warmup=0.2),
        "outer": RandomSmoothing(4, 3, Constant(0.1)),
    },
    "zarts_gld": {"epochs": 40, "gate": Every(5, warmup=0.2), "outer": GLD(0.4, 0.05, 2)},
}
NOT_HERE = {"unas", "darts_pt", "darts_pt_fixed", "snas_discrete", "snas_policy_gradient"}
NOT_HERE |= {"darts1_recurrent", "darts2_recurrent"}
"""Selectors give every node two operations, which is not the teacher; "none" is never missed, see below; two differ from SNAS
in a cost that hardly counts here, and the last two from DARTS in optimisers that are replaced here."""


def adapted(name: str) -> Method:
    method, changed = get(name), dict(DIFFERENT.get(name, {}))
    rate = changed.pop("weights", 0.02)
    inner = SGD(Cosine(rate, rate / 10), momentum=0.9)
    architecture = Adam(Constant(changed.pop("alpha", 0.05)), betas=(0.5, 0.999)) if method.architecture else None
    return replace(method, **{"inner": inner, "architecture": architecture, "epochs": 20, **changed})


def found(name: str, seed: int) -> tuple[KnownAnswer, Result]:
    problem = KnownAnswer(seed, means=name == "pc_darts")
    method = adapted(name)
    return problem, search(problem, method, problem.streams(32, method.split, seed), seed=seed)


@pytest.mark.parametrize("name", [name for name in names() if name not in NOT_HERE])
def test_methods_find_the_known_answer(name: str) -> None:
    right = []
    for seed in SEEDS:
        problem, result = found(name, seed)
        right.append(problem.right(result.derived))
    print("T10", name, right, result.state.count)
    assert sum(right) / len(SEEDS) >= (3 if name in ("zarts_rs", "zarts_gld") else 4)


def test_perturbation_finds_what_has_an_effect() -> None:
    """Removing "none" changes nothing, so this criterion cannot choose it; all other edges count."""
    right = total = 0
    for seed in SEEDS:
        problem, result = found("darts_pt", seed)  # with the tuning that its record asks for
        effective = problem.answer != 0
        right += int((result.derived[GROUP].argmax(1) == problem.answer)[effective].sum())
        total += int(effective.sum())
    print("T10 darts_pt", right, "of", total)
    assert right >= 0.8 * total


@pytest.mark.parametrize("means", [False, True])
def test_the_teacher_itself_has_no_loss(means: bool) -> None:
    """The answer is right: with its operations and matrices the loss is 0, and with any other operation it is not."""
    problem = KnownAnswer(3, examples=64, dtype=torch.float64, means=means)
    matrices = torch.linalg.qr(
        torch.randn(2, 6, 6, 6, generator=_after_answer(3)), mode="complete"
    ).Q.double()  # fmt: skip
    state = State({"tanh": matrices[0], "wave": matrices[1]}, {})
    scale = torch.tensor([[target] for _, target in EDGES]) if means else torch.ones(6, 1)
    batch = problem.streams(32).inner(0)

    def loss(answer: torch.Tensor) -> float:
        weights = torch.nn.functional.one_hot(answer, 4).double() / scale
        return float(problem.inner_loss(state, Mix({GROUP: weights}), batch)[0])

    assert loss(problem.answer) < 1e-20
    for row in range(6):
        for option in range(4):
            other = problem.answer.clone()
            other[row] = option
            assert (loss(other) < 1e-20) == (option == problem.answer[row])


def _after_answer(seed: int) -> torch.Generator:
    """The problem's generator at the point where it draws the matrices."""
    from graphnas.oneshot.known_answer import _answer

    generator = torch.Generator().manual_seed(seed)
    _answer(generator)
    return generator


def test_unas_derives_two_pairs_for_every_node() -> None:
    problem = KnownAnswer(0)
    method = replace(get("unas"), inner=SGD(Cosine(0.02, 0.002), momentum=0.9), epochs=2)
    derived = search(problem, method, problem.streams(32, method.split, 0)).derived[GROUP]
    for rows in problem.groups[0].nodes:
        assert float(derived[list(rows)].sum()) == 2
    assert float(derived[:, 0].sum()) == 0


def test_all_methods_name_their_source() -> None:
    expected = {"darts1", "darts2", "snas", "idarts", "zarts_rs", "zarts_mgs", "zarts_gld", "unas", "darts_prime"}
    expected |= {"pc_darts", "gdas", "drnas", "robust_darts", "darts_pt"}
    assert expected <= set(names())
    assert all("20" in get(name).source for name in names())
