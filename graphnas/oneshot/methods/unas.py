"""UNAS (Vahdat, Mallya, Liu & Kautz, CVPR 2020)."""

from dataclasses import replace

from graphnas.oneshot.discretisers import SelectorArgmax
from graphnas.oneshot.gates import Every
from graphnas.oneshot.method import Method
from graphnas.oneshot.optimisers import Adam
from graphnas.oneshot.outer import Rebar
from graphnas.oneshot.regularisers import SamePair
from graphnas.oneshot.relaxations import CoupledConcrete, Selectors
from graphnas.oneshot.schedules import Constant, Cosine

WARMUP = 15 / 100
"""The weights are trained alone for 15 epochs, at the rate that falls in the 85 after them."""

unas = Method(
    name="unas",
    source="Vahdat, Mallya, Liu & Kautz, CVPR 2020; settings of the authors' code for CIFAR, batch 32 on each of 4 devices",
    relaxation=Selectors(CoupledConcrete(Constant(0.4))),
    outer=Rebar(gap=0.5),
    discretiser=SelectorArgmax(),
    inner=Adam(Cosine(3e-4, 1e-4, begin=WARMUP), weight_decay=3e-4, clip=5.0),
    architecture=Adam(Cosine(1e-3, 3e-4, begin=WARMUP), weight_decay=1e-6),
    gate=Every(1, warmup=WARMUP),
    regularisers=(SamePair(0.2),),
    split=0.9,
    epochs=100,
    batch=128,
)
unas_edges = replace(unas, name="unas_edges", relaxation=CoupledConcrete(Constant(0.4)), regularisers=())
"""For spaces whose nodes keep all inputs (NAS-Bench-201): one row for each edge instead of selectors."""
