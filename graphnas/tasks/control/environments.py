"""Many games side by side: any Gymnasium environment of images and discrete actions, and Procgen."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np

from graphnas.errors import GraphnasError
from graphnas.tasks.base import SPLITS

PROCGEN = "procgen/"
LEVELS = 200
"""Procgen's training levels in its easy setting (Cobbe et al., ICML 2020)."""


class Step(NamedTuple):
    """What one action in each of N environments led to.

    Attributes:
        observations: ``[N, C, H, W]`` uint8, of the next episode where one has ended.
        rewards: ``[N]`` float32.
        terminated: ``[N]``, the episode is over, nothing can follow.
        truncated: ``[N]``, the episode was cut off, and would have gone on.
        final: ``[N, C, H, W]``, what followed before a new episode began.
    """

    observations: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    final: np.ndarray


class Environments(Protocol):
    """N environments that begin a new episode by themselves.

    Attributes:
        count: N.
        shape: (C, H, W) of an observation.
        actions: how many there are.
    """

    count: int
    shape: tuple[int, int, int]
    actions: int

    def reset(self, seed: int) -> np.ndarray:
        """First observations ``[N, C, H, W]``; the seed fixes all that follows, given the actions."""

    def step(self, actions: np.ndarray) -> Step:
        """Act in each environment; ``actions[N]``."""


def make(name: str, count: int, split: str) -> Environments:
    """Environments of a name: ``procgen/coinrun``, or any that ``gymnasium.make`` knows.

    Args:
        name: of the game. Those that ship are ``graphnas/Bars-v0``, ``graphnas/Catch-v0`` and ``graphnas/Maze-v0``.
        count: how many.
        split: in Procgen, "train" and "validation" are levels 0 to 199 and 200 to 399, "test" all levels; elsewhere
            splits differ by their seeds only.

    Raises:
        GraphnasError: no such environment, one without images or with other than discrete actions, or a package is missing.
    """
    if split not in SPLITS:
        raise GraphnasError(f"a control task has the splits {', '.join(SPLITS)}, not {split!r}")
    return Procgen(name[len(PROCGEN) :], count, split) if name.startswith(PROCGEN) else Gymnasium(name, count)


class Gymnasium:
    """Gymnasium environments (Towers et al., 2024), stepped one after the other in this process."""

    def __init__(self, name: str, count: int) -> None:
        try:
            import gymnasium
        except ImportError:
            raise GraphnasError("Gymnasium is not installed: pip install 'graphnas[control]'") from None
        importlib.import_module("graphnas.tasks.control.games")  # registers ours
        try:
            self.members = [gymnasium.make(name, disable_env_checker=True) for _ in range(count)]
        except (gymnasium.error.Error, ModuleNotFoundError) as error:
            raise GraphnasError(f"no environment {name!r}: {' '.join(str(error).split())}") from None
        space, action = self.members[0].observation_space, self.members[0].action_space
        shape = tuple(space.shape or ())
        if len(shape) != 3 or space.dtype != np.uint8 or not isinstance(action, gymnasium.spaces.Discrete):
            raise GraphnasError(
                f"environment {name!r} gives {space} for {action}; control tasks need images [H, W, C] of uint8 and "
                "discrete actions"
            )
        self.count = count
        self.shape = (shape[2], shape[0], shape[1])
        self.actions = int(action.n)
        self.first = int(action.start)

    def reset(self, seed: int) -> np.ndarray:
        """See ``Environments``."""
        seeds = np.random.SeedSequence(seed).generate_state(self.count)
        return _stacked([e.reset(seed=int(s))[0] for e, s in zip(self.members, seeds, strict=True)])

    def step(self, actions: np.ndarray) -> Step:
        """See ``Environments``."""
        seen, final, told = [], [], []
        for environment, action in zip(self.members, actions.tolist(), strict=True):
            x, reward, terminated, truncated, _ = environment.step(self.first + action)
            told.append((float(reward), bool(terminated), bool(truncated) and not terminated))
            final.append(x)
            seen.append(environment.reset()[0] if terminated or truncated else x)
        rewards, terminated_, truncated_ = zip(*told, strict=True)
        stacked = _stacked(seen)
        ended = any(terminated_) or any(truncated_)
        return Step(
            stacked,
            np.array(rewards, np.float32),
            np.array(terminated_),
            np.array(truncated_),
            _stacked(final) if ended else stacked,
        )


class Procgen:
    """Procgen's games in the easy setting (Cobbe et al., ICML 2020); episodes are never told to be cut off."""

    def __init__(self, game: str, count: int, split: str) -> None:
        procgen: Any = _procgen()
        known = importlib.import_module("procgen.env").ENV_NAMES
        if game not in known:
            raise GraphnasError(f"Procgen has no game {game!r}; it has {', '.join(known)}")
        first, levels = {"train": (0, LEVELS), "validation": (LEVELS, LEVELS), "test": (0, 0)}[split]
        self._make: Callable[[int], Any] = lambda seed: procgen.ProcgenGym3Env(
            num=count,
            env_name=game,
            start_level=first,
            num_levels=levels,
            distribution_mode="easy",
            rand_seed=seed % 2**31,
            num_threads=0,
        )
        self.count = count
        self.shape = (3, 64, 64)
        self.actions = 15
        self.env: Any = None

    def reset(self, seed: int) -> np.ndarray:
        """See ``Environments``."""
        if self.env is not None:
            self.env.close()
        self.env = self._make(seed)
        return self._seen()[1]

    def step(self, actions: np.ndarray) -> Step:
        """See ``Environments``; what an episode ended with is not told, and the first image of the next stands for it."""
        self.env.act(actions.astype(np.int32))
        rewards, x, first = self._seen()
        return Step(x, rewards, first, np.zeros_like(first), x)

    def _seen(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        reward, seen, first = self.env.observe()
        return np.asarray(reward, np.float32), _channels_first(seen["rgb"]), np.asarray(first, bool)


def _procgen() -> Any:
    try:
        return importlib.import_module("procgen")
    except ImportError:
        raise GraphnasError(
            "Procgen is not installed: make procgen, or, with numpy below 2, pip install 'graphnas[procgen]' (docs/control.md)"
        ) from None


def _stacked(frames: list[np.ndarray]) -> np.ndarray:
    return _channels_first(np.stack(frames))


def _channels_first(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))
