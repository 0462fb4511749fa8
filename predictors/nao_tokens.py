"""Decisions as a sequence of tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from graphnas.space import Space

START = 0


class DecisionTokens:
    """Numbers of the options of a Space: equal options of choices of one group share a number, 0 stands for the start.

    So the operations of a cell have the same tokens at every place, as in the paper.

    Args:
        space: whose decisions are written.

    Attributes:
        table: ``[C, R]`` int64, the token of each option of each choice; 0 beyond the options of a choice.
        allowed: ``[C, V]``, 0 for the tokens that can stand at a place and minus infinity for all others.
    """

    def __init__(self, space: Space) -> None:
        known: dict[tuple[str, str], int] = {}
        rows = [
            [known.setdefault((c.group or c.name, repr(option)), len(known) + 1) for option in c.options]
            for c in space.choices
        ]
        self.table = torch.full((len(rows), max(map(len, rows), default=0)), START)
        self.allowed = torch.full((len(rows), len(known) + 1), -torch.inf)
        for place, row in enumerate(rows):
            self.table[place, : len(row)] = torch.tensor(row)
            self.allowed[place, row] = 0.0

    def __len__(self) -> int:
        return self.allowed.shape[1]

    @property
    def places(self) -> int:
        """C, the number of decisions."""
        return len(self.table)

    def ids(self, decisions: Tensor) -> Tensor:
        """The tokens ``[B, C]`` of decisions ``[B, C]``."""
        return self.table[torch.arange(self.places), decisions]
