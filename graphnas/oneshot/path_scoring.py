"""Measuring one architecture with the shared weights of a supernet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn
from torch.fx import GraphModule

from graphnas.architecture import Architecture
from graphnas.errors import unknown
from graphnas.oneshot.problem import laid_out
from graphnas.oneshot.supernet import Supernet, rows_of
from graphnas.ops.mixture import Mixed
from graphnas.tasks.base import Task

NORMS = ("recalibrated", "batch", "running")
_CHUNK = 256
_Norm = nn.modules.batchnorm._BatchNorm


class PathNetwork(nn.Module):
    """A supernet as the network of one architecture, with the statistics of the batch where ``by_batch`` says so.

    Args:
        supernet: shared, not copied; in evaluation mode.
        path: an architecture.
        norms: the batch normalisations that the path runs.
        by_batch: they use the statistics of the batch even in evaluation.
    """

    def __init__(self, supernet: Supernet, path: Architecture, norms: Sequence[_Norm], by_batch: bool = False) -> None:
        super().__init__()
        self._shared = (supernet,)  # no submodule: whoever switches modes need not visit all options of the supernet
        self.mix = {name: rows_of(w) for name, w in supernet.one_hot(path).items()}
        self.norms = tuple(norms)
        self.by_batch = by_batch

    def forward(self, *inputs: Tensor) -> Tensor:
        """The output of the architecture."""
        if self.by_batch:
            for norm in self.norms:
                norm.training = True
        (supernet,) = self._shared
        return supernet(*laid_out(inputs), mix=self.mix)  # type: ignore[no-any-return]


class PathScorer:
    """Scores architectures with the weights of a supernet.

    The running means that a supernet gathers in training are those of all paths together, and fit none of them: in
    RLNAS's published files Kendall's tau of shared-weight accuracy rises from .04 to .5 and more once they are
    computed anew. So with "recalibrated" the statistics of every batch normalisation on the path are computed over some training
    examples before the validation data are read (Guo et al., ECCV 2020, section 3.4).

    Scoring changes no weight. It overwrites statistics, on which no later score depends.

    Args:
        supernet: this object owns it from now on.
        task: whose validation split is read.
        norms: "recalibrated"; "batch", which uses the statistics of every validation batch itself, as one-shot methods
            on NAS-Bench-201 do; or "running", those that training has gathered.
        calibration: training examples for "recalibrated"; in a graph, all of it.

    Raises:
        GraphnasError: another kind of statistics.
    """

    def __init__(self, supernet: Supernet, task: Task, norms: str = "recalibrated", calibration: int = 256) -> None:
        if norms not in NORMS:
            raise unknown("kind of batch statistics", norms, NORMS)
        self.supernet, self.task, self.norms = supernet.eval(), task, norms
        self._inputs = calibration_inputs(task, calibration) if norms == "recalibrated" else []
        self._options: dict[tuple[str, int], list[_Norm]] = {}
        mixed = supernet.mixed()
        inside = {id(m) for module in mixed.values() for m in module.modules()}
        self._fixed = [m for m in supernet.network.modules() if isinstance(m, _Norm) and id(m) not in inside]
        for name, module in mixed.items():
            assert isinstance(module, Mixed)
            for k, option in enumerate(module.options):
                self._options[name, k] = [m for m in option.modules() if isinstance(m, _Norm)]

    def network(self, architecture: Architecture) -> PathNetwork:
        """The supernet as this architecture, with the statistics that its score is measured with.

        It is valid until the next architecture is scored.
        """
        path = self.supernet.space.decode(self.supernet.decisions(architecture))
        norms = [*self._fixed, *(n for at in self.supernet.chosen(path).items() for n in self._options[at])]
        network = PathNetwork(self.supernet, path, norms, self.norms == "batch")
        if self.norms == "recalibrated":
            recalibrate(network, norms, self._inputs)
        return network

    def score(self, architecture: Architecture) -> dict[str, float]:
        """All metrics of the task on the validation split."""
        return self.task.evaluate(self.network(architecture), "validation")

    def child(self, architecture: Architecture) -> GraphModule:
        """The architecture as a network of its own with copies of the weights and statistics, in evaluation mode."""
        self.network(architecture)
        return self.supernet.child(architecture).eval()


def recalibrate(network: nn.Module, norms: Iterable[_Norm], batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Replace the statistics of batch normalisations by the means over some batches, without gradients.

    Nothing else is in training mode: dropout stays off.

    Args:
        network: is run on every batch.
        norms: those in it whose statistics are computed; each counts every batch equally.
        batches: arguments of the network.
    """
    tracked = [norm for norm in norms if norm.track_running_stats]
    before = [(norm.momentum, norm.training) for norm in tracked]
    for norm in tracked:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.training = True
    try:
        with torch.no_grad():
            for inputs in batches:
                network(*inputs)
    finally:
        for norm, (momentum, training) in zip(tracked, before, strict=True):
            norm.momentum, norm.training = momentum, training


def calibration_inputs(task: Task, count: int) -> list[tuple[Tensor, ...]]:
    """Inputs of at least ``count`` training examples (all, if there are fewer) without augmentation, in large batches.

    Images are a stratified part of the training data, the same at every call.
    """
    drawn = getattr(task, "images", None)
    share = 1.0 if drawn is None else min(1.0, count / len(drawn("train").y))
    batches, seen = [], 0
    for batch in task.batches("train", None, share):
        batches.append(batch.inputs)
        seen += len(batch.target)
        if seen >= count:
            break
    if drawn is None:
        return batches
    joined = torch.cat([x for (x,) in batches])
    return [(x,) for x in torch.tensor_split(joined, math.ceil(len(joined) / _CHUNK))]
