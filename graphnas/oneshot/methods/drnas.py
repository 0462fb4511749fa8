"""DrNAS with progressive pruning (Chen, Wang, Cheng, Tang & Hsieh, ICLR 2021)."""

from dataclasses import replace

from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.optimisers import Adam
from graphnas.oneshot.regularisers import Concentration
from graphnas.oneshot.relaxations import Dirichlet
from graphnas.oneshot.schedules import Constant

drnas: Method = replace(
    darts1,
    name="drnas",
    # The authors' progressive search also passes a quarter, then half of the channels, and rests alpha for 10 epochs of each stage.
    source="Chen et al., ICLR 2021; 5 operations for 50 epochs, then 3 for 50, as on NAS-Bench-201, with all channels",
    relaxation=Dirichlet(prune=((0.5, 3),)),
    # The distance to concentration 1 stands in for weight decay.
    architecture=Adam(Constant(3e-4), betas=(0.5, 0.999)),
    regularisers=(Concentration(1e-3),),
    epochs=100,
)
