"""A method: the parts that make one gradient-based search."""

from __future__ import annotations

from dataclasses import dataclass

from graphnas.errors import GraphnasError
from graphnas.oneshot.curvature import CurvatureStop
from graphnas.oneshot.discretisers import Discretiser
from graphnas.oneshot.gates import Always, Gate
from graphnas.oneshot.optimisers import Rule
from graphnas.oneshot.outer.base import Outer
from graphnas.oneshot.regularisers import Regulariser
from graphnas.oneshot.relaxations.base import Relaxation


@dataclass(frozen=True)
class Method:
    """What a paper proposes, as a record; ``dataclasses.replace`` makes variants.

    Attributes:
        name: under which it is found.
        source: authors, venue, year, and where the settings are from.
        relaxation: from architecture parameters to mixing weights.
        outer: the step of the architecture.
        discretiser: chooses the derived architecture.
        inner: the weights' optimiser.
        architecture: the architecture's optimiser; None for outer steps that are added as they are.
        gate: when the architecture steps.
        regularisers: terms of the outer objective.
        split: the part of the training data that the weights get; None: both get all (single-level).
        epochs: of the search.
        batch: size of a batch.
        stop: ends the search early.

    Raises:
        GraphnasError: parts that do not fit.
    """

    name: str
    source: str
    relaxation: Relaxation
    outer: Outer
    discretiser: Discretiser
    inner: Rule
    architecture: Rule | None = None
    gate: Gate = Always()  # noqa: RUF009 - frozen
    regularisers: tuple[Regulariser, ...] = ()
    split: float | None = 0.5
    epochs: int = 50
    batch: int = 64
    stop: CurvatureStop | None = None

    def __post_init__(self) -> None:
        if self.outer.gives_delta and (self.architecture is not None or self.regularisers):
            raise GraphnasError(
                f"method {self.name!r}: {type(self.outer).__name__} gives a displacement that is added to alpha as it is; "
                "leave out the architecture's optimiser and the regularisers"
            )
        if not self.outer.gives_delta and self.architecture is None:
            raise GraphnasError(
                f"method {self.name!r}: {type(self.outer).__name__} gives a gradient; name the architecture's optimiser"
            )
        if self.split is not None and not 0 < self.split < 1:
            raise GraphnasError(f"method {self.name!r}: the split must lie between 0 and 1, not {self.split}")
