"""How a running search tells how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from graphnas.search import Budget
from graphnas.strategies.base import Trial


class Progress:
    """A bar with the best score so far on a terminal; elsewhere a line when the best improves, at most every 5 seconds.

    Args:
        budget: fixes the bar's end where trials are limited.
        metric: name of what is searched for.
        maximise: False when scores are negated metrics.
        bar: False for lines on a terminal too.
    """

    INTERVAL = 0.1
    LINE_INTERVAL = 5.0

    def __init__(self, budget: Budget, metric: str, maximise: bool = True, bar: bool = True) -> None:
        self.metric = metric
        self.sign = 1.0 if maximise else -1.0
        self.failed = 0
        self._next = 0.0
        self._printed: float | None = None
        self._bar: Any = None
        if bar and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=budget.trials, unit="trial", file=sys.stderr, dynamic_ncols=True)

    def __call__(self, trial: Trial, best: Trial | None, count: int) -> None:
        """Called after every trial."""
        self.failed += trial.status == "failed"
        now = time.monotonic()
        if now < self._next:
            return
        if self._bar is not None:
            self._next = now + self.INTERVAL
            self._show(best, count)
        elif best is not None and best.score != self._printed:
            self._next = now + self.LINE_INTERVAL
            self._printed = best.score
            print(f"trial {count}: best {self.metric} {self.sign * best.score:.6g}", file=sys.stderr, flush=True)

    def epoch(self, number: int, epochs: int, figures: Mapping[str, Any]) -> None:
        """Called after every epoch of a gradient-based search."""
        names = ("inner_loss", "outer_loss", "entropy")
        shown = ", ".join(f"{name.replace('_', ' ')} {figures[name]:.4g}" for name in names if name in figures)
        print(f"epoch {number} of {epochs}: {shown}", file=sys.stderr, flush=True)

    def _show(self, best: Trial | None, count: int) -> None:
        text = "no success yet" if best is None else f"best {self.metric} {self.sign * best.score:.6g}"
        if self.failed:
            text += f", {self.failed} failed"
        self._bar.set_postfix_str(text, refresh=False)
        self._bar.update(count - self._bar.n)

    def close(self, best: Trial | None, count: int) -> None:
        """Show the last state and leave the line."""
        if self._bar is not None:
            self._show(best, count)
            self._bar.close()
