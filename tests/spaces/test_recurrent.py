"""Recurrent cells: against their equations in numpy, published parameter counts and genotypes, and their supernets."""

from __future__ import annotations

import importlib.util
import math

import numpy as np
import pytest
import torch

from graphnas.architecture import Architecture, node
from graphnas.compile import compile
from graphnas.cost import cost, example_inputs
from graphnas.errors import GraphnasError
from graphnas.export import export_python
from graphnas.oneshot.supernet import Supernet
from graphnas.ops.mixture import loose_mean
from graphnas.ops.recurrent_modules import LockedDropout, Recurrent, WordEmbedding
from graphnas.tasks.base import Signature
from graphnas.testing import check_space
from spaces import darts_recurrent, enas_recurrent
from spaces.recurrent_genotype import DARTS_V1, DARTS_V2, ENAS, from_genotype, to_genotype

SIGNATURE = Signature("text", (4,), 11)
SPACES = {s.name: s for s in (darts_recurrent.space(), darts_recurrent.edges(), enas_recurrent.space())}
DRY = {"dropout": 0.0, "dropout_hidden": 0.0, "dropout_cell": 0.0, "dropout_input": 0.0}
FUNCTIONS = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": lambda x: 1 / (1 + np.exp(-x))}
FUNCTIONS["identity"] = lambda x: x


@pytest.fixture
def text():
    return torch.randint(11, (3, 4), generator=torch.Generator().manual_seed(0)), torch.zeros(3, 0)


