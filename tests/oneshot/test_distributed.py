"""Two processes that share a batch find the architecture gradients of one process with the whole batch."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed, multiprocessing

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import CARRIED
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.distributed import own_share
from graphnas.oneshot.gradient_search import GradientSearch
from graphnas.oneshot.methods import get
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.schedules import Constant
from graphnas.tasks.image import ImageTask
from graphnas.tasks.language import LanguageTask

METHODS = ("darts2", "snas", "drnas")


def searched(name: str, folder: Path) -> SearchState:
    """Two steps whose change of alpha is minus the architecture's gradient."""
    x = torch.randint(256, (64, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    task = ImageTask((x, torch.arange(64) % 4), (x[:8], torch.arange(8) % 4), name="squares")
    method = replace(get(name), architecture=SGD(Constant(1.0)))
    size = {"channels": 2, "cells": 1}
    search = GradientSearch(
        "nasbench201", task, None, method, epochs=1, steps=2, batch=8, size=size, store=folder / f"{name}.db"
    )
    search.supernet.double()
    search.task.mean, search.task.std = search.task.mean.double(), search.task.std.double()
    search.run()
    return search.state


def read(folder: Path) -> SearchState:
    """Two epochs of a search of recurrent cells that carries its states from segment to segment."""
    text = np.random.default_rng(0).integers(6, size=120)
    task = LanguageTask(text, text[:40], words=tuple("abcdef"), batch_size=2, length=4, validation_batch=1)
    still = {"dropout": 0.0, "dropout_hidden": 0.0, "dropout_cell": 0.0, "dropout_input": 0.0}
    method = replace(get("darts2_recurrent"), architecture=SGD(Constant(1.0)))
    settings = {"epochs": 2, "steps": 3, "batch": 4, "size": {"features": 4, **still}}
    search = GradientSearch("darts_recurrent", task, None, method, **settings, store=folder / "text.db")
    search.supernet.double()
    search.run()
    return SearchState.load(search.checkpoint) if search.rank == 0 else search.state


def _process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    try:
        for name in METHODS:
            state = searched(name, Path(folder))
            state.save(Path(folder) / f"{name}-{rank}.npz")
        read(Path(folder)).save(Path(folder) / f"text-{rank}.npz")
    finally:
        distributed.destroy_process_group()


def test_two_processes_are_one_with_the_joined_batch(tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    multiprocessing.spawn(_process, args=(str(tmp_path),), nprocs=2, join=True)
    for name in METHODS:
        whole = searched(name, alone)
        parts = [SearchState.load(tmp_path / f"{name}-{rank}.npz") for rank in range(2)]
        for group, alpha in whole.alpha.items():
            moved = float((alpha - parts[0].alpha[group]).abs().max())
            assert torch.equal(parts[0].alpha[group], parts[1].alpha[group])
            assert moved < 1e-6, name
            assert float(alpha.abs().max()) > 1e-3  # it has left its start
        for weight, tensor in whole.weights.parameters.items():
            torch.testing.assert_close(parts[0].weights.parameters[weight], tensor, rtol=0, atol=1e-6)
        for buffer, tensor in whole.weights.buffers.items():
            torch.testing.assert_close(parts[1].weights.buffers[buffer], tensor, rtol=0, atol=1e-6)

    # Text: every process reads some of the columns, and what they carry is joined in the checkpoint.
    whole, first, second = (
        read(alone),
        SearchState.load(tmp_path / "text-0.npz"),
        SearchState.load(tmp_path / "text-1.npz"),
    )
    for group, alpha in whole.alpha.items():
        assert torch.equal(first.alpha[group], second.alpha[group])
        torch.testing.assert_close(first.alpha[group], alpha, rtol=0, atol=1e-6)
        assert float(alpha.abs().max()) > 1e-3
    for weight, tensor in whole.weights.parameters.items():
        torch.testing.assert_close(first.weights.parameters[weight], tensor, rtol=0, atol=1e-6)
    carried = [name for name in whole.weights.buffers if name.startswith(CARRIED)]
    assert carried
    for name in carried:
        torch.testing.assert_close(first.weights.buffers[name], whole.weights.buffers[name], rtol=0, atol=1e-6)
        shared = own_share(first.weights.buffers, 1, 2)[name]
        torch.testing.assert_close(second.weights.buffers[name], shared, rtol=0, atol=0)


def test_a_batch_that_cannot_be_shared_is_refused():
    from graphnas.oneshot.distributed import share_of_each_batch
    from graphnas.oneshot.streams import Split

    with pytest.raises(GraphnasError, match="a batch of 9 cannot be shared by 2 processes"):
        share_of_each_batch(Split(40, 9, lambda indices, seed: indices), 0, 2)
