"""The angle between initial and trained weights: against the written-out vectors, closed forms and invariances."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from graphnas.oneshot.angle import Angle, Block
from graphnas.oneshot.path_training import weights_of
from graphnas.oneshot.supernet import Supernet
from graphnas.tasks.base import Signature
from spaces import darts, nasbench201

SPACE = nasbench201.space()
SIGNATURE = Signature("image", (1, 8, 8), 4)
CONVOLUTIONS = SPACE.decode([3, 2, 2, 1, 3, 3])  # no pool
PATHS = ([3], [1, 5], [0, 2, 5], [0, 4])
"""The edges of NAS-Bench-201's four paths, by their place in ``nasbench201.EDGES``: 0-3, 0-2-3, 0-1-2-3, 0-1-3."""


@pytest.fixture(scope="module")
def supernet():
    return Supernet(SPACE, SIGNATURE, seed=0, channels=4, cells=2)


@pytest.fixture(scope="module")
def initial(supernet):
    return weights_of(supernet)


@pytest.fixture(scope="module")
def trained(initial):
    generator = torch.Generator().manual_seed(1)
    return {
        n: w + 0.3 * torch.randn(w.shape, generator=generator) if w.is_floating_point() else w
        for n, w in initial.items()
    }


def written_out(weights, supernet, decisions):
    """V as RLNAS's text has it: fixed kernels, then for every cell the kernels along every live path."""
    ops = [nasbench201.OPS[d] for d in decisions]
    live = [path for path in PATHS if all(ops[e] != "none" for e in path)]
    state = supernet.state_of(SPACE.decode(decisions))
    parts = [weights[f"network.{n}"].flatten() for n in state if ".node" not in n and weights[f"network.{n}"].ndim > 1]
    template = [i for i, n in enumerate(SPACE.template) if hasattr(n.op, "options")]
    place = {
        e: template[[n.op.name for n in map(SPACE.template.__getitem__, template)].index(c.name)]
        for e, c in enumerate(SPACE.choices)
    }
    for stage in (1, 2, 3):
        for cell in (1, 2):
            for path in live:
                for edge in path:
                    if ops[edge].startswith("nor_conv"):
                        name = f"network.stage{stage}.cell{cell}.node{place[edge]}.options.{decisions[edge]}.1.weight"
                        parts.append(weights[name].flatten())
                    elif ops[edge] == "avg_pool_3x3":
                        parts.append(torch.full((4 * 2 ** (stage - 1) * 9,), 1 / 9))
    return torch.cat(parts).double(), bool(live)


@pytest.mark.parametrize("seed", range(25))
def test_the_angle_is_that_of_the_written_out_vectors(supernet, initial, trained, seed):
    decisions = SPACE.encode(SPACE.sample(np.random.default_rng(seed)))
    before, live = written_out(initial, supernet, decisions)
    after, _ = written_out(trained, supernet, decisions)
    expected = math.acos(float(before @ after / (before.norm() * after.norm()))) if live else 0.0
    assert Angle(supernet, initial, trained)(SPACE.decode(decisions)) == pytest.approx(expected, abs=1e-7)


def test_untrained_weights_have_the_angle_zero(supernet, initial):
    angle = Angle(supernet, initial, initial)
    assert all(angle(SPACE.sample(np.random.default_rng(seed))) == 0.0 for seed in range(10))


def test_small_angles_keep_their_digits():
    vector = np.random.default_rng(0).normal(size=200)
    other = np.random.default_rng(1).normal(size=200)
    other -= other @ vector / (vector @ vector) * vector  # at a right angle
    other *= np.linalg.norm(vector) / np.linalg.norm(other)
    for angle in (1e-12, 1e-9, 1e-3, 1.0, 3.0):
        turned = 5 * (math.cos(angle) * vector + math.sin(angle) * other)
        # Moved by what is left after the change of length, which 1e-12 does not survive in single precision.
        block = Block(vector @ vector, turned @ turned, ((vector - turned) ** 2).sum())
        assert block.angle() == pytest.approx(angle, rel=1e-6, abs=3e-8)
        plain = math.cos(angle) * vector + math.sin(angle) * other
        exact = Block(vector @ vector, vector @ vector, ((vector - plain) ** 2).sum())
        assert exact.angle() == pytest.approx(angle, rel=1e-3)


