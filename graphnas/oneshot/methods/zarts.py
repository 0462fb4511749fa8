"""ZARTS: random search, maximum-likelihood guided search and gradientless descent (Wang et al., NeurIPS 2022)."""

from dataclasses import replace

from graphnas.oneshot.gates import Every
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.outer import GLD, MGS, RandomSmoothing
from graphnas.oneshot.schedules import Constant, Cosine

WARMUP = 10 / 50
SIGMA = Cosine(0.025, 0.0, begin=WARMUP)

zarts_mgs: Method = replace(
    darts1,
    name="zarts_mgs",
    source="Wang et al., NeurIPS 2022; settings of the authors' code for the DARTS space (sigma 0.2 for RobustDARTS's)",
    outer=MGS(samples=4, steps=10, temperature=0.01, sigma=SIGMA, mixture=1e-3),
    architecture=None,
    gate=Every(10, warmup=WARMUP),
)
# The step size of the random search and the radii of the descent are not in the authors' code; these are ours.
zarts_rs: Method = replace(
    zarts_mgs,
    name="zarts_rs",
    outer=RandomSmoothing(samples=4, steps=10, sigma=Constant(0.025)),
    architecture=SGD(Constant(0.1)),
)
zarts_gld: Method = replace(zarts_mgs, name="zarts_gld", outer=GLD(largest=0.1, smallest=0.0125, steps=10))
