"""DARTS-PRIME, with either regulariser, and its first version's activation (Maile et al., arXiv 2106.11655)."""

from dataclasses import replace

from graphnas.oneshot.gates import FisherGate
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.regularisers import ADMM, Proximity
from graphnas.oneshot.relaxations import ClampNorm

darts_prime: Method = replace(
    darts1,
    name="darts_prime",
    source="Maile, Lecarpentier, Luga & Wilson, 2021, arXiv 2106.11655, version 3; settings of the authors' code",
    gate=FisherGate(steps=10, growth=1.05, smoothing=0.2),
    regularisers=(Proximity(0.1),),
    split=10 / 11,
)
darts_prime_admm: Method = replace(darts_prime, name="darts_prime_admm", regularisers=(ADMM(0.1),))
darts_prime_clamp: Method = replace(darts_prime, name="darts_prime_clamp", relaxation=ClampNorm())