def test_the_angle_lies_between_zero_and_pi(supernet, initial, trained):
    opposite = {n: -w if w.is_floating_point() else w for n, w in initial.items()}
    assert Angle(supernet, initial, opposite)(CONVOLUTIONS) == pytest.approx(math.pi)
    values = [Angle(supernet, initial, trained)(SPACE.sample(np.random.default_rng(s))) for s in range(20)]
    assert all(0 <= value <= math.pi for value in values)
    assert len(set(values)) > 15


def test_a_common_rescaling_changes_nothing_without_constants_only(supernet, initial, trained):
    larger = {n: 3 * w if w.is_floating_point() else w for n, w in trained.items()}
    plain, scaled = Angle(supernet, initial, trained), Angle(supernet, initial, larger)
    assert scaled(CONVOLUTIONS) == pytest.approx(plain(CONVOLUTIONS), abs=1e-9)
    pooled = SPACE.decode([3, 2, 2, 4, 3, 3])
    assert abs(scaled(pooled) - plain(pooled)) > 1e-4


def test_weights_that_are_not_chosen_do_not_count(supernet, initial, trained):
    own = {f"network.{stem}" for stem in _used(supernet, CONVOLUTIONS)}
    changed = {n: w if n in own or not w.is_floating_point() else w + 100 for n, w in trained.items()}
    assert Angle(supernet, initial, changed)(CONVOLUTIONS) == Angle(supernet, initial, trained)(CONVOLUTIONS)


def _used(supernet, architecture):
    chosen = supernet.chosen(architecture)
    for name in (n.removeprefix("network.") for n in supernet.state_dict()):
        at, _, rest = name.partition(".options.")
        if not rest or int(rest.split(".")[0]) == chosen[at]:
            yield name


@pytest.mark.parametrize("turn", [0.2, 1.0, 2.5])
def test_constants_lower_the_angle_by_the_closed_form(turn):
    weights = Block(1.0, 1.0, 2 - 2 * math.cos(turn))  # two unit vectors at this angle
    before = turn
    for q in (0.1, 0.5, 2.0, 10.0):
        angle = weights.plus(Block(q, q, 0.0)).angle()
        assert math.cos(angle) == pytest.approx((math.cos(turn) + q) / (1 + q))
        assert angle < before
        before = angle


def test_dead_operations_do_not_count(supernet, initial, trained):
    angle = Angle(supernet, initial, trained)
    assert angle(SPACE.decode([0] * 6)) == 0.0
    assert angle(SPACE.decode([3, 3, 3, 0, 0, 0])) == 0.0  # nothing reaches the output
    # Edge 0->1 leads nowhere once 1->2 and 1->3 are gone.
    values = {angle(SPACE.decode([d, 2, 0, 3, 0, 3])) for d in range(5)}
    assert len(values) == 1


def test_an_identity_counts_where_it_is_asked_for(supernet, initial, trained):
    skips = SPACE.decode([1, 3, 1, 1, 3, 1])
    without, with_ = (Angle(supernet, initial, trained, identity=on)(skips) for on in (False, True))
    assert with_ < without


def test_a_full_darts_cell_has_thirty_paths():
    edges = darts.edges()
    supernet = Supernet(edges, SIGNATURE, seed=0, channels=2, cells=3)
    initial = weights_of(supernet)
    angle = Angle(supernet, initial, initial)
    convolution = supernet.groups[0].options.index("sep_conv_3x3")
    counts = angle.paths(edges.decode([convolution] * len(edges.choices)))
    outputs = [counts[i] for i, n in enumerate(edges.template) if n.op == "output"]
    assert outputs == [30, 30]


def test_the_layers_that_all_share_can_be_left_out(supernet, initial, trained):
    still = {n: w if ".node" in n else initial[n] for n, w in trained.items()}
    own, whole = (Angle(supernet, initial, still, fixed=on)(CONVOLUTIONS) for on in (False, True))
    assert own > whole  # layers that did not turn lower the angle
    moved = {n: w if ".node" not in n else initial[n] for n, w in trained.items()}
    assert Angle(supernet, initial, moved, fixed=False)(CONVOLUTIONS) == 0.0
