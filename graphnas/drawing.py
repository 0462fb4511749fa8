"""Architectures as pictures: self-contained SVG and Graphviz DOT."""

from __future__ import annotations

import colorsys
import hashlib
import re
import unicodedata
from collections.abc import Hashable, Mapping
from functools import lru_cache
from html import escape as html_escape
from itertools import pairwise
from typing import NamedTuple

from graphnas.architecture import Architecture, Node
from graphnas.errors import GraphnasError
from graphnas.layout import Layout, layout

_FONT = "Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"
_OP_SIZE, _PARAM_SIZE, _TITLE_SIZE = 12.5, 10.5, 14.0
_MARGIN = 12.0
_MAX_LABEL, _MAX_PARAM_LINE, _MAX_PARAM_LINES = 28, 26, 3
_EDGE = "#64748b"

_MERGES = {"sum", "add", "concat", "cat", "mean", "product", "mul", "max", "stack", "merge"}
_ZEROS = {"none", "zero", "zeroize"}
# (hue in degrees, saturation, pattern), first match wins: graph layers before plain convolutions, which they often name
_FAMILIES = (
    (38, 0.92, r"pool"),
    (148, 0.50, r"gat|gcn|gin|cheb|sage|arma|gnn|graph|aggregat|message"),
    (186, 0.60, r"sep|dil|dw|depthwise|mbconv|inverted"),
    (214, 0.85, r"conv"),
    (272, 0.65, r"att|transformer"),
    (344, 0.75, r"fc|linear|dense|mlp|feed"),
    (64, 0.65, r"norm|bn$"),
    (22, 0.85, r"relu|elu|tanh|sigmoid|swish|silu|softmax|softplus|sin|square|sqrt"),
    (310, 0.50, r"lstm|gru|rnn|cell|gate"),
)


class Colours(NamedTuple):
    """Fill, outline and text colour of a box, as #rrggbb."""

    fill: str
    stroke: str
    text: str


