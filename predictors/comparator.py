"""NAC, the comparator of CTNAS (Chen et al., CVPR 2021): which of two architecture graphs is better."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from graphnas.architecture import Architecture
from graphnas.encoding.dense import DenseTensors, encode_dense
from graphnas.encoding.forms import classes_of
from graphnas.encoding.vocabulary import vocabulary_of
from graphnas.errors import GraphnasError, unknown
from graphnas.predictor import Comparator
from graphnas.space import Space
from predictors.comparator_network import ENCODERS, HEADS, ComparatorNetwork, all_pairs_loss, shuffled_pairs_loss

PAIRS = ("all", "shuffled")
_CHUNK = 1024
_MAX_WIDTH, _MAX_LAYERS = 4096, 64


class NAC(Comparator):
    """Neural architecture comparator: a graph encoder shared by both sides, trained on pairs by cross-entropy.

    The default is antisymmetric: ``p(a, b) + p(b, a) = 1`` and ``p(a, a) = 1/2`` by construction.
    ``NAC.published(space)`` is the configuration of the paper's released code.

    Args:
        space: whose architectures it is for.
        encoder: "bidirectional" (``GraphEncoder``) or "published" (``PublishedEncoder``).
        head: "antisymmetric" or "concatenation"; see ``ComparatorNetwork``.
        pairs: "all" ordered pairs of a batch, or a batch against its "shuffled" self.
        canonical: read canonical graphs; False reads them as written.
        width: features of a vertex.
        layers: message passing layers.
        steps: optimiser steps of ``fit``.
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
        steps: int = 600,
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
        self._labelled: tuple[DenseTensors, torch.Tensor] | None = None
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
        self._labelled = self._graphs(architectures), torch.from_numpy(ranks)
        self._rounds = 0
        self._train(self.steps, self.learning_rate, np.random.SeedSequence([self.seed, 0]), None)

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
        self._train(steps, self.learning_rate / 10, seed, (self._graphs(a), self._graphs(b), torch.from_numpy(targets)))
        return self

    def _train(
        self,
        steps: int,
        learning_rate: float,
        seed: np.random.SeedSequence,
        extra: tuple[DenseTensors, DenseTensors, torch.Tensor] | None,
    ) -> None:
        assert self._labelled is not None
        graphs, scores = self._labelled
        network, n = self.network_, len(self._labelled[1])
        generator = torch.Generator().manual_seed(int(seed.generate_state(1)[0]))
        betas = (self.momentum, 0.999)
        kind = torch.optim.AdamW if self.decoupled else torch.optim.Adam
        optimiser = kind(network.parameters(), lr=learning_rate, betas=betas, weight_decay=self.weight_decay)
        network.train()
        for step in range(steps):
            if self.decoupled:
                optimiser.param_groups[0]["lr"] = learning_rate * (1 + np.cos(np.pi * step / steps)) / 2
            rows = torch.randperm(n, generator=generator)[: self.batch] if n > self.batch else torch.arange(n)
            u, v = network(graphs[rows])
            if self.pairs == "all":
                loss = all_pairs_loss(u, v, scores[rows])
            else:
                loss = shuffled_pairs_loss(u, v, scores[rows], generator)
            if extra is not None:
                a, b, targets = extra
                some = torch.randperm(len(targets), generator=generator)[: self.batch]
                logits = network(a[some])[0] + network(b[some])[1]
                loss = loss + binary_cross_entropy_with_logits(logits, targets[some])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        network.eval()

    # -- comparing ------------------------------------------------------------------------------

    def utilities(self, architectures: Sequence[Architecture]) -> tuple[np.ndarray, np.ndarray]:
        """The utilities u and v ``[n]`` (float64): the logit of "a is better than b" is ``u(a) + v(b)``.

        Raises:
            GraphnasError: not fitted, or an architecture of another space.
        """
        self._check_fitted()
        architectures = list(architectures)
        self._check(architectures)
        # Equal graphs are worked out once, so that they get bitwise equal utilities.
        if self.canonical:
            forms, member = classes_of(self.space, architectures)
        else:
            place: dict[Architecture, int] = {}
            member = [place.setdefault(a, len(place)) for a in architectures]
            forms = list(place)
        found = np.empty((2, len(forms)))
        with torch.no_grad():
            for start in range(0, len(forms), _CHUNK):
                u, v = self.network_(self._graphs(forms[start : start + _CHUNK]))
                found[0, start : start + _CHUNK] = u.numpy()
                found[1, start : start + _CHUNK] = v.numpy()
        return found[0, member], found[1, member]

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

    # -- network and files ----------------------------------------------------------------------

    def _make_network(self) -> ComparatorNetwork:
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            torch.manual_seed(int(np.random.SeedSequence([self.seed]).generate_state(1)[0]))
            network = ComparatorNetwork(
                len(vocabulary_of(self.space)), self.width, self.layers, self.encoder, self.head
            )
        return network.eval()

    def _graphs(self, architectures: Sequence[Architecture]) -> DenseTensors:
        # The published readout averages over padding: it must be the same in every batch.
        nodes = vocabulary_of(self.space).max_nodes if self.encoder == "published" else None
        return encode_dense(self.space, architectures, self.canonical, nodes).torch()

    def _arrays(self) -> Mapping[str, np.ndarray]:
        return {f"network.{name}": value.numpy() for name, value in self.network_.state_dict().items()}

    def _set_arrays(self, arrays: Mapping[str, np.ndarray]) -> None:
        network = self._make_network()
        weights = {}
        for name, value in network.state_dict().items():
            found = arrays[f"network.{name}"]
            if found.dtype != np.float32 or found.shape != tuple(value.shape) or not np.isfinite(found).all():
                raise ValueError(f"the weight {name} is not of the shape {list(value.shape)} or not finite")
            weights[name] = torch.from_numpy(found.copy())
        network.load_state_dict(weights)
        self.network_ = network
        self._labelled, self._rounds = None, 0


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(logits))
