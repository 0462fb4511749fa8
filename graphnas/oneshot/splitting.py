"""Where to cut the space of a supernet: given decisions, random ones, or those whose options disagree about the shared weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.oneshot.paths import drawn
from graphnas.oneshot.problem import laid_out
from graphnas.oneshot.supernet import Supernet
from graphnas.oneshot.task_streams import Drawn, streams_of
from graphnas.region import Region, place_of
from graphnas.tasks.base import Task

MEASURES = ("cosine", "whole", "squared")
_MOST_OPTIONS = 8


class Splitter(Protocol):
    """Cuts a region of the space that a supernet holds."""

    @property
    def needs_weights(self) -> bool:
        """Whether it looks at the trained supernet."""

    def __call__(self, supernet: Supernet, region: Region, task: Task, seed: int) -> list[Region]:
        """The parts of the region; at least one.

        Args:
            supernet: with trained weights, which stay as they are.
            region: what to cut.
            task: what the supernet is trained on; only its training data are used.
            seed: of all draws.
        """


@dataclass(frozen=True)
class Given:
    """One part for each combination of the options of the named decisions (Zhao et al., ICML 2021).

    Attributes:
        choices: names of decisions of the space that the supernet holds.
    """

    choices: tuple[str, ...]

    needs_weights = False

    def __call__(self, supernet: Supernet, region: Region, task: Task, seed: int) -> list[Region]:
        """See ``Splitter``."""
        parts = [region]
        for name in self.choices:
            place = place_of(supernet.space, name)
            parts = [part for whole in parts for part in whole.split(place, whole.singles(place))]
        return parts


@dataclass(frozen=True)
class Random:
    """The exhaustive split of decisions that are drawn.

    Attributes:
        count: how many decisions.
    """

    count: int = 1

    needs_weights = False

    def __call__(self, supernet: Supernet, region: Region, task: Task, seed: int) -> list[Region]:
        """See ``Splitter``."""
        rng = np.random.default_rng([seed, 13])
        places = rng.permutation(region.open)[: self.count]
        names = [supernet.space.choices[place].name for place in sorted(places.tolist())]
        return Given(tuple(names))(supernet, region, task, seed)


class Cut(NamedTuple):
    """One way to cut a region.

    Attributes:
        place: of the decision.
        groups: its options in groups.
        score: dissimilarity between the groups.
        dissimilarity: ``[K, K]`` of the options, in the order of the region's.
    """

    place: int
    groups: tuple[tuple[int, ...], ...]
    score: float
    dissimilarity: np.ndarray


@dataclass(frozen=True)
class GradientMatching:
    """GM-NAS: options whose gradients on the shared weights agree stay together (Hu et al., ICLR 2022).

    For a decision, the rest of the architecture is drawn with a batch, and each option in turn gives a gradient of all other
    weights. The dissimilarity of two options is the mean over the draws of ``sum_filters 1 - cos`` of their
    gradients. The options are grouped so that the sum of dissimilarities within groups is least, by trying all groupings; the
    decision whose groups are most dissimilar is cut.

    Attributes:
        parts: groups of options.
        repeats: draws for each decision.
        batch: examples in a batch.
        measure: "cosine" for each filter, "whole" for the cosine of all weights as one vector, or "squared" for the mean squared
            difference.
    """

    parts: int = 2
    repeats: int = 100
    batch: int = 64
    measure: str = "cosine"

    needs_weights = True

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise unknown("measure of gradient matching", self.measure, MEASURES)
        if self.parts < 2 or self.repeats < 1:
            raise GraphnasError(
                f"gradient matching needs parts >= 2 and repeats >= 1, not {self.parts}, {self.repeats}"
            )

    def __call__(self, supernet: Supernet, region: Region, task: Task, seed: int) -> list[Region]:
        """See ``Splitter``."""
        cut = max(self.cuts(supernet, region, task, seed), key=lambda cut: cut.score)
        return list(region.split(cut.place, cut.groups))

    def cuts(self, supernet: Supernet, region: Region, task: Task, seed: int) -> list[Cut]:
        """The best cut at every decision that has enough options left.

        Raises:
            GraphnasError: there is none, or a decision has too many options to try all groupings.
        """
        places = [place for place in region.open if len(region.options[place]) >= self.parts]
        if not places:
            raise GraphnasError(f"no decision of this region has {self.parts} options left; split less often")
        found = []
        for place in places:
            allowed = region.options[place]
            matrix = self.dissimilarity(supernet, region, place, task, seed)
            chosen, score = best_grouping(matrix, self.parts)
            found.append(Cut(place, tuple(tuple(allowed[i] for i in group) for group in chosen), score, matrix))
        return found

    def dissimilarity(self, supernet: Supernet, region: Region, place: int, task: Task, seed: int) -> np.ndarray:
        """``[K, K]`` for the options of a decision that a region has."""
        allowed = region.options[place]
        streams = streams_of(task, self.batch, None, seed)
        rng = np.random.default_rng([seed, 17, place])
        total = np.zeros((len(allowed), len(allowed)))
        training = supernet.training
        buffers = {name: b.clone() for name, b in supernet.named_buffers()}
        supernet.train()
        try:
            for _ in range(self.repeats):
                batch = streams.inner(int(rng.integers(2**31)))
                rest = supernet.decisions(drawn(supernet, region, rng))
                paths = [supernet.space.decode((*rest[:place], k, *rest[place + 1 :])) for k in allowed]
                gradients = [_gradient(supernet, path, task, batch, place) for path in paths]
                for i, first in enumerate(gradients):
                    for j in range(i):
                        total[i, j] += apart(first, gradients[j], self.measure)
        finally:
            supernet.train(training)
            for name, b in supernet.named_buffers():
                b.copy_(buffers[name])
        return np.asarray((total + total.T) / self.repeats)


def _gradient(supernet: Supernet, path: Architecture, task: Task, given: object, place: int) -> dict[str, Tensor]:
    """The gradient of the loss for all weights with filters, but those of one decision."""
    batch, seed = given if isinstance(given, Drawn) else (given, 0)
    own = {n.get("name") for n in supernet.architecture.nodes if supernet.place_in(n, place)}
    names, weights = [], []
    for name, weight in supernet.network.named_parameters():
        if weight.ndim > 1 and name.partition(".options.")[0] not in own:
            names.append(name)
            weights.append(weight)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        output = supernet(*laid_out(batch.inputs), mix=supernet.one_hot(path))  # type: ignore[attr-defined]
        loss = task.loss(output, batch)  # type: ignore[arg-type]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def apart(first: dict[str, Tensor], second: dict[str, Tensor], measure: str) -> float:
    """How dissimilar two gradients are; a weight that only one of them has counts as a gradient of zero in the other.

    With "cosine", a filter that neither moves adds 0, one that only one of them moves adds 1.
    """
    pairs = []
    for name in sorted(first.keys() | second.keys()):
        a, b = first.get(name), second.get(name)
        some = a if a is not None else b
        assert some is not None
        a, b = (torch.zeros_like(some) if g is None else g for g in (a, b))
        pairs.append((a.flatten(1).double(), b.flatten(1).double()))
    if measure != "cosine":
        a, b = (torch.cat([pair[i].flatten() for pair in pairs])[None] for i in (0, 1))
        return float((a - b).square().mean()) if measure == "squared" else float(_one_less_cosine(a, b).sum())
    return sum(float(_one_less_cosine(a, b).sum()) for a, b in pairs)


def _one_less_cosine(a: Tensor, b: Tensor) -> Tensor:
    """``[F]`` from two ``[F, ...]``."""
    norms = a.norm(dim=1) * b.norm(dim=1)
    cosine = torch.where(norms > 0, (a * b).sum(1) / norms.clamp_min(1e-300), 0.0)
    silent = (a.norm(dim=1) == 0) & (b.norm(dim=1) == 0)
    return torch.where(silent, 0.0, 1.0 - cosine)


def best_grouping(dissimilarity: np.ndarray, parts: int) -> tuple[list[list[int]], float]:
    """The grouping of K options into so many groups with the least dissimilarity within, and that between the groups.

    Of equal groupings, the first in lexical order.

    Raises:
        GraphnasError: more than 8 options.
    """
    count = len(dissimilarity)
    if count > _MOST_OPTIONS:
        raise GraphnasError(
            f"a decision has {count} options; gradient matching tries all groupings of at most {_MOST_OPTIONS}"
        )
    best: tuple[list[list[int]], float] = [], math.inf
    for groups in groupings(count, parts):
        within = sum(dissimilarity[i, j] for group in groups for i in group for j in group if i < j)
        if within < best[1]:
            best = groups, float(within)
    total = float(np.triu(dissimilarity, 1).sum())
    return best[0], total - best[1]


def groupings(count: int, parts: int) -> Iterator[list[list[int]]]:
    """All partitions of ``range(count)`` into exactly ``parts`` groups, each once."""

    def grow(labels: list[int]) -> Iterator[list[int]]:
        used = max(labels, default=-1) + 1
        if len(labels) == count:
            if used == parts:
                yield labels
            return
        for label in range(min(used + 1, parts)):
            yield from grow([*labels, label])

    for labels in grow([]):
        yield [[i for i, label in enumerate(labels) if label == group] for group in range(parts)]


def splitter(given: str | Sequence[str] | Splitter) -> Splitter:
    """A splitter from what the command line can say: "random", "gradient", or names of decisions (a list, or with commas)."""
    if isinstance(given, str):
        if given == "random":
            return Random()
        if given == "gradient":
            return GradientMatching()
        return Given(tuple(given.split(",")))
    if isinstance(given, Sequence):
        return Given(tuple(given))
    return given
