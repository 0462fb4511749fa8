"""How much training an architecture gets, and how it is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import Metric, Task

OPTIMISERS = ("adam", "adamw", "sgd", "asgd")
SCHEDULES = ("constant", "cosine", "inverse_sqrt")
SELECT_BY = ("metric", "loss")


@dataclass(frozen=True)
class Fidelity:
    """How much training: the axes along which an estimate is made cheaper.

    Attributes:
        epochs: passes over the training data, at most.
        data: part of the training data, in (0, 1].
        size: overrides of the Space's ``network_size`` (channels, cells, ...).
    """

    epochs: int
    data: float = 1.0
    size: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise GraphnasError(f"the number of epochs is {self.epochs}; it must be at least 1")
        if not 0 < self.data <= 1:
            raise GraphnasError(f"the share of the training data is {self.data}; it must be above 0 and at most 1")
        object.__setattr__(self, "size", dict(self.size))

    @classmethod
    def for_kind(cls, kind: str) -> Fidelity:
        """The default of a kind of task: 200 epochs for nodes (Kipf & Welling, 2017, section 5.2), 30 for others."""
        return cls(epochs=200 if kind == "node" else 30)

    def describe(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    Attributes:
        optimiser: "sgd", "adam", "adamw", or "asgd": sgd until the validation metric has not beaten what it was before the last
            ``window`` epochs; from then on what is measured and kept are the means of the weights since then, while sgd goes on
            (Merity, Keskar & Socher, ICLR 2018, algorithm 1).
        learning_rate: at the start.
        weight_decay: L2 penalty on all parameters (decoupled for adamw).
        momentum: of sgd.
        schedule: "constant", or "cosine" from the learning rate to zero over all epochs, without restarts
            (Loshchilov & Hutter, 2017, equation 5), which changes after every epoch; or "inverse_sqrt", which changes with
            every step: up to the learning rate in a straight line over ``warmup`` steps, then down with one over the root
            of the step (Vaswani et al., 2017, equation 3).
        clip: largest norm of the gradient; None does not clip.
        cutout: side of a square of zeros at a random place of every training image, as part of the image's side; 0.5 is
            the 16 pixels of DeVries & Taylor (2017) on CIFAR.
        betas: of adam and adamw.
        warmup: steps; see ``schedule``.
        patience: stop after this many epochs without a better validation metric; None never stops early.
        nesterov: whether the momentum of sgd is Nesterov's.
        window: see ``optimiser``.
        select_by: what tells the best epoch, when patience runs out, and which of several trainings is better: on the validation
            split the task's "metric", or the "loss" (cross entropy), which is less noisy where few examples are labelled.
        consistency: weight of the disagreement of several noisy passes over the same examples, labelled or not, that is
            added to the loss of a classification; 0 takes one pass and adds nothing. See ``graphnas.estimators.consistency``.
        views: passes of a step with ``consistency``.
        temperature: of the sharpened mean that these passes are drawn to; 1 does not sharpen.
    """

    optimiser: str = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: str = "cosine"
    clip: float | None = 5.0
    patience: int | None = None
    cutout: float = 0.0
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: int = 1000
    nesterov: bool = True
    window: int = 5
    select_by: str = "metric"
    consistency: float = 0.0
    views: int = 2
    temperature: float = 0.5

    def __post_init__(self) -> None:
        if self.optimiser not in OPTIMISERS:
            raise unknown("optimiser", self.optimiser, OPTIMISERS)
        if self.schedule not in SCHEDULES:
            raise unknown("schedule", self.schedule, SCHEDULES)
        if self.select_by not in SELECT_BY:
            raise unknown("measure to select by:", self.select_by, SELECT_BY)
        if not self.learning_rate > 0:
            raise GraphnasError(f"the learning rate is {self.learning_rate}; it must be positive")
        if not self.weight_decay >= 0:
            raise GraphnasError(f"the weight decay is {self.weight_decay}; it must be 0 or more")
        if not 0 <= self.momentum < 1:
            raise GraphnasError(f"the momentum is {self.momentum}; it must be at least 0 and below 1")
        if self.clip is not None and not self.clip > 0:
            raise GraphnasError(f"the gradient is clipped at {self.clip}; the norm must be positive, or None")
        if not 0 <= self.cutout <= 1:
            raise GraphnasError(f"cutout is {self.cutout}; it must lie between 0 and 1, parts of the image's side")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise GraphnasError(f"the betas are {self.betas}; they must be two numbers of at least 0 and below 1")
        object.__setattr__(self, "betas", tuple(self.betas))
        if self.warmup < 1:
            raise GraphnasError(f"the warm-up takes {self.warmup} steps; it must be at least 1")
        if self.patience is not None and self.patience < 1:
            raise GraphnasError(f"the patience is {self.patience}; it must be at least 1 epoch, or None")
        if self.window < 1:
            raise GraphnasError(f"the window of averaging is {self.window}; it must be at least 1 epoch")
        if not self.consistency >= 0:
            raise GraphnasError(f"the weight of consistency is {self.consistency}; it must be 0 or more")
        if self.views < 2:
            raise GraphnasError(f"consistency takes {self.views} passes; it must be at least 2")
        if not 0 < self.temperature <= 1:
            raise GraphnasError(f"the temperature is {self.temperature}; it must be above 0 and at most 1")

    @classmethod
    def for_kind(cls, kind: str) -> Recipe:
        """The default of a kind of task.

        Nodes: Adam, learning rate 0.01, weight decay 5e-4, as Kipf & Welling (2017, section 5.1). Images: SGD with
            Nesterov momentum 0.9, cosine schedule and weight decay 5e-4, as NAS-Bench-201 (Dong & Yang, 2020, section
            2.2). Translation: Adam with betas 0.9 and 0.98, inverse square root after 4,000 steps (Vaswani et al., 2017,
            section 5.3) and a peak of 5e-4 (Zhao et al., 2021). Texts: SGD, then averaged, as DARTS trains on Penn
            Treebank (Liu, Simonyan & Yang, 2019).
        """
        if kind == "text":
            return cls("asgd", learning_rate=20.0, weight_decay=8e-7, momentum=0.0, schedule="constant", clip=0.25)
        if kind == "node":
            return cls("adam", learning_rate=0.01, schedule="constant", clip=None)
        if kind == "translation":
            return cls(
                "adam", 5e-4, weight_decay=0.0, schedule="inverse_sqrt", clip=None, betas=(0.9, 0.98), warmup=4000
            )
        return cls()

    def metric(self, task: Task) -> Metric:
        """What selects on the validation split of a task.

        Raises:
            GraphnasError: consistency, or selection by the loss, where the task is no classification of single labels.
        """
        if self.select_by == "metric" and not self.consistency:
            return task.metric
        if task.metric.name != "accuracy":
            raise GraphnasError(
                f"task {task.name!r} is measured by {task.metric.name}; consistency and select_by='loss' are for "
                "classification, measured by accuracy"
            )
        return task.metric if self.select_by == "metric" else Metric("cross_entropy", maximise=False)

    def describe(self) -> dict[str, Any]:
        """As JSON values; fields that came later are left out where they change nothing, so that older stores go on."""
        later: dict[str, Any] = {"betas": [0.9, 0.999], "warmup": 1000, "nesterov": True, "window": 5}
        later |= {"select_by": "metric", "consistency": 0.0, "views": 2, "temperature": 0.5}
        fields = {**asdict(self), "betas": list(self.betas)}
        return {name: value for name, value in fields.items() if name not in later or value != later[name]}
