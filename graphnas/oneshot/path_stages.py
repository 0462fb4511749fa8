"""Supernets that are trained one after another, kept in a file so that training can stop and go on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from graphnas.errors import GraphnasError
from graphnas.files import replacing
from graphnas.oneshot.base import Tensors
from graphnas.oneshot.path_training import PathState

_FORM = "graphnas supernets 1"
_SECONDS = 30.0


class PathStages:
    """Trained supernets by name, and the one that is in training.

    Args:
        path: the file; read now if it is there, written when a supernet is finished and at most every 30 seconds in between.
            None keeps all in memory.
        settings: of the estimator; a file of another one is refused.

    Attributes:
        finished: weights and buffers of each trained supernet.
        losses: training loss of each epoch of each supernet.
        notes: what was decided between trainings, JSON values.

    Raises:
        GraphnasError: a file that is damaged or belongs to another estimator.
    """

    def __init__(self, path: Path | None = None, settings: str = "") -> None:
        self.path, self.settings = path, settings
        self.finished: dict[str, Tensors] = {}
        self.losses: dict[str, list[float]] = {}
        self.notes: dict[str, Any] = {}
        self._current: tuple[str, PathState] | None = None
        self._written = time.perf_counter()
        if path is not None and path.is_file():
            self._read(path)

    def current(self, name: str) -> PathState | None:
        """Where the training of a supernet was interrupted."""
        return self._current[1] if self._current is not None and self._current[0] == name else None

    def note(self, name: str, state: PathState) -> None:
        """The state of a supernet in training."""
        self._current = name, state
        if time.perf_counter() - self._written > _SECONDS:
            self._write()

    def finish(self, name: str, state: PathState) -> None:
        """A trained supernet."""
        self.finished[name] = state.weights
        self.losses[name] = list(state.losses)
        self._current = None
        self._write()

    def _write(self) -> None:
        self._written = time.perf_counter()
        if self.path is None:
            return
        record = {
            "form": _FORM,
            "settings": self.settings,
            "finished": self.finished,
            "losses": self.losses,
            "notes": self.notes,
            "current": None if self._current is None else [self._current[0], vars(self._current[1])],
        }
        with replacing(self.path) as file:
            torch.save(record, file)

    def _read(self, path: Path) -> None:
        try:
            found: Any = torch.load(path, map_location="cpu", weights_only=True)
            if found["form"] != _FORM:
                raise KeyError("form")
            settings = found["settings"]
            self.finished, self.losses, self.notes = found["finished"], found["losses"], found["notes"]
            current = found["current"]
            self._current = None if current is None else (current[0], PathState(**current[1]))
        except Exception as error:  # whatever a damaged archive makes of itself
            reason = type(error).__name__
            raise GraphnasError(
                f"{path} is no file of supernets of graphnas ({reason}); delete it or name another"
            ) from None
        if settings != self.settings:
            raise GraphnasError(
                f"{path} holds supernets that were trained with other settings; delete it or name another"
            )
