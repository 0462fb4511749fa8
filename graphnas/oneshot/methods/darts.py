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

darts1_recurrent = replace(
    darts1,
    name="darts1_recurrent",
    source="Liu, Simonyan & Yang, ICLR 2019; settings of the authors' search for recurrent cells",
    inner=SGD(Constant(20.0), weight_decay=5e-7, clip=0.25),
    architecture=Adam(Constant(3e-3), weight_decay=1e-3),
    split=0.926,
    batch=256,
)
"""The parts of the training text are as large as Penn Treebank's training and validation texts, which the authors took."""
darts2_recurrent = replace(darts1_recurrent, name="darts2_recurrent", outer=Unrolled())
"""The virtual step clips as the real one does. The authors clip the slope of the validation loss too, which is not in the formula."""
