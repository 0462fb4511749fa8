"""Memory of transitions: returns over several steps, and drawing in proportion to a priority."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np


class Transition(NamedTuple):
    """What an action led to, some steps later.

    Attributes:
        before: observation ``[C, H, W]`` uint8.
        action: that was taken.
        gain: discounted sum of the rewards of these steps.
        discount: factor of what follows; 0 where nothing does.
        after: observation after these steps.
    """

    before: np.ndarray
    action: int
    gain: float
    discount: float
    after: np.ndarray


class Window:
    """The last steps of one environment, which become transitions of ``length`` steps, fewer at the end of an episode.

    ``R_t = sum_k gamma^k r_(t+k)`` over k below the length (Sutton, 1988); behind it, the value of the state that follows
    counts with ``gamma^length``, or not at all when the episode is over. One that was cut off goes on after the cut.
    """

    def __init__(self, length: int, discount: float) -> None:
        self.length, self.discount = length, discount
        self.steps: deque[tuple[np.ndarray, int, float]] = deque()

    def add(
        self,
        before: np.ndarray,
        action: int,
        reward: float,
        after: np.ndarray,
        terminated: bool,
        truncated: bool = False,
    ) -> Iterator[Transition]:
        """Add a step; gives the transitions that are complete."""
        self.steps.append((before, action, reward))
        if terminated or truncated:
            while self.steps:
                yield self._first(after, terminated)
        elif len(self.steps) == self.length:
            yield self._first(after, False)

    def _first(self, after: np.ndarray, terminated: bool) -> Transition:
        gain = sum(reward * self.discount**k for k, (_, _, reward) in enumerate(self.steps))
        discount = 0.0 if terminated else self.discount ** len(self.steps)
        before, action, _ = self.steps.popleft()
        return Transition(before, action, gain, discount, after)


class Replay:
    """The latest ``capacity`` transitions, drawn in proportion to powers of their priorities (Schaul et al., ICLR 2016).

    New ones get the greatest priority so far, so that each is drawn soon.

    Args:
        capacity: how many.
        shape: of an observation.
        exponent: of the priorities.
    """

    def __init__(self, capacity: int, shape: tuple[int, ...], exponent: float) -> None:
        self.capacity, self.exponent = capacity, exponent
        self.before = np.zeros((capacity, *shape), np.uint8)
        self.after = np.zeros((capacity, *shape), np.uint8)
        self.action = np.zeros(capacity, np.int64)
        self.gain = np.zeros(capacity, np.float32)
        self.discount = np.zeros(capacity, np.float32)
        self.tree = SumTree(capacity)
        self.greatest = 1.0
        self.added = 0

    def __len__(self) -> int:
        return min(self.added, self.capacity)

    def add(self, transition: Transition) -> None:
        """Remember one; the oldest is forgotten when there is no room."""
        i = self.added % self.capacity
        self.before[i], self.action[i], self.gain[i], self.discount[i], self.after[i] = transition
        self.tree.set(np.array([i]), np.array([self.greatest**self.exponent]))
        self.added += 1

    def draw(self, uniform: np.ndarray) -> np.ndarray:
        """Places ``[B]`` of transitions, one from each of B equal parts of the total (stratified); ``uniform[B]`` in [0, 1)."""
        parts = (np.arange(len(uniform)) + uniform) / len(uniform)
        return self.tree.find(parts * self.tree.total)

    def chances(self, places: np.ndarray) -> np.ndarray:
        """The probability of each place at one draw."""
        return np.asarray(self.tree.leaves(places) / self.tree.total)

    def set_priorities(self, places: np.ndarray, priorities: np.ndarray) -> None:
        """New priorities, which must be positive."""
        self.greatest = max(self.greatest, float(priorities.max()))
        self.tree.set(places, priorities**self.exponent)

    def state(self) -> dict[str, np.ndarray]:
        """All of it as arrays."""
        n = len(self)
        numbers = np.array([self.added, self.greatest])
        kept = {name: getattr(self, name)[:n] for name in _KEPT}
        return {**kept, "numbers": numbers, "priorities": self.tree.leaves(np.arange(n))}

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """What ``state`` gave."""
        self.added, self.greatest = int(arrays["numbers"][0]), float(arrays["numbers"][1])
        for name in _KEPT:
            getattr(self, name)[: len(self)] = arrays[name]
        self.tree.set(np.arange(len(self)), arrays["priorities"])


_KEPT = ("before", "after", "action", "gain", "discount")


class SumTree:
    """Non-negative numbers whose running sums are found and changed in logarithmic time."""

    def __init__(self, size: int) -> None:
        self.depth = max(1, (size - 1).bit_length())
        self.first = 1 << self.depth
        self.sums = np.zeros(2 * self.first)
        self.size = size

    @property
    def total(self) -> float:
        """The sum of all."""
        return float(self.sums[1])

    def leaves(self, places: np.ndarray) -> np.ndarray:
        """The numbers at these places."""
        return np.asarray(self.sums[self.first + places])

    def set(self, places: np.ndarray, values: np.ndarray) -> None:
        """Other numbers at these places; of equal places the last counts."""
        at = self.first + places
        self.sums[at] = values
        for _ in range(self.depth):
            at = at // 2
            self.sums[at] = self.sums[2 * at] + self.sums[2 * at + 1]

    def find(self, sums: np.ndarray) -> np.ndarray:
        """For each sum below the total the place at which the running sum exceeds it."""
        at, rest = np.ones(len(sums), np.int64), sums.copy()
        for _ in range(self.depth):
            left = 2 * at
            right = (rest >= self.sums[left]) & (self.sums[left + 1] > 0)  # rounding may lead past the last number
            rest -= np.where(right, self.sums[left], 0.0)
            at = left + right
        return at - self.first
