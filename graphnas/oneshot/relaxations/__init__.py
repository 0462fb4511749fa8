"""From architecture parameters to mixing weights."""

from graphnas.oneshot.relaxations.base import Relaxation
from graphnas.oneshot.relaxations.clamp import ClampNorm
from graphnas.oneshot.relaxations.concrete import Concrete, CoupledConcrete
from graphnas.oneshot.relaxations.dirichlet import Dirichlet
from graphnas.oneshot.relaxations.gumbel import StraightThroughGumbel
from graphnas.oneshot.relaxations.partial import PartialChannels
from graphnas.oneshot.relaxations.selectors import Selectors
from graphnas.oneshot.relaxations.softmax import Softmax

__all__ = [
    "ClampNorm",
    "Concrete",
    "CoupledConcrete",
    "Dirichlet",
    "PartialChannels",
    "Relaxation",
    "Selectors",
    "Softmax",
    "StraightThroughGumbel",
]
