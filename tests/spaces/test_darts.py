"""DARTS's cells: their number, their published networks, and the way between the two spaces."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphnas.canonical import Semantics, key
from graphnas.compile import compile
from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import train
from graphnas.ops.modules import DropPath, FactorizedReduce
from graphnas.tasks.augment import cutout
from graphnas.tasks.base import Batch, Signature
from graphnas.tasks.image import ImageTask
from spaces import darts, darts_s1
from spaces.darts_genotype import DARTS_V1, DARTS_V2, from_genotype, to_genotype

CIFAR = Signature("image", (3, 32, 32), 10)


def test_numbers_of_architectures():
    assert darts.space().writings == (180 * 7**8) ** 2  # specified: 180 * 7^8 a cell
    assert darts.edges().writings == 8**28


def test_darts_v2_has_the_published_number_of_parameters():
    network = darts.space().network(from_genotype(DARTS_V2), CIFAR, channels=36, cells=20)
    assert cost(network).params == 3_349_342  # the released code prints 3.349342 MB
    module = compile(network, seed=0)
    assert sum(p.numel() for p in module.parameters()) == 3_349_342


@pytest.mark.parametrize("text", [DARTS_V1, DARTS_V2])
def test_a_genotype_comes_back_as_it_was(text):
    architecture = from_genotype(text)
    assert darts.space().contains(architecture)
    again = to_genotype(architecture)
    assert from_genotype(again) == architecture
    # The same operations, though a sum's two may be written in the other order.
    assert sorted(text) == sorted(again)


def test_both_spaces_write_the_same_network():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    signature = Signature("image", (3, 8, 8), 4)
    for seed in range(5):
        architecture = darts.space().sample(np.random.default_rng(seed))
        on_edges = darts.to_edges(architecture)
        assert darts.from_edges(on_edges) == architecture
        assert darts.edges().key(on_edges) == darts.space().key(architecture)
        first, second = (
            compile(space.network(a, signature, channels=2, cells=3), seed=0)
            for space, a in ((darts.space(), architecture), (darts.edges(), on_edges))
        )
        # The nodes have other numbers, but come in the same order, so equal seeds give equal weights.
        torch.testing.assert_close(first(x), second(x), rtol=0, atol=1e-6)


def test_a_sum_with_another_number_of_operations_has_no_genotype():
    every = darts.edges().decode([4] * 28)
    with pytest.raises(GraphnasError, match="in the space darts each sum has one on each of two inputs"):
        darts.from_edges(darts.edges().decode([0] * 28))
    with pytest.raises(GraphnasError, match="sum 3 of the normal cell has 3 operations"):
        to_genotype(every)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("__import__('os').system('true')", "a genotype reads"),
        ("Genotype(normal=[], normal_concat=range(2, 6), reduce=[], reduce_concat=range(2, 6))", "has 0 operations"),
        (DARTS_V2.replace("('sep_conv_3x3', 0)", "('sep_conv_9x9', 0)"), "operation 'sep_conv_9x9'"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 7)"), "reads node 7"),
        (DARTS_V2.replace("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)"), "on each of two inputs"),
        (DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=range(1, 6)"), "joins the nodes"),
        (DARTS_V2.replace("normal_concat=[2, 3, 4, 5]", "normal_concat=range(0, 10**9)"), "a genotype reads"),
        ("Genotype(" * 5000, "characters"),
    ],
)
def test_bad_genotypes_are_refused_with_the_reason(text, reason):
    with pytest.raises(GraphnasError, match=reason):
        from_genotype(text)


def test_a_skip_that_halves_the_resolution_is_no_identity():
    space = darts.edges()
    names = [c.name for c in space.choices]
    decisions = [0] * 28
    decisions[names.index("reduce.0->2")] = darts.OPS.index("skip_connect")
    architecture = space.decode(decisions)
    assert any(n.op == "skip_connect" for n in space.canonical(architecture).nodes)
    decisions = [0] * 28
    decisions[names.index("normal.0->2")] = darts.OPS.index("skip_connect")
    assert not any(n.op == "skip_connect" for n in space.canonical(space.decode(decisions)).nodes)


def test_the_auxiliary_head_is_a_second_result():
    architecture = from_genotype(DARTS_V2)
    plain = cost(darts.space().network(architecture, CIFAR, channels=4, cells=3)).params
    network = darts.space().network(architecture, CIFAR, channels=4, cells=3, auxiliary=True, drop_path=0.2)
    channels = 4 * 4 * 4  # four joined sums of 4 channels, doubled twice
    head = channels * 128 + 2 * 128 + 128 * 768 * 4 + 2 * 768 + 768 * 10 + 10
    assert cost(network).params == plain + head
    assert [tuple(y.shape) for y in compile(network, seed=0)(torch.randn(2, 3, 32, 32))] == [(2, 10), (2, 10)]


def test_odd_channels_are_refused():
    with pytest.raises(GraphnasError, match="must be even"):
        darts.space().network(from_genotype(DARTS_V2), CIFAR, channels=5)


# -- layers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 7, 8])
def test_factorised_reduction_reads_even_and_odd_pixels(channels):
    layer = FactorizedReduce(channels, 2, affine=False).eval()
    with torch.no_grad():
        layer.first.weight.fill_(1 / channels)
        layer.second.weight.fill_(1 / channels)
    for side in (4, 5):
        x = torch.arange(1.0, side * side + 1).view(1, 1, side, side).expand(1, channels, side, side)
        y = layer(x) * (1 + layer.norm.eps) ** 0.5  # running mean 0 and variance 1
        half = -(-side // 2)
        assert y.shape == (1, 2, half, half)
        torch.testing.assert_close(y[0, 0], x[0, 0, ::2, ::2])
        odd = torch.zeros(half, half)
        found = x[0, 0, 1::2, 1::2]
        odd[: found.shape[0], : found.shape[1]] = found
        torch.testing.assert_close(y[0, 1], odd)


@pytest.mark.parametrize("channels", range(1, 10))
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_factorised_reduction_and_its_gradients_are_those_of_strided_convolutions(channels, layout):
    layer, x = (
        FactorizedReduce(channels, 4, affine=False),
        torch.randn(3, channels, 7, 8).contiguous(memory_format=layout),
    )
    exact = x.double().contiguous().requires_grad_()
    weights = [m.weight.detach().double().requires_grad_() for m in (layer.first, layer.second)]
    shifted = torch.nn.functional.pad(exact.relu(), (-1, 1, -1, 1))
    halves = [torch.nn.functional.conv2d(y, w, stride=2) for y, w in zip((exact.relu(), shifted), weights, strict=True)]
    expected = torch.nn.functional.batch_norm(torch.cat(halves, 1), None, None, training=True)
    y = layer(x.requires_grad_())
    torch.testing.assert_close(y.double(), expected, atol=1e-4, rtol=1e-4)
    found = torch.autograd.grad(y.sin().sum(), [x, layer.first.weight, layer.second.weight])
    for a, b in zip(found, torch.autograd.grad(expected.sin().sum(), [exact, *weights]), strict=True):
        torch.testing.assert_close(a.double(), b, atol=1e-3, rtol=1e-3)


def test_drop_path_zeroes_whole_examples_and_keeps_the_mean():
    layer = DropPath(0.4).train()
    x = torch.ones(20_000, 2, 1, 1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = layer(x)
    values = y[:, :, 0, 0]
    assert torch.equal(values[:, 0], values[:, 1])
    assert values.unique().tolist() == pytest.approx([0.0, 1 / 0.6])
    assert float(values[:, 0].mean()) == pytest.approx(1.0, abs=4 * (0.4 / 0.6 / 20_000) ** 0.5)
    layer.set_progress(0.0)
    assert torch.equal(layer(x), x)
    layer.set_progress(1.0)
    assert torch.equal(layer.eval()(x), x)


# -- RobustDARTS's spaces, and how the final network is trained -----------------------------------------


@pytest.mark.parametrize("family", ["darts_s2", "darts_s3", "darts_s4"])
def test_the_reduced_spaces_have_two_operations_and_genotypes(family):
    space = darts.space(family)
    assert space.writings == (180 * 2**8) ** 2
    for seed in range(5):
        architecture = space.sample(np.random.default_rng(seed))
        text = to_genotype(architecture, family)
        assert from_genotype(text, family) == architecture
        assert darts.from_edges(darts.to_edges(architecture, family), family) == architecture
    with pytest.raises(GraphnasError, match=f"is not one of the space {family}"):
        from_genotype(DARTS_V2, family)


def test_the_loss_of_the_auxiliary_head_counts_two_fifths():
    x = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    task = ImageTask((x, torch.arange(4)), (x, torch.arange(4)))
    main, side = torch.randn(2, 4, 4, generator=torch.Generator().manual_seed(0))
    batch = Batch((x,), torch.arange(4))
    cross_entropy = torch.nn.functional.cross_entropy
    expected = cross_entropy(main, batch.target) + 0.4 * cross_entropy(side, batch.target)
    assert float(task.loss((main, side), batch)) == pytest.approx(float(expected))
    network = compile(
        darts.space().network(from_genotype(DARTS_V1), task.signature, channels=4, cells=3, auxiliary=True)
    )
    assert task.evaluate(network, "validation")["accuracy"] in (0, 25, 50, 75, 100)


class Watched(torch.nn.Module):
    """Remembers the probability of its drop-path, and what part of its input is zero, at every training step."""

    def __init__(self):
        super().__init__()
        self.drop, self.seen = DropPath(0.2), []
        self.linear = torch.nn.Linear(3 * 8 * 8, 2)

    def forward(self, x):
        if self.training:
            self.seen.append((self.drop.now, float((x == 0).float().mean())))
        return self.linear(self.drop(x).flatten(1))


def test_drop_path_rises_over_the_training_and_cutout_is_applied():
    x = torch.randint(1, 256, (32, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    task = ImageTask((x, torch.arange(32) % 2), (x, torch.arange(32) % 2), batch_size=32, standardise=False)
    for cut in (0.0, 0.5):
        network = Watched()
        train(network, task, Recipe(cutout=cut), Fidelity(epochs=4))
        assert [now for now, _ in network.seen] == pytest.approx([0.0, 0.05, 0.1, 0.15])
        zeros = sum(z for _, z in network.seen) / 4
        # A square of 4 of 8 pixels loses 1 row for a centre in the last row, and 2 and 1 in the first two: 28/32 each way.
        assert zeros == pytest.approx((28 / 64) ** 2 if cut else 0.0, abs=0.03)


def test_cutout_is_a_square_of_zeros_in_each_image():
    x = torch.ones(200, 2, 10, 10)
    y = cutout(x, 0.4, torch.Generator().manual_seed(0))
    hit = y[:, 0] == 0
    assert torch.equal(y[:, 0], y[:, 1])
    assert bool((x == 1).all())
    rows, columns = hit.any(2).sum(1), hit.any(1).sum(1)
    assert torch.equal(hit.sum((1, 2)), rows * columns)
    assert sorted(set(rows.tolist())) == [2, 3, 4]
    assert torch.equal(y, cutout(x, 0.4, torch.Generator().manual_seed(0)))


def test_what_is_dropped_is_every_operation_but_the_identity():
    architecture = from_genotype(DARTS_V2)
    network = darts.space().network(architecture, CIFAR, channels=4, cells=3, drop_path=0.2)
    drops = sum(n.op == "drop_path" for n in network.nodes)
    # One normal cell with 6 convolutions and 2 skips, two reduction cells with 5 poolings and 3 skips of full stride 1.
    assert drops == 6 + 2 * 5


# -- S1, where every edge has operations of its own ---------------------------------------------------------


def test_s1_has_as_many_writings_as_the_other_reduced_spaces_and_genotypes():
    space = darts_s1.space()
    assert space.writings == (180 * 2**8) ** 2
    for seed in range(5):
        architecture = space.sample(np.random.default_rng(seed))
        assert from_genotype(to_genotype(architecture, "darts_s1"), "darts_s1") == architecture
        assert darts_s1.from_edges(darts_s1.to_edges(architecture)) == architecture
        # The same cells written in DARTS's space are the same network.
        same = from_genotype(to_genotype(architecture, "darts_s1"))
        a, b = (s.network(x, CIFAR, channels=4, cells=3) for s, x in ((space, architecture), (darts.space(), same)))
        assert key(a, Semantics()) == key(b, Semantics())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (DARTS_V2, r"operation 'sep_conv_3x3' on the edge from 0 to 2 of the normal cell .* has skip_connect and dil_conv_3x3"),
        (
            "Genotype(normal=[('skip_connect', 0), ('skip_connect', 0), ('skip_connect', 0), ('skip_connect', 1), "
            "('skip_connect', 0), ('skip_connect', 1), ('skip_connect', 0), ('skip_connect', 2)], normal_concat=[2, 3, 4, 5], "
            "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
            "('max_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])",
            r"sum 2 of the normal cell has operations on \[0, 0\]",
        ),
    ],
)  # fmt: skip
def test_what_s1_does_not_have_is_said(text, error):
    with pytest.raises(GraphnasError, match=error):
        from_genotype(text, "darts_s1")
