"""A user's own Python function as an Estimator."""

from __future__ import annotations

import inspect
import numbers
from collections.abc import Callable, Mapping
from typing import Any

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.space import Space


class FunctionEstimator(Estimator):
    """Scores architectures with ``function(architecture)``, which returns a number or named figures.

    A number is the score. A mapping must contain ``metric``; its other entries are kept as metrics, and ``cost`` (if
    there) counts against ``Budget.cost``. The seed of the trial is passed as ``seed=`` if the function has a parameter
    of that name. The function must depend on its arguments alone; to run in worker processes it must be a module-level
    function.

        >>> FunctionEstimator(space, lambda architecture: -architecture.depth(), metric="minus depth")

    Args:
        space: whose architectures the function accepts.
        function: architecture -> number or mapping.
        metric: name of the figure to select by.
        maximise: whether a larger figure is better.
        cheap: the function takes microseconds, so that worker processes would only cost.

    Raises:
        GraphnasError: the function is not callable.
    """

    name = "function"

    def __init__(
        self,
        space: Space,
        function: Callable[..., float | Mapping[str, float]],
        *,
        metric: str = "score",
        maximise: bool = True,
        cheap: bool = False,
    ) -> None:
        if not callable(function):
            raise GraphnasError(f"the function of an estimator is a {type(function).__name__}; it must be callable")
        self.space = space
        self.function = function
        self.metric = metric
        self.maximise = maximise
        self.cheap = cheap
        try:
            self._takes_seed = "seed" in inspect.signature(function).parameters
        except ValueError:  # some built-in functions have no signature
            self._takes_seed = False

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """Call the function.

        Raises:
            GraphnasError: it returned neither a number nor a mapping of numbers with the metric.
        """
        result = self.function(architecture, seed=seed) if self._takes_seed else self.function(architecture)
        figures = result if isinstance(result, Mapping) else {self.metric: result}
        if self.metric not in figures:
            raise GraphnasError(f"the function returned {sorted(map(str, figures))}, but not {self.metric!r}")
        metrics = {str(name): _number(name, value) for name, value in figures.items()}
        cost = metrics.pop("cost", 1.0) if self.metric != "cost" else 1.0
        score = metrics[self.metric] if self.maximise else -metrics[self.metric]
        return Evaluation(score, metrics, cost)

    def describe(self) -> dict[str, Any]:
        """Settings, as JSON values; the function by its qualified name."""
        qualified = getattr(self.function, "__qualname__", type(self.function).__qualname__)
        module = getattr(self.function, "__module__", "")
        return {
            **super().describe(),
            "function": f"{module}:{qualified}",
            "metric": self.metric,
            "maximise": self.maximise,
        }


def _number(name: object, value: Any) -> float:
    """A Python, numpy or one-element torch number as a float."""
    if isinstance(value, numbers.Real) or getattr(value, "shape", None) in ((), (1,)):
        return float(value)
    raise GraphnasError(f"the function returned {value!r:.60} for {name!r}; it must be a number")
