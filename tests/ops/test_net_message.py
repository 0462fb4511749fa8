"""Messages through nets against loops over nets and tiles, at all resolutions; symmetries, derivatives, and what does not count."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from graphnas.architecture import INPUT, OUTPUT, Architecture, node
from graphnas.compile import compile
from graphnas.cost import LatencyTable, cost, example_inputs
from graphnas.errors import GraphnasError
from graphnas.export import export_onnx, python_source
from graphnas.ops.net_aggregate import FastNetMessage
from graphnas.ops.net_modules import NetMessage

FACTORS = (1, 2, 4)
SIDES = (8, 16)
"""Rows and columns of tiles: a multiple of all factors."""
FEATURES = 4


Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]


def placement(seed: int, nets: int = 9) -> Drawn:
    """Features of nets, and (net, row, column) of the tiles of their boxes and of their pins, on a die smaller than the map.

    The first net has neither; pins may share a tile.
    """
    rng = np.random.default_rng(seed)
    covers = []
    for net in range(1, nets):
        (r1, r2), (c1, c2) = np.sort(rng.integers(0, 6, 2)), np.sort(rng.integers(0, 11, 2))
        covers += [(net, r, c) for r in range(r1, r2 + 1) for c in range(c1, c2 + 1)]
    pins = np.column_stack(
        [rng.integers(1, nets, 3 * nets), rng.integers(0, 6, 3 * nets), rng.integers(0, 11, 3 * nets)]
    )
    return rng.gamma(1, 1, (nets, FEATURES)), np.array(covers), pins


def joined(placements: list[Drawn], flips: tuple[bool, bool] = (False, False)) -> list[Tensor]:
    """Features, covers and ends as the layer reads them."""
    rows, columns = SIDES
    first, pairs = 0, ([], [])
    for number, (nets, *both) in enumerate(placements):
        for made, (net, row, column) in zip(pairs, (each.T for each in both), strict=True):
            row, column = rows - 1 - row if flips[0] else row, columns - 1 - column if flips[1] else column
            made.append(np.stack([net + first, (number * rows + row) * columns + column]))
        first += len(nets)
    features = np.concatenate([nets for nets, *_ in placements])
    return [torch.from_numpy(features).float(), *(torch.from_numpy(np.concatenate(each, 1)) for each in pairs)]


def maps(examples: int, factor: int, channels: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(examples, channels, SIDES[0] // factor, SIDES[1] // factor, generator=generator)


def layer(factor: int, kind: type[NetMessage] = FastNetMessage) -> NetMessage:
    """With weights and running statistics drawn from a seed."""
    torch.manual_seed(1)
    made = kind(3, 5, FEATURES, 6, factor)
    made.norm.running_mean.normal_()
    made.norm.running_var.uniform_(0.5, 2)
    torch.nn.init.normal_(made.norm.weight)
    return made.eval()


def by_loops(made: NetMessage, x: Tensor, placements: list[Drawn]) -> np.ndarray:
    """The formulas of the class, one net and one tile after the other."""
    state = {name: value.double().numpy() for name, value in made.state_dict().items()}
    k, result, none = made.factor, [], np.zeros(len(made.send.bias))

    def normalised(values: np.ndarray) -> np.ndarray:
        centred = (values - state["norm.running_mean"]) / np.sqrt(state["norm.running_var"] + 1e-5)
        return centred * state["norm.weight"] + state["norm.bias"]

    for one, (nets, covers, pins) in zip(x.double().numpy(), placements, strict=True):

        def mean(number: int, pairs: np.ndarray, one: np.ndarray = one) -> np.ndarray:
            seen = [one[:, r // k, c // k] for net, r, c in pairs if net == number]
            sent = [np.maximum(state["send.weight"] @ each + state["send.bias"], 0) for each in seen]
            return np.mean(sent, axis=0) if sent else none

        said = []
        for number, features in enumerate(nets):
            read = np.concatenate([mean(number, covers), mean(number, pins), np.float32(features)])
            said.append(np.maximum(state["net.weight"] @ read + state["net.bias"], 0))
        made_here = np.zeros((len(state["norm.bias"]), *one.shape[1:]))
        for row in range(one.shape[1]):
            for column in range(one.shape[2]):
                over, at = (
                    [said[net] for net, r, c in pairs if (r // k, c // k) == (row, column)] for pairs in (covers, pins)
                )
                heard = [sum(over, none) / k**2, sum(over, none) / max(len(over), 1), sum(at, none) / k**2]
                read = np.concatenate([one[:, row, column], np.log1p(np.concatenate(heard))])
                made_here[:, row, column] = np.maximum(normalised(state["mix.weight"] @ read), 0)
        result.append(made_here)
    return np.stack(result)


@pytest.mark.parametrize("factor", FACTORS)
def test_both_layers_against_loops(factor: int) -> None:
    placements, x = [placement(0), placement(1, 4)], maps(2, factor)
    given = joined(placements)
    expected = by_loops(layer(factor), x, placements)
    assert (expected > 0).mean() > 0.2
    for kind in (NetMessage, FastNetMessage):
        made = layer(factor, kind)(x, *given).detach().numpy()
        np.testing.assert_allclose(made, expected, atol=2e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_placements_of_a_batch_do_not_hear_of_each_other(factor: int) -> None:
    placements, x, made = [placement(k) for k in range(3)], maps(3, factor), layer(factor)
    together = made(x, *joined(placements))
    for i, one in enumerate(placements):
        torch.testing.assert_close(together[i : i + 1], made(x[i : i + 1], *joined([one])), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_mirrored_placements_give_mirrored_maps(factor: int) -> None:
    placements, x, made = [placement(k) for k in range(2)], maps(2, factor), layer(factor)
    first = made(x, *joined(placements))
    for flips, axes in (((True, False), [2]), ((False, True), [3]), ((True, True), [2, 3])):
        torch.testing.assert_close(
            made(x.flip(axes), *joined(placements, flips)).flip(axes), first, atol=2e-6, rtol=1e-5
        )


def test_nets_without_tiles_and_maps_without_nets() -> None:
    (nets, *pairs), x, made = placement(0), maps(1, 1), layer(1)
    other = nets.copy()
    other[0] += 100
    first = made(x, *joined([(nets, *pairs)]))
    assert torch.equal(made(x, *joined([(other, *pairs)])), first)
    padding = x.clone()
    padding[:, :, 6:] += 1  # beyond the die nobody listens: tiles of the die hear the same
    assert torch.equal(made(padding, *joined([(nets, *pairs)]))[:, :, :6], first[:, :, :6])
    nothing = torch.zeros(0, FEATURES), *(torch.zeros(2, 0, dtype=torch.int64) for _ in range(2))
    for kind in (NetMessage, FastNetMessage):
        alone = layer(2, kind)(maps(1, 2), *nothing).detach().numpy()
        empty = np.zeros((0, FEATURES)), np.zeros((0, 3), int), np.zeros((0, 3), int)
        np.testing.assert_allclose(alone, by_loops(layer(2), maps(1, 2), [empty]), atol=2e-6)


@pytest.mark.parametrize("kind", [NetMessage, FastNetMessage])
def test_derivatives(kind: type[NetMessage]) -> None:
    nets, *pairs = joined([placement(3, 4)])
    made = layer(4, kind).double()
    made.norm.bias.data.fill_(5)  # away from the corner of the last rectifier
    given = maps(1, 4).double(), nets.double()
    names = [name for name, _ in made.named_parameters()]
    values = [value.detach().clone().requires_grad_() for _, value in made.named_parameters()]

    def of_weights(*values: Tensor) -> Tensor:
        weights = dict(zip(names, values, strict=True))
        return torch.func.functional_call(made, weights, (*given, *pairs)).sum((2, 3))

    def of_inputs(x: Tensor, features: Tensor) -> Tensor:
        return made(x, features, *pairs)

    def between(sent: Tensor) -> Tensor:
        return made.between(sent, given[1], *pairs, given[0].shape[3]).square()

    assert torch.autograd.gradcheck(of_weights, values)
    assert torch.autograd.gradcheck(of_inputs, tuple(value.requires_grad_() for value in given))
    sent = torch.rand(given[0][0, 0].numel(), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradgradcheck(between, sent.requires_grad_())


def test_a_net_or_tile_that_there_is_not_is_refused() -> None:
    nets, covers, ends = joined([placement(0)])
    wrong = covers.clone()
    wrong[0, 3] = 9
    with pytest.raises(GraphnasError, match="names net 9; the 9 nets of the batch are 0 to 8"):
        layer(1)(maps(1, 1), nets, wrong, ends)
    wrong = ends.clone()
    wrong[1, 0] = -1
    with pytest.raises(GraphnasError, match="names tile -1; the 128 tiles of the batch are 0 to 127"):
        layer(4)(maps(1, 4), nets, covers, wrong)


def network(factor: int = 2) -> Architecture:
    inputs = [
        node(INPUT, name="x", shape=(3, 8, 8)),
        node(INPUT, name="nets", shape=(7, 4)),
        node(INPUT, name="covers", shape=(2, 30), points_to=("nets", "x")),
        node(INPUT, name="pins", shape=(2, 11), points_to=("places", "nets")),
        node(INPUT, name="places", shape=(6,), points_to=("x",)),
        node("max_pool_2x2", (0,)),
        node("pin_tiles", (3, 4)),
        node("net_message", (5, 1, 2, 6), factor=factor, channels=5, name="nets"),
    ]
    return Architecture([*inputs, node(OUTPUT, (7,))])


def test_a_network_with_nets_has_shapes_costs_examples_and_source() -> None:
    whole = network()
    module = compile(whole, seed=0)
    assert isinstance(module.nets, FastNetMessage)
    found = cost(whole)
    assert found.params == sum(p.numel() for p in module.parameters())
    # 16 pixels: to 3 features with a bias, and from 3 + 3 * 3 to 5; 7 nets: from 2 * 3 + 4 to 3 with a bias; 30 + 11 pairs both ways.
    assert found.macs == 16 * (3 * 3 + 3 + 12 * 5) + 7 * (10 * 3 + 3) + 2 * (30 + 11) * 3
    given = example_inputs(whole, batch=3)
    assert int(given[2][0].max()) < 7 <= int(given[2][1].max()) < 3 * 64
    assert module(*given).shape == (3, 5, 4, 4)
    spaces: dict[str, type] = {}
    text = python_source(whole)
    assert "graphnas." not in text
    exec(text, spaces)
    alone = spaces["Network"]()
    alone.load_state_dict(copy.deepcopy(module.state_dict()))
    torch.testing.assert_close(alone.eval()(*given), module.eval()(*given))
    assert LatencyTable().measure([whole], warm_up=0, repeats=1).latency(whole) > 0
    with pytest.raises(GraphnasError, match="export it as Python"):
        export_onnx(whole, "unused.onnx")
    with pytest.raises(GraphnasError, match="build it for a task with nets"):
        cost(Architecture([node(INPUT, name="x", shape=(3, 8, 8)), node("net_message", (0,)), node(OUTPUT, (1,))]))