@lru_cache(maxsize=4096)
def colours(op: str) -> Colours:
    """The colours of an operation: hue by its family, shade by its name, so the same in every picture.

    Text stands out from the fill with a contrast of at least 7 (WCAG 2.1, level AAA).
    """
    if op in ("input", "output"):
        return Colours("#334155", "#1e293b", "#ffffff")
    if op in _MERGES:
        return Colours("#f1f5f9", "#64748b", "#1e293b")
    if op in _ZEROS:
        return Colours("#ffffff", "#94a3b8", "#475569")
    if op.startswith(("skip", "identity")):
        return Colours("#e2e8f0", "#94a3b8", "#1e293b")
    digest = hashlib.sha256(op.encode("utf-8", "replace")).digest()
    hue, saturation = next(
        ((h, s) for h, s, pattern in _FAMILIES if re.search(pattern, op.lower())), (digest[0] * 360 // 256, 0.45)
    )
    hue += digest[1] % 25 - 12
    lightness = (0.80, 0.855, 0.91)[digest[2] % 3]
    return Colours(
        _hex(hue, lightness, saturation), _hex(hue, 0.42, 0.8 * saturation), _hex(hue, 0.15, 0.8 * saturation)
    )


def _hex(hue: float, lightness: float, saturation: float) -> str:
    rgb = colorsys.hls_to_rgb(hue % 360 / 360, lightness, saturation)
    return "#" + "".join(f"{round(255 * c):02x}" for c in rgb)


def plain(text: object, limit: int | None = None) -> str:
    """Text on one line without control characters (which XML forbids), cut to ``limit`` characters with an ellipsis."""
    shown = str(text)
    if limit is not None:
        shown = shown[: 4 * limit]  # hostile text may be long; nothing beyond this is seen
    shown = " ".join(
        "".join(c if c.isspace() or unicodedata.category(c)[0] != "C" else "\ufffd" for c in shown).split()
    )
    return shown if limit is None or len(shown) <= limit else shown[: limit - 1] + "…"


def escape(text: object, limit: int | None = None) -> str:
    """``plain`` text that is safe as XML or HTML content and inside quoted attributes."""
    return html_escape(plain(text, limit), quote=True)


def to_svg(architecture: Architecture, title: str = "", labels: Mapping[int, str] | None = None) -> str:
    """A self-contained SVG, top to bottom: a box for each node, a path for each edge; no scripts, no ids, no links.

    Nodes that no output depends on are faded. The same architecture always gives the same bytes.

    Args:
        architecture: what to draw.
        title: a heading above the drawing; none when empty.
        labels: texts that replace the op names of some nodes, by node index.

    Raises:
        GraphnasError: a label for a node that does not exist, or a graph too large to draw.
    """
    labels = labels or {}
    for i in labels:
        if not 0 <= i < len(architecture):
            raise GraphnasError(f"there is a label for node {i}, but the nodes are 0 to {len(architecture) - 1}")
    texts = [_texts(n, labels.get(i)) for i, n in enumerate(architecture.nodes)]
    placed = layout(architecture, [_size(*t, len(n.inputs)) for t, n in zip(texts, architecture.nodes, strict=True)])
    heading = plain(title, 80)
    above = 2 * _TITLE_SIZE if heading else 0.0
    inner = max(placed.width, _text_width(heading, _TITLE_SIZE))
    width, height = inner + 2 * _MARGIN, placed.height + 2 * _MARGIN + above
    name = html_escape(heading or f"architecture of {len(architecture)} nodes")
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="{name}" font-family="{_FONT}">',
        f"<title>{name}</title>",
    ]
    if heading:
        lines.append(
            f'<text class="title" x="{width / 2:.1f}" y="{_MARGIN + _TITLE_SIZE:.1f}" text-anchor="middle" '
            f'font-size="{_TITLE_SIZE}" font-weight="bold" fill="#0f172a">{html_escape(heading)}</text>'
        )
    lines.append(f'<g transform="translate({_MARGIN + (inner - placed.width) / 2:.1f} {_MARGIN + above:.1f})">')
    live = _live(architecture)
    lines += _edges(architecture, placed, live)
    for i, n in enumerate(architecture.nodes):
        lines += _box(n, placed, i, *texts[i], faded=not live[i])
    return "\n".join([*lines, "</g>", "</svg>", ""])


def _live(architecture: Architecture) -> list[bool]:
    nodes = architecture.nodes
    live = [n.op in ("input", "output") for n in nodes]
    for i in range(len(nodes) - 1, -1, -1):
        if live[i]:
            for j in nodes[i].inputs:
                live[j] = True
    return live


def _texts(n: Node, label: str | None) -> tuple[str, list[str]]:
    """The op line and the lines of params of a box."""
    items = [plain(f"{key}={_value(value)}", _MAX_PARAM_LINE) for key, value in n.params]
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 2 + len(item) <= _MAX_PARAM_LINE:
            lines[-1] += ", " + item
        else:
            lines.append(item)
    if len(lines) > _MAX_PARAM_LINES:
        lines[_MAX_PARAM_LINES - 1 :] = [plain(lines[_MAX_PARAM_LINES - 1], _MAX_PARAM_LINE - 2) + " …"]
    return plain(n.op if label is None else label, _MAX_LABEL), lines


def _value(value: Hashable, depth: int = 0) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        inside = "…" if depth > 3 else ",".join(_value(v, depth + 1) for v in value[:8])
        return f"({inside},…)" if len(value) > 8 else f"({inside})"
    return str(value)


def _text_width(text: str, size: float) -> float:
    """A width in pixels that the usual sans-serif fonts do not exceed by much."""
    em = 0.0
    for c in text:
        if unicodedata.east_asian_width(c) in "WF":
            em += 1.0
        else:
            em += 0.32 if c in "iljtfrI.,:;|!'()[] " else 0.86 if c in "mwMW@%…" else 0.70 if c.isupper() else 0.58
    return em * size