def enlarged(module, seed=0):
    """The same module in double precision with weights that matter."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return module.double()


def gated(state, weights, read, function):
    """``s + c (f(g) - s)`` with (c, g) = read W."""
    both = read @ weights.T
    half = both.shape[1] // 2
    return state + FUNCTIONS["sigmoid"](both[:, :half]) * (function(both[:, half:]) - state)


def test_the_spaces_have_the_sizes_of_the_papers_and_keep_the_rules():
    assert SPACES["darts_recurrent"].size == 4**8 * math.factorial(8)
    assert SPACES["enas_recurrent"].size == 4**12 * math.factorial(11)
    assert SPACES["darts_recurrent_edges"].size == 5**36
    for space in SPACES.values():
        check_space(space, samples=6, signature=SIGNATURE, size={"features": 3})


def test_the_published_cell_has_23_million_parameters():
    architecture = from_genotype(DARTS_V1)
    network = darts_recurrent.space().network(architecture, Signature("text", (35,), 10_000), features=850)
    own = 10_000 * 850 + 10_000 + 1700 * 1700 + 8 * 850 * 1700
    assert cost(network).params == own == 22_960_000
    module = compile(network, seed=0)
    assert sum(p.numel() for p in module.parameters()) == own
    weights = [p for name, p in module.named_parameters() if name.startswith("recurrent.cell")]
    assert len(weights) == 9
    assert 0.0399 < max(float(w.detach().abs().max()) for w in weights) <= 0.04


@pytest.mark.parametrize("genotype", [DARTS_V1, DARTS_V2])
def test_the_cell_of_darts_is_its_equations(genotype, text):
    space, features = darts_recurrent.space(), 5
    module = enlarged(compile(space.network(from_genotype(genotype), SIGNATURE, features=features), seed=0)).eval()
    w = {name: p.detach().numpy() for name, p in module.named_parameters()}
    h = np.zeros((3, features))
    states, scores = [], []
    for words in text[0].numpy().T:
        x = w["words.weight"][words]
        made = [gated(h, w["recurrent.cell.start.weight"], np.concatenate([x, h], 1), np.tanh)]
        for i, (op, source) in enumerate(darts_recurrent.steps_of(from_genotype(genotype)), 1):
            made.append(gated(made[source], w[f"recurrent.cell.node{i}.weight"], made[source], FUNCTIONS[op]))
        h = np.mean(made[1:], 0)
        states.append(h)
        scores.append(h @ w["words.weight"].T + w["output.words.bias"])
    found = module(*(t.double() if t.is_floating_point() else t for t in text))
    np.testing.assert_allclose(found[0].detach(), np.stack(scores, 1), atol=1e-12)
    np.testing.assert_allclose(found[1].detach(), np.stack(states, 1), atol=1e-12)


def test_the_cell_of_enas_is_its_equations_and_averages_loose_ends(text):
    space, features = enas_recurrent.space(), 4
    architecture = space.sample(np.random.default_rng(0))
    module = enlarged(compile(space.network(architecture, SIGNATURE, features=features), seed=0)).eval()
    w = {name: p.detach().numpy() for name, p in module.named_parameters()}
    steps = enas_recurrent.steps_of(architecture)
    x, h = w["words.weight"][text[0].numpy()[:, 0]], np.zeros((3, features))
    made = [gated(h, w["recurrent.cell.node1.weight"], np.concatenate([x, h], 1), FUNCTIONS[steps[0][0]])]
    for i, (op, j) in enumerate(steps[1:], 2):
        made.append(gated(made[j - 1], w[f"recurrent.cell.node{i}_from{j}.weight"], made[j - 1], FUNCTIONS[op]))
    read = {j for _, j in steps}
    expected = np.mean([s for i, s in enumerate(made, 1) if i not in read], 0)
    found = module(text[0][:, :1], text[1].double())[1][:, 0].detach()
    np.testing.assert_allclose(found, expected, atol=1e-12)
    form = space.canonical(architecture)
    mean = next((n for n in form.nodes if n.op == "mean"), None)
    assert (1 if mean is None else len(mean.inputs)) == len(enas_recurrent.loose_ends(steps)) == 12 - len(read) + 1
    assert space.key(space.decode(space.encode(form))) == space.key(architecture)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("training", [True, False])
def test_one_hot_weights_give_the_child_with_the_same_weights(name, training, text):
    space = SPACES[name]
    supernet = Supernet(space, SIGNATURE, seed=0, features=6, **DRY).train(training)
    assert supernet.size["norm"]
    for seed in range(1 if training else 2):
        architecture = space.sample(np.random.default_rng(seed))
        child = supernet.child(architecture)
        hot = supernet.one_hot(architecture)
        for found, expected in zip(supernet(*text, mix=hot), child(*text), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
        assert space.key(supernet.decode(hot)) == space.key(architecture)


def test_open_operations_are_weighted_sums_over_inputs_and_activations(text):
    supernet = enlarged(Supernet(darts_recurrent.space(), SIGNATURE, 0, features=5, norm=False)).eval()
    generator = torch.Generator().manual_seed(1)
    mix = torch.softmax(torch.randn(36, 5, generator=generator), -1).double()
    w = {name: p.detach().numpy() for name, p in supernet.network.named_parameters()}
    x, h = w["words.weight"][text[0].numpy()[:, 0]], np.zeros((3, 5))
    made = [gated(h, w["recurrent.cell.start.weight"], np.concatenate([x, h], 1), np.tanh)]
    row = 0
    for i in range(1, 9):
        total = np.zeros((3, 5))
        for state in made[:i]:
            for k, op in enumerate(darts_recurrent.OPS[1:], 1):
                w_i = w[f"recurrent.cell.node{i}.weight"]
                total += float(mix[row, k]) * gated(state, w_i, state, FUNCTIONS[op])
            row += 1
        made.append(total)
    found = supernet(text[0][:, :1], text[1].double(), mix={"recurrent": mix})[1][:, 0].detach()
    np.testing.assert_allclose(found, np.mean(made[1:], 0), atol=1e-12)
    each = mix.expand(3, 36, 5)  # one architecture for each example
    same = supernet(text[0][:, :1], text[1].double(), mix={"recurrent": each})[1][:, 0].detach()
    np.testing.assert_allclose(same, found, atol=1e-12)


def test_recomputation_changes_no_gradient(text):
    gradients = []
    for memory in ("store", "checkpoint"):
        supernet = Supernet(darts_recurrent.space(), SIGNATURE, 0, memory=memory, features=4, **DRY).train()
        mix = {"recurrent": torch.full((36, 5), 0.2, requires_grad=True)}
        loss = supernet(text[0][:, :2], text[1], mix=mix)[0].square().sum()
        gradients.append(torch.autograd.grad(loss, [mix["recurrent"], *supernet.parameters()]))
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_the_weight_of_a_loose_end_is_what_no_other_reads():
    a, b, c = (torch.full((2, 3), v) for v in (1.0, 10.0, 100.0))
    mean = loose_mean(a, b, c, torch.tensor(0.5), torch.tensor(0.25))
    torch.testing.assert_close(mean, torch.full((2, 3), (0.5 + 2.5 + 100) / 1.75))
    each = loose_mean(a, b, c, torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0]))
    torch.testing.assert_close(each[:, 0], torch.tensor([50.5, 100.0]))


def test_genotypes_go_there_and_back():
    for genotype, family in ((DARTS_V1, "darts_recurrent"), (DARTS_V2, "darts_recurrent"), (ENAS, "enas_recurrent")):
        assert to_genotype(from_genotype(genotype, family), family) == genotype
    for seed in range(5):
        architecture = darts_recurrent.space().sample(np.random.default_rng(seed))
        assert from_genotype(to_genotype(architecture)) == architecture
        assert from_genotype(to_genotype(darts_recurrent.to_edges(architecture))) == architecture


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Genotype(recurrent=[('relu', 0)], concat=range(1, 9))", "has 8 nodes, not 1"),
        (DARTS_V1.replace("('tanh', 2)", "('tanh', 3)"), "node 3 reads state 3, which is not an earlier one"),
        (DARTS_V1.replace("'tanh'", "'sine'"), "activation 'sine' is not one of"),
        (DARTS_V1.replace("range(1, 9)", "[1, 2]"), r"averages the states \[1, 2\]"),
        (DARTS_V1.replace("('tanh', 2)", "'tanh'"), "is no pair of an activation and a state"),
        ("print(1)", "a genotype reads Genotype"),
    ],
)
def test_other_genotypes_are_refused_in_one_line(text, message):
    with pytest.raises(GraphnasError, match=message) as caught:
        from_genotype(text)
    assert "\n" not in str(caught.value)


def test_a_cell_of_enas_that_a_genotype_cannot_express_is_refused():
    steps = [("relu", 0), *(("tanh", 1) for _ in range(11))]
    with pytest.raises(GraphnasError, match="first node of a genotype has tanh"):
        to_genotype(enas_recurrent.of_steps(steps), "enas_recurrent")
    with pytest.raises(GraphnasError, match="unknown space of recurrent cells 'darts'"):
        from_genotype(DARTS_V1, "darts")


def test_all_edges_with_two_operations_at_a_node_are_no_cell_of_the_smaller_space():
    decisions = [1] * 36
    with pytest.raises(GraphnasError, match="node 2 of the recurrent cell has 2 operations"):
        darts_recurrent.from_edges(darts_recurrent.edges().decode(decisions))


# -- the parts ----------------------------------------------------------------------------------


def test_a_node_that_runs_a_layer_again_shares_it_and_counts_it_once():
    def network(second):
        nodes = [node("input", name="x", shape=(3,)), node("linear", (0,), features=3, name="a")]
        return Architecture([*nodes, node("linear", (1,), features=3, **second), node("output", (2,))])

    shared = network({"name": "a", "again": True})
    module = compile(shared, seed=0)
    x = torch.ones(2, 3)
    torch.testing.assert_close(module(x), module.a(module.a(x)))
    assert cost(shared).params == 12 == sum(p.numel() for p in module.parameters())
    assert cost(shared).macs == cost(network({"name": "b"})).macs
    with pytest.raises(GraphnasError, match="runs 'b' again, but no earlier node has such a layer"):
        compile(network({"name": "b", "again": True}))


def test_dropout_of_sequences_has_one_mask_for_all_steps():
    torch.manual_seed(0)
    made = LockedDropout(0.5).train()(torch.ones(4, 7, 50))
    assert torch.equal(made, made[:, :1].expand_as(made))
    assert set(made.unique().tolist()) == {0.0, 2.0}
    assert not torch.equal(made[0], made[1])
    words = WordEmbedding(20, 3, dropout=0.5).train()
    tokens = torch.arange(20).repeat(2, 2)
    rows = words(tokens)
    kept = (rows != 0).any(-1)
    assert torch.equal(kept[:, :20], kept[:, 20:])
    assert 0 < int(kept[0, :20].sum()) < 20
    torch.testing.assert_close(rows[kept], 2 * words.weight[tokens[kept]])


def test_the_mask_of_a_cell_is_one_for_all_steps_and_none_outside_of_training():
    class Keeps(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.masks = []

        def forward(self, x, h, mask):
            self.masks.append(mask)
            return h + x

    torch.manual_seed(0)
    loop = Recurrent(Keeps(), 40, dropout=0.25)
    x = torch.ones(2, 3, 40)
    states = loop.train()(x, torch.zeros(2, 0))
    assert states[0, :, 0].tolist() == [1.0, 2.0, 3.0]
    first, *others = loop.cell.masks
    assert all(mask is first for mask in others)
    assert sorted(set(first.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    loop.cell.masks.clear()
    assert loop.eval()(x, torch.full((2, 40), 5.0))[0, -1, 0] == 8.0
    assert set(loop.cell.masks[0].flatten().tolist()) == {1.0}


def test_an_exported_language_model_gives_the_same_scores(tmp_path, text):
    space = darts_recurrent.space()
    network = space.network(from_genotype(DARTS_V2), SIGNATURE, features=4)
    module = compile(network, seed=0).eval()
    source, weights = export_python(network, tmp_path / "model.py", module)
    specification = importlib.util.spec_from_file_location("exported", source)
    exported = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(exported)
    plain = exported.Network().eval()
    plain.load_state_dict(torch.load(weights, weights_only=True))
    assert "graphnas." not in source.read_text()
    for found, expected in zip(plain(*text), module(*text), strict=True):
        torch.testing.assert_close(found, expected)
    tokens, state = example_inputs(network, batch=2)
    assert tokens.shape == (2, 4)
    assert module(tokens, state)[0].shape == (2, 4, 11)
