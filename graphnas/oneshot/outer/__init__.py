"""How a method steps in the space of architectures."""

from graphnas.oneshot.outer.base import Outer, Update
from graphnas.oneshot.outer.descent import GLD
from graphnas.oneshot.outer.first_order import FirstOrder
from graphnas.oneshot.outer.joint import Joint
from graphnas.oneshot.outer.likelihood import MGS
from graphnas.oneshot.outer.neumann import Neumann
from graphnas.oneshot.outer.random_search import RandomSmoothing
from graphnas.oneshot.outer.rebar import Latency, LinearSurrogate, Rebar
from graphnas.oneshot.outer.unrolled import Unrolled

__all__ = [
    "GLD",
    "MGS",
    "FirstOrder",
    "Joint",
    "Latency",
    "LinearSurrogate",
    "Neumann",
    "Outer",
    "RandomSmoothing",
    "Rebar",
    "Unrolled",
    "Update",
]
