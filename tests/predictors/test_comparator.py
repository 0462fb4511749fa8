"""NAC: antisymmetry by construction, invariance, learning, and its published form."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from graphnas.architecture import Architecture
from graphnas.encoding.dense import encode_dense
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.predictor import Comparator
from graphnas.testing.rules import global_randomness_untouched, shuffled
from predictors.comparator import NAC
from predictors.comparator_network import all_pairs_loss, shuffled_pairs_loss
from spaces import nasbench101, nasbench201

SPACE = nasbench201.space()
SMALL: dict[str, Any] = {"width": 16, "layers": 2, "steps": 40, "learning_rate": 5e-3}


def sample(n: int, seed: int, space: Any = SPACE) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(n)]


def order_of(architectures: list[Architecture]) -> np.ndarray:
    """A total preorder of canonical graphs: 3x3 convolutions, then all vertices."""
    forms = [SPACE.canonical(a) for a in architectures]
    return np.array([10 * sum(n.op == "nor_conv_3x3" for n in f.nodes) + len(f) for f in forms], dtype=float)


def fitted(published: bool = False, space: Any = SPACE, **changes: Any) -> NAC:
    make = NAC.published if published else NAC
    train = sample(40, 0, space)
    return make(space, **{**SMALL, **changes}).fit(train, np.random.default_rng(1).normal(size=40))


A, B = sample(60, 2), sample(60, 3)


@pytest.mark.parametrize("encoder", ["bidirectional", "published"])
@pytest.mark.parametrize("canonical", [True, False])
def test_the_default_head_is_antisymmetric(encoder: str, canonical: bool) -> None:
    nac = fitted(encoder=encoder, canonical=canonical)
    forwards, backwards = nac.probability(A, B), nac.probability(B, A)
    assert np.abs(forwards - 0.5).max() > 0.05
    np.testing.assert_allclose(forwards + backwards, 1, rtol=0, atol=1e-12)
    assert np.array_equal(nac.probability(A, A), np.full(60, 0.5))


def test_the_published_head_is_not() -> None:
    nac = fitted(published=True, steps=150)
    defect = np.abs(nac.probability(A, B) + nac.probability(B, A) - 1)
    assert defect.mean() > 1e-3
    assert np.abs(nac.probability(A, A) - 0.5).max() > 1e-3


@pytest.mark.parametrize("published", [False, True])
def test_the_mean_over_any_references_ranks_like_the_utility(published: bool) -> None:
    nac = fitted(published)
    u, v = nac.utilities(A)
    order = np.argsort(u, kind="stable")
    for references in (B[:7], B[20:50], A):
        scores = nac.rank_scores(A, references)
        assert np.array_equal(np.argsort(scores, kind="stable"), order)
    matrix = nac.matrix(A, B)
    assert matrix.shape == (60, 60)
    np.testing.assert_allclose(matrix.diagonal(), nac.probability(A, B), rtol=0, atol=1e-12)
    np.testing.assert_allclose(matrix.mean(1), nac.rank_scores(A, B), rtol=0, atol=1e-12)
    assert np.array_equal(u, -v) == (not published)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("canonical", [True, False])
@pytest.mark.parametrize("space", [SPACE, nasbench101.space()], ids=lambda s: s.name)
def test_relabelling_changes_nothing(published: bool, canonical: bool, space: Any) -> None:
    nac = fitted(published, space, canonical=canonical)
    rng = np.random.default_rng(5)
    a = sample(40, 2, space)
    renamed = [shuffled(Architecture(x.nodes), rng) for x in a]
    assert any(x.nodes != y.nodes for x, y in zip(a, renamed, strict=True))
    for before, after in zip(nac.utilities(a), nac.utilities(renamed), strict=True):
        np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)


def test_padding_counts_in_the_published_readout_only() -> None:
    for published in (False, True):
        network = fitted(published).network_
        few, many = (network(network.graphs(encode_dense(SPACE, A, nodes=n)))[0] for n in (10, 14))
        difference = (few - many).abs().max().item()
        assert (difference > 1e-3) if published else (difference < 1e-5)


@pytest.mark.parametrize("published", [False, True])
def test_a_pair_does_not_depend_on_the_others_in_the_call(published: bool) -> None:
    nac = fitted(published)
    together = nac.probability(A, B)
    alone = [nac.probability([a], [b])[0] for a, b in zip(A[:10], B[:10], strict=True)]
    np.testing.assert_allclose(alone, together[:10], rtol=0, atol=1e-6)


def test_the_losses_equal_sums_over_pairs() -> None:
    generator = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    scores = torch.tensor([0.0, 2.0, 2.0, 1.0, 5.0, -1.0])
    target = {1: 1.0, 0: 0.5, -1: 0.0}
    terms = {
        (i, j): binary_cross_entropy_with_logits(
            u[i] + v[j], torch.tensor(target[int(torch.sign(scores[i] - scores[j]))], dtype=torch.float64)
        )
        for i in range(6)
        for j in range(6)
        if i != j
    }
    assert all_pairs_loss(u, v, scores).item() == pytest.approx(sum(terms.values()).item() / 30, abs=1e-12)
    state = generator.get_state()
    found = shuffled_pairs_loss(u, v, scores, generator).item()
    partner = torch.randperm(6, generator=torch.Generator().set_state(state)).tolist()
    mine = [terms[i, j].item() for i, j in enumerate(partner) if i != j]
    assert found == pytest.approx(np.mean(mine), abs=1e-12)


def test_it_learns_a_known_order() -> None:
    train, test = sample(120, 0), sample(300, 1)
    for make in (NAC, NAC.published):
        nac = make(SPACE, width=32, layers=3, steps=250, learning_rate=3e-3).fit(train, order_of(train))
        true = order_of(test)
        half = len(test) // 2
        p = nac.probability(test[:half], test[half:])
        difference = true[:half] - true[half:]
        differ = difference != 0
        assert np.mean((p > 0.5) == (difference > 0), where=differ) > 0.9
        assert kendall_tau(nac.rank_scores(test, train), true) > 0.75


def test_only_the_order_of_the_scores_counts() -> None:
    scores = np.random.default_rng(0).normal(size=40)
    one = NAC(SPACE, **SMALL).fit(A[:40], scores).utilities(B)
    other = NAC(SPACE, **SMALL).fit(A[:40], 1e12 + 1e3 * scores**3).utilities(B)
    assert np.array_equal(one, other)


def test_the_seed_fixes_everything_and_global_generators_stay() -> None:
    with global_randomness_untouched("the comparator"):
        one, same, other = (fitted(seed=s, batch=16).probability(A, B) for s in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_pairs_move_it_to_their_labels() -> None:
    def taught(labels: np.ndarray) -> np.ndarray:
        nac = NAC(SPACE, **{**SMALL, "steps": 100}).fit(A, order_of(A))
        nac.learn_pairs(a, b, labels, steps=30).learn_pairs(a, b, labels, steps=30)
        assert nac.labels_ == 60  # pseudo-labels are not labels
        return nac.probability(a, b)

    untaught = NAC(SPACE, **{**SMALL, "steps": 100}).fit(A, order_of(A)).probability(A, B)
    unsure = np.argsort(np.abs(untaught - 0.5))[:10]
    a, b, before = [A[i] for i in unsure], [B[i] for i in unsure], untaught[unsure]
    wanted = (before < 0.5).astype(float)
    contradicted, confirmed = taught(wanted), taught(1 - wanted)
    # Pairs share architectures, so not every one of them can move.
    assert ((contradicted - confirmed) * (wanted - 0.5) > 0).sum() >= 8
    assert np.abs(contradicted - wanted).mean() < np.abs(before - wanted).mean() - 0.02
    assert np.array_equal(contradicted, taught(wanted))


@pytest.mark.parametrize("published", [False, True])
def test_a_file_gives_the_same_probabilities(tmp_path: Path, published: bool) -> None:
    nac = fitted(published)
    path = nac.save(tmp_path / "nac.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["nac.npz"]
    loaded = NAC.load(path)
    assert repr(loaded) == repr(nac)
    assert np.array_equal(loaded.probability(A, B), nac.probability(A, B))
    with pytest.raises(GraphnasError, match="fit it before learn_pairs"):
        loaded.learn_pairs(A, B, np.ones(60))


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = fitted().save(tmp_path / "nac.npz")
    arrays = load_npz(path)
    name = next(n for n in arrays if n.startswith("network.head") and n.endswith("weight"))
    for change in (arrays[name].T[:, :-1], arrays[name] * np.nan, arrays[name].astype(np.int64)):
        save_npz(path, {**arrays, name: change})
        with pytest.raises(GraphnasError, match="damaged or of another release"):
            NAC.load(path)
    save_npz(path, {n: a for n, a in arrays.items() if n != name})
    with pytest.raises(GraphnasError, match="damaged or of another release"):
        NAC.load(path)


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(GraphnasError, match="unknown head of a comparator 'antisymetric'; nearest: antisymmetric"):
        NAC(SPACE, head="antisymetric")
    for wrong in ({"width": 0}, {"layers": 10**6}, {"batch": 1}, {"learning_rate": 0.0}, {"momentum": 1.0}):
        with pytest.raises(GraphnasError, match="a comparator needs"):
            NAC(SPACE, **wrong)  # type: ignore[arg-type]
    nac: Comparator = NAC(SPACE)
    with pytest.raises(GraphnasError, match="nac is not fitted"):
        nac.probability(A, B)
    with pytest.raises(GraphnasError, match="at least one architecture to compare with"):
        fitted().rank_scores(A, [])
    for labels in (np.ones(3), np.full(60, 2.0)):
        with pytest.raises(GraphnasError, match="one label in"):
            fitted(steps=1).learn_pairs(A, B, labels)


def test_the_two_kinds_of_tau_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    distinct = list({SPACE.key(a): a for a in [*A, *B]}.values())
    true = rng.permutation(len(distinct)).astype(float)
    n = len(distinct)
    for nac in (fitted(), fitted(published=True, steps=150)):
        p = nac.matrix(distinct, distinct)
        right = [(p[i, j] > 0.5) == (true[i] > true[j]) for i in range(n) for j in range(i + 1, n)]
        pairwise = nac.tau_pairwise(distinct, true)
        assert pairwise == pytest.approx(2 * np.mean(right) - 1, abs=1e-12)
        tau = kendall_tau(nac.rank_scores(distinct, B), true)
        # They are one figure where the comparator is antisymmetric and nothing is tied, and two otherwise.
        assert (abs(pairwise - tau) < 1e-12) == (nac.head == "antisymmetric")
    tied = np.floor(true / 4)
    assert fitted().tau_pairwise(distinct, tied) > kendall_tau(fitted().rank_scores(distinct, B), tied)


def test_training_is_steps_of_adamw_with_fresh_gradients() -> None:
    """Four steps by hand: the gradient of each step alone, and learning rates of a cosine."""
    nac = NAC(SPACE, **{**SMALL, "steps": 4, "weight_decay": 0.1})
    scores = np.random.default_rng(1).normal(size=60)
    by_hand = NAC(SPACE, **{**SMALL, "steps": 0}).fit(A, scores).network_
    start = torch.cat([p.detach().ravel() for p in by_hand.parameters()])
    graphs = by_hand.graphs(encode_dense(SPACE, A))
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in by_hand.parameters()]
    for step in range(4):
        u, v = by_hand(graphs)
        loss = all_pairs_loss(u, v, torch.from_numpy(scores.argsort().argsort().astype(np.float32)))
        gradients = torch.autograd.grad(loss, list(by_hand.parameters()))
        rate = 5e-3 * (1 + np.cos(np.pi * step / 4)) / 2
        with torch.no_grad():
            for p, g, (first, second) in zip(by_hand.parameters(), gradients, moments, strict=True):
                first.mul_(0.9).add_(0.1 * g)
                second.mul_(0.999).add_(0.001 * g**2)
                p.mul_(1 - rate * 0.1)
                scale = (second / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                p.sub_(rate * (first / (1 - 0.9 ** (step + 1))) / scale)
    nac.fit(A, scores)
    found, wanted = (torch.cat([p.detach().ravel() for p in n.parameters()]) for n in (nac.network_, by_hand))
    # Adam divides by the gradient's size, so where that is but rounding the two may differ.
    assert (found - wanted).norm() < 0.02 * (wanted - start).norm()


def test_held_out_rank_correlation_on_nasbench201() -> None:
    path = Path(os.environ.get("GRAPHNAS_DATA", ".")) / "nb201.npz"
    if not path.is_file():
        pytest.skip("nb201.npz is not in the folder that GRAPHNAS_DATA names")
    table = load_npz(path, ["ops", "c10_test200"])
    rows = np.random.default_rng(0).permutation(15625)[:1156]
    architectures, true = [SPACE.decode(d) for d in table["ops"][rows].tolist()], table["c10_test200"][rows]
    nac = NAC(SPACE).fit(architectures[:156], true[:156])
    held_out = architectures[156:]
    tau = kendall_tau(nac.rank_scores(held_out, architectures[:156]), true[156:])
    assert tau > 0.76
    assert nac.tau_pairwise(held_out, true[156:]) == pytest.approx(tau, abs=0.02)  # a few are tied
