"""NAO (Luo et al., NeurIPS 2018): a predictor whose input can be moved uphill and decoded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from graphnas.architecture import Architecture
from graphnas.encoding.dense import DenseTensors, encode_dense
from graphnas.encoding.forms import classes_of
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.errors import GraphnasError, unknown
from graphnas.predictor import Prediction, Predictor
from graphnas.space import Space
from predictors.nao_network import Latent, NAONetwork

SCALES = ("ranks", "range")
_CHUNK = 512
_MAX_WIDTH, _MAX_LAYERS = 4096, 64


class NAO(Predictor):
    """Graph encoder, value head and decoder trained together; ``improve`` climbs the predicted score in the latent space.

    The loss is ``weight * squared error + (1 - weight) * reconstruction``, with scores scaled to [0, 1]. With ``unlabelled`` > 0 it is SemiNAS (Luo et al., NeurIPS 2020): random architectures
    get the predicted scores as labels and join a second, half as long training. It states no uncertainty (std is 0).

    Args:
        space: whose architectures it is for.
        width: of all layers.
        layers: message passing layers.
        steps: optimiser steps.
        batch: labelled architectures in a step, at most; as many unlabelled ones join them.
        weight: of the squared error, in [0, 1] (0.9 in the paper, 0.8 in the released code).
        scale: what the scores become in [0, 1]: their "ranks", or their place in the "range" of the training set, as
            published; there one bad score leaves the good ones no room.
        unlabelled: random architectures that take part with pseudo-labels; they are no labels.
        noise: standard deviation of what is added to the latent that the decoder learns from, relative to its entries;
            without it the decoder learns the training set by heart.
        learning_rate: of AdamW (Loshchilov & Hutter, 2019), with a cosine schedule.
        weight_decay: its strength.
        beams: width of the beam search of the decoder.
        seed: fixes all random draws.

    Attributes:
        network_: the trained NAONetwork.
        curve_: ``[2, m]``, both rows ascending: scaled scores, and the scores that they stand for.

    Raises:
        GraphnasError: an argument out of range.
    """

    name = "nao"

    def __init__(
        self,
        space: Space,
        width: int = 64,
        layers: int = 4,
        steps: int = 600,
        batch: int = 100,
        weight: float = 0.8,
        scale: str = "ranks",
        unlabelled: int = 0,
        noise: float = 0.5,
        learning_rate: float = 2e-3,
        weight_decay: float = 1.0,
        beams: int = 8,
        seed: int = 0,
    ) -> None:
        if scale not in SCALES:
            raise unknown("scale of scores", scale, SCALES)
        if not (1 <= width <= _MAX_WIDTH and 1 <= layers <= _MAX_LAYERS and min(batch, beams) >= 1):
            raise GraphnasError(
                f"nao needs width in 1..{_MAX_WIDTH}, layers in 1..{_MAX_LAYERS}, batch >= 1 and beams >= 1, "
                f"not {width}, {layers}, {batch} and {beams}"
            )
        if min(steps, unlabelled) < 0 or min(noise, weight_decay) < 0 or not (0 <= weight <= 1 and learning_rate > 0):
            raise GraphnasError(
                "nao needs steps, unlabelled, noise and weight_decay of at least 0, 0 <= weight <= 1 and "
                f"learning_rate > 0, not {steps}, {unlabelled}, {noise}, {weight_decay}, {weight} and {learning_rate}"
            )
        self.space = space
        self.width = width
        self.layers = layers
        self.steps = steps
        self.batch = batch
        self.weight = weight
        self.scale = scale
        self.unlabelled = unlabelled
        self.noise = noise
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.beams = beams
        self.seed = seed

    # -- learning -------------------------------------------------------------------------------

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        self.network_ = self._make_network()
        self.curve_ = _curve(scores, self.scale)
        known = self._examples(architectures, np.interp(scores, self.curve_[1], self.curve_[0]))
        generator = torch.Generator().manual_seed(self._seed(1))
        self._train(self.steps, [known], generator)
        if self.unlabelled:
            rng = np.random.default_rng(self._seed(2))
            drawn = [self.space.sample(rng) for _ in range(self.unlabelled)]
            with torch.no_grad():
                guessed = torch.cat([self.network_.score(latent) for latent in self._latents(drawn)])
            self._train(self.steps // 2, [known, self._examples(drawn, guessed.double().numpy())], generator)

    def _examples(
        self, architectures: Sequence[Architecture], targets: np.ndarray
    ) -> tuple[DenseTensors, torch.Tensor, torch.Tensor]:
        decisions = torch.tensor([self.space.encode(a) for a in architectures])
        return self._graphs(architectures), torch.from_numpy(targets.astype(np.float32)), decisions

    def _train(
        self,
        steps: int,
        sets: Sequence[tuple[DenseTensors, torch.Tensor, torch.Tensor]],
        generator: torch.Generator,
    ) -> None:
        network = self.network_
        optimiser = torch.optim.AdamW(network.parameters(), lr=self.learning_rate, weight_decay=self.weight_decay)
        network.train()
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = self.learning_rate * (1 + np.cos(np.pi * step / steps)) / 2
            loss = torch.zeros(())
            for graphs, targets, decisions in sets:
                rows = torch.randperm(len(targets), generator=generator)[: self.batch]
                loss = loss + self.loss(graphs[rows], targets[rows], decisions[rows], generator)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            optimiser.step()
        network.eval()

    def loss(
        self,
        graphs: DenseTensors,
        targets: torch.Tensor,
        decisions: torch.Tensor,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """The joint loss (a scalar) of dense graphs, scaled scores ``[B]`` and decisions ``[B, C]``.

        The decoder gets a noisy latent when a generator is given.
        """
        latent = self.network_.encode(graphs)
        error = (self.network_.score(latent) - targets).square().mean()
        if generator is not None and self.noise:
            noise = torch.randn(latent.rows.shape, generator=generator) * self.noise / self.width**0.5
            latent = Latent(latent.rows + noise, latent.mask).unit()
        return self.weight * error + (1 - self.weight) * self.network_.loss(latent, decisions)

    # -- predicting and moving uphill -----------------------------------------------------------

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        forms, member = classes_of(self.space, architectures)
        with torch.no_grad():
            found = torch.cat([self.network_.score(latent) for latent in self._latents(forms)])
        mean = _along(self.curve_, found.double().numpy()[member])
        return Prediction(mean, np.zeros(len(mean)))

    def encode(self, architectures: Sequence[Architecture]) -> Latent:
        """The latent of n architectures.

        Raises:
            GraphnasError: not fitted, or an architecture of another space.
        """
        self._check_fitted()
        self._check(architectures)
        with torch.no_grad():
            return self.network_.encode(self._graphs(architectures))

    def climb(self, latent: Latent, step: float) -> Latent:
        """The latent after ``H <- unit rows of (H + step * d score / d H)``."""
        rows = latent.rows.detach().clone().requires_grad_()
        score = self.network_.score(Latent(rows, latent.mask))
        (gradient,) = torch.autograd.grad(score.sum(), rows)
        return Latent(rows.detach() + step * gradient, latent.mask).unit()

    def decode(self, latent: Latent) -> list[Architecture | None]:
        """The architectures of a latent: members of the space, or None where the decoder finds no valid decisions."""
        made = self.network_.decode(latent, self.beams, self.space.is_valid)
        return [None if d is None else Architecture.of_space(self.space, d) for d in made]

    def improve(self, architectures: Sequence[Architecture], step: float) -> list[Architecture]:
        """What the architectures become after one step uphill, where that can be decoded.

        Args:
            architectures: where to start.
            step: length of the step in units of the gradient; 0 returns what the decoder reconstructs.

        Raises:
            GraphnasError: not fitted, or an architecture of another space.
        """
        if not len(architectures):
            return []
        found = self.decode(self.climb(self.encode(architectures), step))
        return [a for a in found if a is not None]

    # -- network and files ----------------------------------------------------------------------

    def _seed(self, purpose: int) -> int:
        return int(np.random.SeedSequence([self.seed, purpose]).generate_state(1)[0])

    def _make_network(self) -> NAONetwork:
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            torch.manual_seed(self._seed(0))
            return NAONetwork(len(vocabulary_of(self.space)), self.space.radices, self.width, self.layers).eval()

    def _graphs(self, architectures: Sequence[Architecture]) -> DenseTensors:
        return encode_dense(self.space, architectures).torch()

    def _latents(self, architectures: Sequence[Architecture]) -> list[Latent]:
        starts = range(0, len(architectures), _CHUNK)
        return [self.network_.encode(self._graphs(architectures[i : i + _CHUNK])) for i in starts]

    def _arrays(self) -> Mapping[str, np.ndarray]:
        weights: dict[str, Any] = {
            f"network.{name}": value.numpy() for name, value in self.network_.state_dict().items()
        }
        return {**weights, "curve": self.curve_}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        network = self._make_network()
        weights = {}
        for name, value in network.state_dict().items():
            found = arrays[f"network.{name}"]
            if found.dtype != np.float32 or found.shape != tuple(value.shape) or not np.isfinite(found).all():
                raise ValueError(f"the weight {name} is not of the shape {list(value.shape)} or not finite")
            weights[name] = torch.from_numpy(found.copy())
        curve = arrays["curve"]
        if curve.dtype != np.float64 or curve.ndim != 2 or len(curve) != 2 or curve.shape[1] < 2:
            raise ValueError("the scale of the scores is damaged")
        if not np.isfinite(curve).all() or np.any(np.diff(curve) <= 0):
            raise ValueError("the scale of the scores is not ascending")
        network.load_state_dict(weights)
        self.network_ = network
        self.curve_ = curve


def _curve(scores: np.ndarray, scale: str) -> np.ndarray:
    """Scaled scores from 0 to 1 and the scores that they stand for, ``[2, m]``; equal scores share their mean rank."""
    if scale == "range":
        return np.array([[0.0, 1.0], [scores.min(), scores.max()]])
    values, counts = np.unique(scores, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    return np.stack([(ranks - ranks[0]) / (ranks[-1] - ranks[0]), values])


def _along(curve: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """Scores for scaled ones, by pieces of a line; the first and last piece go on beyond 0 and 1."""
    x, y = curve
    place = np.clip(np.searchsorted(x, scaled) - 1, 0, len(x) - 2)
    slope = np.diff(y) / np.diff(x)
    return np.asarray(y[place] + (scaled - x[place]) * slope[place])
