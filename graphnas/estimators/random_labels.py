"""Search without labels (RLNAS) as an Estimator: a supernet trained on random labels, and how far it turned."""

from __future__ import annotations

from typing import Any

from graphnas.estimators.base import Estimator
from graphnas.estimators.training import TrainingEstimator
from graphnas.estimators.weight_sharing import WeightSharing
from graphnas.oneshot.path_training import PathTraining
from graphnas.space import Space
from graphnas.tasks.base import Task
from graphnas.tasks.random_labels import random_labels


class RandomLabels(WeightSharing):
    """RLNAS (Zhang et al., CVPR 2021): scores by the angle of a supernet that has never seen a true label.

    Training and validation labels are drawn once from the seed; only ``test``, which trains the selected architecture, sees true ones.
    The paper's defaults are 250 epochs with weight decay 5e-4. Search it with the strategy "single_path_evolution", as the paper
    does, or with any other.

    Args:
        space, task, training, **options: see ``WeightSharing``.
        label_seed: of the labels.
        reading: "angle", or "validation" for the accuracy on the random validation labels, which says little.
        final: as there; by default it trains with the true labels.

    Raises:
        GraphnasError: a task whose labels cannot be drawn, or as WeightSharing.
    """

    name = "random_labels"

    def __init__(
        self,
        space: Space,
        task: Task,
        training: PathTraining | None = None,
        *,
        label_seed: int = 0,
        reading: str = "angle",
        final: Estimator | None = None,
        **options: Any,
    ) -> None:
        self.label_seed = label_seed
        true = final or TrainingEstimator(space, task, threads=options.get("threads", 1))
        super().__init__(space, random_labels(task, label_seed), training, reading=reading, final=true, **options)

    def _training_settings(self) -> dict[str, Any]:
        return {**super()._training_settings(), "label_seed": self.label_seed}
