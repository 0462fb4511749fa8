"""The predictor of BANANAS: an ensemble of deep, narrow networks on the path encoding (White et al., AAAI 2021)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from graphnas.errors import GraphnasError, unknown
from graphnas.space import Space
from predictors.counted import Paths
from predictors.feature_predictor import FeaturePredictor
from predictors.features import Features
from predictors.gcn_network import one_thread

LOSSES = ("mae", "mape")
KEEP = ("shortest", "frequent")


class PathEnsemble(FeaturePredictor):
    """Five networks of ten layers of width 20, trained on which op paths exist in the canonical graph.

    Source: White, Neiswanger & Savani, BANANAS, AAAI 2021, sections 3 and 4. As there, rectified linear units, Adam at 0.01 with betas
    (0.9, 0.99), batches of 32, 200 epochs, and the members differ in their first weights and batches alone. The targets are
    standardised, so that the scores may have any unit. The paths are those of the training architectures: the weights of
    a path that none of them has would never be trained. All members are trained at once, as one batched product a layer.

    The mean is that of the members, and the standard deviation is their spread.

    Args:
        space: whose architectures it is for.
        members: how many networks.
        layers: hidden layers of each.
        width: of a hidden layer.
        loss: "mae", the mean absolute error; or "mape", where the error counts relative to the distance of the true score
            to a bound, so that good architectures weigh more (the bound is one standard deviation above the best score).
        max_paths: truncate the encoding to so many paths.
        keep: which of them: the "shortest" (as the paper truncates) or the most "frequent".
        indicator: 1 where a path exists, as in the paper; False counts how often.
        epochs: passes over the training set.
        batch: architectures in a step.
        learning_rate: of Adam.
        seed: fixes all random draws.

    Attributes:
        features_: the fitted path encoding.
        networks_: the trained members.

    Raises:
        GraphnasError: an argument out of range; from ``fit`` and ``predict`` also: too many paths in one architecture.
    """

    name = "path_ensemble"

    def __init__(
        self,
        space: Space,
        members: int = 5,
        layers: int = 10,
        width: int = 20,
        loss: str = "mae",
        max_paths: int = 1000,
        keep: str = "shortest",
        indicator: bool = True,
        epochs: int = 200,
        batch: int = 32,
        learning_rate: float = 0.01,
        seed: int = 0,
    ) -> None:
        for what, name, known in (("loss", loss, LOSSES), ("keep", keep, KEEP)):
            if name not in known:
                raise unknown(f"{what} of the path ensemble", name, known)
        counts = {"members": members, "layers": layers, "width": width, "max_paths": max_paths, "batch": batch}
        for argument, value in counts.items():
            if value < 1:
                raise GraphnasError(f"{argument} of the path ensemble is {value}; give at least 1")
        if epochs < 0 or not learning_rate > 0:
            raise GraphnasError(
                f"the path ensemble needs epochs >= 0 and learning_rate > 0, not {epochs} and {learning_rate}"
            )
        self.space = space
        self.members = members
        self.layers = layers
        self.width = width
        self.loss = loss
        self.max_paths = max_paths
        self.keep = keep
        self.indicator = indicator
        self.epochs = epochs
        self.batch = batch
        self.learning_rate = learning_rate
        self.seed = seed

    def _make_features(self) -> Features:
        return Paths(self.space, self.indicator, self.max_paths, self.keep)

    def _learn(self, x: np.ndarray, scores: np.ndarray) -> None:
        self.unit_ = np.array([scores.mean(), scores.std()])
        targets = torch.from_numpy((scores - self.unit_[0]) / self.unit_[1]).float()
        # Of "mape": the distance to one standard deviation above the best.
        distance = targets.max() + 1 - targets if self.loss == "mape" else torch.ones_like(targets)
        generator = torch.Generator().manual_seed(self.seed)
        with one_thread(self.seed):
            networks = Networks(self.members, x.shape[1], self.width, self.layers, generator)
            train(
                networks,
                torch.from_numpy(x),
                targets,
                1 / distance,
                self.epochs,
                self.batch,
                self.learning_rate,
                generator,
            )
        self.networks_ = networks

    def _evaluate(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with one_thread(self.seed), torch.no_grad():
            values = self.networks_(torch.from_numpy(x).expand(self.members, *x.shape)).double().numpy()
        return self.unit_[0] + self.unit_[1] * values.mean(axis=0), self.unit_[1] * values.std(axis=0)

    def _arrays(self) -> Mapping[str, np.ndarray]:
        weights = {f"networks.{name}": value.numpy() for name, value in self.networks_.state_dict().items()}
        return {**weights, **self.features_.arrays(), "unit": self.unit_}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.features_ = self._make_features()
        self.features_.set_arrays(arrays)
        self.unit_ = arrays["unit"]
        if self.unit_.shape != (2,) or self.unit_.dtype != np.float64 or not np.isfinite(self.unit_).all():
            raise ValueError("the unit of the scores is no pair of numbers")
        networks = Networks(self.members, self.features_.width, self.width, self.layers, torch.Generator())
        weights = {}
        for name, tensor in networks.state_dict().items():
            stored = arrays[f"networks.{name}"]
            if stored.shape != tuple(tensor.shape) or stored.dtype != np.float32 or not np.isfinite(stored).all():
                raise ValueError(f"the weights {name} have a wrong shape or are not finite")
            weights[name] = torch.from_numpy(np.array(stored))
        networks.load_state_dict(weights)
        self.networks_ = networks


class Networks(nn.Module):
    """M fully connected networks with rectified linear units; weights uniform as of Glorot & Bengio (2010), biases zero.

    Args:
        members: M.
        inputs: F.
        width: of a hidden layer.
        layers: hidden layers.
        generator: draws the weights, one member after the other.
    """

    def __init__(self, members: int, inputs: int, width: int, layers: int, generator: torch.Generator) -> None:
        super().__init__()
        sizes = list(pairwise([inputs, *[width] * layers, 1]))
        drawn = [[_glorot(a, b, generator) for a, b in sizes] for _ in range(members)]
        self.weights = nn.ParameterList(torch.stack(layer) for layer in zip(*drawn, strict=True))
        self.biases = nn.ParameterList(torch.zeros(members, 1, b) for _, b in sizes)

    def forward(self, x: Tensor) -> Tensor:
        """Scores ``[M, n]`` of each member's own inputs ``[M, n, F]``."""
        return scores(x, list(self.weights), list(self.biases))


