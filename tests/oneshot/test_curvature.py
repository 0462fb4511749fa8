"""The top eigenvalue against the whole Hessian, and the rule that stops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.oneshot.base import Mix
from graphnas.oneshot.curvature import CurvatureStop, top_eigenvalue
from graphnas.oneshot.known_answer import GROUP, KnownAnswer
from graphnas.oneshot.relaxations import Dirichlet, PartialChannels, Relaxation, Softmax


@pytest.mark.parametrize("relaxation", [Softmax(), Dirichlet(), PartialChannels()], ids=lambda r: type(r).__name__)
def test_top_eigenvalue_is_that_of_the_hessian(moment: Any, relaxation: Relaxation) -> None:
    problem = KnownAnswer(0, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    alpha = {
        name: torch.randn(mask.shape, generator=generator, dtype=torch.float64)
        for name, mask in relaxation.masks(problem.groups).items()
    }
    context = moment(problem, alpha, relaxation, streams=problem.streams(64))
    sizes = {name: a.shape for name, a in alpha.items()}

    def loss(flat: Tensor) -> Tensor:
        parts = flat.split([a.numel() for a in alpha.values()])
        given = {name: p.view(shape) for (name, shape), p in zip(sizes.items(), parts, strict=True)}
        mix: Mix = relaxation.expected(problem.groups, given, 0.0)
        return problem.outer_loss(context.state, mix, context.outer_batch())[0]

    flat = torch.cat([a.flatten() for a in alpha.values()])
    hessian = torch.autograd.functional.hessian(loss, flat)
    eigenvalues = torch.linalg.eigvalsh(hessian)  # type: ignore[arg-type]
    greatest = eigenvalues[eigenvalues.abs().argmax()]
    assert top_eigenvalue(context, 200, 1e-12) == pytest.approx(float(greatest), rel=1e-6)
    assert context.count.forward == 1


def test_a_flat_loss_has_no_curvature(functions: Any, moment: Any, identity: Any) -> None:
    groups = KnownAnswer(0).groups
    problem = functions(groups, lambda w, m, b: w["w"].sum(), lambda w, m, b: m[GROUP].sum())
    assert top_eigenvalue(moment(problem, {GROUP: torch.ones(6, 4, dtype=torch.float64)}, identity)) == 0


def values(*curvatures: float) -> list[dict[str, float]]:
    return [{"epoch": 2.0 * (i + 1), "curvature": c} for i, c in enumerate(curvatures)]


def test_rule_compares_moving_averages_four_values_apart() -> None:
    stop = CurvatureStop()
    assert [epoch for epoch in range(1, 8) if stop.due(epoch)] == [2, 4, 6]
    assert stop.back_to(values(1, 1, 1, 9)) is None  # too early to compare
    assert stop.back_to(values(1, 1, 1, 1, 1)) is None
    assert stop.back_to(values(1, 1, 1, 1, 2.6)) == 2  # (4 + 2.6) / 5 = 1.32
    assert stop.back_to(values(1, 1, 1, 1, 2.4)) is None  # 1.28
    # From the ninth value on both averages are over five values: 1..5 and 5..9.
    assert stop.back_to(values(5, 1, 1, 1, 1, 2, 3, 3, 2.8)) == 10  # 11.8 / 9 = 1.31
    assert stop.back_to(values(5, 1, 1, 1, 1, 2, 3, 3, 2.6)) is None  # 11.6 / 9 = 1.29
    assert stop.back_to(values(-1, -1, -1, -1, 2)) is None  # a ratio to a negative average means nothing
    assert CurvatureStop(earliest=20).back_to(values(1, 1, 1, 1, 9)) is None
