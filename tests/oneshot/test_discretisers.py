"""Derivation: what is kept, ties, pruned rows, selectors that agree, and the supernet's loss (DARTS-PT)."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Group, Mix, Tensors
from graphnas.oneshot.discretisers import ArgmaxPerRow, SelectorArgmax, Tools, TopKInputs
from graphnas.oneshot.perturbation import Perturbation
from graphnas.oneshot.relaxations import CoupledConcrete, Selectors
from graphnas.oneshot.relaxations.selectors import joined

ROWS = ["0->2", "1->2", "0->3", "1->3", "2->3"]
GROUP = Group.make("g", ["none", "skip", "conv"], ROWS, keep=2)
WEIGHTS = torch.tensor(
    [[0.8, 0.1, 0.1], [0.1, 0.5, 0.4], [0.1, 0.6, 0.3], [0.90, 0.04, 0.06], [0.2, 0.1, 0.7]], dtype=torch.float64
)


def mix(weights: Tensor, **rows: Tensor) -> Mix:
    return Mix({"g": weights}, rows=rows or {"g": weights})


def test_each_node_keeps_its_best_two_inputs_and_never_none() -> None:
    derived = TopKInputs()([GROUP], mix(WEIGHTS))["g"]
    assert derived.tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]
    one = TopKInputs(k=1)([GROUP], mix(WEIGHTS))["g"]
    assert one.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_nodes_that_keep_all_inputs_may_have_none() -> None:
    group = Group.make("g", GROUP.options, ROWS)
    expected = torch.nn.functional.one_hot(WEIGHTS.argmax(1), 3)
    for discretiser in (TopKInputs(), ArgmaxPerRow(), SelectorArgmax()):
        assert torch.equal(discretiser([group], mix(WEIGHTS))["g"], expected.double())
    without = ArgmaxPerRow(allow_none=False)([group], mix(WEIGHTS))["g"]
    assert bool((without[:, 0] == 0).all())
    assert bool((without.sum(1) == 1).all())


def test_every_order_of_weights_gives_k_inputs_each() -> None:
    for seed in range(200):
        weights = torch.rand(5, 3, generator=torch.Generator().manual_seed(seed)).softmax(1)
        derived = TopKInputs()([GROUP], mix(weights))["g"]
        scores = weights[:, 1:].max(1).values
        for rows in GROUP.nodes:
            kept = [r for r in rows if derived[r].any()]
            assert len(kept) == 2
            assert min(scores[list(kept)]) >= max([float(scores[r]) for r in rows if r not in kept], default=0)
        assert bool((derived[:, 0] == 0).all())


def test_ties_go_to_the_first() -> None:
    derived = TopKInputs()([GROUP], mix(torch.full((5, 3), 1 / 3)))["g"]
    assert derived.tolist() == [[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0]]


def test_pruned_rows_are_dropped_and_masked_options_never_chosen() -> None:
    mask = torch.tensor([[True, True, True], [False] * 3, [False] * 3, [False, True, False], [True, True, False]])
    group = GROUP.masked(mask)
    derived = TopKInputs()([group], mix(WEIGHTS))["g"]
    assert derived.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 1, 0]]


def test_a_discrete_matrix_derives_to_itself() -> None:
    """What Proximity and ADMM need: the projection leaves its own values alone."""
    for discretiser in (TopKInputs(), ArgmaxPerRow()):
        once = discretiser([GROUP], mix(WEIGHTS))
        assert torch.equal(discretiser([GROUP], mix(once["g"]))["g"] * once["g"].sum(1, keepdim=True), once["g"])


def test_selectors_take_their_best_pairs_which_may_coincide() -> None:
    relaxation = Selectors(CoupledConcrete())
    group = Group.make("g", GROUP.options, ROWS)
    alpha = {name: torch.zeros(m.shape) for name, m in relaxation.masks([group]).items()}
    alpha["g:inputs"][:, 1] = torch.tensor([1.0, 1.0, 1.0, -1.0])  # node 2: 1->2 twice; node 3: 1->3 and 0->3
    alpha["g:operations"][:, 2] = torch.tensor([1.0, 1.0, 1.0, -1.0])
    derived = SelectorArgmax()([group], relaxation.expected([group], alpha, 0.0))["g"]
    assert derived.tolist() == [[0, 0, 0], [0, 0, 2], [0, 1, 0], [0, 0, 1], [0, 0, 0]]


# -- DARTS-PT ---------------------------------------------------------------------------------------


def tools(worth: Tensor, log: list[Tensors]) -> Tools:
    def accuracy(weights: Tensors) -> float:
        return float((weights["g"] * worth).sum())

    def tune(weights: Tensors, epochs: int) -> None:
        log.append({name: w.clone() for name, w in weights.items()})
        assert epochs == 5

    return Tools(accuracy, tune, torch.Generator().manual_seed(0))


def test_selectors_of_nodes_that_keep_two_inputs_take_the_likeliest_different_ones() -> None:
    group = Group.make("g", ["a", "b"], ["0->2", "1->2", "0->3", "1->3", "2->3"], keep=2)
    inputs = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0], [0.5, 0.3, 0.2], [0.4, 0.1, 0.5]])
    operations = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.3, 0.7]])
    rows = {"g:inputs": inputs, "g:operations": operations}
    derived = SelectorArgmax()([group], Mix({"g": joined(group, inputs, operations)}, rows=rows))["g"]
    # Both selectors of node 2 prefer input 0; 0 and 1 (0.9 * 0.4) is likelier than 1 and 0 (0.1 * 0.6).
    assert derived.tolist() == [[1, 0], [0, 1], [1, 0], [0, 0], [0, 1]]


def test_perturbation_keeps_what_is_missed_most() -> None:
    """The accuracy is linear here, so that the answer can be read off: weight times worth."""
    worth = torch.tensor([[9.0, 1, 2], [9, 3, 1], [9, 1, 1], [9, 2, 5], [9, 4, 4.1]], dtype=torch.float64)
    log: list[Tensors] = []
    derived = Perturbation()([GROUP], mix(WEIGHTS), tools(worth, log))["g"]
    # By magnitude the last row but one would be dropped; by worth it is kept and 0->3 goes.
    best = (WEIGHTS * worth)[:, 1:].argmax(1) + 1
    expected = torch.nn.functional.one_hot(best, 3).double()
    expected[2] = 0
    assert torch.equal(derived, expected)
    assert len(log) == 5 + 1  # one decision for each row, and one for the only node with more than two inputs
    settled = [int(((w["g"] == 0) | (w["g"] == 1)).all(1).sum()) for w in log]
    assert settled == [1, 2, 3, 4, 5, 5]


def test_perturbation_agrees_with_enumeration_of_removals() -> None:
    worth = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    group = Group.make("g", GROUP.options, ROWS)
    derived = Perturbation()([group], mix(WEIGHTS), tools(worth, []))["g"]
    for r in range(5):
        losses = []
        for k in range(3):
            removed = WEIGHTS.clone()
            removed[r, k] = 0
            losses.append(float(((WEIGHTS - removed) * worth).sum()))
        assert int(derived[r].argmax()) == losses.index(max(losses))


def test_perturbation_alone_cannot_decide() -> None:
    with pytest.raises(GraphnasError, match="evaluates the supernet"):
        Perturbation()([GROUP], mix(WEIGHTS))


def test_magnitudes_and_perturbation_may_differ() -> None:
    orders = itertools.permutations([0.5, 0.3, 0.2])
    worth = torch.tensor([[1.0, 2.0, 10.0]], dtype=torch.float64)
    group = Group.make("g", ["a", "b", "c"], ["row"])
    found = set()
    for order in orders:
        weights = torch.tensor([order], dtype=torch.float64)
        by_size = ArgmaxPerRow()([group], mix(weights))["g"]
        by_loss = Perturbation()([group], mix(weights), tools(worth, []))["g"]
        assert int(by_loss.argmax()) == 2
        found.add(int(by_size.argmax()))
    assert found == {0, 1, 2}
