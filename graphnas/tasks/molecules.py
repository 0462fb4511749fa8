"""OGB's molecules as tasks; each ``ogbg-mol*`` is registered under its name."""

from __future__ import annotations

from functools import partial

import torch

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.graph import GraphTask
from graphnas.tasks.graphs import Graphs
from graphnas.tasks.ogb_data import read_ogb

_NAMES = (
    "bace",
    "bbbp",
    "chembl",
    "clintox",
    "esol",
    "freesolv",
    "hiv",
    "lipo",
    "muv",
    "pcba",
    "sider",
    "tox21",
    "toxcast",
)
MOLECULES = tuple(f"ogbg-mol{name}" for name in _NAMES)


def ogbg(
    name: str,
    *,
    readout: str | None = "mean",
    encode: bool = True,
    edge_features: bool = False,
    batch_size: int = 32,
    seed: int = 0,
) -> GraphTask:
    """A data set of molecules with its scaffold split and its own metric, computed by OGB's evaluator (Hu et al., 2020).

    An atom has nine categorical features. The network gets them as 174 indicator columns, of which a linear map is
    OGB's ``AtomEncoder``, so that any network for node features learns that encoder in its first layer. Selection is by
    RMSE (to be small), ROC-AUC or average precision, on OGB's scale.

    Args:
        name: one of ``MOLECULES``.
        readout: "mean", "sum" or "max"; None for networks that pool themselves, see GraphTask.
        encode: False hands out the integers ``x[N, 9]`` and ``edge_attr[E, 3]``, for networks that bring OGB's
            ``AtomEncoder`` and ``BondEncoder``.
        edge_features: call networks with ``edge_attr`` too: the bonds, as 13 indicator columns.
        batch_size: molecules a training batch.
        seed: of the subsets that ``share`` selects.

    Raises:
        GraphnasError: an unknown name, or data that cannot be had (see ``read_ogb``).
    """
    if name not in MOLECULES:
        raise unknown("data set of molecules", name, MOLECULES)
    dataset, split = read_ogb(name)
    from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims

    data, slices = dataset._data, dataset.slices
    try:
        graphs = Graphs(
            data.x if encode else data.x.long(),
            data.edge_index,
            torch.diff(slices["x"]),
            torch.diff(slices["edge_index"]),
            data.edge_attr if edge_features else None,
            categories=get_atom_feature_dims() if encode else None,
            edge_categories=get_bond_feature_dims() if encode else None,
        )
        return GraphTask(
            graphs,
            {"train": split["train"], "validation": split["valid"], "test": split["test"]},
            y=data.y,
            name=name,
            objective="regression" if dataset.task_type == "regression" else "binary",
            metric=str(dataset.eval_metric),
            readout=readout,
            batch_size=batch_size,
            edge_features=edge_features,
            evaluator=name,
            seed=seed,
        )
    except GraphnasError as error:
        raise GraphnasError(f"the files of {name} are not as they should be ({error}); get them again") from None


molbace = partial(ogbg, "ogbg-molbace")
molbbbp = partial(ogbg, "ogbg-molbbbp")
molchembl = partial(ogbg, "ogbg-molchembl")
molclintox = partial(ogbg, "ogbg-molclintox")
molesol = partial(ogbg, "ogbg-molesol")
molfreesolv = partial(ogbg, "ogbg-molfreesolv")
molhiv = partial(ogbg, "ogbg-molhiv")
mollipo = partial(ogbg, "ogbg-mollipo")
molmuv = partial(ogbg, "ogbg-molmuv")
molpcba = partial(ogbg, "ogbg-molpcba")
molsider = partial(ogbg, "ogbg-molsider")
moltox21 = partial(ogbg, "ogbg-moltox21")
moltoxcast = partial(ogbg, "ogbg-moltoxcast")
