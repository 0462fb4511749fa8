"""RobustDARTS's early stop, DARTS-ES (Zela et al., ICLR 2020)."""

from dataclasses import replace

from graphnas.oneshot.curvature import CurvatureStop
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1

robust_darts: Method = replace(
    darts1,
    name="robust_darts",
    source="Zela et al., ICLR 2020; rule of the authors' code, all else as DARTS",
    stop=CurvatureStop(every=2, window=5, distance=4, ratio=1.3, earliest=10),
)
