"""D-VAE's sample of ENAS's macro space, evaluated with shared weights on CIFAR-10 (Zhang et al., NeurIPS 2019)."""

from __future__ import annotations

from collections.abc import Sequence

from graphnas.data import find, require
from graphnas.estimators.table import Table, TableEstimator
from graphnas.estimators.table_data import load_table
from graphnas.files import load_npz
from spaces.enas import space
from spaces.tables.import_enas import IMPORTED, merged

COMPACT = "enas6_dvae.npz"
KEYS = "tables/enas6-keys.npz"
_HOW = "run `graphnas import enas6 FILE` on final_structures6.txt of D-VAE"


def weight_sharing(*, score: str = "", metrics: Sequence[str] = ()) -> TableEstimator:
    """Accuracy in % of 20,015 six-layer networks with the weights of ENAS's shared model; no test results."""
    return TableEstimator(table(), score=score, metrics=metrics)


def table() -> Table:
    """The imported table or the compact file of a data folder: ``validation`` (%) of 20,015 distinct networks.

    The 20,020 rows hold five networks twice, with the same accuracy. D-VAE leaves the first thousand rows of the file
    out; they are kept here. What is recorded is not the accuracy of trained networks, but the estimate with shared weights.

    Raises:
        GraphnasError: no file, or a file that is not what it should be.
    """
    imported = find(IMPORTED)
    if imported is not None:
        decisions, columns, source = load_table(imported, space())
    else:
        path = require(COMPACT, _HOW)
        data = load_npz(path, ["arch", "ws_acc"])
        decisions, validation = merged(str(path), data["arch"], data["ws_acc"])
        columns, source = {"validation": validation}, f"D-VAE, {path.name} (accuracy with shared weights)"
    return Table("enas6/weight_sharing", space(), decisions, columns, test=(), description=source, cache=KEYS)
