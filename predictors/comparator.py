"""NAC, the comparator of CTNAS (Chen et al., CVPR 2021): which of two architecture graphs is better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from graphnas.architecture import Architecture
from graphnas.encoding.dense import encode_dense
from graphnas.encoding.forms import classes_of
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.errors import GraphnasError, unknown
from graphnas.predictor import Comparator
from graphnas.space import Space
from predictors.colours import ColourGraphs
from predictors.comparator_network import ENCODERS, HEADS, ComparatorNetwork, all_pairs_loss, shuffled_pairs_loss
from predictors.weights import set_weights, weights_of

PAIRS = ("all", "shuffled")
_CHUNK = 1024
_MAX_WIDTH, _MAX_LAYERS = 4096, 64


class NAC(Comparator):
    """Neural architecture comparator: a graph encoder shared by both sides, trained on pairs by cross-entropy.

    The default is antisymmetric: ``p(a, b) + p(b, a) = 1`` and ``p(a, a) = 1/2`` by construction.
    ``NAC.published(space)`` is the configuration of the paper's released code.

    Args:
        space: whose architectures it is for.
        encoder: "bidirectional" (``BidirectionalEncoder``) or "published" (``PublishedEncoder``).
        head: "antisymmetric" or "concatenation"; see ``ComparatorNetwork``.
        pairs: "all" ordered pairs of a batch, or a batch against its "shuffled" self.
        canonical: read canonical graphs; False reads them as written.
        width: features of a vertex.
        layers: message passing layers.
        steps: optimiser steps of ``fit`` for up to ``batch`` labels; for more labels, in proportion more.
        batch: labelled architectures in a step, at most.
        learning_rate: of Adam (Kingma & Ba, 2015).
        momentum: Adam's beta_1 (beta_2 is 0.999).
        weight_decay: its strength.
        decoupled: decay as in AdamW (Loshchilov & Hutter, 2019) with a cosine schedule; False is plain Adam.
        seed: fixes all random draws.

    Attributes:
        network_: the trained ComparatorNetwork.

    Raises:
        GraphnasError: an argument out of range.
    """

    name = "nac"

    def __init__(
        self,
        space: Space,
        encoder: str = "bidirectional",
        head: str = "antisymmetric",
        pairs: str = "all",
        canonical: bool = True,
        width: int = 128,
        layers: int = 4,
        steps: int = 150,
        batch: int = 256,
        learning_rate: float = 1e-3,
        momentum: float = 0.9,
        weight_decay: float = 1e-3,
        decoupled: bool = True,
        seed: int = 0,
    ) -> None:
        for what, value, known in (("encoder", encoder, ENCODERS), ("head", head, HEADS), ("pairs", pairs, PAIRS)):
            if value not in known:
                raise unknown(f"{what} of a comparator", value, known)
        if not (1 <= width <= _MAX_WIDTH and 1 <= layers <= _MAX_LAYERS and steps >= 0 and batch >= 2):
            raise GraphnasError(
                f"a comparator needs width in 1..{_MAX_WIDTH}, layers in 1..{_MAX_LAYERS}, steps >= 0 and batch >= 2, "
                f"not {width}, {layers}, {steps} and {batch}"
            )
        if not (learning_rate > 0 and 0 <= momentum < 1 and weight_decay >= 0):
            raise GraphnasError(
                "a comparator needs learning_rate > 0, 0 <= momentum < 1 and weight_decay >= 0, "
                f"not {learning_rate}, {momentum} and {weight_decay}"
            )
        self.space = space
        self.encoder = encoder
        self.head = head
        self.pairs = pairs
        self.canonical = canonical
        self.width = width
        self.layers = layers
        self.steps = steps
        self.batch = batch
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.decoupled = decoupled
        self.seed = seed
        self._labelled: tuple[Sequence[Architecture], torch.Tensor] | None = None
        self._rounds = 0

    @classmethod
    def published(cls, space: Space, **changes: Any) -> NAC:
        """The configuration of the paper's released code.

        4 layers of width 128 without normalisation, a linear head on both vectors, batches against their shuffled
        selves, Adam 2e-4 with betas (0.5, 0.999) and decay 5e-4.

        Args:
            space: whose architectures it is for.
            **changes: other arguments of NAC.
        """
        arguments: dict[str, Any] = {
            "encoder": "published",
            "head": "concatenation",
            "pairs": "shuffled",
            "steps": 1000,
            "learning_rate": 2e-4,
            "momentum": 0.5,
            "weight_decay": 5e-4,
            "decoupled": False,
        }
        return cls(space, **{**arguments, **changes})

    # -- learning -------------------------------------------------------------------------------

    def _fit(self, architectures: Sequence[Architecture], scores: np.ndarray) -> None:
        self.network_ = self._make_network()
        # Only the order counts, and ranks keep it in single precision too.
        ranks = np.unique(scores, return_inverse=True)[1].astype(np.float32)
        self._labelled = architectures, torch.from_numpy(ranks)
        self._rounds = 0
        steps = math.ceil(self.steps * max(1.0, len(scores) / self.batch))
        self._train(steps, self.learning_rate, np.random.SeedSequence([self.seed, 0]), None)

    def learn_pairs(
        self,
        a: Sequence[Architecture],
        b: Sequence[Architecture],
        labels: Sequence[float] | np.ndarray,
        steps: int = 20,
    ) -> NAC:
        """Go on training on the labelled architectures and on these pairs, half and half (CTNAS' data exploration).

        Args:
            a, b: n pairs.
            labels: ``[n]``, 1 where ``a`` is taken to be better, else 0.
            steps: optimiser steps, at a tenth of the learning rate.

        Raises:
            GraphnasError: not fitted by ``fit`` in this process, different lengths, or labels outside [0, 1].
        """
        self._check_fitted()
        a, b = list(a), list(b)
        targets = np.asarray(labels, dtype=np.float32)
        if self._labelled is None:
            raise GraphnasError("a comparator that was loaded has no training data; fit it before learn_pairs")
        if not a or len(a) != len(b) or targets.shape != (len(a),) or not np.all((targets >= 0) & (targets <= 1)):
            raise GraphnasError(
                f"learn_pairs got {len(a)} and {len(b)} architectures and labels of shape {list(targets.shape)}; "
                "give pairs with one label in [0, 1] for each"
            )
        self._check([*a, *b])
        self._rounds += 1
        seed = np.random.SeedSequence([self.seed, self._rounds])
        self._train(steps, self.learning_rate / 10, seed, (a, b, torch.from_numpy(targets)))
        return self

    def _train(
        self,
        steps: int,
        learning_rate: float,
        seed: np.random.SeedSequence,
        extra: tuple[list[Architecture], list[Architecture], torch.Tensor] | None,
    ) -> None:
        assert self._labelled is not None
        labelled, scores = self._labelled
        a, b, targets = extra or ([], [], torch.empty(0))
        forms, member = self._distinct([*labelled, *a, *b])
        network, graphs = self.network_, self._graphs(forms)
        known, first, second = torch.split(torch.tensor(member), [len(labelled), len(a), len(b)])
        generator = torch.Generator().manual_seed(int(seed.generate_state(1)[0]))
        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        betas = (self.momentum, 0.999)
        optimiser = kind(network.parameters(), learning_rate, betas, weight_decay=self.weight_decay, fused=True)
        network.train()
        for step in range(steps):
            if self.decoupled:
                optimiser.param_groups[0]["lr"] = learning_rate * (1 + np.cos(np.pi * step / steps)) / 2
            rows, pairs = self._rows(len(known), generator), self._rows(len(targets), generator, shuffle=True)
            u, v = self._utilities(graphs, torch.cat([known[rows], first[pairs], second[pairs]]))
            n, m = len(rows), len(rows) + len(pairs)
            if self.pairs == "all":
                loss = all_pairs_loss(u[:n], v[:n], scores[rows])
            else:
                loss = shuffled_pairs_loss(u[:n], v[:n], scores[rows], generator)
            if len(pairs):
                loss = loss + binary_cross_entropy_with_logits(u[n:m] + v[m:], targets[pairs])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        network.eval()

    def _rows(self, n: int, generator: torch.Generator, shuffle: bool = False) -> torch.Tensor:
        """At most ``batch`` of n rows: all of them in order, where they are no more and need no shuffling."""
        return torch.randperm(n, generator=generator)[: self.batch] if n > self.batch or shuffle else torch.arange(n)

    def _utilities(self, graphs: ColourGraphs, chosen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """u and v ``[n]`` of the chosen graphs, each of which goes through the encoder once."""
        used, places = torch.unique(chosen, return_inverse=True)
        u, v = self.network_(graphs if len(used) == len(graphs) else graphs[used.numpy()])
        return u[places], v[places]

    # -- comparing ------------------------------------------------------------------------------

    def utilities(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """The utilities u and v ``[n]`` (float64): the logit of "a is better than b" is ``u(a) + v(b)``.

        Raises:
            GraphnasError: not fitted, or an architecture of another space.
        """
        self._check_fitted()
        architectures = list(architectures)
        self._check(architectures)
        forms, member = self._distinct(architectures)
        found = np.empty((2, len(forms)))
        with torch.no_grad():
            for start in range(0, len(forms), _CHUNK):
                u, v = self.network_(self._graphs(forms[start : start + _CHUNK]))
                found[0, start : start + _CHUNK] = u.numpy()
                found[1, start : start + _CHUNK] = v.numpy()
        return found[0, member], found[1, member]

    def _distinct(self, architectures: Sequence[Architecture]) -> tuple[list[Architecture], list[int]]:
        """The distinct graphs in an order of their own, and the place of each architecture's own.

        Equal graphs get bitwise equal utilities, and those of a set of graphs do not depend on the order of the call: that
        makes the default comparator antisymmetric to the last bit.
        """
        if self.canonical:
            forms, member = classes_of(self.space, architectures)
            name = dict(zip(member, map(self.space.key, architectures), strict=True))
        else:
            place: dict[Architecture, int] = {}
            member = [place.setdefault(a, len(place)) for a in architectures]
            forms = list(place)
            name = {i: repr(a.nodes) for i, a in enumerate(forms)}
        order = sorted(name, key=name.__getitem__)
        rank = {i: r for r, i in enumerate(order)}
        return [forms[i] for i in order], [rank[i] for i in member]

    def _probability(self, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
        u, v = self.utilities([*a, *b])
        return _sigmoid(u[: len(a)] + v[len(a) :])

    def matrix(self, a: Sequence[Architecture], b: Sequence[Architecture]) -> np.ndarray:
        """Probabilities ``[n, m]`` that ``a[i]`` is better than ``b[j]``.

        Raises:
            GraphnasError: not fitted, or an architecture of another space.
        """
        a, b = list(a), list(b)
        u, v = self.utilities([*a, *b])
        return _sigmoid(u[: len(a), None] + v[None, len(a) :])

    def rank_scores(self, architectures: Sequence[Architecture], references: Sequence[Architecture]) -> np.ndarray:
        """The mean probability ``[n]`` of being better than the references: a score to rank by.

        The order is that of the utility u whatever the references, since the logits are sums.

        Raises:
            GraphnasError: not fitted, no references, or an architecture of another space.
        """
        if not len(references):
            raise GraphnasError("rank_scores needs at least one architecture to compare with")
        return np.asarray(self.matrix(architectures, references).mean(1))

    def tau_pairwise(self, architectures: Sequence[Architecture], scores: Sequence[float] | np.ndarray) -> float:
        """The figure that the paper reports: twice the share of pairs i < j that are ordered right, less 1.

        A pair is ordered right where ``p(a_i better than a_j) - 1/2`` and the difference of their scores do not have opposite
        signs, so ties count as right. Kendall's tau-b of ``rank_scores`` is another figure: it corrects for ties, and
        its ranking is one, where the comparator need not even agree with itself on (i, j) and (j, i).

        Args:
            architectures: n >= 2.
            scores: ``[n]``, larger is better.

        Raises:
            GraphnasError: not fitted, an architecture of another space, or not one finite score for each of two or more.
        """
        true = np.asarray(scores, dtype=np.float64)
        if len(architectures) < 2 or true.shape != (len(architectures),) or not np.isfinite(true).all():
            raise GraphnasError(
                f"tau_pairwise got {len(architectures)} architectures and scores of shape {list(true.shape)}; "
                "give two or more, with one finite score for each"
            )
        first, second = np.triu_indices(len(true), 1)
        sure = self.matrix(architectures, architectures)[first, second] - 0.5
        return float(2 * np.mean(sure * (true[first] - true[second]) >= 0) - 1)

    # -- network and files ----------------------------------------------------------------------

    def _make_network(self) -> ComparatorNetwork:
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            torch.manual_seed(int(np.random.SeedSequence([self.seed]).generate_state(1)[0]))
            network = ComparatorNetwork(
                len(vocabulary_of(self.space)), self.width, self.layers, self.encoder, self.head
            )
        return network.eval()

    def _graphs(self, forms: Sequence[Architecture]) -> ColourGraphs:
        # The published readout averages over padding: it must be the same in every batch.
        nodes = vocabulary_of(self.space).max_nodes if self.encoder == "published" else None
        return self.network_.graphs(encode_dense(self.space, forms, canonical=False, nodes=nodes))

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return weights_of(self.network_)

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        network = self._make_network()
        set_weights(network, arrays)
        self.network_ = network
        self._labelled, self._rounds = None, 0


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(logits))
