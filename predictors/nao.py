"""NAO (Luo et al., NeurIPS 2018): a predictor whose input can be moved uphill and decoded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.predictor import Prediction, Predictor
from graphnas.space import Space
from predictors.gcn_network import one_thread
from predictors.losses import LOSSES, loss_of
from predictors.nao_encoders import ENCODERS
from predictors.nao_latent import Latent
from predictors.nao_network import NAONetwork
from predictors.nao_training import Examples, Objective, PseudoLabels, Schedule, train
from predictors.nao_writings import Writings, draw
from predictors.ranks import Increasing
from predictors.weights import set_weights, weights_of

SCALES = ("ranks", "range")
LAYERS = {"graph": 4, "lstm": 1}
_MARGIN = 0.1
_CHUNK = 512
_EQUAL = 1e-6
_MAX_WIDTH, _MAX_LAYERS = 4096, 64
# What each stream of random draws is for.
_WEIGHTS, _TRAINING, _STRUCTURES, _UNLABELLED, _JOINT, _SYMMETRIC = range(6)


class NAO(Predictor):
    """Encoder, value head and decoder trained together; ``improve`` climbs the predicted score in the latent space.

    The loss is ``weight * error of the scores + (1 - weight) * negative log-likelihood of the writing``. The "graph" encoder
    reads canonical graphs: isomorphic architectures have one latent, and the decoder writes the canonical writing
    of each. The "lstm" encoder is the paper's; it reads, and its decoder writes, decisions as they are given.
    ``NAO.published(space)`` has the paper's settings. It states no uncertainty (std is 0).

    Args:
        space: whose architectures it is for.
        encoder: "graph" or "lstm".
        width: of all layers.
        layers: of the encoder; by default 4 of message passing or 1 of the LSTM.
        steps: optimiser steps.
        batch: labelled architectures in a step, at most.
        weight: of the error of the scores, in [0, 1] (0.9 in the paper, 0.8 in its code).
        loss: that error: "mse" of scores in [0, 1], or one of the order alone, "pair_hinge", "pair_bce" or "listmle".
        scale: what the scores become for "mse": their "ranks", or their place in the "range" of the training set as
            published, where one bad score leaves the good ones no room.
        structures: random architectures without scores that only the decoder's part of the loss sees.
        unlabelled: random architectures that join the last third of the steps with the scores that are predicted for them
            then (SemiNAS, Luo et al., NeurIPS 2020); they are no labels.
        pseudo_weight: of the loss on those, beside that on the labelled ones; with 0 all is as without them.
        symmetric: further random writings of each labelled architecture, with its score ("lstm" only; the augmentation by
            swapped branches).
        learning_rate: of AdamW, at the start of a cosine schedule.
        weight_decay: its strength.
        beams: width of the beam search of the decoder; 1 is greedy.
        consistent: of the designs in the beam, decode to the one whose own latent is nearest; False takes the most likely, as
            published.
        seed: fixes all random draws.

    Attributes:
        network_: the trained NAONetwork.
        unit_: the increasing map from what the network predicts to the unit of the scores.

    Raises:
        GraphnasError: an argument out of range.
    """

    name = "nao"

    def __init__(
        self,
        space: Space,
        encoder: str = "graph",
        width: int = 48,
        layers: int | None = None,
        steps: int = 300,
        batch: int = 100,
        weight: float = 0.8,
        loss: str = "pair_hinge",
        scale: str = "ranks",
        structures: int = 2000,
        unlabelled: int = 0,
        pseudo_weight: float = 1.0,
        symmetric: int = 0,
        learning_rate: float = 8e-3,
        weight_decay: float = 1e-2,
        beams: int = 8,
        consistent: bool = True,
        seed: int = 0,
    ) -> None:
        names = (("encoder of nao", encoder, ENCODERS), ("loss", loss, LOSSES), ("scale of scores", scale, SCALES))
        for what, value, known in names:
            if value not in known:
                raise unknown(what, value, known)
        self.space = space
        self.encoder = encoder
        self.width = width
        self.layers = layers
        self.steps = steps
        self.batch = batch
        self.weight = weight
        self.loss = loss
        self.scale = scale
        self.structures = structures
        self.unlabelled = unlabelled
        self.pseudo_weight = pseudo_weight
        self.symmetric = symmetric
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.beams = beams
        self.consistent = consistent
        self.seed = seed
        self._check_arguments()

    def _check_arguments(self) -> None:
        most = {"width": _MAX_WIDTH, "layers": _MAX_LAYERS}
        for name in ("width", "layers", "batch", "beams"):
            value, limit = getattr(self, name), most.get(name)
            if value is not None and (value < 1 or (limit is not None and value > limit)):
                raise GraphnasError(
                    f"nao needs {name} of at least 1{f' and at most {limit}' * bool(limit)}, not {value}"
                )
        for name in ("steps", "structures", "unlabelled", "pseudo_weight", "symmetric", "weight_decay"):
            value = getattr(self, name)
            if not value >= 0:
                raise GraphnasError(f"nao needs {name} of at least 0, not {value}")
        if not (0 <= self.weight <= 1 and self.learning_rate > 0):
            raise GraphnasError(
                f"nao needs 0 <= weight <= 1 and learning_rate > 0, not {self.weight} and {self.learning_rate}"
            )
        if self.symmetric and self.encoder == "graph":
            raise GraphnasError("nao's graph encoder sees all writings of an architecture as one; leave out symmetric")

    @classmethod
    def published(cls, space: Space, **changes: Any) -> NAO:
        """The paper's variant: LSTMs of width 64, squared error of min-max scaled scores, one more writing, greedy decoding.

        The released code trains for 1,000 epochs of batches of 100 by Adam with a constant rate of 1e-3; here the
        rate falls to 0 in 1,000 steps.

        Args:
            space: whose architectures it is for.
            **changes: other arguments of NAO.
        """
        arguments: dict[str, Any] = {
            "encoder": "lstm",
            "width": 64,
            "steps": 1000,
            "loss": "mse",
            "scale": "range",
            "structures": 0,
            "symmetric": 1,
            "learning_rate": 1e-3,
            "weight_decay": 0.0,
            "beams": 1,
            "consistent": False,
        }
        return cls(space, **{**arguments, **changes})

    # -- learning -------------------------------------------------------------------------------

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        scaled = _scaled(scores, self.scale)
        known = {self.space.key(a) for a in architectures}
        structures = draw(self.space, self.structures, known, self._rng(_STRUCTURES))
        everything = [*architectures, *self._twins(architectures), *structures]
        self.network_ = self._network()
        with one_thread(self.seed):
            train(
                self.network_,
                self._examples(everything, np.tile(scaled, 1 + self.symmetric)),
                Objective(loss_of(self.loss, _MARGIN), self.weight),
                Schedule(self.steps, self.batch, self.learning_rate, self.weight_decay),
                self._generator(_TRAINING),
                self._pseudo_labels(known) if self.unlabelled else None,
            )
        # A network that learned the order alone has its own scale.
        found = scaled if self.loss == "mse" else self._scores(architectures)
        self.unit_ = Increasing.matching(found, scores)

    def _twins(self, architectures: Sequence[Architecture]) -> list[Architecture]:
        """Other writings, ``symmetric`` of each architecture."""
        rng, writings = self._rng(_SYMMETRIC), Writings(self.space)
        return [self.space.decode(writings.other(a, rng)) for _ in range(self.symmetric) for a in architectures]

    def _pseudo_labels(self, known: set[str]) -> PseudoLabels:
        def make() -> Examples:
            drawn = draw(self.space, self.unlabelled, known, self._rng(_UNLABELLED))
            return self._examples(drawn, self._scores(drawn))

        return PseudoLabels(make, self.pseudo_weight, self._generator(_JOINT))

    def _examples(self, architectures: Sequence[Architecture], targets: np.ndarray) -> Examples:
        encoder = self.network_.encoder
        decisions = torch.tensor([encoder.writing(a) for a in architectures])
        return Examples(encoder.read(architectures), decisions, torch.from_numpy(targets.astype(np.float32)))

    # -- predicting and moving uphill -----------------------------------------------------------

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        mean = self.unit_(self._scores(architectures))
        return Prediction(mean, np.zeros(len(mean)))

    def _scores(self, architectures: Sequence[Architecture]) -> np.ndarray:
        """What the network predicts ``[n]``; what its encoder sees as equal gets bitwise equal scores."""
        network = self.network_
        first, member = network.encoder.distinct(architectures)
        found = np.empty(len(first))
        with one_thread(self.seed), torch.no_grad():
            for start in range(0, len(first), _CHUNK):
                chunk = first[start : start + _CHUNK]
                found[start : start + _CHUNK] = network.score(network.encoder(network.encoder.read(chunk))).numpy()
        return found[member]

    def encode(self, architectures: Sequence[Architecture]) -> Latent:
        """The latent of n architectures.

        Raises:
            GraphnasError: not fitted, or an architecture of another space.
        """
        self._check_fitted()
        self._check(architectures)
        encoder = self.network_.encoder
        with one_thread(self.seed), torch.no_grad():
            latent: Latent = encoder(encoder.read(architectures))
        return latent

    def climb(self, latent: Latent, step: float) -> Latent:
        """The latent after ``H <- unit rows of (H + step * d score / d H)``."""
        with one_thread(self.seed):
            return self.network_.climb(latent, step)

    def decode(self, latent: Latent) -> list[Architecture | None]:
        """The architectures of a latent: members of the space, or None where the decoder finds no valid decisions."""
        found: list[Architecture | None] = []
        with one_thread(self.seed), torch.no_grad():
            for start in range(0, len(latent.rows), _CHUNK):
                chunk = Latent(latent.rows[start : start + _CHUNK], latent.mask[start : start + _CHUNK])
                beams = self.network_.decoder.decode(chunk, self.beams, self.space.is_valid)
                designs = [[Architecture.of_space(self.space, d) for d in some] for some in beams]
                found += self._nearest(designs, chunk) if self.consistent else [next(iter(d), None) for d in designs]
        return found

    def _nearest(self, designs: Sequence[Sequence[Architecture]], latent: Latent) -> list[Architecture | None]:
        """Of the designs for each latent the one whose own vector is nearest; the first of equally near ones."""
        everything = [a for some in designs for a in some]
        if not everything:
            return [None] * len(designs)
        encoder = self.network_.encoder
        own = encoder(encoder.read(everything)).vector()
        near = (own * latent.vector().repeat_interleave(torch.tensor([len(some) for some in designs]), 0)).sum(1)
        found: list[Architecture | None] = []
        for some, close in zip(designs, near.split([len(some) for some in designs]), strict=True):
            found.append(some[int((close >= close.max() - _EQUAL).nonzero()[0])] if some else None)
        return found

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

    def reconstruction(self, architectures: Sequence[Architecture], exact: bool = False) -> float:
        """The share in [0, 1] of n >= 1 architectures that the decoder gives back from their latents.

        Args:
            architectures: any members of the space.
            exact: decision by decision, which a graph encoder cannot do for other writings than the canonical one; by
                default up to isomorphism.

        Raises:
            GraphnasError: not fitted, no architectures, or one of another space.
        """
        if not len(architectures):
            raise GraphnasError("the reconstruction of no architectures is not defined; give at least one")
        same = self.space.encode if exact else self.space.key
        found = self.decode(self.encode(architectures))
        return float(np.mean([b is not None and same(a) == same(b) for a, b in zip(architectures, found, strict=True)]))

    # -- network and files ----------------------------------------------------------------------

    def _seed(self, purpose: int) -> int:
        return int(np.random.SeedSequence([self.seed, purpose]).generate_state(1)[0])

    def _rng(self, purpose: int) -> np.random.Generator:
        return np.random.default_rng(self._seed(purpose))

    def _generator(self, purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(self._seed(purpose))

    def _network(self) -> NAONetwork:
        with one_thread(self._seed(_WEIGHTS)):
            layers = self.layers or LAYERS[self.encoder]
            return NAONetwork(self.space, self.encoder, self.width, layers, bounded=self.loss == "mse").eval()

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {**weights_of(self.network_), **self.unit_.arrays("unit")}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        network, unit = self._network(), Increasing.of_arrays(arrays, "unit")
        set_weights(network, arrays)
        self.network_, self.unit_ = network, unit


def _scaled(scores: np.ndarray, scale: str) -> np.ndarray:
    """Scores in [0, 1]: places in their range, or ranks, where equal scores share their mean rank."""
    if scale == "range":
        return np.asarray((scores - scores.min()) / (scores.max() - scores.min()))
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray(((ranks - ranks[0]) / (ranks[-1] - ranks[0]))[place])
