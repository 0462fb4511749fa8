"""NAO: reconstruction, ascent of the predicted score, and a decoder that writes only members of the space."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.architecture import Architecture, node
from graphnas.encoding.dense import encode_dense
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.space import Choice, Space
from graphnas.testing import check_predictor
from graphnas.testing.rules import global_randomness_untouched
from predictors.nao import NAO, _along, _curve
from predictors.nao_network import Latent, NAONetwork, depths
from spaces import nasbench101, nasbench201, nasbench_graph

CHOICES = [Choice(f"c{i}", tuple("abcd"), "op") for i in range(4)]
CHAIN = Space("chain", [node("input"), *[node(c, (i,)) for i, c in enumerate(CHOICES)], node("output", (4,))])
ALL = list(CHAIN.enumerate())
SCORES = np.array([3 * sum(CHAIN.encode(a)) + CHAIN.encode(a)[0] for a in ALL], dtype=float)
ORDER = np.random.default_rng(0).permutation(256)
TRAIN, TEST = ORDER[:192], ORDER[192:]


@pytest.fixture(scope="module")
def nao() -> NAO:
    made = NAO(CHAIN, width=32, layers=3, steps=300, learning_rate=5e-3)
    with global_randomness_untouched("nao"):
        return made.fit([ALL[i] for i in TRAIN], SCORES[TRAIN])


def untrained(space: Space, seed: int = 0, **options: Any) -> NAO:
    rng = np.random.default_rng(seed)
    some = [space.sample(rng) for _ in range(4)]
    return NAO(space, **{"width": 16, "layers": 2, "steps": 0, **options}).fit(some, [0.0, 1, 2, 3])


def noise(space: Space, count: int, width: int, seed: int = 0) -> Latent:
    """Latents that no architecture has."""
    generator = torch.Generator().manual_seed(seed)
    graphs = encode_dense(space, [space.sample(np.random.default_rng(i)) for i in range(count)]).torch()
    return Latent(torch.randn(*graphs.mask.shape, width, generator=generator), graphs.mask).unit()


def test_it_reconstructs_what_it_was_not_trained_on(nao: NAO) -> None:
    for rows, least in ((TRAIN, 1.0), (TEST, 0.99)):
        architectures = [ALL[i] for i in rows]
        same = [x == y for x, y in zip(nao.decode(nao.encode(architectures)), architectures, strict=True)]
        assert np.mean(same) >= least
        if all(same):
            assert nao.improve(architectures, 0.0) == architectures


def test_it_ranks_what_it_was_not_trained_on(nao: NAO) -> None:
    assert kendall_tau(nao.predict([ALL[i] for i in TEST]).mean, SCORES[TEST]) > 0.85


def test_a_small_step_along_the_gradient_raises_the_score(nao: NAO) -> None:
    latent = nao.encode(ALL[::4])
    rows = latent.rows.clone().requires_grad_()
    score = nao.network_.score(Latent(rows, latent.mask))
    (gradient,) = torch.autograd.grad(score.sum(), rows)
    steep = gradient.flatten(1).norm(dim=1) > 1e-6
    assert steep.all()
    raised = torch.zeros(len(steep), dtype=torch.bool)
    with torch.no_grad():
        for step in (1e-1, 3e-2, 1e-2, 3e-3):
            raised |= nao.network_.score(Latent(latent.rows + step * gradient, latent.mask)) > score.detach()
    assert raised.all()


def test_larger_steps_lead_to_more_and_better_designs(nao: NAO) -> None:
    start = [ALL[i] for i in TRAIN]
    changed, value = [], []
    for step in (0.0, 1.0, 5.0, 20.0):
        found = nao.improve(start, step)
        changed.append(sum(a != b for a, b in zip(found, start, strict=True)))
        value.append(np.mean([SCORES[ALL.index(a)] for a in found]))
    assert changed[0] == 0
    assert changed == sorted(changed)
    assert changed[-1] > len(start) / 2
    assert value == sorted(value)
    assert value[-1] > value[0] + np.std(SCORES) / 2


@pytest.mark.parametrize("space", [CHAIN, nasbench101.space(), nasbench201.space(), nasbench_graph.space()], ids=repr)
def test_whatever_is_decoded_is_a_member(space: Space) -> None:
    model = untrained(space)
    found = [a for a in model.decode(noise(space, 30, 16)) if a is not None]
    assert found
    for a in found:
        assert space.is_valid(space.encode(a))
        assert space.decode(space.encode(a)) == a


def test_the_decoder_finds_the_most_likely_valid_decisions() -> None:
    def rule(d: tuple[int, ...]) -> bool:
        return sum(d) % 5 == 0

    choices = [Choice(f"c{i}", tuple(range(r)), "op") for i, r in enumerate((3, 2, 4))]
    names = [c.at(*[f"{c.name}-{o}" for o in c.options]) for c in choices]
    template = [node("input"), *[node(name, (i,)) for i, name in enumerate(names)], node("output", (3,))]
    space = Space("small", template, valid=rule)
    network: NAONetwork = untrained(space).network_
    with torch.no_grad():  # so that what was decided matters for what follows
        for parameter in (network.embedding.weight, network.query.weight, network.out.weight):
            parameter *= 4
    latent = noise(space, 20, 16)
    found = network.decode(latent, beams=24, valid=rule)
    everything = list(itertools.product(range(3), range(2), range(4)))
    with torch.no_grad():
        loss = [
            [float(network.loss(Latent(r[None], m[None]), torch.tensor([d]))) for d in everything]
            for r, m in zip(latent.rows, latent.mask, strict=True)
        ]
    likely = [max((-x, d) for x, d in zip(row, everything, strict=True) if rule(d))[1] for row in loss]
    # exp(-3 loss) are the probabilities of all decisions, for each latent.
    assert np.allclose(np.exp(-3 * np.array(loss)).sum(1), 1, atol=1e-5)
    assert found == likely
    assert network.decode(latent, beams=24, valid=lambda d: False) == [None] * 20


def test_the_weight_decides_which_parts_get_gradients() -> None:
    for weight, without in ((1.0, ("recurrent", "out", "query", "embedding", "start")), (0.0, ("value",))):
        model = untrained(CHAIN, weight=weight)
        decisions = torch.tensor([CHAIN.encode(a) for a in ALL[:8]])
        model.loss(encode_dense(CHAIN, ALL[:8]).torch(), torch.linspace(0, 1, 8), decisions).backward()  # type: ignore[no-untyped-call]
        for name, parameter in model.network_.named_parameters():
            silent = parameter.grad is None or not parameter.grad.any()
            assert silent == name.startswith(without), (weight, name)


def test_depths_are_longest_paths() -> None:
    rng = np.random.default_rng(0)
    a = np.tril(rng.random((6, 9, 9)) < 0.3, -1)
    expected = np.zeros((6, 9), dtype=int)
    for b in range(6):
        for v in range(9):
            expected[b, v] = max((expected[b, u] + 1 for u in range(9) if a[b, v, u]), default=0)
    assert np.array_equal(depths(torch.tensor(a, dtype=torch.float32)).numpy(), expected)


def test_scores_and_their_scale_are_inverse() -> None:
    scores = np.array([90.0, 10.0, 91.0, 90.5, 90.0, 91.5])
    ranks, span = _curve(scores, "ranks"), _curve(scores, "range")
    assert ranks.tolist() == [[0.0, 0.3, 0.6, 0.8, 1.0], [10.0, 90.0, 90.5, 91.0, 91.5]]
    assert span.tolist() == [[0.0, 1.0], [10.0, 91.5]]
    for curve in (ranks, span):
        np.testing.assert_allclose(_along(curve, np.interp(scores, curve[1], curve[0])), scores, atol=1e-12)
        assert np.all(np.diff(_along(curve, np.linspace(-1, 2, 50))) > 0)
    assert _along(span, np.array([1.5]))[0] == pytest.approx(10 + 1.5 * 81.5)
    assert _along(ranks, np.array([1.2]))[0] == pytest.approx(92.0)


def test_pseudo_labels_join_a_second_training_and_are_no_labels() -> None:
    some, scores = ALL[:20], SCORES[:20]
    plain, semi, again = (NAO(CHAIN, width=16, layers=2, steps=20, unlabelled=n).fit(some, scores) for n in (0, 40, 40))
    assert semi.labels_ == plain.labels_ == 20
    one, two, three = (m.predict(ALL).mean for m in (plain, semi, again))
    assert not np.array_equal(one, two)
    assert np.array_equal(two, three)


@pytest.mark.parametrize("space", [nasbench201.space(), nasbench101.space()], ids=repr)
def test_the_rules_that_every_predictor_keeps(space: Space) -> None:
    check_predictor(lambda: NAO(space, width=16, layers=2, steps=15), space, invariant=True)


def test_a_file_gives_the_same_designs(nao: NAO, tmp_path: Path) -> None:
    path = nao.save(tmp_path / "nao.npz")
    loaded = NAO.load(path, CHAIN)
    assert loaded.improve(ALL, 5.0) == nao.improve(ALL, 5.0)
    arrays = load_npz(path)
    for name, change in (
        ("curve", arrays["curve"][:, ::-1]),
        ("curve", arrays["curve"] * math.nan),
        ("network.out.bias", arrays["network.out.bias"][1:]),
    ):
        save_npz(path, {**arrays, name: change})
        with pytest.raises(GraphnasError, match="damaged or of another release"):
            NAO.load(path, CHAIN)


def test_impossible_arguments_are_refused() -> None:
    for wrong in ({"width": 0}, {"beams": 0}, {"weight": 1.1}, {"steps": -1}, {"learning_rate": 0.0}):
        with pytest.raises(GraphnasError, match="nao needs"):
            NAO(CHAIN, **wrong)  # type: ignore[arg-type]
    with pytest.raises(GraphnasError, match="unknown scale of scores 'rank'; nearest: ranks"):
        NAO(CHAIN, scale="rank")
    with pytest.raises(GraphnasError, match="nao is not fitted"):
        NAO(CHAIN).improve(ALL[:1], 1.0)
    foreign: list[Architecture] = [nasbench201.space().decode([0] * 6)]
    with pytest.raises(GraphnasError, match="does not fit nao"):
        untrained(CHAIN).improve(foreign, 1.0)
