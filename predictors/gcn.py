"""The GCN predictor: graph networks that rank, averaged with a Gaussian process on the same graphs."""

from __future__ import annotations

import math
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
from predictors.contraction import contract_merges
from predictors.descriptors import GROUPS, SCALARS, Descriptors, Groups, reference_forms
from predictors.encoder import KINDS
from predictors.gaussian_process import GaussianProcess
from predictors.gcn_network import ScoreNetwork, one_thread, train
from predictors.kernel import in_order
from predictors.losses import LOSSES, loss_of
from predictors.ranks import Increasing, normal_scores

_ROWS = 4096
# What the heads read: the standard deviation of a column, where all columns of a group have the same one.
_READ = {**dict.fromkeys(SCALARS, 1.0), "places": 0.5}


class GCNPredictor(Predictor):
    """Graph convolutional networks with a ranking loss, rank-averaged with a Gaussian process.

    Every network reads the canonical graph with its merge nodes contracted, passes messages along and against the edges,
    and scores it from the mean vertex feature and scalars of the graph. The networks and the process are put to one scale, the normal scores
    of their ranks on random architectures of the space without labels; the networks together weigh as much as
    the process. With a ranking loss the ranking depends on the order of the scores alone. The mean is in the unit of the
    scores, by an increasing map through the training scores; the standard deviation is that of the mixture
    of networks and process.

    Args:
        space: whose architectures it is for.
        networks: how many, from different initial weights.
        width: features of a vertex.
        layers: of message passing.
        hidden: width of the head.
        kind: "gcn" or "gin" layers.
        loss: "pair_hinge", "pair_bce", "listmle" or "mse".
        margin: of the hinge.
        steps: of training, for each network.
        batch: most architectures in a step.
        learning_rate: at the start of the cosine schedule.
        weight_decay: of AdamW.
        dropout: in the networks.
        scalars: the head reads scalars of the graph, and counts of places in it.
        kernel: average with the Gaussian process.
        reference: how many random architectures, without labels, settle scales.
        seed: fixes all random draws.

    Raises:
        GraphnasError: an argument out of range.
    """

    name = "gcn"

    def __init__(
        self,
        space: Space,
        networks: int = 3,
        width: int = 64,
        layers: int = 3,
        hidden: int = 128,
        kind: str = "gcn",
        loss: str = "pair_hinge",
        margin: float = 0.1,
        steps: int = 300,
        batch: int = 256,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-3,
        dropout: float = 0.1,
        scalars: bool = True,
        kernel: bool = True,
        reference: int = 1000,
        seed: int = 0,
    ) -> None:
        for what, value, known in (("loss", loss, LOSSES), ("kind", kind, KINDS)):
            if value not in known:
                raise unknown(f"{what} of the GCN predictor", value, known)
        least = {"networks": 1, "width": 1, "layers": 1, "hidden": 1, "steps": 1, "batch": 2, "reference": 0}
        given: dict[str, float] = {**{k: v for k, v in locals().items() if k in least}}
        for argument, lowest in least.items():
            if given[argument] < lowest:
                raise GraphnasError(f"{argument} of the GCN predictor is {given[argument]}; give at least {lowest}")
        if not (learning_rate > 0 and weight_decay >= 0 and margin > 0 and 0 <= dropout < 1):
            raise GraphnasError(
                "the GCN predictor needs learning_rate > 0, weight_decay >= 0, margin > 0 and 0 <= dropout < 1, "
                f"not {learning_rate}, {weight_decay}, {margin} and {dropout}"
            )
        self.space = space
        self.networks = networks
        self.width = width
        self.layers = layers
        self.hidden = hidden
        self.kind = kind
        self.loss = loss
        self.margin = margin
        self.steps = steps
        self.batch = batch
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.scalars = scalars
        self.kernel = kernel
        self.reference = reference
        self.seed = seed

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        rng = np.random.default_rng(self.seed)
        # Training forms come first, in the order of their first appearance.
        forms = reference_forms(self.space, architectures, self.reference, rng)
        known, member = classes_of(self.space, architectures)
        self.descriptors_ = Descriptors(self.space)
        groups = self.descriptors_.fit(forms)
        self.process_ = None
        if self.kernel:
            labelled = [x[member] for x in in_order(groups)]
            self.process_ = GaussianProcess().fit(labelled, normal_scores(scores), rng)
        self.networks_ = self._train(known, groups, np.array(member), scores)
        values, _ = self._members(forms, groups)
        self.scales_ = [Increasing.matching(row, normal_scores(row)) for row in values]
        latent, _ = self._mix(values, np.zeros_like(values[0]))
        self.unit_ = Increasing.matching(latent[member], scores)

    def _train(
        self, known: Sequence[Architecture], groups: Groups, member: np.ndarray, scores: np.ndarray
    ) -> list[ScoreNetwork]:
        rows = torch.from_numpy(member)
        graphs, scalars = self._inputs(known, {name: x[: len(known)] for name, x in groups.items()})
        # Standardised, because squared errors need a scale; ranking losses see the order alone.
        targets = torch.from_numpy((scores - scores.mean()) / scores.std())
        if self.loss != "mse":
            targets = torch.from_numpy(normal_scores(scores))
        made = []
        for number in range(self.networks):
            with one_thread(self.seed * 1009 + number):
                network = self._network()
                train(
                    network,
                    graphs[rows],
                    scalars[rows],
                    targets.float(),
                    loss_of(self.loss, self.margin),
                    steps=self.steps,
                    batch=self.batch,
                    learning_rate=self.learning_rate,
                    weight_decay=self.weight_decay,
                    generator=torch.Generator().manual_seed(self.seed * 1009 + number),
                )
            made.append(network)
        return made

    def _network(self) -> ScoreNetwork:
        scalars = sum(self.descriptors_.mean_[name].size for name in _READ) if self.scalars else 0
        tokens = len(vocabulary_of(self.space))
        return ScoreNetwork(tokens, scalars, self.width, self.layers, self.hidden, self.dropout, self.kind)

    def _inputs(self, forms: Sequence[Architecture], groups: Groups) -> tuple[DenseTensors, torch.Tensor]:
        """What the networks read of canonical forms with these groups."""
        graphs = encode_dense(self.space, contract_merges(self.space, forms), canonical=False).torch()
        if not self.scalars:
            return graphs, torch.zeros(len(forms), 0)
        columns = [groups[name] * (size * math.sqrt(groups[name].shape[1])) for name, size in _READ.items()]
        return graphs, torch.from_numpy(np.concatenate(columns, axis=1)).float()

    def _members(self, forms: Sequence[Architecture], groups: Groups) -> tuple[np.ndarray, np.ndarray]:
        """What the networks, and then the process, say: ``[members, n]``, and the process's spread ``[n]``."""
        graphs, scalars = self._inputs(forms, groups)
        with one_thread(self.seed):
            values = [network.evaluate(graphs, scalars).double().numpy() for network in self.networks_]
        spread = np.zeros(len(forms))
        if self.process_ is not None:
            mean, spread = self.process_.predict(in_order(groups))
            values.append(mean)
        return np.stack(values), spread

    def _mix(self, values: np.ndarray, spread: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation ``[n]`` of the mixture, in normal scores."""
        scaled = np.stack([scale(row) for scale, row in zip(self.scales_, values, strict=True)])
        weights = np.full(len(values), 1 / self.networks)
        within = np.zeros(len(spread))
        if self.process_ is not None:
            weights[:-1] /= 2
            weights[-1] = 0.5
            scale, row = self.scales_[-1], values[-1]
            within = weights[-1] * np.square((scale(row + spread) - scale(row - spread)) / 2)
        mean = weights @ scaled
        return mean, np.sqrt(within + weights @ np.square(scaled - mean))

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        forms, member = classes_of(self.space, architectures)
        parts = []
        for start in range(0, len(forms), _ROWS):
            chunk = forms[start : start + _ROWS]
            parts.append(self._mix(*self._members(chunk, self.descriptors_.transform(chunk))))
        latent, spread = (np.concatenate(part) for part in zip(*parts, strict=True))
        mean = self.unit_(latent)
        std = (self.unit_(latent + spread) - self.unit_(latent - spread)) / 2
        return Prediction(mean[member], std[member])

    def _arrays(self) -> Mapping[str, np.ndarray]:
        arrays = {**self.descriptors_.arrays(), **self.unit_.arrays("unit")}
        for number, scale in enumerate(self.scales_):
            arrays.update(scale.arrays(f"scale{number}"))
        if self.process_ is not None:
            arrays.update(self.process_.arrays())
        for name in self.networks_[0].state_dict():
            arrays[f"networks.{name}"] = np.stack([n.state_dict()[name].numpy() for n in self.networks_])
        return arrays

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.descriptors_ = Descriptors(self.space)
        self.descriptors_.set_arrays(arrays)
        self.process_ = None
        if self.kernel:
            self.process_ = GaussianProcess()
            self.process_.set_arrays(arrays, [self.descriptors_.mean_[name].size for name in GROUPS])
        self.scales_ = [Increasing.of_arrays(arrays, f"scale{i}") for i in range(self.networks + self.kernel)]
        self.unit_ = Increasing.of_arrays(arrays, "unit")
        self.networks_ = []
        for number in range(self.networks):
            with one_thread(self.seed):
                network = self._network()
            network.load_state_dict(self._state(network, arrays, number))
            self.networks_.append(network.eval())

    def _state(self, network: ScoreNetwork, arrays: Mapping[str, np.ndarray], number: int) -> dict[str, Any]:
        state = {}
        for name, tensor in network.state_dict().items():
            stored = arrays[f"networks.{name}"]
            if stored.shape != (self.networks, *tensor.shape) or stored.dtype != np.float32:
                raise ValueError(f"the weights {name} have a wrong shape")
            if not np.isfinite(stored).all():
                raise ValueError(f"the weights {name} are not finite")
            state[name] = torch.from_numpy(np.array(stored[number]))
        return state
