"""Few-shot NAS: several supernets, each for a part of the space, as an Estimator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from graphnas.errors import GraphnasError
from graphnas.estimators.weight_sharing import WeightSharing
from graphnas.oneshot.base import Tensors
from graphnas.oneshot.path_stages import PathStages
from graphnas.oneshot.path_training import PathTraining, weights_of
from graphnas.oneshot.splitting import Splitter, splitter
from graphnas.region import Region
from graphnas.space import Space
from graphnas.tasks.base import Task


class FewShot(WeightSharing):
    """Between one-shot and training everything: sub-supernets that share fewer weights (Zhao et al., ICML 2021).

    The one-shot supernet is trained first. Then its space is cut, and every part gets a supernet of its own: it starts from
    the weights of the supernet that it was cut from, with a fresh optimiser and schedule, and is trained by paths of its part
    alone, one part after another. Further splits cut every part again. An architecture is scored by the weights of the
    part in which it lies.

    With two times ``GradientMatching()`` this is GM-NAS (Hu et al., ICLR 2022) as its authors search NAS-Bench-201.

    Args:
        space, task, training, **options: see ``WeightSharing``.
        splits: one for each level: a Splitter, "random", "gradient", or names of decisions with commas between them, whose
            options are all cut apart. Names are those of the space that the supernet holds.
        tuning: of every part; by default half the epochs of the one-shot supernet, as in the paper.
        tuning_epochs: epochs of ``tuning`` in place of those.
        transfer: False starts every part from the initial weights.
        parent: the one-shot supernet with the same settings, if it is there already; otherwise it is trained.

    Raises:
        GraphnasError: no splits, a parent with other settings, or as WeightSharing.
    """

    name = "few_shot"

    def __init__(
        self,
        space: Space,
        task: Task,
        training: PathTraining | None = None,
        *,
        splits: str | Sequence[str | Splitter] = ("gradient",),
        tuning: PathTraining | None = None,
        tuning_epochs: int | None = None,
        transfer: bool = True,
        parent: WeightSharing | None = None,
        **options: Any,
    ) -> None:
        given = [splits] if isinstance(splits, str) else list(splits)
        if not given:
            raise GraphnasError("few-shot NAS needs at least one split, such as splits=['gradient']")
        self.splitters = [splitter(one) for one in given]
        super().__init__(space, task, training, **options)
        half = replace(self.training, epochs=max(1, self.training.epochs // 2))
        self.tuning = tuning or half
        if tuning_epochs is not None:
            self.tuning = replace(self.tuning, epochs=tuning_epochs)
        self.transfer = transfer
        if parent is not None and {**parent._training_settings(), "name": self.name} != super()._training_settings():
            raise GraphnasError("the parent was trained with other settings; give few-shot NAS those of its parent")
        self.parent = parent

    def _train(self, stages: PathStages) -> tuple[list[Region], list[Tensors]]:
        supernet = self.supernet()
        initial = weights_of(supernet)
        whole = Region.whole(supernet.space)
        if self.parent is not None:
            trained = self.parent.fitted_weights()[0]
        else:
            trained = self._stage(stages, "whole", supernet, self.training, whole, initial)
        parts: list[tuple[str, Region, Tensors]] = [("whole", whole, trained)]
        for cut in self.splitters:
            finer = []
            for name, region, weights in parts:
                if name not in stages.notes:
                    supernet.load_state_dict(weights)
                    found = cut(supernet, region, self.task, self.seed)
                    stages.notes[name] = [[list(allowed) for allowed in part.options] for part in found]
                for i, options in enumerate(stages.notes[name]):
                    part = Region(tuple(tuple(allowed) for allowed in options))
                    start = weights if self.transfer else initial
                    tuned = self._stage(stages, f"{name}.{i}", supernet, self.tuning, part, start)
                    finer.append((f"{name}.{i}", part, tuned))
            parts = finer
        return [region for _, region, _ in parts], [weights for _, _, weights in parts]

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "parent": None}

    def _training_settings(self) -> dict[str, Any]:
        return {
            **super()._training_settings(),
            "splits": [repr(one) for one in self.splitters],
            "tuning": self.tuning.describe(),
            "transfer": self.transfer,
        }
