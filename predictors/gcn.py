"""The GCN predictor: graph networks that rank, in a mixture with a Gaussian process and trees on the same graphs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from graphnas.architecture import Architecture
from graphnas.encoding.dense import encode_dense
from graphnas.encoding.forms import classes_of
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.errors import GraphnasError, unknown
from graphnas.metrics import normal_scores
from graphnas.predictor import Prediction, Predictor
from graphnas.space import Space
from predictors.colour_encoder import KINDS, coloured
from predictors.colours import ColourGraphs
from predictors.contraction import contract_merges
from predictors.descriptor_members import DescriptorMembers
from predictors.descriptors import SCALARS, Descriptors, Groups, reference_forms
from predictors.gcn_network import ScoreNetwork, SideTask, one_thread, train
from predictors.losses import LOSSES, loss_of
from predictors.mixture import Mixture
from predictors.ranks import Increasing
from predictors.signals import PREFIX, Signals, without_signals
from predictors.stacking import folds_of, stacked_weights

_ROWS = 4096
# What the heads read: the standard deviation of a column, where all columns of a group have the same one.
_READ = {**dict.fromkeys(SCALARS, 1.0), "placed_tokens": 0.5, "placed_edges": 0.5}
# Weights of networks, process and trees before anything is known about them.
_PRIOR = (0.15, 0.6, 0.25)
_CLASSES_IN_FOLD = 3


class GCNPredictor(Predictor):
    """Graph convolutional networks with a ranking loss, in a mixture with a Gaussian process and randomised trees.

    Every network reads the canonical graph with its merge nodes contracted, passes messages along and against the edges,
    and scores it from the mean vertex feature and descriptors of the graph. The process and the trees read the
    descriptors alone. All are put to one scale, the normal scores of their ranks on random architectures of the
    space without labels. Each network is fitted without one fold of the labels; process and trees are fitted again
    without each fold, and what the three kinds say of labels that they have not seen settles their weights. Too few labels
    for folds leave the weights .15, .6 and .25.

    With a ranking loss the ranking depends on the order of the scores alone. The mean is in the unit of the
    scores, by an increasing map through the training scores; the standard deviation is that of the mixture.

    Args:
        space: whose architectures it is for.
        networks: how many, from different initial weights; as many folds.
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
        scalars: the heads read descriptors of the graph.
        kernel: the mixture holds the Gaussian process.
        trees: how many extremely randomised trees the mixture holds, 0 for none.
        reference: how many random architectures, without labels, settle scales.
        seed: fixes all random draws.
        signals: cheap numbers about architectures.
        signals_as: "inputs" describes architectures by them, so every one that is predicted must be measured; with "targets" the
            networks learn to predict them for the reference architectures beside the scores, and nothing else is measured.

    Raises:
        GraphnasError: an argument out of range.
    """

    name = "gcn"

    def __init__(
        self,
        space: Space,
        networks: int = 4,
        width: int = 64,
        layers: int = 3,
        hidden: int = 128,
        kind: str = "gcn",
        loss: str = "pair_hinge",
        margin: float = 1.0,
        steps: int = 200,
        batch: int = 256,
        learning_rate: float = 2e-3,
        weight_decay: float = 1e-3,
        dropout: float = 0.1,
        scalars: bool = True,
        kernel: bool = True,
        trees: int = 100,
        reference: int = 1000,
        seed: int = 0,
        signals: Signals | None = None,
        signals_as: str = "inputs",
    ) -> None:
        for what, value, known in (
            ("loss", loss, LOSSES),
            ("kind", kind, KINDS),
            ("signals_as", signals_as, ("inputs", "targets")),
        ):
            if value not in known:
                raise unknown(f"{what} of the GCN predictor", value, known)
        least = {
            "networks": 1,
            "width": 1,
            "layers": 1,
            "hidden": 1,
            "steps": 1,
            "batch": 2,
            "trees": 0,
            "reference": 0,
        }
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
        self.trees = trees
        self.reference = reference
        self.seed = seed
        self.signals = signals
        self.signals_as = signals_as

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments without the space and the signals."""
        return without_signals(super().arguments())

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        rng = np.random.default_rng(self.seed)
        # Training forms come first, in the order of their first appearance.
        forms = reference_forms(self.space, architectures, self.reference, rng)
        known, member = classes_of(self.space, architectures)
        self.descriptors_ = Descriptors(self.space, self._inputs_signals())
        groups = self.descriptors_.fit(forms)
        labelled, ranks = _rows(groups, member), normal_scores(scores)
        # Standardised, because squared errors need a scale; ranking losses see the order alone.
        targets = (scores - scores.mean()) / scores.std() if self.loss == "mse" else ranks

        folds = np.full(len(scores), -1)
        if (self.kernel or self.trees) and self.networks > 1 and len(known) >= _CLASSES_IN_FOLD * self.networks:
            folds = folds_of(member, self.networks, rng)
        side = self._side_task(forms, groups) if self.signals and self.signals_as == "targets" else None
        self.networks_ = self._train(known, groups, np.array(member), targets, folds, side)
        self.described_ = self._described().fit(labelled, ranks)
        values, _ = self._members(forms, groups)
        mixture = Mixture.of_reference(values, self._shared(np.array(_PRIOR)))
        if folds.max() >= 0:
            unseen = self._unseen(mixture, values[:, member], labelled, ranks, folds)
            weights = np.zeros(len(_PRIOR))
            kinds = self._kinds()
            weights[kinds] = stacked_weights(unseen[kinds], ranks, np.array(_PRIOR)[kinds])
            mixture = Mixture(mixture.scales, self._shared(weights))
        self.mixture_ = mixture
        latent, _ = mixture(values, np.zeros_like(values))
        self.unit_ = Increasing.matching(latent[member], scores)

    def _inputs_signals(self) -> Signals | None:
        return self.signals if self.signals_as == "inputs" else None

    def _side_task(self, forms: Sequence[Architecture], groups: Groups) -> SideTask:
        """Normal scores of the signals of the reference architectures."""
        assert self.signals is not None
        columns = [normal_scores(x[:, 0]) for x in self.signals.groups(forms).values()]
        return SideTask(*self._inputs(forms, groups), torch.from_numpy(np.stack(columns, axis=1)).float())

    def _train(
        self,
        known: Sequence[Architecture],
        groups: Groups,
        member: np.ndarray,
        targets: np.ndarray,
        folds: np.ndarray,
        side: SideTask | None,
    ) -> list[ScoreNetwork]:
        """Every network, trained without its fold of the labels."""
        graphs, scalars = self._inputs(known, {name: x[: len(known)] for name, x in groups.items()})
        made = []
        for number in range(self.networks):
            seen = folds != number
            with one_thread(self.seed * 1009 + number):
                network = self._network()
                train(
                    network,
                    graphs[member[seen]],
                    scalars[torch.from_numpy(member[seen])],
                    torch.from_numpy(targets[seen]).float(),
                    loss_of(self.loss, self.margin),
                    steps=self.steps,
                    batch=self.batch,
                    learning_rate=self.learning_rate,
                    weight_decay=self.weight_decay,
                    generator=torch.Generator().manual_seed(self.seed * 1009 + number),
                    side=side,
                )
            made.append(network)
        return made

    def _described(self) -> DescriptorMembers:
        return DescriptorMembers(self.kernel, self.trees, self.descriptors_.centres, self.seed)

    def _unseen(
        self, mixture: Mixture, values: np.ndarray, labelled: Groups, ranks: np.ndarray, folds: np.ndarray
    ) -> np.ndarray:
        """What networks, process and trees say of labels outside their training set, ``[3, n]`` in normal scores.

        ``values [M, n]`` is what the members of the mixture say of the labelled architectures.
        """
        unseen = np.zeros((len(_PRIOR), len(ranks)))
        for number in range(self.networks):
            held, seen = np.flatnonzero(folds == number), np.flatnonzero(folds != number)
            unseen[0, held] = mixture.scales[number](values[number, held])
            asked, _ = self._described().fit(_rows(labelled, seen), ranks[seen]).predict(_rows(labelled, held))
            for kind, row, scale in zip(self._kinds()[1:], asked, mixture.scales[self.networks :], strict=True):
                unseen[kind, held] = scale(row)
        return unseen

    def _read(self) -> dict[str, float]:
        """The groups that the heads read, and the standard deviation of their columns."""
        return {**_READ, **{name: 1.0 for name in self.descriptors_.names if name.startswith(PREFIX)}}

    def _kinds(self) -> list[int]:
        """Which kinds of members there are: 0 networks, 1 process, 2 trees."""
        return [0, *[kind for kind, there in ((1, self.kernel), (2, self.trees)) if there]]

    def _shared(self, weights: np.ndarray) -> np.ndarray:
        """The weight of every member, from those of the three kinds."""
        of_networks, *others = weights[self._kinds()] / weights[self._kinds()].sum()
        return np.array([*[of_networks / self.networks] * self.networks, *others])

    def _network(self) -> ScoreNetwork:
        scalars = sum(self.descriptors_.mean_[name].size for name in self._read()) if self.scalars else 0
        tokens = len(vocabulary_of(self.space))
        return ScoreNetwork(tokens, scalars, self.width, self.layers, self.hidden, self.dropout, self.kind)

    def _inputs(self, forms: Sequence[Architecture], groups: Groups) -> tuple[ColourGraphs, torch.Tensor]:
        """What the networks read of canonical forms with these groups."""
        batch = encode_dense(self.space, contract_merges(self.space, forms), canonical=False)
        graphs = coloured(batch, self.layers, self.kind)
        if not self.scalars:
            return graphs, torch.zeros(len(forms), 0)
        columns = []
        for name, size in self._read().items():
            varying = np.count_nonzero(self.descriptors_.scale_[name])
            columns.append(groups[name] * (size * math.sqrt(varying)))
        return graphs, torch.from_numpy(np.concatenate(columns, axis=1)).float()

    def _members(self, forms: Sequence[Architecture], groups: Groups) -> tuple[np.ndarray, np.ndarray]:
        """What the networks, the process and the trees say, and how sure they are: ``[members, n]`` each."""
        graphs, scalars = self._inputs(forms, groups)
        with one_thread(self.seed):
            said = np.stack([network.evaluate(graphs, scalars).double().numpy() for network in self.networks_])
        certain = np.zeros_like(said)
        if not len(self.described_):
            return said, certain
        values, spread = self.described_.predict(groups)
        return np.concatenate([said, values]), np.concatenate([certain, spread])

    def _predict(self, architectures: Sequence[Architecture]) -> Prediction:
        forms, member = classes_of(self.space, architectures)
        parts = []
        for start in range(0, len(forms), _ROWS):
            chunk = forms[start : start + _ROWS]
            groups = self.descriptors_.transform(chunk) if self.scalars or len(self.described_) else {}
            parts.append(self.mixture_(*self._members(chunk, groups)))
        latent, spread = (np.concatenate(part) for part in zip(*parts, strict=True))
        mean = self.unit_(latent)
        std = (self.unit_(latent + spread) - self.unit_(latent - spread)) / 2
        return Prediction(mean[member], std[member])

    def _arrays(self) -> Mapping[str, np.ndarray]:
        arrays = {
            **(self.signals.arrays() if self.signals else {}),
            **self.descriptors_.arrays(),
            **self.unit_.arrays("unit"),
            **self.mixture_.arrays(),
            **self.described_.arrays(),
        }
        for name in self.networks_[0].state_dict():
            arrays[f"networks.{name}"] = np.stack([n.state_dict()[name].numpy() for n in self.networks_])
        return arrays

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.signals = Signals.of_arrays(self.space, arrays)
        self.descriptors_ = Descriptors(self.space, self._inputs_signals())
        self.descriptors_.set_arrays(arrays)
        self.described_ = self._described()
        self.described_.set_arrays(arrays, self.descriptors_.widths)
        self.mixture_ = Mixture.of_arrays(arrays, self.networks + len(self.described_))
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


def _rows(groups: Groups, rows: Sequence[int] | np.ndarray) -> Groups:
    return {name: x[rows] for name, x in groups.items()}
