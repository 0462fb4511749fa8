"""DARTS, first and second order (Liu, Simonyan & Yang, ICLR 2019)."""

from dataclasses import replace

from graphnas.oneshot.discretisers import TopKInputs
from graphnas.oneshot.method import Method
from graphnas.oneshot.optimisers import SGD, Adam
from graphnas.oneshot.outer import FirstOrder, Unrolled
from graphnas.oneshot.relaxations import Softmax
from graphnas.oneshot.schedules import Constant, Cosine

SOURCE = "Liu, Simonyan & Yang, ICLR 2019; settings of the authors' search for image cells"
WEIGHTS = SGD(Cosine(0.025, 0.001), momentum=0.9, weight_decay=3e-4, clip=5.0)
ARCHITECTURE = Adam(Constant(3e-4), betas=(0.5, 0.999), weight_decay=1e-3)

darts1 = Method(
    name="darts1",
    source=SOURCE,
    relaxation=Softmax(),
    outer=FirstOrder(),
    discretiser=TopKInputs(),
    inner=WEIGHTS,
    architecture=ARCHITECTURE,
)
darts2 = replace(darts1, name="darts2", outer=Unrolled())