def _size(label: str, params: list[str], inputs: int) -> tuple[float, float]:
    widest = max([_text_width(label, _OP_SIZE)] + [_text_width(line, _PARAM_SIZE) for line in params])
    room = min(15.0 * inputs, 180.0)  # so that many arrowheads stand side by side
    return max(44.0, round(widest + 22), room), 28.0 + 14.0 * len(params)


def _edges(architecture: Architecture, placed: Layout, live: list[bool]) -> list[str]:
    lines = [f'<g fill="none" stroke="{_EDGE}" stroke-width="1.4">']
    heads = [f'<g fill="{_EDGE}">']
    for (source, target), route in zip(architecture.edges, placed.routes, strict=True):
        faded = "" if live[target] else ' opacity="0.4"'
        x, y = route[-1]
        points = [*route[:-2], (x, route[-2][1] - 5.0), (x, y - 5.0)]  # the line ends inside the arrowhead
        d = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for i, (a, b) in enumerate(pairwise(points)):
            if i % 2 == 1:  # a gap between layers
                bend = 0.5 * (b[1] - a[1])
                d += f"C{a[0]:.1f} {a[1] + bend:.1f} {b[0]:.1f} {b[1] - bend:.1f} {b[0]:.1f} {b[1]:.1f}"
            elif b[1] - a[1] > 0.05:
                d += f"V{b[1]:.1f}"
        lines.append(f'<path class="edge" data-from="{source}" data-to="{target}" d="{d}"{faded}/>')
        heads.append(
            f'<polygon points="{x:.1f},{y:.1f} {x - 3.6:.1f},{y - 7.5:.1f} {x:.1f},{y - 6:.1f} '
            f'{x + 3.6:.1f},{y - 7.5:.1f}"{faded}/>'
        )
    return [*lines, "</g>", *heads, "</g>"]


def _box(n: Node, placed: Layout, index: int, label: str, params: list[str], *, faded: bool) -> list[str]:
    box, paint = placed.boxes[index], colours(str(n.op))
    middle = box.x + box.width / 2
    radius = 13.0 if n.op in _MERGES or n.op in ("input", "output") else 6.0
    dashes = ' stroke-dasharray="4 3"' if n.op in _ZEROS else ""
    details = ", ".join(f"{key}={_value(value)}" for key, value in n.params)
    full = escape(f"{index}: {n.op}" + (f" ({details})" if details else ""), 400)
    lines = [
        f'<g class="node" data-node="{index}"' + (' opacity="0.4">' if faded else ">"),
        f"<title>{full}</title>",
        f'<rect class="box" x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" '
        f'rx="{radius:g}" fill="{paint.fill}" stroke="{paint.stroke}" stroke-width="1.2"{dashes}/>',
        f'<text x="{middle:.1f}" y="{box.y + 18.5:.1f}" text-anchor="middle" font-size="{_OP_SIZE}" '
        f'font-weight="600" fill="{paint.text}">{html_escape(label)}</text>',
    ]
    for i, line in enumerate(params):
        lines.append(
            f'<text x="{middle:.1f}" y="{box.y + 33.5 + 14 * i:.1f}" text-anchor="middle" font-size="{_PARAM_SIZE}" '
            f'fill="{paint.text}">{html_escape(line)}</text>'
        )
    return [*lines, "</g>"]


def to_dot(architecture: Architecture) -> str:
    """Graphviz DOT text with the same colours and labels; ``dot -Tsvg`` draws it."""
    lines = ["digraph architecture {", '  node [shape=box, style="rounded,filled", fontname="Helvetica"];']
    for i, n in enumerate(architecture.nodes):
        label, params = _texts(n, None)
        text = "\\n".join(_dot_escape(line) for line in [label, *params])
        paint = colours(str(n.op))
        lines.append(
            f'  n{i} [label="{text}", fillcolor="{paint.fill}", color="{paint.stroke}", fontcolor="{paint.text}"];'
        )
    lines += [f"  n{a} -> n{b};" for a, b in architecture.edges]
    return "\n".join([*lines, "}", ""])


def _dot_escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
