"""Reinforcement learning from pixels as a task: environments, objectives, and the experience that a network gains by acting."""
