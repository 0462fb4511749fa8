"""The control tasks that have names."""

from __future__ import annotations

from graphnas.tasks.control import ppo
from graphnas.tasks.control.ppo import PPO
from graphnas.tasks.control.rainbow import Rainbow
from graphnas.tasks.control.task import ControlTask


def bars() -> ControlTask:
    """The bandit, with PPO."""
    objective = PPO(environments=64, length=4, rollouts=8, batch=128)
    return ControlTask("graphnas/Bars-v0", objective, name="pixel-bars", episodes=256)


def catch() -> ControlTask:
    """Catching a ball, with PPO."""
    return ControlTask("graphnas/Catch-v0", PPO(discount=0.99), name="pixel-catch")


def catch_rainbow() -> ControlTask:
    """Catching a ball, with Rainbow."""
    return ControlTask("graphnas/Catch-v0", Rainbow(), name="pixel-catch-rainbow")


def maze() -> ControlTask:
    """Mazes, with PPO."""
    return ControlTask("graphnas/Maze-v0", PPO(discount=0.99), name="pixel-maze")


def coinrun() -> ControlTask:
    """Procgen's CoinRun, with PPO; returns are 0 or 10."""
    return ControlTask("procgen/coinrun", ppo.PROCGEN, name="procgen-coinrun", episodes=128)


def procgen_maze() -> ControlTask:
    """Procgen's mazes, with PPO; returns are 0 or 10."""
    return ControlTask("procgen/maze", ppo.PROCGEN, name="procgen-maze", episodes=128)
