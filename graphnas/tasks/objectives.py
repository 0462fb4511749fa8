"""What the rows of a network's output are trained for: a loss and the metrics, for nodes and for graphs alike.

Accuracy is in %; every other metric is on the scale of scikit-learn and OGB (fractions, or units of the target).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import Metric
from graphnas.tasks.measure import Classification


class Objective(ABC):
    """A loss and the metrics of outputs ``[B, outputs]`` against targets; missing targets count nowhere.

    Attributes:
        name: "classification", "binary" or "regression".
        metric: selection is by this one.
        outputs: columns that the network must return.
    """

    name: str
    metric: Metric
    outputs: int

    @abstractmethod
    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """The mean loss over the targets that are there (a scalar; 0 when there are none)."""

    @abstractmethod
    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """The metrics of a whole split; all NaN when an output is not finite or no target is there."""

    def strata(self, target: Tensor) -> NDArray[np.int64]:
        """A class for each row ``[B]``, in whose shares the rows are split."""
        return np.zeros(len(target), dtype=np.int64)


class CrossEntropy(Objective):
    """Single-label classification: targets ``[B]`` (int64), -1 for none; ``accuracy`` in %, ``cross_entropy`` in nats."""

    name = "classification"
    metric = Metric("accuracy")

    def __init__(self, outputs: int) -> None:
        self.outputs = outputs

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean cross entropy in nats."""
        total = functional.cross_entropy(output, target, ignore_index=-1, reduction="sum")
        return total / (target >= 0).sum().clamp(min=1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """``accuracy`` and ``cross_entropy``."""
        meter, labelled = Classification(), target >= 0
        meter.add(output[labelled], target[labelled])
        return meter.result()

    def strata(self, target: Tensor) -> NDArray[np.int64]:
        """The classes themselves."""
        return target.numpy()


class BinaryCrossEntropy(Objective):
    """Any number of yes-or-no labels: targets ``[B, T]`` of 0, 1 and NaN for none; a logit each.

    Args:
        outputs: the number T of labels.
        metric: "micro_f1" (of all labels together, a logit above 0 is a yes), or "rocauc" or "ap" (area under the ROC
            curve and average precision, means over the labels that have both a yes and a no, as OGB takes them).
        evaluator: an OGB data set whose own evaluator computes the metric.
    """

    name = "binary"

    def __init__(self, outputs: int, metric: str = "micro_f1", evaluator: str | None = None) -> None:
        self.outputs = outputs
        self.metric = Metric(metric)
        self.evaluator = evaluator

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean binary cross entropy in nats over the labels that are there."""
        there = ~torch.isnan(target)
        total = functional.binary_cross_entropy_with_logits(output[there], target[there], reduction="sum")
        return total / there.sum().clamp(min=1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """The metric of selection and ``cross_entropy`` in nats."""
        there = ~torch.isnan(target)
        if not bool(torch.isfinite(output).all()) or not bool(there.any()):
            return {self.metric.name: float("nan"), "cross_entropy": float("nan")}
        nats = float(self.loss(output.double(), target.double()))
        return {self.metric.name: self._measure(output, target, there), "cross_entropy": nats}

    def _measure(self, output: Tensor, target: Tensor, there: Tensor) -> float:
        if self.evaluator is not None:
            return _ogb(self.evaluator, self.metric.name, output, target)
        if self.metric.name == "micro_f1":
            said, true = output[there] > 0, target[there] > 0
            both = 2 * int((said & true).sum())
            return both / max(1, int(said.sum()) + int(true.sum()))
        from sklearn.metrics import average_precision_score, roc_auc_score

        measure = roc_auc_score if self.metric.name == "rocauc" else average_precision_score
        values = []
        for column in range(target.shape[1]):
            rows = there[:, column]
            y, score = target[rows, column].numpy(), output[rows, column].numpy()
            if 0 < y.sum() < len(y):
                values.append(float(measure(y, score)))
        return float(np.mean(values)) if values else float("nan")


class SquaredError(Objective):
    """Regression: targets ``[B, T]``, NaN for none; ``rmse`` and ``mae`` are means over the T columns.

    Args:
        outputs: the number T of targets.
        metric: "rmse" or "mae"; both are measured, both are to be small.
        evaluator: an OGB data set whose own evaluator computes the metric of selection.
    """

    name = "regression"

    def __init__(self, outputs: int, metric: str = "rmse", evaluator: str | None = None) -> None:
        self.outputs = outputs
        self.metric = Metric(metric, maximise=False)
        self.evaluator = evaluator

    def loss(self, output: Tensor, target: Tensor) -> Tensor:
        """Mean squared error over the targets that are there."""
        there = ~torch.isnan(target)
        return functional.mse_loss(output[there], target[there], reduction="sum") / there.sum().clamp(min=1)

    def metrics(self, output: Tensor, target: Tensor) -> dict[str, float]:
        """Root mean squared and mean absolute error in units of the target."""
        there = ~torch.isnan(target)
        if not bool(torch.isfinite(output).all()) or not bool(there.any()):
            return {"rmse": float("nan"), "mae": float("nan")}
        error = torch.where(there, output.double() - target.double(), 0.0)
        counts = there.sum(0)
        used = counts > 0
        result = {
            "rmse": float(((error**2).sum(0)[used] / counts[used]).sqrt().mean()),
            "mae": float((error.abs().sum(0)[used] / counts[used]).mean()),
        }
        if self.evaluator is not None:
            result[self.metric.name] = _ogb(self.evaluator, self.metric.name, output, target)
        return result


def _ogb(evaluator: str, metric: str, output: Tensor, target: Tensor) -> float:
    from graphnas.tasks.ogb_data import evaluate_ogb

    return evaluate_ogb(evaluator, {"y_true": target.numpy(), "y_pred": output.numpy()})[metric]


_KINDS = {"classification": ("accuracy",), "binary": ("micro_f1", "rocauc", "ap"), "regression": ("rmse", "mae")}


def read_target(y: Tensor, kind: str | None, rows: int, what: str) -> tuple[Tensor, str]:
    """Targets in the form that an objective takes, and the kind of objective.

    Args:
        y: as given.
        kind: "classification", "binary", "regression"; None takes classification for integers ``[B]`` or ``[B, 1]``
            and regression for real numbers.
        rows: how many there must be.
        what: "nodes" or "graphs".

    Raises:
        GraphnasError: an unknown kind, a wrong shape or type, or values out of range.
    """
    single = y.ndim == 1 or (y.ndim == 2 and y.shape[1] == 1)
    kind = kind or ("classification" if single and not y.is_floating_point() else "regression")
    if kind not in _KINDS:
        raise unknown("objective", kind, _KINDS)
    if y.ndim not in (1, 2) or len(y) != rows or y.numel() == 0:
        raise GraphnasError(f"y has shape {list(y.shape)}; {rows} {what} need [{rows}] or [{rows}, targets]")
    if kind == "classification":
        if y.is_floating_point() or not single:
            raise GraphnasError(
                f"y has shape {list(y.shape)} and type {y.dtype}; classification takes one integer for each of the "
                f"{what}: choose the objective 'binary' for several labels, or 'regression'"
            )
        y = y.reshape(-1).long()
        if int(y.min()) < -1 or int(y.max()) < 0:
            raise GraphnasError(f"y has the label {int(y.min())}; labels are 0, 1, ..., or -1 for none")
        return y, kind
    y = y.reshape(rows, -1).float()
    there = ~torch.isnan(y)
    if kind == "binary" and not bool(torch.isin(y[there], torch.tensor([0.0, 1.0])).all()):
        raise GraphnasError("y of a binary objective must hold 0, 1, or NaN for none, and nothing else")
    if bool(torch.isinf(y).any()) or not bool(there.any()):
        raise GraphnasError("y holds infinite values or nothing but NaN; a target must be a finite number")
    return y, kind


def make_objective(
    kind: str, target: Tensor, metric: str | None = None, classes: int | None = None, evaluator: str | None = None
) -> Objective:
    """The objective for targets that ``read_target`` returned.

    Args:
        kind: as ``read_target`` returned it.
        target: of all splits.
        metric: by which networks are selected; by default the first of the kind's.
        classes: of a classification; by default one more than the largest label.
        evaluator: an OGB data set whose own evaluator computes the metric.

    Raises:
        GraphnasError: a metric that does not belong to the kind, or labels beyond ``classes``.
    """
    metric = metric or _KINDS[kind][0]
    if metric not in _KINDS[kind]:
        raise unknown(f"metric of {kind}:", metric, _KINDS[kind])
    if kind == "classification":
        highest = int(target.max())
        if classes is not None and highest >= classes:
            raise GraphnasError(
                f"y has the label {highest}; labels must be between 0 and {classes - 1}, or -1 for none"
            )
        return CrossEntropy(classes or highest + 1)
    if classes is not None and classes != target.shape[1]:
        raise GraphnasError(f"y has {target.shape[1]} columns, but {classes} classes were asked for; leave classes out")
    make = BinaryCrossEntropy if kind == "binary" else SquaredError
    return make(target.shape[1], metric, evaluator)
