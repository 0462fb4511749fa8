"""DARTSformer's spaces, their networks, and the standard Transformer in the same operations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from graphnas.architecture import INPUT, OUTPUT, Architecture, node
from graphnas.compile import compile
from graphnas.cost import cost
from graphnas.errors import GraphnasError
from graphnas.export import python_source
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.methods import get
from graphnas.oneshot.supernet import Supernet
from graphnas.ops.sequence_modules import DynamicConvolution
from graphnas.tasks.base import Signature
from graphnas.tasks.translation import TranslationTask
from graphnas.testing import check_space
from spaces.transformer import CROSS, DECODER, ENCODER, space
from spaces.transformer_network import standard_network

SIGNATURE = Signature("translation", (7, 6), 13)
SIZE = {"width": 12, "embedding": 8, "blocks": 2, "heads": 2}


def tokens(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, 13, (3, 7), generator=generator), torch.randint(1, 13, (3, 6), generator=generator)


def members(of, count):
    return [of.sample(np.random.default_rng(seed)) for seed in range(count)]


def one_operation(op):
    """The member in which every open operation is this one, where it can be."""
    made = space()
    return made.decode([c.options.index(op if op in c.options else "zero") for c in made.choices])


def test_sizes_are_those_of_the_paper():
    assert (len(ENCODER), len(DECODER)) == (13, 14)
    assert space().size == 13**4 * 14**4 == 1_097_199_376
    assert space(3).size == 13**6 * 14**6
    assert [c.group for c in space(2, 1).choices] == ["encoder"] * 2 + ["decoder"] * 2


@pytest.mark.parametrize(("splits", "pool"), [(3, "mean"), (4, "max")])
def test_variants_keep_the_rules_of_spaces(splits, pool):
    width = splits * (splits + 1) * 2
    size = {**SIZE, "width": width, "blocks": 1}
    check_space(space(splits, 1, pool), samples=3, signature=SIGNATURE, size=size)


def test_the_last_part_of_the_decoder_always_reads_the_encoder():
    for architecture in members(space(), 5):
        nodes = architecture.nodes
        memory = next(i for i, n in enumerate(nodes) if n.op == "concat")
        decoder = [n for n in nodes[memory:] if n.op in DECODER]
        assert [n.op for n in decoder[2::3]] == [CROSS, CROSS]
        assert all((memory in n.inputs) == (n.op == CROSS) for n in decoder)


def test_zero_and_identity_are_simplified():
    whole = one_operation("zero")
    assert {n.op for n in space().canonical(whole).nodes} == {"input", "max", "concat", CROSS, "sum", "output"}
    other = one_operation("identity")
    assert "identity" not in {n.op for n in space().canonical(other).nodes}
    assert space().key(whole) != space().key(other)


@pytest.mark.parametrize("splits", [2, 3])
def test_a_one_hot_supernet_is_the_child(splits):
    made = space(splits)
    supernet = Supernet(made, SIGNATURE, 0, **{**SIZE, "width": 24}).eval()
    for architecture in members(made, 3):
        child = supernet.child(architecture)
        inputs = tokens()
        torch.testing.assert_close(
            supernet(*inputs, mix=supernet.one_hot(architecture)), child(*inputs), rtol=0, atol=1e-6
        )


@pytest.fixture(scope="module")
def every():
    """A supernet in evaluation mode with weights on all operations, in double precision."""
    supernet = Supernet(space(), SIGNATURE, 0, **{**SIZE, "affine": True}).double().eval()
    mix = {g.name: torch.full(g.shape, 1 / g.shape[1], dtype=torch.float64) for g in supernet.groups}
    return lambda source, target: supernet(source, target, mix=mix)


def test_a_later_token_changes_no_earlier_score(every):
    source, target = tokens()
    before = every(source, target)
    for t in range(1, 6):
        changed = target.clone()
        changed[:, t] = changed[:, t] % 12 + 1
        after = every(source, changed)
        assert torch.equal(after[:, :t], before[:, :t])
        assert bool((after[:, t] != before[:, t]).any(-1).all())
        torch.testing.assert_close(every(source, target[:, :t]), before[:, :t], rtol=0, atol=1e-12)


def test_padding_changes_nothing(every):
    source, target = tokens()
    before = every(source, target)
    padded = nn.functional.pad(source, (0, 9)), nn.functional.pad(target, (0, 4))
    torch.testing.assert_close(every(*padded)[:, :6], before, rtol=0, atol=1e-12)
    shorter = source.clone()
    shorter[1:, 4:] = 0
    assert not torch.allclose(every(shorter, target)[1:], before[1:], atol=1e-4)
    assert torch.equal(every(shorter, target)[0], before[0])


def alone(op, sequence, **params):
    """An operation of a sequence as a network of its own, in double precision; without dropout."""
    nodes = [node(INPUT, name="x", shape=tuple(sequence.shape[1:])), node(op, [0], **params, name="op")]
    return compile(Architecture([*nodes, node(OUTPUT, [1])]), seed=0).double()


@pytest.mark.parametrize(("kernel", "causal"), [(3, True), (3, False), (7, True), (15, False)])
def test_a_dynamic_convolution_is_the_sum_of_its_definition(kernel, causal):
    torch.manual_seed(0)
    module = DynamicConvolution(8, kernel, 2, causal).double()
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    value, gate = module.gate(x).chunk(2, -1)
    hidden = (value * torch.sigmoid(gate)).detach()
    expected = torch.zeros_like(hidden)
    for b in range(2):
        for t in range(6):
            kernels = module.weights(hidden[b, t]).view(2, kernel).softmax(-1)
            for j in range(kernel):
                place = t + j - (kernel - 1 if causal else kernel // 2)
                if 0 <= place < 6 and mask[b, place]:
                    expected[b, t] += kernels[:, j].repeat_interleave(4) * hidden[b, place]
    torch.testing.assert_close(module(x, mask), module.out(expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("causal", [True, False])
def test_a_convolution_is_the_sum_of_its_definition(causal):
    x = torch.randn(2, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    network = alone("sequence_conv", x, kernel=3, causal=causal)
    weight, bias = (p.detach() for p in network.op.operation.convolution.parameters())
    shift = 2 if causal else 1
    padded = nn.functional.pad(x, (0, 0, shift, 2 - shift))
    total = sum(padded[:, j : j + 5] @ weight[:, :, j].T for j in range(3)) + bias
    expected = nn.functional.layer_norm(x + total.relu(), (4,))
    torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-12)


def test_the_standard_transformer_is_that_of_pytorch():
    """Its layers with the same weights in torch.nn's own modules, which share no code with ours."""
    sizes = {"width": 8, "hidden": 20, "layers": 2, "heads": 2}
    network = compile(standard_network(SIGNATURE, embedding=8, dropout=0.1, **sizes), seed=0).double().eval()
    options = {"dropout": 0.0, "batch_first": True, "dtype": torch.float64}
    encoder = [nn.TransformerEncoderLayer(8, 2, 20, **options) for _ in range(2)]
    decoder = [nn.TransformerDecoderLayer(8, 2, 20, **options) for _ in range(2)]

    def attention(ours, theirs):
        theirs.in_proj_weight.data = torch.cat([ours.query.weight, ours.keys.weight]).data
        theirs.in_proj_bias.data = torch.cat([ours.query.bias, ours.keys.bias]).data
        theirs.out_proj.load_state_dict(ours.out.state_dict())

    def ends(ours, theirs, norms):
        theirs.linear1.load_state_dict(ours.ffn.operation[0].state_dict())
        theirs.linear2.load_state_dict(ours.ffn.operation[2].state_dict())
        for name, norm in zip(norms, (theirs.norm1, theirs.norm2, getattr(theirs, "norm3", None)), strict=False):
            norm.load_state_dict(getattr(ours, name).norm.state_dict())

    for i in range(2):
        ours, theirs = getattr(network.encoder, f"layer{i}"), encoder[i]
        attention(ours.attention.operation, theirs.self_attn)
        ends(ours, theirs, ("attention", "ffn"))
        ours, theirs = getattr(network.decoder, f"layer{i}"), decoder[i]
        attention(ours.attention.operation, theirs.self_attn)
        attention(ours.memory.operation, theirs.multihead_attn)
        ends(ours, theirs, ("attention", "memory", "ffn"))
    source, target = tokens()
    source[1, 4:] = 0
    table = network.tokens.weight
    memory, x = network.source.embedding(source, table), network.target.embedding(target, table)
    for layer in encoder:
        memory = layer(memory, src_key_padding_mask=source == 0)
    later = torch.ones(6, 6, dtype=torch.bool).triu(1)
    for layer in decoder:
        x = layer(x, memory, tgt_mask=later, memory_key_padding_mask=source == 0)
    torch.testing.assert_close(network(source, target), x @ table.T, rtol=0, atol=1e-10)


