"""Mobile spaces: their sizes, published networks by their parameters and multiply-adds, and Accel-NASBench's table."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from graphnas import registry
from graphnas.architecture import Architecture
from graphnas.compile import compile
from graphnas.cost import cost
from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.export import python_source
from graphnas.ops.registry import infer
from graphnas.search import Search
from graphnas.tasks.base import Signature
from spaces import mobile
from spaces.accel_nasbench import space as accel_space
from spaces.mobile_network import Block, published

IMAGENET = Signature("image", (3, 224, 224), 1000)
SMALL = Signature("image", (3, 32, 32), 10)
PROXYLESS_MOBILE = [
    "mb3_k5",
    "mb3_k3",
    "skip",
    "skip",
    "mb3_k7",
    "mb3_k3",
    "mb3_k5",
    "mb3_k5",
    "mb6_k7",
    "mb3_k5",
    "mb3_k5",
    "mb3_k5",
    "mb6_k5",
    "mb3_k5",
    "mb3_k5",
    "mb3_k5",
    "mb6_k7",
    "mb6_k7",
    "mb3_k7",
    "mb3_k7",
    "mb6_k7",
]


def proxyless_mobile() -> Architecture:
    space = mobile.proxylessnas()
    return space.decode([c.options.index(op) for c, op in zip(space.choices, PROXYLESS_MOBILE, strict=True)])


@pytest.mark.parametrize(
    ("name", "params", "macs"),
    [
        ("mobilenet_v2", 3_504_872, 300.8e6),  # Sandler et al.: 3.4 M, 300 M; the common implementation has 3,504,872
        ("mnasnet_b1", 4_383_312, 314.4e6),  # Tan et al.: 4.4 M, 315 M
        ("mnasnet_a1", 3_887_038, 311.6e6),  # Tan et al.: 3.9 M, 312 M
    ],
)
def test_published_networks_have_their_parameters_and_multiply_adds(name: str, params: int, macs: float) -> None:
    found = cost(published(name))
    assert found.params == params
    assert found.macs == pytest.approx(macs, rel=1e-3)


def test_the_released_mobile_network_of_proxylessnas_is_a_member() -> None:
    """Cai, Zhu & Han: 4.1 M parameters, 320 M multiply-adds."""
    found = cost(mobile.proxylessnas().network(proxyless_mobile(), IMAGENET))
    assert found.params == 4_080_512
    assert found.macs == pytest.approx(320e6, rel=2e-3)


def test_sizes_are_the_products_of_the_choices() -> None:
    assert mobile.mnasnet().size == 432**5 * 288**2
    assert mobile.proxylessnas().size == 6**6 * 7**15
    assert accel_space().size == 36**6 * 48


def test_the_layers_of_a_block_are_alike_and_a_mutation_touches_one_field_of_one_block() -> None:
    space, rng = mobile.mnasnet(), np.random.default_rng(0)
    for _ in range(30):
        a = space.sample(rng)
        blocks, mutated = mobile.blocks_of(a), mobile.blocks_of(space.mutate(a, rng))
        changed = [i for i in range(7) if blocks[i] != mutated[i]]
        assert len(changed) == 1
        before, after = blocks[changed[0]]._asdict(), mutated[changed[0]]._asdict()
        fields = {k for k in before if before[k] != after[k]}
        assert len(fields - {"op", "expansion"}) + bool(fields & {"op", "expansion"}) == 1
        network = space.network(a, SMALL)
        for i, block in enumerate(blocks):
            layers = [dict(n.params) for n in network.nodes if str(n.get("name", "")).startswith(f"block{i + 1}.")]
            assert len(layers) == block.layers
            strides = [p.pop("stride", 1) for p in layers]
            assert strides == [mobile.STRIDES[i] if i or mobile.STRIDES[i] == 1 else 1] + [1] * (block.layers - 1)
            assert all({**p, "name": ""} == {**layers[0], "name": ""} for p in layers)


def test_shapes_chain_and_reductions_keep_small_images_large() -> None:
    space, rng = mobile.mnasnet(), np.random.default_rng(1)
    for reductions, side in ((5, 1), (3, 4), (1, 16)):
        network = space.network(space.sample(rng), SMALL, reductions=reductions)
        shapes = [shape for shape, _ in infer(network.nodes)]
        before_pool = next(i for i, n in enumerate(network.nodes) if n.op == "global_average") - 1
        assert shapes[before_pool] == (1280, side, side)


@pytest.mark.parametrize("name", ["mnasnet", "proxylessnas", "accel_nasbench"])
def test_networks_compute_and_have_the_parameters_that_are_counted(name: str) -> None:
    space, rng = registry.get_space(name), np.random.default_rng(2)
    for _ in range(3):
        network = space.network(space.sample(rng), SMALL, channels=8, head=16, reductions=3)
        module = compile(network, seed=0)
        assert sum(p.numel() for p in module.parameters()) == cost(network).params
        assert module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_squeeze_skip_and_convolution_compute_what_they_say() -> None:
    """A whole layer by hand: expansion, depth-wise convolution, gate, projection, short cut."""
    from graphnas.ops.registry import get

    x = torch.randn(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    params = {"channels": 8, "kernel": 3, "expansion": 3, "squeeze": 0.25, "skip": "identity", "activation": "relu"}
    rule = get("inverted_residual").layer
    assert rule is not None
    torch.manual_seed(0)
    module = rule(params, [(8, 6, 6)]).build().eval()
    expand, norm1, _, depth, norm2, _, gate, project, norm3 = module.body
    h = torch.relu(norm2(depth(torch.relu(norm1(expand(x))))))
    assert h.shape[1] == 24
    assert gate.reduce.out_channels == 2  # a quarter of the layer's input channels
    scale = torch.sigmoid(gate.expand(torch.relu(gate.reduce(h.mean((2, 3), keepdim=True)))))
    assert torch.allclose(module(x), norm3(project(h * scale)) + x, atol=1e-6)
    strided = rule({**params, "stride": 2}, [(8, 6, 6)])  # the shape changes: no identity
    assert strided.shape((8, 6, 6)) == (8, 3, 3)
    assert "Residual" not in strided.source()
    pooled = rule({**params, "stride": 2, "skip": "pool", "channels": 12}, [(8, 6, 6)]).build().eval()
    pool, fit, norm = pooled.short_cut
    assert torch.allclose(pooled(x) - pooled.body(x), norm(fit(pool(x))), atol=1e-5)
    assert pool(x).shape == (2, 8, 3, 3)


def test_skipped_layers_of_proxylessnas_do_not_count_wherever_they_stand() -> None:
    space = mobile.proxylessnas()
    a = proxyless_mobile()
    moved = PROXYLESS_MOBILE[:]
    moved[1:4] = ["skip", "skip", "mb3_k3"]
    b = space.decode([c.options.index(op) for c, op in zip(space.choices, moved, strict=True)])
    assert a != b
    assert space.key(a) == space.key(b)
    assert cost(space.network(a, SMALL)) == cost(space.network(b, SMALL))
    assert space.decode(space.encode(space.canonical(b))) == a  # skips go to the end of their stage
    # the same operation in another stage is another network
    moved[4:6] = [moved[5], moved[4]]
    assert space.key(
        space.decode([c.options.index(op) for c, op in zip(space.choices, moved, strict=True)])
    ) != space.key(a)
    with pytest.raises(GraphnasError, match="not a member of space 'proxylessnas'"):
        space.encode(Architecture(mobile.mnasnet().sample(np.random.default_rng(0)).nodes))


def test_a_supernet_of_proxylessnas_equals_its_members() -> None:
    from graphnas.oneshot.supernet import Supernet

    space, rng = mobile.proxylessnas(), np.random.default_rng(3)
    supernet = Supernet(space, SMALL, seed=0, channels=4, head=8, reductions=3, dropout=0.0)
    supernet.eval()
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for _ in range(2):
        a = space.sample(rng)
        child = supernet.child(a).eval()
        with torch.no_grad():
            assert torch.allclose(supernet(x, mix=supernet.one_hot(a)), child(x), atol=1e-5)


def test_a_supernet_of_blocks_is_refused_in_a_line() -> None:
    from graphnas.oneshot.supernet import Supernet

    with pytest.raises(GraphnasError, match="take the space 'proxylessnas'"):
        Supernet(accel_space(), SMALL, seed=0)
    with pytest.raises(GraphnasError, match="more than 256 combinations"):
        Supernet(mobile.mnasnet(), SMALL, seed=0)


def test_an_exported_network_needs_no_graphnas() -> None:
    network = published("mnasnet_a1", SMALL, channels=4, head=8, reductions=3)
    names: dict[str, object] = {}
    source = python_source(network)
    assert "import graphnas" not in source
    exec(source, names)  # our own text
    module = names["Network"]()  # type: ignore[operator]
    module.load_state_dict(compile(network, seed=0).state_dict())
    x = torch.zeros(2, 3, 32, 32)
    assert torch.allclose(module.eval()(x), compile(network, seed=0).eval()(x))


def test_blocks_are_read_in_the_form_of_the_released_code() -> None:
    assert Block.parse("r3_k5_s2_e3_o40_se") == Block("inverted_residual", 40, 5, 2, 3, 3, 0.25, "identity")
    assert Block.parse("r1k3s1e1o16noskip").skip == "none"
    for text in ("r3k5s2o40", "r3k5s2e3o40sse", ""):
        with pytest.raises(GraphnasError, match="a block is written as"):
            Block.parse(text)
    with pytest.raises(GraphnasError, match="mnasnet_a1"):
        published("mnasnet_a")


def needs_table() -> None:
    if find("accel_nasbench.csv.gz") is None:
        pytest.skip("accel_nasbench.csv.gz is missing: set GRAPHNAS_DATA to a folder that holds it")


def test_the_networks_of_accel_nasbench_have_the_recorded_parameters_and_multiply_adds() -> None:
    """The recorded multiply-adds count four for each normalised value, one for each value that is averaged, and the biases."""
    needs_table()
    table = registry.get_table("accel_nasbench/imagenet").table
    assert len(table) == 5125
    for row in range(0, len(table), 300):
        a = table.space.decode(table.decisions[row].tolist())
        network = table.space.network(a, IMAGENET)
        found = cost(network)
        assert abs(found.params - table.columns["params"][row]) <= 5  # the file has five decimals of millions
        shapes = [shape for shape, _ in infer(network.nodes)]
        extra = 0.0
        for n, shape in zip(network.nodes, shapes, strict=True):
            if n.op in ("mobile_conv", "inverted_residual"):
                before, after = shapes[n.inputs[0]], shape
                extra += 4 * np.prod(after)  # of the last normalisation
                if n.op == "inverted_residual":
                    middle = before[0] * n.get("expansion")
                    extra += 4 * middle * after[1] * after[2]
                    extra += 4 * middle * before[1] * before[2] if n.get("expansion") > 1 else 0
                    extra += middle * after[1] * after[2] if n.get("squeeze") else 0
            elif n.op == "global_average":
                extra += np.prod(shapes[n.inputs[0]])
        assert found.macs + extra == pytest.approx(table.columns["macs"][row], rel=1e-4)


def test_facts_of_the_table_of_accel_nasbench() -> None:
    needs_table()
    estimator = registry.get_table("accel_nasbench/imagenet")
    columns = estimator.table.columns
    assert columns["validation"].max() == 67.052
    assert estimator.table.test == ()
    assert np.isfinite(columns["latency_a100"]).all()
    assert np.nanmedian(columns["latency_a100"] * columns["throughput_a100"]) == pytest.approx(1000)
    # networks that were trained twice have the mean of their figures
    twice = estimator.table.space.decode(estimator.table.decisions[0].tolist())
    assert estimator.evaluate(twice).score == columns["validation"][0]
    first = {"expansion": (6, 4, 6, 6, 6, 1, 1), "kernel": (3, 5, 3, 5, 5, 3, 3), "layers": (1, 2, 3, 3, 2, 2, 2)}
    space = estimator.space
    decisions = [
        c.options.index(first[c.name.split(".")[1]][int(c.name[5]) - 1]) if "squeeze" not in c.name else 0
        for c in space.choices
    ]
    assert estimator.evaluate(space.decode(decisions)).score == pytest.approx((59.368 + 59.248) / 2)


def test_a_search_by_name_stays_within_the_table() -> None:
    needs_table()
    estimator = registry.get_table("accel_nasbench/imagenet")
    result = Search("accel_nasbench", estimator, "evolution", budget=60, objectives="validation,-latency_zcu102").run()
    assert result.failed == 0
    front = result.front()
    assert [t.score for t in front] == sorted((t.score for t in front), reverse=True)
    assert result.best is front[0]
