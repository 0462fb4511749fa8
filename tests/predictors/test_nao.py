"""NAO: reconstruction, ascent of the predicted score, and designs that are members of the space."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphnas.architecture import Architecture, node
from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.metrics import kendall_tau
from graphnas.space import Choice, Space
from graphnas.testing import check_predictor
from graphnas.testing.rules import global_randomness_untouched
from predictors.nao import NAO, _scaled
from predictors.nao_latent import Latent
from spaces import nasbench101, nasbench201, nasbench_graph

CHOICES = [Choice(f"c{i}", tuple("abcd"), "op") for i in range(4)]
CHAIN = Space("chain", [node("input"), *[node(c, (i,)) for i, c in enumerate(CHOICES)], node("output", (4,))])
ALL = list(CHAIN.enumerate())
SCORES = np.array([3 * sum(CHAIN.encode(a)) + CHAIN.encode(a)[0] for a in ALL], dtype=float)
ORDER = np.random.default_rng(0).permutation(256)
TRAIN, TEST = ORDER[:192], ORDER[192:]
SETTINGS: dict[str, dict[str, Any]] = {
    "graph": {"layers": 3, "steps": 200},
    "lstm": {"encoder": "lstm", "steps": 250},
}


@pytest.fixture(scope="module", params=SETTINGS)
def nao(request: pytest.FixtureRequest) -> NAO:
    made = NAO(CHAIN, width=32, structures=0, **SETTINGS[request.param])
    NAO(CHAIN, width=4, steps=1, structures=0).fit(ALL[:2], [0.0, 1.0])  # the optimiser's modules are imported
    with global_randomness_untouched("nao"):
        return made.fit([ALL[i] for i in TRAIN], SCORES[TRAIN])


def untrained(space: Space, seed: int = 0, **options: Any) -> NAO:
    rng = np.random.default_rng(seed)
    some = [space.sample(rng) for _ in range(4)]
    return NAO(space, **{"width": 16, "layers": 2, "steps": 0, "structures": 0, **options}).fit(some, [0.0, 1, 2, 3])


def test_it_reconstructs_what_it_was_not_trained_on(nao: NAO) -> None:
    # The LSTM reads sequences one by one, and 192 of them are few.
    for rows, least in ((TRAIN, 1.0), (TEST, 0.99 if nao.encoder == "graph" else 0.95)):
        architectures = [ALL[i] for i in rows]
        decoded = nao.decode(nao.encode(architectures))
        same = np.mean([x == y for x, y in zip(decoded, architectures, strict=True)])
        assert nao.reconstruction(architectures) == nao.reconstruction(architectures, exact=True) == same
        assert same >= least
        if same == 1:
            assert nao.improve(architectures, 0.0) == architectures


@pytest.mark.parametrize(("encoder", "options"), [("graph", {"layers": 3, "steps": 700}), ("lstm", {"steps": 250})])
def test_held_out_cells_of_nasbench_are_reconstructed(encoder: str, options: dict[str, Any]) -> None:
    """All 2,532 cells of up to five vertices: trained on 1,500 of them, at least 99 % of the others come back.

    Up to three of those that it was trained on may not; which ones, depends on the kernels of the processor. A graph encoder writes
    each cell in its canonical writing; the LSTM writes what it was given.
    """
    space = nasbench101.small_space(5)
    everything = list(space.enumerate())
    assert len(everything) == 2532
    order = np.random.default_rng(0).permutation(2532)
    train, held = [everything[i] for i in order[:1500]], [everything[i] for i in order[1500:]]
    model = NAO(space, encoder, weight=0.0, structures=0, **options).fit(train, np.arange(1500))
    assert model.reconstruction(train, exact=True) >= 0.998
    assert model.reconstruction(held, exact=True) >= 0.99


def test_reconstruction_up_to_isomorphism_and_exactly() -> None:
    space, rng = nasbench201.space(), np.random.default_rng(0)
    model = untrained(space)
    written = space.decode([0, 0, 1, 3, 0, 1])  # a convolution from input to output, beside edges that lead nowhere
    form = space.decode(model.network_.encoder.writing(written))
    assert form != written
    canned = {space.key(a): a for a in (form, space.sample(rng))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NAO, "decode", lambda self, latent: [form] * len(latent.rows))
        assert model.reconstruction([written]) == 1
        assert model.reconstruction([written], exact=True) == 0
        assert model.reconstruction([written, *canned.values()]) == pytest.approx(2 / 3)
        assert model.reconstruction([written, *canned.values()], exact=True) == pytest.approx(1 / 3)
        patch.setattr(NAO, "decode", lambda self, latent: [None] * len(latent.rows))
        assert model.reconstruction([written]) == 0
    with pytest.raises(GraphnasError, match="give at least one"):
        model.reconstruction([])


def test_it_ranks_what_it_was_not_trained_on(nao: NAO) -> None:
    assert kendall_tau(nao.predict([ALL[i] for i in TEST]).mean, SCORES[TEST]) > 0.85


@pytest.mark.parametrize("loss", ["mse", "pair_bce", "listmle"])
def test_other_losses_rank_and_predict_in_the_unit_of_the_scores(loss: str) -> None:
    model = NAO(CHAIN, width=24, layers=3, loss=loss, structures=0, steps=150)
    found = model.fit([ALL[i] for i in TRAIN], SCORES[TRAIN]).predict([ALL[i] for i in TEST]).mean
    assert kendall_tau(found, SCORES[TEST]) > 0.8
    assert np.abs(found - SCORES[TEST]).mean() < 0.35 * np.std(SCORES)


def test_larger_steps_lead_to_more_and_better_designs(nao: NAO) -> None:
    start = [ALL[i] for i in TRAIN]
    assert nao.reconstruction(start) == 1
    reached: set[Architecture] = set()
    changed, distinct, value = [], [], []
    for step in (0.0, 0.3, 1.0, 3.0):
        found = nao.improve(start, step)
        assert all(CHAIN.contains(a) for a in found)
        reached |= set(found)
        changed.append(sum(a != b for a, b in zip(found, start, strict=True)))
        distinct.append(len(reached - set(start)))
        value.append(np.mean([SCORES[ALL.index(a)] for a in found]))
    assert changed[0] == distinct[0] == 0
    assert changed == sorted(changed)
    assert distinct[-1] > distinct[1]
    assert changed[-1] > len(start) / 2
    assert value == sorted(value)
    assert value[-1] > value[0] + np.std(SCORES) / 2


@pytest.mark.parametrize("space", [CHAIN, nasbench101.space(), nasbench201.space(), nasbench_graph.space()], ids=repr)
@pytest.mark.parametrize("encoder", ["graph", "lstm"])
def test_whatever_is_decoded_is_a_member(space: Space, encoder: str) -> None:
    model = untrained(space, encoder=encoder)
    rng = np.random.default_rng(7)
    latent = model.encode([space.sample(rng) for _ in range(30)])
    generator = torch.Generator().manual_seed(0)
    nowhere = Latent(torch.randn(latent.rows.shape, generator=generator), latent.mask).unit()
    found = [a for a in model.decode(nowhere) if a is not None]
    assert found
    for a in found:
        assert space.is_valid(space.encode(a))
        assert space.decode(space.encode(a)) == a


def test_the_paper_s_variant() -> None:
    space, rng = nasbench201.space(), np.random.default_rng(0)
    some = [space.sample(rng) for _ in range(20)]
    model = NAO.published(space, steps=30).fit(some, rng.random(20))
    assert (model.encoder, model.width, model.beams, model.loss, model.scale) == ("lstm", 64, 1, "mse", "range")
    assert model.network_.encoder.recurrent.num_layers == 1
    assert model.encode(some).rows.shape == (20, 6, 64)  # a row for each decision
    check_predictor(lambda: NAO.published(nasbench101.space(), width=16, steps=15), nasbench101.space())


def test_scores_are_scaled_by_rank_or_range() -> None:
    scores = np.array([90.0, 10.0, 91.0, 90.5, 90.0, 91.5])
    np.testing.assert_allclose(_scaled(scores, "ranks"), [0.3, 0, 0.8, 0.6, 0.3, 1])
    np.testing.assert_allclose(_scaled(scores, "range"), [80 / 81.5, 0, 81 / 81.5, 80.5 / 81.5, 80 / 81.5, 1])


@pytest.mark.parametrize("space", [nasbench201.space(), nasbench101.space()], ids=repr)
def test_the_rules_that_every_predictor_keeps(space: Space) -> None:
    check_predictor(lambda: NAO(space, width=16, layers=2, steps=15, structures=20), space, invariant=True)


def test_a_file_gives_the_same_designs(nao: NAO, tmp_path: Path) -> None:
    path = nao.save(tmp_path / "nao.npz")
    loaded = NAO.load(path, CHAIN)
    assert loaded.improve(ALL, 1.0) == nao.improve(ALL, 1.0)
    arrays = load_npz(path)
    for name, change in (
        ("unit.knots", arrays["unit.knots"][:, ::-1]),
        ("unit.knots", arrays["unit.knots"] * math.nan),
        ("network.decoder.out.bias", arrays["network.decoder.out.bias"][1:]),
    ):
        save_npz(path, {**arrays, name: change})
        with pytest.raises(GraphnasError, match="damaged or of another release"):
            NAO.load(path, CHAIN)


def test_impossible_arguments_are_refused() -> None:
    refused = {
        "width": 0,
        "layers": 65,
        "beams": 0,
        "weight": 1.1,
        "steps": -1,
        "learning_rate": 0.0,
        "weight_decay": math.nan,
    }
    for name, value in refused.items():
        with pytest.raises(GraphnasError, match=f"nao needs .*{name}.* not"):
            NAO(CHAIN, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(GraphnasError, match="unknown scale of scores 'rank'; nearest: ranks"):
        NAO(CHAIN, scale="rank")
    with pytest.raises(GraphnasError, match="unknown encoder of nao 'gru'; nearest: graph"):
        NAO(CHAIN, "gru")
    with pytest.raises(GraphnasError, match="leave out symmetric"):
        NAO(CHAIN, symmetric=1)
    with pytest.raises(GraphnasError, match="nao is not fitted"):
        NAO(CHAIN).improve(ALL[:1], 1.0)
    foreign: list[Architecture] = [nasbench201.space().decode([0] * 6)]
    with pytest.raises(GraphnasError, match="does not fit nao"):
        untrained(CHAIN).improve(foreign, 1.0)
