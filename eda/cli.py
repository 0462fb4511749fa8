"""The commands ``graphnas eda ...``, found through the entry point group ``graphnas.commands``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from eda import cli_flow, cli_models
from graphnas.errors import GraphnasError

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Chip design: placements in, routability out.")
app.command()(cli_flow.route)
app.add_typer(cli_flow.dataset_app, name="dataset")
for _command in (cli_models.search, cli_models.train, cli_models.predict, cli_models.report):
    app.command()(_command)

Lef = Annotated[list[str], typer.Option("--lef", help="LEF file (also .gz, .xz); repeatable, technology first.")]
Def = Annotated[str, typer.Option("--def", help="DEF file (also .gz, .xz).")]


@app.callback()
def overview() -> None:
    """Chip design: placements in, routability out."""


@app.command()
def maps() -> None:
    """List the feature maps and their units."""
    from eda.features import FEATURES, ON_REQUEST

    for name, feature in FEATURES.items():
        note = " (only when named)" if name in ON_REQUEST else ""
        print(f"{name:<17}{feature.unit:<8}{feature.meaning}{note}")


@app.command()
def features(
    lef: Lef,
    def_: Def,
    out: Annotated[str | None, typer.Option(help="Write the maps to this .npz or .csv file.")] = None,
    tile: Annotated[
        float | None, typer.Option(help="Edge of a tile in microns; without it, the DEF's GCELLGRID.")
    ] = None,
    area: Annotated[str, typer.Option(help="What is divided into tiles: die, or rows (the box around them).")] = "die",
    map_: Annotated[list[str] | None, typer.Option("--map", help="Only this map; repeatable. See 'eda maps'.")] = None,
    picture: Annotated[str | None, typer.Option(help="Draw the maps to this .png file.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Compute the feature maps of a placement."""
    from eda.def_reader import read_def
    from eda.feature_files import save_maps, save_picture
    from eda.features import feature_maps
    from eda.grid import gcell_grid, tile_grid
    from eda.lef_reader import read_lef

    if out is not None and Path(out).suffix not in (".npz", ".csv"):
        raise GraphnasError(f"maps are written as .npz or .csv, not as {out}")
    technology = read_lef(*lef)
    placement = read_def(def_)
    grid = gcell_grid(placement) if tile is None else tile_grid(placement, tile, area)
    found = feature_maps(placement, technology, grid, map_)
    if out is not None:
        save_maps(found, out)
    if picture is not None:
        save_picture(found, picture)
    rows, columns = grid.shape
    if json_:
        record = {
            "design": placement.design,
            "cells": len(placement.cells),
            "nets": len(placement.nets),
            "rows": rows,
            "columns": columns,
            "maps": {
                name: {"mean": float(found[name].mean()), "max": float(found[name].max())} for name in found.names
            },
        }
        print(json.dumps(record))
        return
    print(f"{placement.design}: {len(placement.cells):,} cells, {len(placement.nets):,} nets, {columns} x {rows} tiles")
    for name in found.names:
        print(f"  {name:<17}mean {found[name].mean():<10.4g} max {found[name].max():.4g}")
