"""The two encoders of NAO: what they tell apart, and the form of their latents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphnas.space import Space
from graphnas.testing.rules import shuffled
from predictors.nao_encoders import ENCODERS, depths
from predictors.nao_latent import Latent, LatentEncoder
from predictors.nao_network import NAONetwork
from predictors.nao_writings import Writings
from spaces import nasbench101, nasbench201


def network(space: Space, encoder: str) -> NAONetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NAONetwork(space, encoder, 16, 2).eval()


def scores(model: NAONetwork, architectures: list[Any]) -> np.ndarray:
    with torch.no_grad():
        return model.score(model.encoder(model.encoder.read(architectures))).double().numpy()


def test_depths_are_longest_paths() -> None:
    rng = np.random.default_rng(0)
    a = np.tril(rng.random((6, 9, 9)) < 0.3, -1)
    expected = np.zeros((6, 9), dtype=int)
    for b in range(6):
        for v in range(9):
            expected[b, v] = max((expected[b, u] + 1 for u in range(9) if a[b, v, u]), default=0)
    assert np.array_equal(depths(torch.tensor(a, dtype=torch.float32)).numpy(), expected)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_rows_and_vectors_have_unit_length_and_padding_plays_no_part(encoder: str) -> None:
    space, rng = nasbench101.space(), np.random.default_rng(0)
    some = [space.sample(rng) for _ in range(12)]
    model: LatentEncoder[Any] = network(space, encoder).encoder
    inputs = model.read(some)
    with torch.no_grad():
        latent: Latent = model(inputs)
        part: Latent = model(inputs[torch.tensor([3, 8])])
        alone: Latent = model(model.read([some[3]]))
    size = int(latent.mask[3].sum())
    np.testing.assert_allclose(latent.rows.norm(dim=-1), latent.mask.float(), atol=1e-6)
    np.testing.assert_allclose(latent.vector().norm(dim=-1), 1, atol=1e-6)
    mean = latent.rows[3, :size].mean(0)
    np.testing.assert_allclose(latent.vector()[3], mean / mean.norm(), atol=1e-6)
    np.testing.assert_allclose(part.rows[0, :size], latent.rows[3, :size], atol=1e-6)
    np.testing.assert_allclose(alone.rows[0, :size], latent.rows[3, :size], atol=1e-5)


def test_an_lstm_tells_writings_apart_and_a_graph_encoder_does_not() -> None:
    space, rng = nasbench201.space(), np.random.default_rng(0)
    writings = Writings(space)
    cell = space.decode([3, 2, 0, 0, 4, 1])  # two branches, which can be swapped
    twins = sorted({writings.other(cell, rng) for _ in range(400)})
    assert (2, 3, 0, 0, 1, 4) in twins
    alike = [space.decode(d) for d in twins]
    graph, lstm = (network(space, encoder) for encoder in ENCODERS)
    assert len(graph.encoder.distinct(alike)[0]) == 1
    assert len(lstm.encoder.distinct(alike)[0]) == len(alike)
    # A batch may add in another order; equal forms reach the network once in ``NAO.predict``.
    assert np.ptp(scores(graph, alike)) < 1e-6
    assert np.std(scores(lstm, alike)) > 1e-4
    assert len({graph.encoder.writing(a) for a in alike}) == 1
    assert [lstm.encoder.writing(a) for a in alike] == twins


def test_a_relabelled_architecture_has_the_same_latent() -> None:
    space, rng = nasbench101.space(), np.random.default_rng(5)
    some = [space.sample(rng) for _ in range(10)]
    model = network(space, "graph")
    np.testing.assert_array_equal(scores(model, [shuffled(a, rng) for a in some]), scores(model, some))


def test_a_short_step_along_the_gradient_raises_the_score_before_rows_are_renormalised() -> None:
    space, rng = nasbench201.space(), np.random.default_rng(1)
    some = [space.sample(rng) for _ in range(40)]
    for encoder in ENCODERS:
        model = network(space, encoder)
        with torch.no_grad():
            latent: Latent = model.encoder(model.encoder.read(some))
            before = model.score(latent)
        gradient = model.gradient(latent)
        steep = gradient.flatten(1).norm(dim=1) > 1e-8
        raised = torch.zeros(len(some), dtype=torch.bool)
        with torch.no_grad():
            for step in (10.0, 1.0, 1e-1, 1e-2, 1e-3):
                raised |= model.score(Latent(latent.rows + step * gradient, latent.mask)) > before
        assert steep.sum() > 30
        assert raised[steep].all()
        still = model.climb(latent, 0.0)
        np.testing.assert_allclose(still.rows, latent.rows, atol=1e-6)


def test_the_gradient_is_that_of_finite_differences() -> None:
    space = nasbench201.space()
    model = network(space, "lstm").double()
    latent: Latent = model.encoder(model.encoder.read([space.decode([1, 2, 3, 4, 0, 1])]))
    latent = Latent(latent.rows.detach(), latent.mask)
    gradient = model.gradient(latent)
    for row, column in ((0, 0), (3, 7), (5, 15)):
        shift = torch.zeros_like(latent.rows)
        shift[0, row, column] = 1e-5
        with torch.no_grad():
            up, down = (model.score(Latent(latent.rows + s, latent.mask)) for s in (shift, -shift))
        assert float((up - down) / 2e-5) == pytest.approx(float(gradient[0, row, column]), rel=1e-4, abs=1e-9)
