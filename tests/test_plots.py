"""Figures: the drawn data against independent computations, and SVG text that is safe inside a page."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from graphnas.errors import GraphnasError
from graphnas.plots import figure_svg, pareto_front, score_against_cost, search_curves

HOSTILE = "_$\\frac{1}{$ </text><script>alert(1)</script>\"'& \x00\ud800"


def running_best(rng: np.random.Generator, length: int) -> list[float]:
    return [float(v) for v in np.maximum.accumulate(rng.normal(90, 2, size=length))]


def test_a_curve_is_the_mean_and_its_band_the_middle_eighty_percent() -> None:
    rng = np.random.default_rng(0)
    repeats = [running_best(rng, n) for n in (50, 40, 60, 45, 47)]
    alone = running_best(rng, 55)
    figure = search_curves({"five": repeats, "one": [alone]}, "accuracy")
    (axes,) = figure.axes
    five, one = axes.get_lines()
    assert np.asarray(five.get_xdata()).tolist() == list(range(1, 41))  # up to the end of the shortest repeat
    expected = [sum(r[i] for r in repeats) / 5 for i in range(40)]
    np.testing.assert_allclose(np.asarray(five.get_ydata()), expected)
    np.testing.assert_allclose(np.asarray(one.get_ydata()), alone)
    (band,) = axes.collections  # the single repeat has none
    vertices = np.asarray(band.get_paths()[0].vertices, dtype=float)
    for i in (0, 17, 38):
        a = sorted(r[i] for r in repeats)
        edges = (a[0] + 0.4 * (a[1] - a[0]), a[3] + 0.6 * (a[4] - a[3]))  # linear interpolation at ranks 0.4 and 3.6
        drawn = vertices[np.isclose(vertices[:, 0], i + 1.0), 1]
        assert min(abs(drawn - edges[0])) < 1e-9
        assert min(abs(drawn - edges[1])) < 1e-9
    assert axes.get_xlim() == (1, 60)
    assert axes.get_xlabel() == "evaluations"
    legend = axes.get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["five", "one"]


def test_the_baseline_is_grey_and_comes_first() -> None:
    figure = search_curves(
        {"mine": [[1.0, 2.0]]}, "y", baseline={"random search (2 repeats)": [[1.0, 1.5], [0.5, 1.0]]}
    )
    (axes,) = figure.axes
    first, second = axes.get_lines()
    np.testing.assert_allclose(np.asarray(first.get_ydata()), [0.75, 1.25])
    red, green, blue = (int(str(first.get_color())[i : i + 2], 16) for i in (1, 3, 5))
    assert max(red, green, blue) - min(red, green, blue) < 32
    assert first.get_color() != second.get_color()


@pytest.mark.parametrize("maximise", [True, False])
def test_the_vertical_axis_shows_all_but_the_first_evaluations(maximise: bool) -> None:
    sign = 1.0 if maximise else -1.0
    curve = [sign * v for v in [10.0, 10.0, 80.0, *np.linspace(90, 94, 97)]]
    (axes,) = search_curves({"a": [curve]}, "score", maximise=maximise).axes
    low, high = axes.get_ylim()
    assert all(low <= v <= high for v in curve[5:])
    assert not low <= curve[0] <= high


def test_a_curve_starts_where_every_repeat_has_a_score() -> None:
    (axes,) = search_curves({"a": [[math.nan, 1.0, 2.0], [math.nan, math.nan, 4.0]]}, "y").axes
    drawn = np.asarray(axes.get_lines()[0].get_ydata(), dtype=float)
    assert np.isnan(drawn[:2]).all()
    assert drawn[2] == 3.0


@pytest.mark.parametrize("maximise", [True, False])
def test_the_pareto_front_is_what_nothing_dominates(maximise: bool) -> None:
    rng = np.random.default_rng(2)
    sign = 1 if maximise else -1
    for _ in range(50):
        points = [(float(c), float(s)) for c, s in rng.integers(0, 8, size=(20, 2))]
        expected = {
            p for p in points if not any(q != p and q[0] <= p[0] and sign * q[1] >= sign * p[1] for q in points)
        }
        front = pareto_front(points, maximise=maximise)
        assert set(front) == expected
        assert front == sorted(expected)


def test_all_finite_points_are_drawn() -> None:
    points = {"a": [(1.0, 5.0), (2.0, 4.0), (math.nan, 9.0)], "b": [(3.0, 7.0), (4.0, math.inf)]}
    (axes,) = score_against_cost(points, xlabel="params", ylabel="accuracy").axes
    a, b = axes.collections
    np.testing.assert_allclose(np.asarray(a.get_offsets()), [(1, 5), (2, 4)])
    np.testing.assert_allclose(np.asarray(b.get_offsets()), [(3, 7)])
    (front,) = axes.get_lines()
    np.testing.assert_allclose(np.asarray(front.get_xydata()), [(1, 5), (3, 7)])
    assert not score_against_cost(points, pareto=False).axes[0].get_lines()


def test_svg_is_bare_and_the_same_every_time() -> None:
    def draw(name: str) -> str:
        return figure_svg(search_curves({"a": [[1.0, 2.0], [0.0, 3.0]], "b": [[2.0, 2.5]]}, "accuracy"), name)

    text = draw("one")
    assert text == draw("one")
    root = ElementTree.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not re.search(r"<\?xml|<!DOCTYPE|<metadata|<style|dc:date|matplotlib", text, re.IGNORECASE)
    tags = {e.tag.split("}")[1] for e in root.iter()}
    assert tags <= {"svg", "g", "path", "defs", "use", "text", "tspan", "clipPath", "rect"}
    ids = [e.attrib["id"] for e in root.iter() if "id" in e.attrib]
    links = re.findall(r'(?:href="|url\()([^")]*)', text)
    assert links
    assert all(link.startswith("#one-") and link[1:] in ids for link in links)
    assert not set(ids) & set(re.findall(r' id="([^"]*)"', draw("two")))
    assert "accuracy" in "".join(root.itertext())  # text is text, not outlines


def test_hostile_names_are_shown_as_they_are() -> None:
    curves = search_curves({HOSTILE: [[1.0, 2.0]]}, HOSTILE, baseline={"_hidden": [[1.0, 1.0]]})
    points = score_against_cost({HOSTILE: [(1.0, 2.0)]}, xlabel=HOSTILE, ylabel="$x$")
    for figure in (curves, points):
        text = figure_svg(figure, "hostile")
        root = ElementTree.fromstring(text.encode("utf-8"))
        assert "<script" not in text
        shown = "".join(root.itertext())
        assert "_$\\frac{1}{$ </text><script>" in shown
    assert "_hidden" in figure_svg(curves, "hostile")
    assert "$x$" in figure_svg(points, "hostile")


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(GraphnasError, match="no curves"):
        search_curves({}, "y")
    several: list[list[list[float]]] = [[], [[]], [[1.0], []]]
    for bad in several:
        with pytest.raises(GraphnasError, match="at least one evaluation"):
            search_curves({"a": bad}, "y")
    with pytest.raises(GraphnasError, match="same name"):
        search_curves({"a": [[1.0]]}, "y", baseline={"a": [[1.0]]})
    with pytest.raises(GraphnasError, match="no pair"):
        score_against_cost({"a": [(math.nan, 1.0)]})
    with pytest.raises(GraphnasError, match="letters, digits"):
        figure_svg(search_curves({"a": [[1.0]]}, "y"), 'x"><script>')


def test_the_users_matplotlib_stays_as_it_was() -> None:
    code = (
        "import sys, graphnas.plots as p, graphnas.report; assert 'matplotlib' not in sys.modules; "
        "import matplotlib; read = lambda: {k: matplotlib.rcParams[k] for k in matplotlib.rcParams if k != 'backend'}; "
        "before = read(); "
        "p.figure_svg(p.search_curves({'a': [[1.0, 2.0]]}, 'y'), 'n'); "
        "assert read() == before; assert 'matplotlib.pyplot' not in sys.modules; print('same')"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "same\n"
