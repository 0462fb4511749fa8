"""The decoder of NAO against enumeration and against its formulas written out."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch

from graphnas.architecture import node
from graphnas.space import Choice, Decisions, Space
from predictors.nao_decoder import AttentionDecoder
from predictors.nao_latent import Latent
from spaces import nasbench101, nasbench201, nasbench_graph

RADICES = (3, 2, 4)
EVERYTHING = list(itertools.product(*map(range, RADICES)))


def rule(d: Decisions) -> bool:
    return sum(d) % 5 == 0


def small_space(valid: Callable[[Decisions], bool] | None = rule) -> Space:
    choices = [Choice(f"c{i}", tuple(range(r)), "op") for i, r in enumerate(RADICES)]
    names = [c.at(*[f"{c.name}-{o}" for o in c.options]) for c in choices]
    template = [node("input"), *[node(name, (i,)) for i, name in enumerate(names)], node("output", (3,))]
    return Space("small", template, valid=valid, order=choices)


def decoder_of(space: Space, width: int = 16, seed: int = 0) -> AttentionDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AttentionDecoder(space, width)


def noise(count: int, width: int, seed: int = 0) -> Latent:
    """Latents of one to seven rows that no architecture has."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(7) < torch.randint(1, 8, (count, 1), generator=generator)
    return Latent(torch.randn(count, 7, width, generator=generator), mask).unit()


def likelihoods(decoder: AttentionDecoder, latent: Latent) -> np.ndarray:
    """Probability ``[B, all decisions]`` by the training loss."""
    with torch.no_grad():
        rows = [
            [float(decoder.loss(Latent(r[None], m[None]), torch.tensor([d]))) for d in EVERYTHING]
            for r, m in zip(latent.rows, latent.mask, strict=True)
        ]
    return np.exp(-len(RADICES) * np.array(rows))


def test_the_probabilities_of_all_decisions_sum_to_one() -> None:
    found = likelihoods(decoder_of(small_space()), noise(6, 16))
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


def test_a_wide_beam_finds_the_most_likely_valid_decisions() -> None:
    decoder, latent = decoder_of(small_space()), noise(20, 16)
    with torch.no_grad():  # so that what was decided matters for what follows
        for parameter in (decoder.embedding.weight, decoder.query.weight, decoder.out.weight):
            parameter *= 4
    likely = [
        max((p, d) for p, d in zip(row, EVERYTHING, strict=True) if rule(d))[1] for row in likelihoods(decoder, latent)
    ]
    assert len(set(likely)) > 2
    found = decoder.decode(latent, 24, rule)
    assert [some[0] for some in found] == likely
    for some, row in zip(found, likelihoods(decoder, latent), strict=True):
        assert set(some) == {d for d in EVERYTHING if rule(d)}
        order = [row[EVERYTHING.index(d)] for d in some]
        assert np.all(np.diff(order) < 1e-6)
    assert decoder.decode(latent, 24, lambda d: False) == [[]] * 20


def test_one_beam_is_greedy() -> None:
    decoder, latent = decoder_of(small_space()), noise(20, 16)
    with torch.no_grad():
        decoder.embedding.weight *= 4
    probability = likelihoods(decoder, latent).reshape(20, *RADICES)
    for p, (d,) in zip(probability, decoder.decode(latent, 1, lambda d: True), strict=True):
        first = p.sum((1, 2)).argmax()
        second = p[first].sum(1).argmax()
        assert d == (first, second, p[first, second].argmax())


def test_the_first_decision_by_its_formulas() -> None:
    width = 5
    decoder, latent = decoder_of(small_space(), width), noise(4, width)
    weights = {name: value.detach().double().numpy() for name, value in decoder.named_parameters()}

    def sigmoid(x: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-x))

    for b, found in enumerate(likelihoods(decoder, latent)):
        rows = latent.rows[b][latent.mask[b]].double().numpy() * width**0.5
        mean = rows.mean(0)
        hidden = cell = mean / np.linalg.norm(mean) * width**0.5
        read = weights["embedding.weight"][0] + weights["place.weight"][0]
        gates = weights["recurrent.weight_ih_l0"] @ read + weights["recurrent.bias_ih_l0"]
        gates += weights["recurrent.weight_hh_l0"] @ hidden + weights["recurrent.bias_hh_l0"]
        enter, forget, new, leave = np.split(gates, 4)
        cell = sigmoid(forget) * cell + sigmoid(enter) * np.tanh(new)
        hidden = sigmoid(leave) * np.tanh(cell)
        match = np.exp(rows @ (weights["query.weight"] @ hidden))
        seen = match @ rows / match.sum()
        joined = np.tanh(weights["join.weight"] @ np.concatenate([seen, hidden]) + weights["join.bias"])
        scores = np.exp(weights["out.weight"] @ joined + weights["out.bias"])
        options = scores[decoder.tokens.table[0, : RADICES[0]].numpy()]
        np.testing.assert_allclose(found.reshape(RADICES).sum((1, 2)), options / options.sum(), atol=1e-6)


@pytest.mark.parametrize("space", [nasbench101.space(), nasbench201.space(), nasbench_graph.space()], ids=repr)
def test_whatever_is_decoded_is_a_member(space: Space) -> None:
    found = [d for some in decoder_of(space).decode(noise(30, 16), 8, space.is_valid) for d in some]
    assert found
    for made in found:
        assert space.contains(space.decode(made))
