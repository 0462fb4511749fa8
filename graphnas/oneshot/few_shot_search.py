"""Few-shot search by gradients: a search in the whole space, then one in each of its parts from the weights of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.errors import GraphnasError
from graphnas.estimators.base import Estimator
from graphnas.estimators.fit import isolated
from graphnas.oneshot.base import Mix, State
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.method import Method
from graphnas.oneshot.splitting import Splitter, splitter
from graphnas.region import Region
from graphnas.space import Space
from graphnas.tasks.base import Task


@dataclass(frozen=True)
class Part:
    """What the search in one part of the space found.

    Attributes:
        region: the part.
        architecture: derived in it.
        loss: mean outer (validation) loss of that architecture with the weights of the part's supernet.
    """

    region: Region
    architecture: Architecture
    loss: float


class FewShotGradientSearch:
    """Few-shot DARTS, for any method (Zhao et al., ICML 2021, section 4.1).

    One gradient-based search of the whole space trains the parent. Its space is cut; the supernet of every part starts from the
    parent's weights, with fresh architecture parameters and optimisers, and is searched. Of the architectures derived in the
    parts, the one with the least outer loss under the weights of its own part is the result. The outer loss is that on the part of
    the training data that the architecture parameters are trained with.

    Args:
        space, task, method, batch, steps, size, seed, threads: see ``GradientSearch``.
        splits: as for ``graphnas.estimators.few_shot.FewShot``, one level after the other.
        epochs: of the parent; None: the method's.
        tuning_epochs: of each part; None: half of those.
        estimator: scores what is derived in each part; None: nothing is scored.
        store: SQLite file of the parent; the parts have files beside it, with a number in their name. An interrupted search goes on.

    Attributes:
        parts: in order, once the search has been run.
        derived: the architecture of the least loss.
    """

    def __init__(
        self,
        space: Space | str,
        task: Task | str,
        method: Method | str = "darts1",
        *,
        splits: str | Sequence[str | Splitter],
        epochs: int | None = None,
        tuning_epochs: int | None = None,
        estimator: Estimator | None = None,
        batch: int | None = None,
        steps: int | None = None,
        size: Mapping[str, Any] | None = None,
        seed: int = 0,
        store: str | Path | None = None,
        threads: int = 1,
    ) -> None:
        given = [splits] if isinstance(splits, str) else list(splits)
        if not given:
            raise GraphnasError("few-shot search needs at least one split, such as splits=['gradient']")
        self.splitters = [splitter(one) for one in given]
        self.task: Task = registry.get_task(task) if isinstance(task, str) else task
        self.arguments: dict[str, Any] = {
            "space": space,
            "task": self.task,
            "method": method,
            "batch": batch,
            "steps": steps,
            "size": size,
            "seed": seed,
            "threads": threads,
        }
        self.store = None if store is None else Path(store)
        self.parent = GradientSearch(**self.arguments, epochs=epochs, store=store)
        self.tuning_epochs = max(1, self.parent.epochs // 2) if tuning_epochs is None else tuning_epochs
        self.estimator = estimator
        self.parts: list[Part] = []
        self.derived: Architecture | None = None

    def run(self) -> Architecture:
        """Search to the end; the architecture of the least loss."""
        self.parent.run()
        assert self.parent.state is not None
        whole = Region.whole(self.parent.supernet.space)
        level: list[tuple[str, Region, GradientSearch]] = [("", whole, self.parent)]
        for depth, cut in enumerate(self.splitters):
            last = depth == len(self.splitters) - 1
            finer = []
            for name, region, search in level:
                assert search.state is not None
                search.problem.load(search.state.weights)
                with isolated(0, search.threads, torch.device("cpu")):
                    found = cut(search.supernet, region, self.task, search.seed)
                for i, part in enumerate(found):
                    finer.append((f"{name}.{i}", part, self._search(f"{name}.{i}", part, search.state.weights, last)))
            level = finer
        self.parts = [self._part(region, search) for _, region, search in level]
        self.derived = min(self.parts, key=lambda part: part.loss).architecture
        return self.derived

    def _search(self, name: str, region: Region, start: State, last: bool) -> GradientSearch:
        store = None if self.store is None else self.store.with_name(f"{self.store.stem}{name}{self.store.suffix}")
        search = GradientSearch(
            **self.arguments,
            epochs=self.tuning_epochs,
            estimator=self.estimator if last else None,
            store=store,
            region=region,
            start=start,
        )
        search.run()
        return search

    def _part(self, region: Region, search: GradientSearch) -> Part:
        assert search.derived is not None
        assert search.state is not None
        mix = Mix(search.supernet.one_hot(search.derived))
        with isolated(0, search.threads, torch.device("cpu")), torch.no_grad():
            losses = [
                float(search.problem.outer_loss(search.state.weights, mix, search.streams.outer(i))[0])
                for i in range(search.streams.outer_length)
            ]
        return Part(region, search.derived, sum(losses) / len(losses))
