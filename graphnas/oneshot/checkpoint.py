"""All that a gradient-based search remembers, in memory and in a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.files import load_npz, save_npz
from graphnas.oneshot.base import Alpha, State, Tensors
from graphnas.oneshot.context import Count
from graphnas.oneshot.gates import Memory
from graphnas.oneshot.optimisers import Slots

History = list[dict[str, Any]]


@dataclass
class SearchState:
    """Where a search is; a search goes on from it as if it had never stopped.

    Attributes:
        method: name.
        seed: of the search.
        alpha: architecture parameters.
        masks: for each group the options that are left.
        weights: of the supernet.
        step: weight steps made.
        opened: outer steps made.
        slots: of the weights' optimiser.
        architecture: slots of the architecture's optimiser.
        gate: what the gate remembers.
        fisher: squared norm of the last inner gradient, if the gate wants it.
        regularisers: what each of them remembers.
        sums: of the present epoch's figures, and how many there were.
        history: one entry for each epoch, JSON values only.
        curvatures: epochs and top eigenvalues, for the rule that stops.
        count: evaluations.
        streams: at the end of an epoch, what streams that follow the weights remember (see ``Follows``).
        stopped: why the search ended; empty until then.
    """

    method: str
    seed: int
    alpha: Alpha
    masks: Tensors
    weights: State
    step: int = 0
    opened: int = 0
    slots: Slots = field(default_factory=dict)
    architecture: Slots = field(default_factory=dict)
    gate: Memory = field(default_factory=dict)
    fisher: float = 0.0
    regularisers: list[Tensors] = field(default_factory=list)
    sums: dict[str, list[float]] = field(default_factory=dict)
    history: History = field(default_factory=list)
    curvatures: list[dict[str, float]] = field(default_factory=list)
    count: Count = field(default_factory=Count)
    streams: Tensors = field(default_factory=dict)
    stopped: str = ""

    def save(self, path: Path) -> Path:
        """Write an npz archive of arrays and one JSON text, whole or not at all."""
        keys: list[list[str]] = []
        arrays: dict[str, np.ndarray] = {}
        for key, value in self._tensors():
            arrays[f"t{len(keys)}"] = value.detach().cpu().numpy()
            keys.append(list(key))
        arrays["json"] = np.frombuffer(json.dumps({**self._plain(), "keys": keys}).encode(), dtype=np.uint8)
        return save_npz(path, arrays)

    @classmethod
    def load(cls, path: Path, device: torch.device | str = "cpu") -> SearchState:
        """Read what ``save`` wrote.

        Raises:
            GraphnasError: no such file, or one of another kind.
        """
        arrays = load_npz(path)
        try:
            plain = json.loads(arrays["json"].tobytes())
            keys = plain.pop("keys")
            parts: dict[str, dict[str, Tensors]] = {name: {} for name in _SECTIONS}
            for i, (section, kind, name) in enumerate(keys):
                # Numbers of steps stay on the CPU, where they are read.
                where = "cpu" if arrays[f"t{i}"].ndim == 0 else device
                parts[section].setdefault(kind, {})[name] = torch.from_numpy(arrays[f"t{i}"]).to(where)
            single = {name: parts[name].get("", {}) for name in _SINGLE}
            remembered = [parts["regularisers"].get(str(i), {}) for i in range(plain.pop("remembered"))]
            return cls(
                alpha=single["alpha"],
                masks=single["masks"],
                weights=State(single["parameters"], single["buffers"]),
                slots=parts["slots"],
                architecture=parts["architecture"],
                regularisers=remembered,
                count=Count(*plain.pop("count")),
                streams=single["streams"],
                **plain,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise GraphnasError(f"{path} is no checkpoint of a gradient-based search ({error}); start anew") from None

    def _tensors(self) -> Iterator[tuple[tuple[str, str, str], Tensor]]:
        for section, matrices in (
            ("alpha", self.alpha),
            ("masks", self.masks),
            ("parameters", self.weights.parameters),
            ("buffers", self.weights.buffers),
            ("streams", self.streams),
        ):
            for name, value in matrices.items():
                yield (section, "", name), value
        memories = {str(i): memory for i, memory in enumerate(self.regularisers)}
        for section, slots in (("slots", self.slots), ("architecture", self.architecture), ("regularisers", memories)):
            for kind, matrices in slots.items():
                for name, value in matrices.items():
                    yield (section, kind, name), value

    def _plain(self) -> dict[str, Any]:
        names = ("method", "seed", "step", "opened", "gate", "fisher", "sums", "history", "curvatures", "stopped")
        count = [self.count.forward, self.count.backward, self.count.second]
        return {**{n: getattr(self, n) for n in names}, "count": count, "remembered": len(self.regularisers)}


_SINGLE = ("alpha", "masks", "parameters", "buffers", "streams")
_SECTIONS = (*_SINGLE, "slots", "architecture", "regularisers")
