"""Swapped tensors: against torch's functional_call, with tied weights, and back in their places afterwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from graphnas.oneshot.swapping import Swapping


class Tied(nn.Module):
    """Two maps with one weight, normalisation that counts, a layer that is used twice and one without bias."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4, bias=False)
        self.second.weight = self.first.weight
        self.norm = nn.BatchNorm1d(4)
        self.again = nn.Sequential(self.first, nn.BatchNorm1d(4, affine=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.norm(self.second(torch.relu(self.first(x)))))  # type: ignore[no-any-return]


def drawn(named: list[tuple[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.rand(t.shape) if t.is_floating_point() else t.clone() for name, t in named}


def test_a_call_with_other_tensors_is_that_of_torch() -> None:
    torch.manual_seed(0)
    module, x = Tied(), torch.randn(8, 4)
    swapping = Swapping(module)
    own = {name: t.clone() for name, t in module.state_dict().items()}
    weights = {name: p.requires_grad_() for name, p in drawn(list(module.named_parameters())).items()}
    theirs, ours = ({name: b.clone() for name, b in module.named_buffers()} for _ in range(2))
    expected = functional_call(copy.deepcopy(module), {**weights, **theirs}, (x,))  # which leaves tied tensors swapped
    assert (swapping.parameters, swapping.buffers) == (list(weights), list(ours))
    with swapping.holding(list(weights.values()), list(ours.values())):
        made = module(x)
        assert all(a is b for a, b in zip(swapping.now(), weights.values(), strict=True))
    torch.testing.assert_close(made, expected, rtol=0, atol=0)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert int(ours["norm.num_batches_tracked"]) == 1
    slopes = [torch.autograd.grad(y.sum() + y.square().sum(), list(weights.values())) for y in (made, expected)]
    assert all(torch.equal(a, b) for a, b in zip(*slopes, strict=True))
    assert all(torch.equal(t, own[name]) for name, t in module.state_dict().items())
    assert module.second.weight is module.first.weight


def test_the_modules_own_tensors_come_back_after_an_error() -> None:
    module = Tied()
    swapping, before = Swapping(module), dict(module.named_parameters())
    with (
        pytest.raises(RuntimeError),
        swapping.holding(*([torch.zeros(1) for _ in t()] for t in (swapping.now, swapping.buffers_now))),
    ):
        module(torch.zeros(2, 4))
    assert all(p is before[name] for name, p in module.named_parameters())
