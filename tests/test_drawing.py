"""Drawings: geometry read back from the SVG text, crossings counted by brute force, hostile text."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from graphnas.architecture import Architecture, Node, node
from graphnas.drawing import colours, plain, to_dot, to_svg
from graphnas.errors import GraphnasError
from graphnas.layout import Layers, crossings, layered, layout, reduce_crossings
from spaces import nasbench101, nasbench201, nasbench_graph

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = '</text><script>alert(1)</script>"\'&<!-- ]]> \x00\x1b\ud800\u202e\\" onload="x'


def random_dag(nodes: int, seed: int, inputs: int = 1) -> Architecture:
    rng = np.random.default_rng(seed)
    ops = ["conv3x3", "sep_conv_5x5", "max_pool_3x3", "gat", "linear", "attention", "relu"]
    made = [node("input", name=f"x{i}") for i in range(inputs)]
    while len(made) < nodes - 2:
        sources = rng.integers(max(0, len(made) - 10), len(made), size=int(rng.integers(1, 4)))
        params = {"kernel": 3, "channels": 64, "bias": False} if rng.random() < 0.3 else {}
        made.append(node(ops[int(rng.integers(len(ops)))], map(int, sources), **params))
    read = {j for n in made for j in n.inputs}
    made.append(node("concat", [i for i in range(len(made)) if i not in read]))
    made.append(node("output", [len(made) - 1]))
    return Architecture(made)


def darts_cell() -> Architecture:
    made = [node("input", name="c_{k-2}"), node("input", name="c_{k-1}")]
    states = [0, 1]
    for i in range(4):
        made.append(node("sep_conv_3x3", [states[i % 2]]))
        made.append(node("skip_connect", [states[-1]]))
        made.append(node("sum", [len(made) - 2, len(made) - 1]))
        states.append(len(made) - 1)
    made.append(node("concat", states[2:]))
    made.append(node("output", [len(made) - 1]))
    return Architecture(made)


PARALLEL = Architecture(
    [
        node("input"),
        node("conv3x3", [0], channels=64, stride=2, dilation=(1, 1)),
        node("product", [1, 1]),
        node("conv1x1", [0]),  # nobody reads this one
        node("output", [2]),
        node("output", [2, 2, 1]),
    ]
)


def _examples() -> dict[str, Architecture]:
    rng = np.random.default_rng(0)
    found = {f"dag{n}": random_dag(n, n, inputs=1 + n % 3) for n in (6, 15, 30, 60)}
    for space in (nasbench201.space(), nasbench101.space(), nasbench_graph.space()):
        a = space.decode((6, 0, 1, 3, 4)) if space is nasbench_graph.space() else space.sample(rng)
        found[space.name] = a
        found[space.name + " canonical"] = space.canonical(a)
    return {**found, "darts": darts_cell(), "parallel": PARALLEL, "smallest": Architecture([node("output")])}


EXAMPLES = _examples()


@pytest.fixture(params=list(EXAMPLES))
def example(request: pytest.FixtureRequest) -> Architecture:
    return EXAMPLES[request.param]


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg.encode("utf-8"))


def boxes_of(root: ElementTree.Element) -> dict[int, tuple[float, float, float, float]]:
    """Left, top, right and bottom of every node's box."""
    found = {}
    for group in root.iter(SVG + "g"):
        if group.get("class") == "node":
            (rect,) = group.findall(SVG + "rect")
            x, y, w, h = (float(rect.attrib[k]) for k in ("x", "y", "width", "height"))
            index = int(group.attrib["data-node"])
            assert index not in found
            found[index] = (x, y, x + w, y + h)
    return found


def trace(d: str) -> Iterator[tuple[float, float]]:
    """Points along an SVG path of the commands M, V and C, dense enough to see what it passes."""
    x = y = 0.0
    for command, numbers in re.findall(r"([MVC])([^MVC]*)", d):
        values = list(map(float, numbers.split()))
        if command == "M":
            x, y = values
            yield x, y
        elif command == "V":
            yield from ((x, y + (values[0] - y) * t) for t in np.linspace(0, 1, 12)[1:])
            y = values[0]
        else:
            start, a, b, end = (np.array(p) for p in ((x, y), values[0:2], values[2:4], values[4:6]))
            for t in np.linspace(0, 1, 24)[1:]:
                p = (1 - t) ** 3 * start + 3 * t * (1 - t) ** 2 * a + 3 * t * t * (1 - t) * b + t**3 * end
                yield float(p[0]), float(p[1])
            x, y = values[4:6]


def test_one_box_a_node_and_one_path_an_edge(example: Architecture) -> None:
    root = parse(to_svg(example))
    assert sorted(boxes_of(root)) == list(range(len(example)))
    paths = [p for p in root.iter(SVG + "path") if p.get("class") == "edge"]
    drawn = Counter((int(p.attrib["data-from"]), int(p.attrib["data-to"])) for p in paths)
    assert drawn == Counter((j, i) for i, n in enumerate(example.nodes) for j in n.inputs)


