"""RL-DARTS: weights and architecture follow the agent's own loss together (Miao et al., arXiv 2106.02229)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from graphnas.oneshot.base import Alpha, Group
from graphnas.oneshot.discretisers import TopKInputs
from graphnas.oneshot.method import Method
from graphnas.oneshot.optimisers import Adam
from graphnas.oneshot.outer import Joint
from graphnas.oneshot.relaxations import Softmax
from graphnas.oneshot.schedules import Constant


@dataclass(frozen=True)
class EvenSoftmax(Softmax):
    """The softmax, with all parameters 0 at the start."""

    def initial(self, groups: Sequence[Group], generator: torch.Generator) -> Alpha:
        """Zeros."""
        return self.drawn(groups, generator, 0.0, 0.0)


rl_darts = Method(
    name="rl_darts",
    # The authors' optimiser holds weights and architecture together, and so clips one norm; here each has its own.
    source="Miao et al., 2021, arXiv 2106.02229; settings of the authors' agents with PPO on Procgen",
    relaxation=EvenSoftmax(),
    outer=Joint(),
    discretiser=TopKInputs(),
    inner=Adam(Constant(5e-4), epsilon=1e-5, clip=0.5),
    architecture=Adam(Constant(5e-4), epsilon=1e-5, clip=0.5),
    split=None,
    epochs=50,
    batch=2048,
)