def test_positions_are_sines_and_cosines():
    network = compile(
        standard_network(SIGNATURE, width=8, hidden=4, embedding=8, layers=1, heads=1, dropout=0.0), seed=0
    )
    table = torch.zeros(13, 8)
    found = network.source.embedding(torch.ones(1, 5, dtype=torch.long), table)[0]
    for t in range(5):
        for i in range(4):
            angle = t / 10000 ** (i / 3)
            assert found[t, i].item() == pytest.approx(math.sin(angle), abs=1e-5)
            assert found[t, 4 + i].item() == pytest.approx(math.cos(angle), abs=1e-5)


def test_costs_are_counted():
    """Multiply-adds of the standard network, by hand."""
    made = cost(standard_network(SIGNATURE, width=8, hidden=20, embedding=8, layers=1, heads=2, dropout=0.1))
    source, target = 7, 6

    def attention(length, read):
        return 2 * (64 + 8) * length + 2 * (64 + 8) * read + 2 * 8 * length * read

    linear = 8 * 20 + 20 + 20 * 8 + 8
    macs = attention(source, source) + linear * source
    macs += attention(target, target) + attention(target, source) + linear * target + target * 8 * 13
    assert made.macs == macs
    assert made.params == 13 * 8 + 3 * 4 * (64 + 8) + 2 * linear + 5 * 16


