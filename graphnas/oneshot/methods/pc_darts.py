"""PC-DARTS (Xu et al., ICLR 2020)."""

from dataclasses import replace

from graphnas.oneshot.gates import Every
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.optimisers import SGD, Adam
from graphnas.oneshot.relaxations import PartialChannels
from graphnas.oneshot.schedules import Constant, Cosine

pc_darts: Method = replace(
    darts1,
    name="pc_darts",
    source="Xu et al., ICLR 2020; settings of the paper's search on CIFAR-10",
    relaxation=PartialChannels(channels=4),
    inner=SGD(Cosine(0.1, 0.0), momentum=0.9, weight_decay=3e-4, clip=5.0),
    architecture=Adam(Constant(6e-4), betas=(0.5, 0.999), weight_decay=1e-3),
    gate=Every(1, warmup=15 / 50),
    batch=256,
)
