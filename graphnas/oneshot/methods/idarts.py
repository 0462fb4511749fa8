"""iDARTS (Zhang, Su, Pan, Chang, Abbasnejad & Haffari, ICML 2021)."""

from graphnas.oneshot.discretisers import TopKInputs
from graphnas.oneshot.gates import Every
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import ARCHITECTURE
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.outer import Neumann
from graphnas.oneshot.relaxations import Softmax
from graphnas.oneshot.schedules import Cosine

idarts = Method(
    name="idarts",
    source="Zhang et al., ICML 2021; settings of the authors' search on NAS-Bench-201 (T = 4, K = 2)",
    relaxation=Softmax(),
    outer=Neumann(terms=2),
    discretiser=TopKInputs(),
    inner=SGD(Cosine(0.01, 0.001), momentum=0.9, nesterov=True, weight_decay=5e-4),
    architecture=ARCHITECTURE,
    gate=Every(4),
    epochs=30,
)