@pytest.mark.parametrize("op", ["dynamic_3", "self_attention", CROSS])
def test_an_exported_network_needs_no_graphnas(op):
    network = space().network(one_operation(op), SIGNATURE, **SIZE)
    source = python_source(network)
    assert "graphnas." not in source.replace("found by graphnas", "")
    namespace = {}
    exec(compile_text(source), namespace)
    module, ours = namespace["Network"]().eval(), compile(network, seed=0).eval()
    module.load_state_dict(ours.state_dict())
    inputs = tokens()
    assert torch.equal(module(*inputs), ours(*inputs))


def compile_text(source):
    import builtins

    return builtins.compile(source, "exported", "exec")


def test_what_does_not_fit_is_refused():
    with pytest.raises(GraphnasError, match="a width of 10 cannot be cut into 3 equal splits"):
        space().network(members(space(), 1)[0], SIGNATURE, **{**SIZE, "width": 10})
    with pytest.raises(GraphnasError, match="6 features cannot be shared by 4 heads"):
        compile(space().network(one_operation("self_attention"), SIGNATURE, **{**SIZE, "heads": 4}))
    with pytest.raises(GraphnasError, match="at least 2 of them"):
        space(1)
    with pytest.raises(GraphnasError, match="translation tasks, not for 'image'"):
        space().network(members(space(), 1)[0], Signature("image", (3, 8, 8), 3))


@pytest.fixture(scope="module")
def task():
    rng = np.random.default_rng(0)
    words = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier"}
    sentences = [list(rng.choice(list(words), int(rng.integers(2, 5)))) for _ in range(80)]
    pairs = [" ".join(s) for s in sentences], [" ".join(words[w] for w in s) for s in sentences]
    return TranslationTask(pairs, tuple(side[:8] for side in pairs), vocabulary=32, batch_tokens=200, name="numbers")


METHODS = ("darts1", "darts2", "gdas", "snas", "drnas", "idarts", "zarts_mgs")


@pytest.mark.parametrize("name", METHODS)
def test_methods_derive_members(task, name):
    method = get(name)
    size = {"width": 6, "embedding": 4, "blocks": 1, "heads": 1}
    memory = "reversible" if name in ("darts1", "idarts") else "store"
    search = GradientSearch(
        space(2, 1), task, None, method, epochs=1, steps=1, batch=4, size=size, memory=memory, seed=1
    )
    search.run()
    assert search.derived is not None
    assert search.space.contains(search.derived)
    if name != "snas":
        assert "zero" not in search.space.describe(search.derived).values()


def test_a_search_finds_the_same_with_either_memory(task):
    alphas = []
    for memory in ("store", "reversible"):
        search = GradientSearch(
            space(2, 1), task, epochs=1, steps=3, batch=8, size={**SIZE, "blocks": 1}, memory=memory, seed=0
        )
        search.run()
        alphas.append(torch.cat([a.flatten() for a in search.state.alpha.values()]))
    torch.testing.assert_close(*alphas, rtol=0, atol=1e-5)
    assert alphas[0].std() > 1e-4
