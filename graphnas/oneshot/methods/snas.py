"""SNAS with its three gradients of the resource cost (Xie, Zheng, Liu & Lin, ICLR 2019)."""

from dataclasses import replace

from graphnas.oneshot.discretisers import ArgmaxPerRow
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import WEIGHTS
from graphnas.oneshot.optimisers import Adam
from graphnas.oneshot.outer import Joint
from graphnas.oneshot.regularisers import ResourceCost
from graphnas.oneshot.relaxations import Concrete
from graphnas.oneshot.schedules import Constant, Linear

ETA = 1.5e-3

snas = Method(
    name="snas",
    source="Xie, Zheng, Liu & Lin, ICLR 2019; settings of the authors' code, eta of its example with logarithmic costs",
    relaxation=Concrete(Linear(1.0, 0.03)),
    outer=Joint(),
    discretiser=ArgmaxPerRow(allow_none=True),
    inner=WEIGHTS,
    # The authors' distributed search; their search on one device has plain gradient descent with the same rate.
    architecture=Adam(Constant(3e-4), betas=(0.5, 0.999), weight_decay=1e-3, clip=10.0),
    regularisers=(ResourceCost(ETA, "reparametrization"),),
    split=None,
    epochs=150,
)
snas_discrete = replace(snas, name="snas_discrete", regularisers=(ResourceCost(ETA, "discrete"),))
snas_policy_gradient = replace(snas, name="snas_policy_gradient", regularisers=(ResourceCost(ETA, "policy_gradient"),))
