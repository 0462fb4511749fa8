"""Placement of standard cells by Coloquinte, on sites and deterministic.

Coloquinte (G. Gouvine) is an analytical placer; it is an optional dependency: ``pip install 'graphnas[eda]'``.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from eda.placement import ORIENTATIONS, Ints, Placement
from eda.technology import Technology
from graphnas.errors import GraphnasError


def place(
    placement: Placement, technology: Technology, *, effort: int = 3, seed: int = 0, spread: float | None = None
) -> Placement:
    """Place all cells on the rows.

    Args:
        placement: a design with rows, placed ports and cells that may still be unplaced; blocks and fixed cells are not
            supported.
        technology: its library.
        effort: of Coloquinte, 1 .. 9.
        seed: of Coloquinte.
        spread: share of the rows that cells are widened to while they are placed, so that they do not cluster; None
            leaves them as they are.

    Returns:
        The same design with every cell placed on a site, in its row's orientation, without overlap.

    Raises:
        GraphnasError: Coloquinte is not installed or finds no placement, a number is out of range, or a cell is not as
            high as a row.
    """
    coloquinte = _coloquinte()
    if effort not in range(1, 10):
        raise GraphnasError(f"placement effort {effort} is not in 1 .. 9")
    if spread is not None and not 0 < spread <= 1:
        raise GraphnasError(f"spread {spread:g} is not in (0, 1]")
    if not placement.rows or (placement.cells.status >= 2).any():
        raise GraphnasError(
            f"design {placement.design!r} has no rows or has fixed cells; only free cells on rows are placed"
        )
    size = _sizes(placement, technology)
    try:
        with _silent():
            x, y = _run(coloquinte, placement, technology, size, (effort, seed, spread))
    except (RuntimeError, ValueError, TypeError, IndexError, OverflowError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GraphnasError(f"Coloquinte finds no placement ({reason}); choose a lower utilisation") from None
    return _snapped(placement, size[:, 0], x, y)


def _coloquinte() -> Any:
    try:
        import coloquinte
    except ImportError:
        raise GraphnasError("Coloquinte is not installed; run `pip install 'graphnas[eda]'`") from None
    return coloquinte


def _sizes(placement: Placement, technology: Technology) -> Ints:
    """int64[n, 2]: width and height of every cell in database units."""
    macros = [technology.macro(name) for name in placement.cells.macros]
    size = np.array([[m.width, m.height] for m in macros]).reshape(-1, 2) * placement.units
    whole = np.rint(size).astype(np.int64)
    height = round(technology.sites[placement.rows[0].site].height * placement.units)
    for macro, (_, high) in zip(macros, whole.tolist(), strict=True):
        if high != height:
            raise GraphnasError(f"macro {macro.name} is not as high as a row; only standard cells are placed")
    result: Ints = whole[placement.cells.macro]
    return result


def _run(
    coloquinte: Any, placement: Placement, technology: Technology, size: Ints, how: tuple[int, int, float | None]
) -> tuple[Ints, Ints]:
    effort, seed, spread = how
    cells, ports = len(placement.cells), len(placement.ports)
    circuit = coloquinte.Circuit(cells + ports)
    circuit.cell_width = [*size[:, 0].tolist(), *[0] * ports]
    circuit.cell_height = [*size[:, 1].tolist(), *[0] * ports]
    circuit.cell_is_fixed = [False] * cells + [True] * ports
    circuit.cell_is_obstruction = [True] * cells + [False] * ports
    circuit.cell_x = [0] * cells + placement.ports.x.tolist()
    circuit.cell_y = [0] * cells + placement.ports.y.tolist()
    for members, across, up in _nets(placement, technology):
        circuit.add_net(members, across, up)
    height = int(size[0, 1]) if cells else 0
    circuit.rows = [
        coloquinte.Row(
            coloquinte.Rectangle(row.x, row.x + row.count_x * row.step_x, row.y, row.y + height),
            getattr(coloquinte.CellOrientation, row.orientation),
        )
        for row in placement.rows
    ]
    parameters = coloquinte.ColoquinteParameters(effort, seed)
    if spread is not None:
        circuit.expand_cells_to_density(spread, 0.0)
    circuit.place_global(parameters)
    circuit.legalize(parameters)
    circuit.place_detailed(parameters)
    return np.array(circuit.cell_x[:cells], np.int64), np.array(circuit.cell_y[:cells], np.int64)


def _nets(placement: Placement, technology: Technology) -> Iterator[tuple[list[int], list[int], list[int]]]:
    """For every net its members (ports after the cells) and the offsets of its pins from their lower left corners."""
    nets, cells = placement.nets, placement.cells
    # The pins' centres of unturned cells at (0, 0) are the offsets that Coloquinte takes.
    flat = replace(cells, x=cells.x * 0, y=cells.y * 0, orientation=cells.orientation * 0, status=cells.status * 0 + 1)
    offsets = np.rint(replace(placement, cells=flat).pin_positions(technology)).astype(np.int64)
    is_port = nets.pin_cell < 0
    offsets[is_port] = 0
    members = np.where(is_port, len(cells) + nets.pin_index, nets.pin_cell)
    for start, end in zip(nets.start[:-1].tolist(), nets.start[1:].tolist(), strict=True):
        yield members[start:end].tolist(), offsets[start:end, 0].tolist(), offsets[start:end, 1].tolist()


def _snapped(placement: Placement, width: Ints, x: Ints, y: Ints) -> Placement:
    """Every cell on a site of its row, from left to right; Coloquinte's result is legal but not on sites."""
    new_x, orientation = np.empty_like(x), np.empty_like(placement.cells.orientation)
    done = np.zeros(len(x), np.bool_)
    for row in placement.rows:
        inside = np.flatnonzero(y == row.y)
        inside = inside[np.lexsort((inside, x[inside]))]
        orientation[inside] = ORIENTATIONS.index(row.orientation)
        done[inside] = True
        sites = -(-width[inside] // row.step_x)
        wanted = np.rint((x[inside] - row.x) / row.step_x).astype(np.int64)
        # Shift right what would overlap its left neighbour, then left what would leave the row.
        before = np.concatenate([[0], np.cumsum(sites)[:-1]]).astype(np.int64)
        place_ = np.maximum.accumulate(np.maximum(wanted, 0) - before) + before
        last = row.count_x - np.cumsum(sites[::-1])[::-1]
        place_ = np.minimum(place_, last)
        if len(place_) and place_[0] < 0:
            raise GraphnasError(f"the cells of {row.name} do not fit on its sites; choose a lower utilisation")
        new_x[inside] = row.x + place_ * row.step_x
    if not done.all():
        raise GraphnasError(f"{int((~done).sum())} cells are on no row; choose a lower utilisation")
    status = np.ones_like(placement.cells.status)
    return replace(placement, cells=replace(placement.cells, x=new_x, y=y, orientation=orientation, status=status))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Nothing that compiled code prints reaches the standard output."""
    sys.stdout.flush()
    try:
        saved = os.dup(1)
    except OSError:  # no standard output at all
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
    finally:
        os.dup2(saved, 1)
        os.close(saved)
