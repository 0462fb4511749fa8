"""The shared weights of a supernet as an Estimator: train once, then score any architecture by a forward pass."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch.fx import GraphModule

from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError, unknown
from graphnas.estimators.base import Estimator, Evaluation
from graphnas.estimators.fidelity import Fidelity
from graphnas.estimators.fit import isolated
from graphnas.estimators.training import TrainingEstimator
from graphnas.oneshot.angle import Angle
from graphnas.oneshot.base import Tensors
from graphnas.oneshot.path_scoring import NORMS, PathScorer
from graphnas.oneshot.path_stages import PathStages
from graphnas.oneshot.path_training import PathState, PathTrainer, PathTraining, weights_of
from graphnas.oneshot.supernet import Supernet
from graphnas.region import Region
from graphnas.space import Space
from graphnas.tasks.base import Task

READINGS = ("validation", "angle")
E = TypeVar("E", bound="WeightSharing")


class WeightSharing(Estimator):
    """Trains one supernet by single paths and scores every architecture with its part of the weights.

    The supernet is trained at the first evaluation, or by ``fit``. Training follows from the seed alone, so every process
    gets the same weights; one that is sent to worker processes is trained before. With ``weights``, a file, the trained supernet is
    kept, and training that was interrupted goes on from there.

    The metrics of an evaluation are ``validation_*``, all metrics of the task with the shared weights; by "angle" there is
    ``angle``, in radians. The cost is 1 for each architecture. A score is good for comparing architectures, not as a forecast of what
    they reach when they are trained alone: ``test`` trains the architecture from scratch.

    Args:
        space: whose networks can be built with open decisions.
        task: with batches by number: images, text, or the nodes of one graph.
        training: of the supernet.
        size: of the supernet; see ``space.network_size``.
        norms: where the statistics of batch normalisation come from; see ``PathScorer``.
        calibration: training examples from which they are computed anew for each architecture.
        reading: "validation" scores by the task's metric on the validation split, "angle" by how far training has turned
            the weights (``Angle``), which reads no label.
        identity, affine, fixed: see ``Angle``.
        final: what ``test`` asks; by default training from scratch with the default fidelity.
        weights: file of the trained supernet.
        seed: of weights, batches and paths.
        threads: torch threads.

    Raises:
        GraphnasError: a space without supernets for this kind of task, or a file that does not belong to this estimator.
    """

    name = "weight_sharing"
    batch = 8
    cheap = False

    def __init__(
        self,
        space: Space,
        task: Task,
        training: PathTraining | None = None,
        *,
        size: Mapping[str, Any] | None = None,
        norms: str = "recalibrated",
        calibration: int = 256,
        reading: str = "validation",
        identity: bool = False,
        affine: bool = False,
        fixed: bool = True,
        final: Estimator | None = None,
        weights: str | Path | None = None,
        seed: int = 0,
        threads: int = 1,
    ) -> None:
        if reading not in READINGS:
            raise unknown("way of scoring with shared weights", reading, READINGS)
        if norms not in NORMS:
            raise unknown("kind of batch statistics", norms, NORMS)
        if calibration < 1 or threads < 1:
            raise GraphnasError(f"calibration ({calibration}) and threads ({threads}) must be at least 1")
        self.space, self.task, self.size = space, task, dict(size or {})
        self.training = training or PathTraining()
        self.norms, self.calibration, self.reading = norms, calibration, reading
        self.identity, self.affine, self.fixed = identity, affine, fixed
        self.metric = "angle" if reading == "angle" else f"validation {task.metric.name}"
        self.maximise = reading == "angle" or task.metric.maximise
        self.final = final or TrainingEstimator(space, task, threads=threads)
        self.weights = None if weights is None else Path(weights)
        self.seed, self.threads = seed, threads
        self.supernet()  # so that what does not fit is told before anything runs
        self._losses: dict[str, list[float]] = {}
        self._regions: list[Region] = []
        self._trained: list[Tensors] = []
        self._readers: dict[int, PathScorer | Angle] = {}

    @classmethod
    def of_options(cls: type[E], space: Space, task: Task, fidelity: Fidelity, **options: Any) -> E:
        """From what the command line takes: the fidelity's epochs and size are those of the supernet.

        Raises:
            GraphnasError: an unknown option, or a share of the data.
        """
        if fidelity.data != 1:
            raise GraphnasError("a supernet is trained on all training data; leave out the share of the data")
        training = {f.name: options.pop(f.name) for f in fields(PathTraining) if f.name in options}
        try:
            made = replace(PathTraining(), epochs=fidelity.epochs, **training)
            return cls(space, task, made, size=fidelity.size, **options)
        except TypeError as error:
            raise GraphnasError(f"estimator {cls.name!r} does not take these options: {error}") from None

    # -- training -------------------------------------------------------------------------------

    def fit(self: E) -> E:
        """Train what is not trained yet; the estimator itself."""
        if not self._trained:
            with isolated(self.seed, self.threads, torch.device("cpu")):
                stages = PathStages(self.weights, json.dumps(self._training_settings(), sort_keys=True))
                self._regions, self._trained = self._train(stages)
                self._losses = stages.losses
        return self

    def fitted_weights(self) -> list[Tensors]:
        """Weights and buffers of the trained supernet of each region."""
        return list(self.fit()._trained)

    def _train(self, stages: PathStages) -> tuple[list[Region], list[Tensors]]:
        """The regions of the space that the supernet holds, and the weights of each."""
        supernet = self.supernet()
        whole = Region.whole(supernet.space)
        return [whole], [self._stage(stages, "whole", supernet, self.training, whole, weights_of(supernet))]

    def _stage(
        self,
        stages: PathStages,
        name: str,
        supernet: Supernet,
        training: PathTraining,
        region: Region,
        start: Tensors,
    ) -> Tensors:
        """The weights of one supernet after its training, from the file if they are there."""
        if name not in stages.finished:
            trainer = PathTrainer(supernet, self.task, training, self.seed, region)
            state: PathState = stages.current(name) or trainer.start(start)
            stages.finish(name, trainer.run(state, lambda now: stages.note(name, now)))
        return stages.finished[name]

    def supernet(self) -> Supernet:
        """The structure, with the weights that training begins with."""
        return Supernet(self.space, self.task.signature, self.seed, **self.size)

    @property
    def losses(self) -> dict[str, list[float]]:
        """Training loss of each epoch of each supernet."""
        return dict(self.fit()._losses)

    # -- scoring --------------------------------------------------------------------------------

    @property
    def regions(self) -> list[Region]:
        """The parts of the space that the supernet holds, each with weights of its own."""
        return list(self.fit()._regions)

    def region(self, architecture: Architecture) -> int:
        """The number of the part in which an architecture lies."""
        self.fit()
        if len(self._regions) == 1:
            return 0
        decisions = self._reader(0).supernet.decisions(architecture)
        return next(i for i, region in enumerate(self._regions) if region.contains(decisions))

    def evaluate(self, architecture: Architecture, *, seed: int) -> Evaluation:
        """Score with the shared weights; the seed makes no difference."""
        with isolated(self.seed, self.threads, torch.device("cpu")):
            reader = self._reader(self.region(architecture))
            if isinstance(reader, Angle):
                angle = reader(architecture)
                return Evaluation(angle, {"angle": angle})
            found = reader.score(architecture)
        value = found[self.task.metric.name]
        metrics = {f"validation_{name}": v for name, v in found.items()}
        return Evaluation(self.task.metric.score(value) if math.isfinite(value) else math.nan, metrics)

    def child(self, architecture: Architecture) -> GraphModule:
        """The network of an architecture with the weights and statistics that it is scored with, in evaluation mode."""
        with isolated(self.seed, self.threads, torch.device("cpu")):
            return self.scorer(architecture).child(architecture)

    def scorer(self, architecture: Architecture) -> PathScorer:
        """What scores an architecture by validation."""
        reader = self._reader(self.region(architecture))
        if isinstance(reader, Angle):
            raise GraphnasError("this estimator scores by the angle; make one with reading='validation'")
        return reader

    def _reader(self, number: int) -> PathScorer | Angle:
        self.fit()
        if number not in self._readers:
            supernet = self.supernet()
            if self.reading == "angle":
                initial = weights_of(supernet)
                trained = self._trained[number]
                self._readers[number] = Angle(
                    supernet, initial, trained, identity=self.identity, affine=self.affine, fixed=self.fixed
                )
            else:
                supernet.load_state_dict(self._trained[number])
                self._readers[number] = PathScorer(supernet, self.task, self.norms, self.calibration)
        return self._readers[number]

    def read_by(self: E, reading: str, fixed: bool = True) -> E:
        """The same trained supernets, scored in another way."""
        other = copy.copy(self.fit())
        other.fixed = fixed
        other.reading = reading
        other.metric = "angle" if reading == "angle" else f"validation {self.task.metric.name}"
        other.maximise = reading == "angle" or self.task.metric.maximise
        other._readers = {}
        return other

    def test(self, architecture: Architecture, *, seed: int = 0) -> dict[str, float]:
        """What ``final`` says: by default, train from scratch and read the test split."""
        return self.final.test(architecture, seed=seed)

    # -- what it is -----------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        self.fit()
        return {**self.__dict__, "_readers": {}, "weights": None}

    def _training_settings(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "space": self.space.name,
            "task": self.task.describe(),
            "training": self.training.describe(),
            "size": self.size,
            "seed": self.seed,
            "threads": self.threads,
        }

    def describe(self) -> dict[str, Any]:
        """Settings that reproduce the estimates, as JSON values."""
        scoring: dict[str, Any] = {"reading": self.reading}
        if self.reading == "angle":
            scoring.update(identity=self.identity, affine=self.affine, fixed=self.fixed)
        else:
            scoring.update(norms=self.norms, calibration=self.calibration)
        return {**self._training_settings(), **scoring}
