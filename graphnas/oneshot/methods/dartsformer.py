"""DARTSformer: first-order DARTS with the settings of Transformers (Zhao et al., Findings of ACL 2021)."""

from dataclasses import replace

from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.optimisers import Adam
from graphnas.oneshot.schedules import Constant, InverseRoot

dartsformer = replace(
    darts1,
    name="dartsformer",
    source="Zhao, Dong, Shen, Zhang, Wei & Chen, Findings of ACL 2021; 10,000 of 30,000 steps are warm-up",
    inner=Adam(InverseRoot(5e-4, 1 / 3), betas=(0.9, 0.98)),
    architecture=Adam(Constant(3e-4), weight_decay=1e-3),
    split=2.5 / 4.5,
    epochs=30,
)
