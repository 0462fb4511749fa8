"""DARTS-PT (Wang, Cheng, Chen, Tang & Hsieh, ICLR 2021)."""

from dataclasses import replace

from graphnas.oneshot.gates import Every
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.perturbation import Perturbation

darts_pt: Method = replace(
    darts1,
    name="darts_pt",
    source="Wang et al., ICLR 2021; 100 epochs as on NAS-Bench-201, 5 of tuning after each decision",
    discretiser=Perturbation(epochs=5),
    epochs=100,
)
darts_pt_fixed: Method = replace(darts_pt, name="darts_pt_fixed", gate=Every(1, until=0.0))
"""The weights of the supernet alone are trained; alpha stays as it was drawn, uniform but for 1e-3."""