def test_edges_go_down_from_box_to_box_and_cross_no_other_box(example: Architecture) -> None:
    root = parse(to_svg(example))
    boxes = boxes_of(root)
    for path in (p for p in root.iter(SVG + "path") if p.get("class") == "edge"):
        source, target = int(path.attrib["data-from"]), int(path.attrib["data-to"])
        points = list(trace(path.attrib["d"]))
        (x0, y0), (x1, y1) = points[0], points[-1]
        assert all(b[1] >= a[1] - 0.01 for a, b in itertools.pairwise(points))
        assert y1 > y0 + 10
        assert boxes[source][0] < x0 < boxes[source][2]
        assert y0 == pytest.approx(boxes[source][3], abs=0.11)
        assert boxes[target][0] < x1 < boxes[target][2]
        assert boxes[target][1] - 8 < y1 <= boxes[target][1]
        for v, (left, top, right, bottom) in boxes.items():
            if v not in (source, target):
                assert not any(left - 1 < x < right + 1 and top < y < bottom for x, y in points)


def test_boxes_do_not_overlap_and_stay_on_the_page(example: Architecture) -> None:
    root = parse(to_svg(example, title="A title that is wider than the smallest of the drawings below it"))
    boxes = boxes_of(root)
    for a, b in itertools.combinations(boxes.values(), 2):
        assert a[2] + 5 <= b[0] or b[2] + 5 <= a[0] or a[3] + 5 <= b[1] or b[3] + 5 <= a[1]
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    (shift,) = [g.attrib["transform"] for g in root.iter(SVG + "g") if "transform" in g.attrib]
    dx, dy = map(float, re.findall(r"[\d.]+", shift))
    for left, top, right, bottom in boxes.values():
        assert left + dx >= 0
        assert right + dx <= width
        assert top + dy >= 20  # below the title
        assert bottom + dy <= height


def test_parallel_edges_are_drawn_apart() -> None:
    root = parse(to_svg(PARALLEL))
    twins = [p.attrib["d"] for p in root.iter(SVG + "path") if (p.get("data-from"), p.get("data-to")) == ("1", "2")]
    assert len(twins) == 2
    assert all(abs(a[0] - b[0]) > 4 for a, b in zip(trace(twins[0]), trace(twins[1]), strict=True))


def test_only_nodes_that_no_output_reads_are_faded() -> None:
    root = parse(to_svg(PARALLEL))
    faded = [g.get("data-node") for g in root.iter(SVG + "g") if g.get("class") == "node" and g.get("opacity")]
    assert faded == ["3"]


def brute_force_crossings(layers: Layers) -> int:
    place = {v: (i, j) for i, row in enumerate(layers.order) for j, v in enumerate(row)}
    segments = [(a, b) for chain in layers.chains for a, b in itertools.pairwise(chain)]
    total = 0
    for (a, b), (c, d) in itertools.combinations(segments, 2):
        if place[a][0] == place[c][0]:
            total += (place[a][1] - place[c][1]) * (place[b][1] - place[d][1]) < 0
    return total


@pytest.mark.parametrize("seed", range(12))
def test_reordering_never_adds_crossings(seed: int) -> None:
    a = random_dag(8 + 4 * seed, seed)
    before = layered(a)
    after = layout(a).layers
    assert crossings(before) == brute_force_crossings(before)
    assert crossings(after) == brute_force_crossings(after)
    assert brute_force_crossings(after) <= brute_force_crossings(before)
    assert after.chains == before.chains
    assert [sorted(row) for row in after.order] == [sorted(row) for row in before.order]


def test_reordering_removes_most_crossings_of_random_dags() -> None:
    pairs = [(crossings(layered(a)), crossings(layout(a).layers)) for a in (random_dag(40, s) for s in range(10))]
    assert sum(after for _, after in pairs) < 0.4 * sum(before for before, _ in pairs)


def test_nasbench201_cells_are_drawn_without_crossings() -> None:
    # the cell is K4 with single source and sink, subdivided: it is planar, and so is every layered drawing that is best
    rng = np.random.default_rng(1)
    for _ in range(20):
        assert brute_force_crossings(reduce_crossings(layered(nasbench201.space().sample(rng)))) == 0


def test_layers_follow_the_longest_path(example: Architecture) -> None:
    layers = layered(example)
    level = {v: i for i, row in enumerate(layers.order) for v in row}
    for chain in layers.chains:
        assert [level[v] for v in chain] == list(range(level[chain[0]], level[chain[-1]] + 1))
    assert all(level[i] == len(layers.order) - 1 for i in example.outputs)
    longest = [0] * len(example)
    for i, n in enumerate(example.nodes):
        longest[i] = max((longest[j] + 1 for j in n.inputs), default=0)
    assert len(layers.order) == max(longest) + 1


def test_long_edges_run_straight() -> None:
    a = nasbench201.from_string(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
    )
    for route, chain in zip(layout(a).routes, layout(a).layers.chains, strict=True):
        inner = {round(x, 6) for x, _ in route[2:-2]}
        assert len(inner) <= 1
        assert len(route) == 2 * len(chain)


