"""Converts D-VAE's ``final_structures6.txt`` (Zhang et al., NeurIPS 2019)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from graphnas.data import cache_path
from graphnas.errors import GraphnasError
from graphnas.estimators.table_data import check_decisions, save_table
from spaces.enas import LAYERS, space

IMPORTED = "tables/enas6.npz"
COUNT = 20_020
_MAX_BYTES = 64 << 20


def convert(source: Path, target: Path | None = None, *, partial: bool = False) -> Path:
    """Write the compact table of the text file, whose lines are ``[[1], [4, 0], [5, 0, 0], ...], 0.7302``.

    Column: ``validation``, the accuracy with ENAS's shared weights in %. Nothing is trusted: every line is read as JSON
    and checked.

    Args:
        source: the text file.
        target: the npz file to write; by default where the table looks for it, in the cache folder.
        partial: accept another number than the 20,020 lines.

    Raises:
        GraphnasError: the file is not what it should be.
    """
    try:
        if source.stat().st_size > _MAX_BYTES:
            raise GraphnasError(f"{source} has {source.stat().st_size} bytes; the official file is much smaller")
        lines = source.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise GraphnasError(f"cannot read {source} ({error})") from None
    if not lines or (not partial and len(lines) != COUNT):
        raise GraphnasError(f"{source} holds {len(lines)} networks; the official file has {COUNT}: get it again")
    rows, accuracies = [], []
    for number, line in enumerate(lines):
        try:
            layers, accuracy = json.loads(f"[{line}]")
            if [len(layer) for layer in layers] != list(range(1, LAYERS + 1)) or not isinstance(accuracy, float):
                raise ValueError("a network has layers of 1 to 6 numbers and then its accuracy")
            row = [value for layer in layers for value in layer]
            if any(type(value) is not int for value in row):
                raise ValueError("an operation or a skip is no whole number")
        except (ValueError, TypeError, RecursionError) as error:
            raise GraphnasError(f"{source}: line {number + 1} is not one of D-VAE's file ({error})") from None
        rows.append(row)
        accuracies.append(accuracy)
    decisions, validation = merged(str(source), np.array(rows, dtype=np.int64), np.array(accuracies))
    return save_table(
        target or cache_path(IMPORTED), space(), decisions, {"validation": validation}, f"D-VAE, {source.name}"
    )


def merged(source: str, decisions: np.ndarray, accuracy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct decisions ``[n, 21]`` (uint8) in the order of their first appearance, and accuracies ``[n]`` in %.

    A network that was drawn twice has the same accuracy twice, as weights are shared.

    Raises:
        GraphnasError: decisions out of range, accuracies that are none, or that differ for one network.
    """
    check_decisions(source, space(), decisions)
    if accuracy.shape != (len(decisions),) or not ((accuracy >= 0) & (accuracy <= 1)).all():
        raise GraphnasError(f"{source} holds accuracies of another length or outside of 0 to 1; get it again")
    _, first, group = np.unique(decisions, axis=0, return_index=True, return_inverse=True)
    percent = (100 * accuracy.astype(np.float64)).round(4)  # the file has four decimals of the fraction
    if not np.array_equal(percent, percent[first][group.reshape(-1)]):
        raise GraphnasError(f"{source} gives one network two accuracies; get it again")
    first = np.sort(first)
    return decisions[first].astype(np.uint8), percent[first]