def scores(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Tensor:
    """Scores ``[M, n]`` of networks with these weights and biases of each layer, for ``[M, n, F]``."""
    h = x
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        h = torch.relu(torch.baddbmm(bias, h, weight))
    return torch.baddbmm(biases[-1], h, weights[-1]).squeeze(-1)


def _glorot(inputs: int, outputs: int, generator: torch.Generator) -> Tensor:
    bound = (6 / (inputs + outputs)) ** 0.5
    return torch.rand(inputs, outputs, generator=generator).mul(2 * bound).sub(bound)


def train(
    networks: Networks,
    x: Tensor,
    targets: Tensor,
    weights: Tensor,
    epochs: int,
    batch: int,
    learning_rate: float,
    generator: torch.Generator,
) -> None:
    """Minimise each member's mean weighted absolute error on ``x [n, F]``, ``targets [n]``, in its own random batches."""
    members = len(networks.weights[0])
    # The step of Adam is taken element by element, so the members do not see each other. It is the fused one, and the lists are
    # made once, because steps of such small networks cost what surrounds them.
    optimiser = torch.optim.Adam(networks.parameters(), lr=learning_rate, betas=(0.9, 0.99), fused=True)
    of_weights, of_biases = list(networks.weights), list(networks.biases)
    for rows in _batches(members, len(targets), epochs, batch, generator):
        optimiser.zero_grad()
        error = (scores(x[rows], of_weights, of_biases) - targets[rows]).abs() * weights[rows]
        error.mean(1).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _batches(members: int, n: int, epochs: int, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Rows ``[M, batch]``: every member goes through all n in an order of its own, in each epoch."""
    for _ in range(epochs):
        order = torch.stack([torch.randperm(n, generator=generator) for _ in range(members)])
        yield from torch.split(order, batch, dim=1)
