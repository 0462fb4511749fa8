"""Small games from pixels, through the Gymnasium API: a bandit, catching a ball, and a maze.

All draw from the generator that ``reset(seed=...)`` makes, so a seed fixes every episode that follows. Observations are
``[H, W, C]`` of uint8, 0 or 255; the return of an episode lies between 0 and 1.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete

Frame = np.ndarray
Outcome = tuple[Frame, float, bool, bool, dict[str, Any]]
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
"""Up, down, left, right, as (row, column)."""


class _Game(gymnasium.Env):  # type: ignore[misc, type-arg, unused-ignore]
    """A game on a square field with ``depth`` channels."""

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"]}  # noqa: RUF012 - Gymnasium's form
    render_mode = "rgb_array"

    def __init__(self, side: int, depth: int, actions: int) -> None:
        self.side = side
        self.observation_space = Box(0, 255, (side, side, depth), np.uint8)
        self.action_space = Discrete(actions)
        self.frame: Frame = np.zeros((side, side, depth), np.uint8)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Frame, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed)
        self.begin(self.np_random)
        return self.frame.copy(), {}

    def render(self) -> Frame:
        """The field, ``[H, W, 3]``."""
        if self.frame.shape[2] == 1:
            return np.repeat(self.frame, 3, axis=2)
        return np.array(self.frame)

    def begin(self, rng: np.random.Generator) -> None:
        """Draw a field into ``frame``."""
        raise NotImplementedError


class Bars(_Game):
    """A contextual bandit: is the bar on a field of noise upright (0) or lying (1)? One step; reward 1 for the right answer."""

    def __init__(self, side: int = 8) -> None:
        super().__init__(side, 1, 2)
        self.lying = 0

    def begin(self, rng: np.random.Generator) -> None:
        """A bar of half the side at a random place; one pixel in ten is noise."""
        side, length = self.side, self.side // 2
        self.lying = int(rng.integers(2))
        across, along = int(rng.integers(side)), int(rng.integers(side - length + 1))
        field = rng.random((side, side)) < 0.1
        if self.lying:
            field[across, along : along + length] = True
        else:
            field[along : along + length, across] = True
        self.frame[..., 0] = 255 * field

    def step(self, action: Any) -> Outcome:
        """Answer."""
        return self.frame.copy(), float(int(action) == self.lying), True, False, {}


class Catch(_Game):
    """A ball falls a row a step; a paddle in the last row moves left (0), stays (1) or moves right (2). Reward 1 if it is there.

    The ball drifts a column left or right at one step in three, but not at the last, so that who follows it always catches it.
    """

    def __init__(self, side: int = 8) -> None:
        super().__init__(side, 1, 3)
        self.ball, self.paddle = [0, 0], 0

    def begin(self, rng: np.random.Generator) -> None:
        """The ball in the first row, the paddle in the middle."""
        self.ball, self.paddle = [0, int(rng.integers(self.side))], self.side // 2
        self._draw()

    def step(self, action: Any) -> Outcome:
        """Move."""
        last = self.side - 1
        self.paddle = min(max(self.paddle + int(action) - 1, 0), last)
        drift = (-1, 1, 0, 0, 0, 0)[int(self.np_random.integers(6))]
        over = self.ball[0] + 1 == last
        self.ball = [self.ball[0] + 1, self.ball[1] if over else min(max(self.ball[1] + drift, 0), last)]
        self._draw()
        return self.frame.copy(), float(over and self.ball[1] == self.paddle), over, False, {}

    def _draw(self) -> None:
        self.frame[:] = 0
        self.frame[self.ball[0], self.ball[1], 0] = 255
        self.frame[-1, self.paddle, 0] = 255


class Maze(_Game):
    """A maze without loops, another one every episode: reward 1 at the goal, nothing when ``limit`` steps are over (truncation).

    Channels: walls, player, goal. Actions: up, down, left, right; a step against a wall changes nothing. The maze is
    carved by a random walk that backtracks; player and goal begin in two different cells.

    Args:
        cells: of the maze along a side; the field has ``2 * cells + 1`` pixels.
        limit: steps of an episode.
    """

    def __init__(self, cells: int = 3, limit: int = 30) -> None:
        super().__init__(2 * cells + 1, 3, 4)
        self.cells, self.limit = cells, limit
        self.place, self.goal, self.steps = (1, 1), (1, 1), 0

    def begin(self, rng: np.random.Generator) -> None:
        """Carve a maze, and put player and goal into it."""
        free = np.zeros((self.side, self.side), bool)
        start = self._cell(rng)
        free[start] = True
        path = [start]
        while path:
            r, c = path[-1]
            doors = [(r + dr, c + dc, r + 2 * dr, c + 2 * dc) for dr, dc in MOVES]
            doors = [d for d in doors if 0 < d[2] < self.side and 0 < d[3] < self.side and not free[d[2], d[3]]]
            if not doors:
                path.pop()
                continue
            wall_r, wall_c, r, c = doors[int(rng.integers(len(doors)))]
            free[wall_r, wall_c] = free[r, c] = True
            path.append((r, c))
        self.place, self.goal, self.steps = self._cell(rng), self._cell(rng), 0
        while self.goal == self.place:
            self.goal = self._cell(rng)
        self.frame[:] = 0
        self.frame[~free, 0] = 255
        self.frame[self.place][1] = 255
        self.frame[self.goal][2] = 255

    def step(self, action: Any) -> Outcome:
        """Walk."""
        r, c = self.place[0] + MOVES[int(action)][0], self.place[1] + MOVES[int(action)][1]
        if not self.frame[r, c, 0]:
            self.frame[self.place][1] = 0
            self.place = (r, c)
            self.frame[r, c, 1] = 255
        self.steps += 1
        there = self.place == self.goal
        return self.frame.copy(), float(there), there, not there and self.steps >= self.limit, {}

    def _cell(self, rng: np.random.Generator) -> tuple[int, int]:
        r, c = rng.integers(self.cells, size=2).tolist()
        return 2 * r + 1, 2 * c + 1


for _name in ("Bars", "Catch", "Maze"):
    gymnasium.register(f"graphnas/{_name}-v0", entry_point=f"{__name__}:{_name}")
