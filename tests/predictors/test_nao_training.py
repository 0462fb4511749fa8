"""How NAO is trained: which part gets gradients, and what pseudo-labels (SemiNAS) change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphnas.architecture import node
from graphnas.space import Choice, Space
from predictors.losses import mse
from predictors.nao import NAO
from predictors.nao_network import NAONetwork
from predictors.nao_training import Examples, Objective
from predictors.weights import weights_of
from spaces import nasbench201

CHOICES = [Choice(f"c{i}", tuple("abcd"), "op") for i in range(4)]
CHAIN = Space("chain", [node("input"), *[node(c, (i,)) for i, c in enumerate(CHOICES)], node("output", (4,))])
ALL = list(CHAIN.enumerate())
SCORES = np.array([3 * sum(CHAIN.encode(a)) + CHAIN.encode(a)[0] for a in ALL], dtype=float)
TINY: dict[str, Any] = {"width": 16, "layers": 2, "steps": 30, "structures": 20}


def fitted(**changes: Any) -> NAO:
    return NAO(CHAIN, **{**TINY, **changes}).fit(ALL[:60:3], SCORES[:60:3])


def same_weights(a: NAO, b: NAO) -> bool:
    one, two = weights_of(a.network_), weights_of(b.network_)
    return all(np.array_equal(one[name], two[name]) for name in one)


def examples(network: NAONetwork, count: int = 8, scored: int = 8) -> Examples:
    some = ALL[:count]
    decisions = torch.tensor([network.encoder.writing(a) for a in some])
    return Examples(network.encoder.read(some), decisions, torch.linspace(0, 1, scored))


@pytest.mark.parametrize("encoder", ["graph", "lstm"])
def test_the_weight_decides_which_parts_get_gradients(encoder: str) -> None:
    for weight, without in ((1.0, "decoder"), (0.0, "value"), (0.5, "none")):
        network = NAONetwork(CHAIN, encoder, 16, 2)
        Objective(mse, weight)(network, examples(network)).backward()  # type: ignore[no-untyped-call]
        for name, parameter in network.named_parameters():
            silent = parameter.grad is None or not parameter.grad.any()
            assert silent == name.startswith(without), (weight, name)


def test_the_loss_is_the_weighted_sum_of_its_parts() -> None:
    network = NAONetwork(CHAIN, "graph", 16, 2)
    some = examples(network, 12, 5)  # seven of them have no score
    with torch.no_grad():
        latent = network.encoder(some.inputs)
        error = float((network.score(latent)[:5] - torch.linspace(0, 1, 5)).square().mean())
        writing = float(network.decoder.loss(latent, some.decisions))
        for weight in (0.0, 0.3, 1.0):
            expected = weight * error + (1 - weight) * writing
            assert float(Objective(mse, weight)(network, some)) == pytest.approx(expected, rel=1e-5)


def test_a_batch_has_half_as_many_structures_as_labels() -> None:
    network = NAONetwork(CHAIN, "graph", 16, 2)
    everything = examples(network, 100, 40)
    some = everything.some(11, torch.Generator().manual_seed(0))
    assert len(some.targets) == 11
    assert len(some.decisions) == len(some.inputs) == 17
    rows = [everything.decisions.tolist().index(d) for d in some.decisions.tolist()]
    assert len(set(rows)) == 17
    assert all(r < 40 for r in rows[:11])
    assert all(r >= 40 for r in rows[11:])
    np.testing.assert_array_equal(some.targets, everything.targets[rows[:11]])


@pytest.mark.parametrize("encoder", ["graph", "lstm"])
def test_pseudo_labels_of_no_weight_change_nothing_bit_for_bit(encoder: str) -> None:
    plain = fitted(encoder=encoder)
    assert same_weights(plain, fitted(encoder=encoder, unlabelled=50, pseudo_weight=0.0))
    assert not same_weights(plain, fitted(encoder=encoder, unlabelled=50, pseudo_weight=1e-3))


def test_pseudo_labels_are_no_labels_and_are_what_the_network_predicts_when_they_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    original = NAO._examples

    def noted(self: NAO, architectures: Any, targets: np.ndarray) -> Examples:
        if len(architectures) == 50:
            asked = self.network_.score(self.network_.encoder(self.network_.encoder.read(architectures)))
            seen.append((targets, asked.detach().double().numpy()))
        return original(self, architectures, targets)

    monkeypatch.setattr(NAO, "_examples", noted)
    assert fitted(unlabelled=50).labels_ == 20
    assert len(seen) == 1
    np.testing.assert_allclose(*seen[0], atol=1e-6)
    assert np.ptp(seen[0][0]) > 1e-3


def test_unlabelled_architectures_teach_the_decoder() -> None:
    """The pseudo-labels carry information because reconstruction sees new structures (SemiNAS)."""
    rest = ALL[100:]
    loss = []
    for count in (0, 80):
        model = fitted(steps=120, structures=0, unlabelled=count, learning_rate=1e-2)
        decisions = torch.tensor([CHAIN.encode(a) for a in rest])
        loss.append(float(model.network_.decoder.loss(model.encode(rest), decisions).detach()))
    assert loss[1] < 0.8 * loss[0]


def test_symmetric_writings_share_the_score() -> None:
    space, rng = nasbench201.space(), np.random.default_rng(0)
    some = [space.sample(rng) for _ in range(30)]
    model = NAO(space, "lstm", width=8, steps=1, structures=0, symmetric=2)
    twins = model._twins(some)
    assert len(twins) == 60
    assert [space.key(a) for a in twins] == [space.key(a) for a in some] * 2
    assert sum(a != b for a, b in zip(twins, [*some, *some], strict=True)) > 10