class _ForeignSpace:
    """A space of somebody else, whose op names nobody checked."""

    def build(self, _: tuple[int, ...]) -> tuple[Node, ...]:
        return (
            node("input"),
            node(HOSTILE, [0], **{HOSTILE: HOSTILE, "k": (HOSTILE, (1.5, None))}),
            node("output", [1]),
        )


def test_hostile_text_stays_text() -> None:
    a = Architecture.of_space(_ForeignSpace(), ())
    for svg in (to_svg(a, title=HOSTILE), to_svg(a, title="x", labels={0: HOSTILE, 1: HOSTILE})):
        root = parse(svg)
        assert {e.tag.removeprefix(SVG) for e in root.iter()} == {
            "svg",
            "title",
            "g",
            "path",
            "polygon",
            "rect",
            "text",
        }
        assert not [k for e in root.iter() for k in e.attrib if k.startswith("on") or k.endswith("href")]
        assert "<script" not in svg
        assert "alert(1)" in "".join(root.itertext())  # shown, not run
    deep: object = "x"
    for _ in range(200):
        deep = (deep,)
    assert "…" in to_svg(Architecture([node("input", a=deep, b="y" * 10**6), node("output", [0])]))


def test_plain_text_is_one_line_of_printable_characters() -> None:
    assert plain("a\n\tb\x07 c\ud800") == "a b\ufffd c\ufffd"
    assert plain("abcdef", 4) == "abc…"
    assert plain("abcd", 4) == "abcd"


def test_same_bytes_in_every_process() -> None:
    code = (
        "from spaces.nasbench201 import space; from graphnas.drawing import to_svg, to_dot; "
        "import sys; a = space().decode((3, 1, 2, 4, 0, 3)); sys.stdout.write(to_svg(a, 't') + to_dot(a))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    a = nasbench201.space().decode((3, 1, 2, 4, 0, 3))
    assert outputs == {(to_svg(a, "t") + to_dot(a)).encode()}


def _luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.1)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_are_readable_and_tell_operations_apart() -> None:
    spaces = (nasbench101, nasbench201, nasbench_graph)
    for op in [*(op for s in spaces for op in s.OPS), "input", "sum", "lstm", "relu", *(f"op{i}" for i in range(200))]:
        light, dark = sorted(map(_luminance, (colours(op).fill, colours(op).text)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 7
    for s in spaces:
        assert len({colours(op) for op in s.OPS}) == len(s.OPS)


def test_an_operation_has_one_colour_in_all_pictures() -> None:
    fills: dict[str, set[str]] = {}
    for a in EXAMPLES.values():
        for group in parse(to_svg(a)).iter(SVG + "g"):
            if group.get("class") == "node":
                rect, text = group.find(SVG + "rect"), group.find(SVG + "text")
                assert rect is not None
                assert text is not None
                fills.setdefault(str(text.text), set()).add(rect.attrib["fill"])
    assert len(fills) > 10
    assert all(len(found) == 1 for found in fills.values())


_DOT = re.compile(r'\s*("(?:[^"\\]|\\.)*"|->|[\w.]+|[{}\[\];=,])')


def dot_tokens(text: str) -> list[str]:
    tokens, at = [], 0
    while text[at:].strip():
        match = _DOT.match(text, at)
        assert match, f"no DOT token at {text[at : at + 30]!r}"
        tokens.append(match[1])
        at = match.end()
    return tokens


def test_dot_has_every_node_and_edge(example: Architecture) -> None:
    tokens = dot_tokens(to_dot(example))
    assert tokens[:3] == ["digraph", "architecture", "{"]
    assert tokens[-1] == "}"
    arrows = [(int(tokens[i - 1][1:]), int(tokens[i + 1][1:])) for i, t in enumerate(tokens) if t == "->"]
    assert Counter(arrows) == Counter(example.edges)
    labels = [tokens[i + 2] for i, t in enumerate(tokens) if t == "label"]
    assert [label[1:-1].split("\\n")[0] for label in labels] == [n.op for n in example.nodes]


def test_dot_quotes_hostile_text() -> None:
    a = Architecture([node("input", name='a"]; evil [x="\\'), node("output", [0])])
    tokens = dot_tokens(to_dot(a))
    assert "evil" not in tokens
    assert tokens.count("label") == 2
    (label,) = [t for t in tokens if "evil" in t]
    assert label.endswith('\\"\\\\"')  # an escaped quote, an escaped backslash, the closing quote


def test_bad_requests_name_what_is_wrong() -> None:
    with pytest.raises(GraphnasError, match="label for node 9"):
        to_svg(PARALLEL, labels={9: "x"})
    with pytest.raises(GraphnasError, match="one size for each of 6 nodes"):
        layout(PARALLEL, [(10.0, 10.0)])
    chain = [node("input"), *(node("conv", [i]) for i in range(400))]
    with pytest.raises(GraphnasError, match="too large to draw"):
        to_svg(Architecture([*chain, node("output", list(range(401)))]))
