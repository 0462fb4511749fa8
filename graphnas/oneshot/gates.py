"""When the architecture makes a step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from graphnas.errors import GraphnasError
from graphnas.oneshot.schedules import Clock

Memory = dict[str, float]


class Gate(Protocol):
    """Decides before every weight step whether the architecture steps first."""

    @property
    def needs_fisher(self) -> bool:
        """Whether the squared norm of the weights' gradient is wanted."""

    def __call__(self, clock: Clock, memory: Memory, fisher: float) -> tuple[bool, Memory]:
        """Whether to open, and what to remember.

        Args:
            clock: the step.
            memory: what the last call returned; ``{}`` at first.
            fisher: squared norm of the last inner gradient, the trace of the empirical Fisher information; 0 at first.
        """


@dataclass(frozen=True)
class Every:
    """Open at every ``n``-th weight step.

    Attributes:
        n: 1 for every step.
        warmup: the part of the search before which the gate stays shut.
        until: the part of the search after which it stays shut.
    """

    n: int = 1
    warmup: float = 0.0
    until: float = 1.0

    needs_fisher = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise GraphnasError(f"a gate opens at every step or more rarely, not at every {self.n}-th")

    def __call__(self, clock: Clock, memory: Memory, fisher: float) -> tuple[bool, Memory]:
        """See ``Gate``."""
        return self.warmup <= clock.progress < self.until and clock.step % self.n == 0, memory


@dataclass(frozen=True)
class Always(Every):
    """Open at every weight step."""


@dataclass(frozen=True)
class FisherGate:
    """Open while the weights' gradient is small (Maile et al., arXiv 2106.11655).

    F, the smoothed squared norm of the inner gradient, is compared with a threshold h, 1 at first. Where ``0 < F < h``
    the gate opens and h falls by ``growth ** steps``, else h grows by ``growth``. In the long run the gate opens once in
    ``steps + 1`` weight steps whatever the scale of F, and does so in flat moments.

    Attributes:
        steps: s, closed steps for an open one.
        growth: m.
        smoothing: weight of the newest value in F; 1 is no smoothing, as for recurrent cells.
    """

    steps: int = 10
    growth: float = 1.05
    smoothing: float = 0.2

    needs_fisher = True

    def __call__(self, clock: Clock, memory: Memory, fisher: float) -> tuple[bool, Memory]:
        """See ``Gate``."""
        threshold = memory.get("threshold", 1.0)
        smooth = self.smoothing * fisher + (1 - self.smoothing) * memory.get("fisher", 0.0)
        opened = 0 < smooth < threshold
        threshold *= self.growth**-self.steps if opened else self.growth
        return opened, {"threshold": threshold, "fisher": smooth}
