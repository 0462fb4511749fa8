"""GDAS (Dong & Yang, CVPR 2019)."""

from dataclasses import replace

from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.relaxations import StraightThroughGumbel
from graphnas.oneshot.schedules import Cosine, Linear

gdas: Method = replace(
    darts1,
    name="gdas",
    source="Dong & Yang, CVPR 2019; settings of the authors' search on NAS-Bench-201",
    relaxation=StraightThroughGumbel(Linear(10.0, 0.1)),
    inner=SGD(Cosine(0.025, 0.001), momentum=0.9, nesterov=True, weight_decay=5e-4, clip=5.0),
    epochs=250,
)
