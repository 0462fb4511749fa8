"""A text cut into columns that are read side by side, a few words at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.tasks.base import Batch


def table(text: Tensor, columns: int, label: str) -> Tensor:
    """A text in so many rows of equal length, ``[columns, length]``; what is left over is dropped.

    Raises:
        GraphnasError: fewer than two words for each.
    """
    length = len(text) // columns
    if length < 2:
        raise GraphnasError(f"{label} has {len(text)} words, too few for {columns} columns; choose a smaller batch")
    return text[: columns * length].view(columns, length)


def segment(rows: Tensor, start: int, length: int) -> Batch:
    """So many words from a place on, with the words that follow each of them and an empty state."""
    end = min(start + length, rows.shape[1] - 1)
    empty = torch.zeros(len(rows), 0, device=rows.device)
    return Batch((rows[:, start:end], empty), rows[:, start + 1 : end + 1])
