"""The weights of the best architectures so far, from which later ones inherit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.estimators.sharing import GraphLayer
from graphnas.files import replacing

_FORM = "graphnas weights 1"


@dataclass(frozen=True)
class Ancestor:
    """A trained architecture.

    Attributes:
        key: its canonical key in the space.
        seed: of its trial.
        score: of its trial.
        layers: its graph layers by name.
        tensors: those of the graph layers, by full name.
    """

    key: str
    seed: int
    score: float
    layers: Mapping[str, GraphLayer]
    tensors: Mapping[str, Tensor]


class WeightStore:
    """Keeps the ``capacity`` best ancestors, and one more.

    The one more makes interrupted searches exact: when a trial was trained but not yet recorded, it is trained again, and
    ``ancestors`` gives what it gave the first time: the best without the trial itself.

    Args:
        capacity: how many ancestors there are to inherit from.
        path: a file that holds them between processes; read now if it is there, written at every change.
        settings: of the estimator; a file of another one is refused.

    Raises:
        GraphnasError: no capacity, or a file that is damaged or belongs to another estimator.
    """

    def __init__(self, capacity: int, path: Path | None = None, settings: str = "") -> None:
        if capacity < 1:
            raise GraphnasError(f"a store of weights needs room for at least 1 architecture, not {capacity}")
        self.capacity = capacity
        self.path = path
        self.settings = settings
        self._kept: list[Ancestor] = []
        if path is not None and path.is_file():
            self._kept = self._read(path)

    def __len__(self) -> int:
        return len(self._kept)

    def ancestors(self, key: str = "", seed: int = -1) -> list[Ancestor]:
        """The best first (of equal ones the earlier), at most ``capacity``; the trial of this key and seed is left out."""
        return [a for a in self._kept if (a.key, a.seed) != (key, seed)][: self.capacity]

    def add(self, ancestor: Ancestor) -> bool:
        """Keep it if it is among the best; its tensors are copied. Whether it was kept."""
        others = [a for a in self._kept if (a.key, a.seed) != (ancestor.key, ancestor.seed)]
        place = sum(a.score >= ancestor.score for a in others)
        if place > self.capacity:
            return False
        copied = {name: tensor.detach().cpu().clone() for name, tensor in ancestor.tensors.items()}
        made = Ancestor(ancestor.key, ancestor.seed, ancestor.score, dict(ancestor.layers), copied)
        self._kept = [*others[:place], made, *others[place:]][: self.capacity + 1]
        if self.path is not None:
            self._write(self.path)
        return True

    def _write(self, path: Path) -> None:
        entries = [
            {
                "key": a.key,
                "seed": a.seed,
                "score": a.score,
                "layers": {name: asdict(layer) for name, layer in a.layers.items()},
                "tensors": dict(a.tensors),
            }
            for a in self._kept
        ]
        with replacing(path) as file:
            torch.save({"form": _FORM, "settings": self.settings, "entries": entries}, file)

    def _read(self, path: Path) -> list[Ancestor]:
        try:
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
            if found["form"] != _FORM:
                raise KeyError("form")
            entries = [
                Ancestor(e["key"], e["seed"], e["score"], _layers(e["layers"]), e["tensors"]) for e in found["entries"]
            ]
            settings = found["settings"]
        except Exception as error:  # whatever a damaged archive makes of itself
            reason = type(error).__name__
            raise GraphnasError(
                f"{path} is no file of weights of graphnas ({reason}); delete it or name another"
            ) from None
        if settings != self.settings:
            raise GraphnasError(f"{path} holds weights of an estimator with other settings; delete it or name another")
        return entries


def _layers(given: Mapping[str, Any]) -> dict[str, GraphLayer]:
    made = {}
    for name, fields in given.items():
        shapes = {tensor: tuple(shape) for tensor, shape in fields["shapes"].items()}
        made[name] = GraphLayer(**{**fields, "shapes": shapes})
    return made
