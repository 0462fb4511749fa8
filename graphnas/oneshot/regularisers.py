"""Terms that are added to what the architecture minimises."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from graphnas.errors import GraphnasError, unknown
from graphnas.oneshot.base import Alpha, Group, Mix, Tensors
from graphnas.oneshot.discretisers import Discretiser, TopKInputs
from graphnas.oneshot.relaxations.base import Relaxation
from graphnas.oneshot.relaxations.dirichlet import concentration
from graphnas.oneshot.relaxations.selectors import INPUTS, OPERATIONS


@dataclass(frozen=True, eq=False)
class View:
    """What a regulariser sees.

    Attributes:
        groups: the decisions, with the options that are left.
        alpha: architecture parameters.
        mix: the mixing weights of this outer step, connected to alpha.
        relaxation: which made them.
        progress: the part of the search that is over.
        costs: of the problem.
    """

    groups: tuple[Group, ...]
    alpha: Alpha
    mix: Mix
    relaxation: Relaxation
    progress: float
    costs: Tensors


class Regulariser(Protocol):
    """A term of the outer objective."""

    def remember(self, view: View, memory: Tensors) -> Tensors:
        """What to remember, before every outer step; ``{}`` at first."""

    def __call__(self, view: View, memory: Tensors) -> Tensor:
        """A number, differentiable with respect to alpha."""


class Forgetful:
    """For regularisers that remember nothing."""

    def remember(self, view: View, memory: Tensors) -> Tensors:
        """Nothing."""
        return {}


MODES = ("reparametrization", "discrete", "policy_gradient")


@dataclass(frozen=True)
class ResourceCost(Forgetful):
    """The cost of the architecture (Xie et al., ICLR 2019, section 2.4).

    Three gradients of the expected cost: through the relaxed sample ("reparametrization"); of the expectation under the
    probabilities of the options, which is exact since a row's cost is linear ("discrete"); by the score of the sample's
    density ("policy_gradient", whose value is no cost).

    Attributes:
        weight: eta.
        mode: see above.
        form: "plain": the weighted sum of the costs; "log": the mean of their logarithms, each row's cost being at least 1.
        factors: for the plain form one for each cost, by default SNAS's for parameters, multiply-adds and memory access.
        scale: of each group, 1 where it is not named; SNAS divides by the number of cells of the type.
    """

    weight: float
    mode: str = "discrete"
    form: str = "log"
    factors: tuple[float, ...] = (0.86, 0.43 / 4000, 0.43 / 100)
    scale: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise unknown("mode of the resource cost", self.mode, MODES)
        if self.form not in ("plain", "log"):
            raise unknown("form of the resource cost", self.form, ("plain", "log"))

    def __call__(self, view: View, memory: Tensors) -> Tensor:
        """See ``Regulariser``."""
        expected = view.relaxation.expected(view.groups, view.alpha, view.progress)
        mix = expected if self.mode == "discrete" else view.mix
        total = torch.zeros((), dtype=next(iter(mix.weights.values())).dtype)
        for g in view.groups:
            rows = self._rows(mix.weights[g.name], view.costs[g.name])
            if self.mode == "policy_gradient":
                if mix.log_probability is None:
                    raise GraphnasError(
                        "the policy gradient of the cost needs samples with a log-probability (Concrete)"
                    )
                rows = rows.detach() * mix.log_probability[g.name]
            total = total + self.scale.get(g.name, 1.0) * rows.sum(-1).mean()
        return self.weight * total

    def _rows(self, weights: Tensor, costs: Tensor) -> Tensor:
        """``[..., R]``."""
        each = torch.einsum("...rk,rkc->...rc", weights, costs.to(weights))
        if self.form == "log":
            return each.clamp_min(1.0).log().mean(-1)
        return each @ each.new_tensor(self.factors[: each.shape[-1]])


@dataclass(frozen=True)
class Proximity(Forgetful):
    """``progress * rho / 2 * ||m - Disc(m)||`` for each group (Maile et al., arXiv 2106.11655).

    Attributes:
        rho: weight at the end of the search.
        adjusted: spare entries near 1/K early on: each difference is multiplied by
            ``(1 - p) * 4 (m^(ln 2 / ln K) - 1/2)^2 + p`` at progress p, held constant.
        discretiser: Disc, held constant.
    """

    rho: float = 0.1
    adjusted: bool = False
    discretiser: Discretiser = TopKInputs()  # noqa: RUF009 - frozen

    def __call__(self, view: View, memory: Tensors) -> Tensor:
        """See ``Regulariser``."""
        nearest = self.discretiser(view.groups, view.mix)
        terms = []
        for g in view.groups:
            m = view.mix.weights[g.name]
            difference = (m - nearest[g.name]) * g.mask
            if self.adjusted:
                power = m.detach() ** (math.log(2) / math.log(max(2, len(g.options))))
                difference = difference * ((1 - view.progress) * 4 * (power - 0.5) ** 2 + view.progress)
            terms.append(torch.linalg.vector_norm(difference))
        return view.progress * self.rho / 2 * torch.stack(terms).sum()


@dataclass(frozen=True)
class ADMM:
    """``rho / 2 * ||m - Z + U||^2`` with Z the nearest architecture and U the scaled dual variable.

    At first Z is m and U is 0. Every few outer steps ``Z <- Disc(m + U)`` and ``U <- kappa U + m - Z``, which is scaled ADMM (Boyd et al., 2011,
    section 3.1.1) for kappa = 1. The code of Maile et al. (arXiv 2106.11655) takes the norm without its square, projects
    ``m(alpha + U)`` and adds ``alpha - Z`` to U, so that it mixes alpha with m(alpha); its kappa of 0.2 is never passed on.

    Attributes:
        rho: weight; too small a one (0.1 on a quadratic) does not reach a vertex.
        kappa: decay of the dual variable.
        every: outer steps between two updates of Z and U.
        discretiser: Disc.
    """

    rho: float = 0.1
    kappa: float = 1.0
    every: int = 10
    discretiser: Discretiser = TopKInputs()  # noqa: RUF009 - frozen

    def remember(self, view: View, memory: Tensors) -> Tensors:
        """Z and U of each group, and the number of outer steps."""
        count = int(memory["count"]) if memory else 0
        made = {**memory, "count": torch.tensor(count + 1)}
        m = {g.name: view.mix.weights[g.name].detach() for g in view.groups}
        if count == 0:
            # A projection of fresh parameters would be noise, and a large rho would never leave it.
            for name, w in m.items():
                made[f"Z {name}"], made[f"U {name}"] = w, torch.zeros_like(w)
        elif count % self.every == 0:
            u = {name: memory[f"U {name}"] for name in m}
            z = self.discretiser(view.groups, view.mix.with_weights({name: w + u[name] for name, w in m.items()}))
            for name, w in m.items():
                made[f"Z {name}"], made[f"U {name}"] = z[name], self.kappa * u[name] + w - z[name]
        return made

    def __call__(self, view: View, memory: Tensors) -> Tensor:
        """See ``Regulariser``."""
        terms = []
        for g in view.groups:
            difference = (view.mix.weights[g.name] - memory[f"Z {g.name}"] + memory[f"U {g.name}"]) * g.mask
            terms.append(difference.square().sum())
        return self.rho / 2 * torch.stack(terms).sum()


@dataclass(frozen=True)
class SamePair(Forgetful):
    """The probability that selectors of one node agree, summed over nodes and pairs (Vahdat et al., CVPR 2020).

    Zero for relaxations without selectors.
    """

    weight: float = 0.2

    def __call__(self, view: View, memory: Tensors) -> Tensor:
        """See ``Regulariser``."""
        total = torch.zeros((), dtype=next(iter(view.mix.weights.values())).dtype)
        for g in view.groups:
            if g.name + INPUTS not in view.mix.rows:
                continue
            agree: Tensor | float = 1.0
            for part in (INPUTS, OPERATIONS):
                rows = view.mix.rows[g.name + part]
                rows = rows.view(*rows.shape[:-2], len(g.nodes), -1, rows.shape[-1])
                agree = agree * (rows @ rows.transpose(-1, -2))
            assert isinstance(agree, Tensor)
            total = total + agree.triu(1).sum((-3, -2, -1)).mean()
        return self.weight * total


@dataclass(frozen=True)
class Concentration(Forgetful):
    """The squared distance of Dirichlet concentrations from 1, the uniform distribution (Chen et al., ICLR 2021)."""

    weight: float = 1e-3

    def __call__(self, view: View, memory: Tensors) -> Tensor:
        """See ``Regulariser``."""
        terms = [((concentration(view.alpha[g.name]) - 1.0) * g.mask).square().sum() for g in view.groups]
        return self.weight * torch.stack(terms).sum()


def prepared(regularisers: Sequence[Regulariser], view: View, memories: Sequence[Tensors]) -> list[Tensors]:
    """What each of them remembers now."""
    known = memories or [{}] * len(regularisers)
    return [r.remember(view, memory) for r, memory in zip(regularisers, known, strict=True)]
