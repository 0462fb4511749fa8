"""The commands ``graphnas eda route`` and ``graphnas eda dataset build|info``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from graphnas.errors import GraphnasError

dataset_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Placements with routed labels.")

_NOTE = "labels are shorts left by qrouter at the stated effort"


def route(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="Verilog files, one mapped netlist (yosys JSON; .gz, .xz), or a circuit of ours: adder, alu..."
        ),
    ] = None,
    def_: Annotated[str | None, typer.Option("--def", help="Route this placed DEF instead; it needs TRACKS.")] = None,
    lef: Annotated[str | None, typer.Option(help="LEF file with technology and cells; OSU035 by default.")] = None,
    top: Annotated[str | None, typer.Option(help="Name of the top module.")] = None,
    layers: Annotated[int, typer.Option(help="Routing layers, 3 or 4.")] = 3,
    utilisation: Annotated[float, typer.Option(help="Share of the rows' area that cells fill.")] = 0.75,
    aspect: Annotated[float, typer.Option(help="Height over width of the rows' area.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of the placement.")] = 0,
    spread: Annotated[float | None, typer.Option(help="Density to which cells are loosened while placed.")] = None,
    placer_effort: Annotated[int, typer.Option(help="Of the placer, 1 to 9.")] = 3,
    effort: Annotated[list[int] | None, typer.Option(help="Of the router's rip-up; repeatable (10 and 50).")] = None,
    tile: Annotated[float, typer.Option(help="Edge of a tile in microns.")] = 20.0,
    time_limit: Annotated[float, typer.Option(help="Seconds for one run of the router.")] = 900.0,
    out: Annotated[str | None, typer.Option(help="Write OUT.def.gz (the placement) and OUT.npz (the labels).")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Place and route a circuit, or route a placement, and locate the violations."""
    from eda.dataset_build import arrays_of, describe
    from eda.def_writer import write_def
    from eda.route import Recipe, route_placed
    from eda.route import route as run
    from graphnas.files import save_npz

    if (def_ is None) == (not source):
        raise GraphnasError("give either a circuit (Verilog, netlist or the name of one of ours) or --def PLACED.def")
    library = Path(lef) if lef is not None else None
    efforts = tuple(effort or (10, 50))
    if def_ is not None:
        sample = route_placed(def_, efforts=efforts, tile=tile, time_limit=time_limit, lef=library)
    else:
        recipe = Recipe(layers, utilisation, aspect, seed, spread, placer_effort, efforts, tile, time_limit)
        sample = run(_netlist(source or [], top), recipe, lef=library)
    design = sample.placement.design
    record = describe(sample, design, design)
    if def_ is not None:
        del record["recipe"]  # somebody else's placement was not made by one
    if out is not None:
        path = Path(out)
        write_def(sample.placement, path.with_name(f"{path.name}.def.gz"))
        save_npz(path.with_name(f"{path.name}.npz"), arrays_of(sample.labels, record))
    if json_:
        print(json.dumps(record))
        return
    rows, columns = record["tiles"]
    print(f"{design}: {record['cells']:,} cells, {record['nets']:,} nets, {columns} x {rows} tiles")
    for each in record["labels"]:
        print(
            f"  effort {each['effort']:<4}violated nets {each['violated']:<6}rate {each['rate']:<8.4f}"
            f"shorted nodes {each['nodes']:<6}not routed {each['failed']:<6}wires {each['wirelength']:,.0f} um"
        )
    print(f"  {_NOTE}")


def _netlist(source: list[str], top: str | None) -> Any:
    from eda import circuits
    from eda.netlist import read_netlist
    from eda.synthesis import synthesise

    if len(source) == 1 and not Path(source[0]).exists() and source[0] in circuits.names():
        return synthesise([circuits.verilog(source[0])], source[0])
    files = [Path(name) for name in source]
    if len(files) == 1 and ".json" in files[0].suffixes:
        return read_netlist(files[0], top)
    for file in files:
        if file.suffix not in (".v", ".sv"):
            raise GraphnasError(f"{file} is neither Verilog (.v, .sv) nor one netlist (.json, .json.gz, .json.xz)")
    return synthesise(files, top)


@dataset_app.command()
def build(
    folder: Annotated[str, typer.Option(help="For one file a placement; an existing one is continued.")],
    netlists: Annotated[str | None, typer.Option(help="Folder of mapped netlists, NAME.json.xz.")] = None,
    out: Annotated[str | None, typer.Option(help="Pack everything that is built into this .npz file.")] = None,
    design: Annotated[list[str] | None, typer.Option(help="Only this design; repeatable.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="At most this many placements of a design.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they do not change the result.")] = 1,
) -> None:
    """Make the data set again from mapped netlists: place, route, label, and pack."""
    from dataclasses import replace

    from eda import dataset_build
    from eda.dataset_files import pack, save_dataset
    from eda.designs import DESIGNS
    from graphnas import data
    from graphnas.errors import unknown

    known = {each.name: each for each in DESIGNS}
    for name in design or ():
        if name not in known:
            raise unknown("design", name, known)
    chosen = [known[name] for name in design] if design else list(DESIGNS)
    if rounds is not None:
        chosen = [replace(each, rounds=min(each.rounds, rounds)) for each in chosen]
    where = Path(netlists) if netlists is not None else data.require("eda/netlists", "give --netlists FOLDER")
    todo = list(dataset_build.jobs(Path(folder), where, chosen))
    made = dataset_build.build(todo, workers=workers, progress=print)
    print(f"{made} placements made, {len(todo) - made} were there")
    if out is not None:
        print(f"packed {len(packed := pack(folder))} placements into {save_dataset(packed, out)}")


@dataset_app.command()
def info(
    file: Annotated[str | None, typer.Option(help="A packed data set; by default the one of the package.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Describe a data set: parts, designs, labels and the tools that made them."""
    from eda.dataset import PARTS, statistics
    from eda.dataset_files import load, load_dataset

    dataset = load() if file is None else load_dataset(file)
    parts = {
        part: {effort: statistics(dataset.part(part), effort) for effort in dataset.efforts}
        for part in PARTS
        if dataset.part(part)
    }
    tools = dict(dataset.samples[0].tools) if len(dataset) else {}
    if json_:
        designs = {part: sorted({sample.design for sample in dataset.part(part)}) for part in PARTS}
        print(json.dumps({"placements": len(dataset), "maps": dataset.maps, "tile": dataset.tile,
                          "designs": designs, "parts": parts, "tools": tools, "note": _NOTE}))  # fmt: skip
        return
    print(
        f"{len(dataset)} placements of {len(dataset.designs)} designs, {len(dataset.maps)} maps, tiles of {dataset.tile:g} um"
    )
    print(
        f"{'part':<12}{'effort':>7}{'placements':>12}{'designs':>9}{'clean':>8}{'rate 25 %':>11}{'50 %':>8}{'75 %':>8}{'max':>8}{'hot tiles':>11}"
    )
    for part, by_effort in parts.items():
        for effort, s in by_effort.items():
            print(
                f"{part:<12}{effort:>7}{s['placements']:>12}{s['designs']:>9}{s['clean_share']:>8.2f}"
                f"{s['rate_quartile_1']:>11.3f}{s['rate_median']:>8.3f}{s['rate_quartile_3']:>8.3f}"
                f"{s['rate_maximum']:>8.3f}{s['hot_tile_share']:>11.3f}"
            )
    print("tools: " + ", ".join(f"{name} {version}" for name, version in tools.items()))
    print(_NOTE)
