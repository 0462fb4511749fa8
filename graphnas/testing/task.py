"""The rules that every Task keeps."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from graphnas.errors import GraphnasError
from graphnas.tasks.base import Batch, Task
from graphnas.testing.rules import expect, global_randomness_untouched


def check_task(task: Task, network: nn.Module | None = None, seed: int = 0) -> None:
    """Check that batches follow the generator, shares nest in size, and measuring leaves no trace.

    Args:
        task: the task to check; its splits should be small, as each is gone through several times.
        network: one that fits the task; by default a linear map of images, of each pixel for maps, or of node features
            and their mean over neighbours, or scores for every pair of words.
        seed: of the network's weights and the order of batches.

    Raises:
        AssertionError: a rule is broken; the message says which.
    """
    described = _described(task)
    splits = tuple(getattr(task, "splits", ("train", "validation")))
    expect({"train", "validation"} <= set(splits), f"the splits are {splits}; train and validation must be there")
    _refuses_wrong_requests(task)
    _batches(task, splits, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = network or _default_network(task)
    _loss(task, network)
    _measuring(task, network, splits)
    expect(_described(task) == described, "describe() must not change by using the task")
    copied = pickle.loads(pickle.dumps(task))  # our own bytes
    expect(_described(copied) == described, "describe() must be the same for a pickled copy")
    same = all(map(_equal, copied.batches("validation"), task.batches("validation")))
    expect(same, "a pickled copy must give the same batches")


def _described(task: Task) -> str:
    described = task.describe()
    expect(isinstance(described, Mapping) and "name" in described, 'describe() must be a mapping with a "name"')
    try:
        return json.dumps(described, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise AssertionError(f"describe() must consist of JSON values ({error})") from None


def _refuses_wrong_requests(task: Task) -> None:
    for what, split, share in (
        ("the split 'nowhere'", "nowhere", 1.0),
        ("a share of 0", "train", 0.0),
        ("a share of 1.5", "train", 1.5),
    ):
        try:
            list(task.batches(split, share=share))
        except GraphnasError:
            continue
        raise AssertionError(f"batches() must refuse {what} with a GraphnasError")


def _batches(task: Task, splits: tuple[str, ...], seed: int) -> None:
    with global_randomness_untouched(f"task {task.name!r}"):
        for split in splits:
            first, second = list(task.batches(split)), list(task.batches(split))
            expect(first, f"the {split} split has no batch")
            same = len(first) == len(second) and all(map(_equal, first, second))
            expect(same, f"without a generator two passes over {split} must be the same")
        for share in (0.5, 1.0):
            runs = [list(task.batches("train", torch.Generator().manual_seed(seed), share)) for _ in range(2)]
            expect(all(map(_equal, *runs)), "the same state of the generator must give the same batches")
        counts = [sum(map(_examples, task.batches("train", share=share))) for share in (1e-9, 0.5, 1.0)]
        rising = counts[0] > 0 and all(a <= b for a, b in pairwise(counts)) and counts[0] < counts[2]
        expect(rising, f"shares of 0, 1/2 and 1 of the training data gave {counts} examples; they must rise from 1")


def _loss(task: Task, network: nn.Module) -> None:
    network.train()
    for batch in task.batches("train", torch.Generator().manual_seed(0)):
        loss = task.loss(network(*batch.inputs), batch)
        expect(loss.ndim == 0, f"the loss has shape {list(loss.shape)}; it must be a scalar")
        expect(math.isfinite(loss.item()), f"the loss of an untrained network is {loss.item()}")
        gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        expect(any(g is not None and bool(g.any()) for g in gradients), "the loss has no gradient for the network")


def _measuring(task: Task, network: nn.Module, splits: tuple[str, ...]) -> None:
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for split in splits:
        network.train()
        values = task.evaluate(network, split)  # unwatched: imports at first use may draw random names
        expect(network.training, "evaluate() must leave the network in the mode in which it was")
        network.eval()
        with global_randomness_untouched(f"task {task.name!r}"):
            again = task.evaluate(network, split)
        expect(not network.training, "evaluate() must leave the network in the mode in which it was")
        expect(task.metric.name in values, f"evaluate() gave {sorted(values)} without {task.metric.name}")
        numbers = all(isinstance(v, float) and math.isfinite(v) for v in values.values())
        expect(numbers, f"evaluate() gave {values} for finite outputs; metrics are finite floats")
        expect(again == values, f"two measurements of {split} differ")
    kept = all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    expect(kept, "evaluate() must not change weights or buffers")


def _examples(batch: Batch) -> int:
    return len(batch.target if batch.rows is None else batch.rows)


def _equal(a: Batch, b: Batch) -> bool:
    def same(x: Tensor | None, y: Tensor | None) -> bool:
        if x is None or y is None:
            return x is y
        return x.shape == y.shape and bool(((x == y) | (x.isnan() & y.isnan())).all())

    pairs = zip((*a.inputs, a.target, a.rows, a.parts), (*b.inputs, b.target, b.rows, b.parts), strict=True)
    return all(same(x, y) for x, y in pairs)


def _default_network(task: Task) -> nn.Module:
    signature = task.signature
    if signature.kind == "image":
        pixels = nn.AdaptiveAvgPool2d(signature.input[1:])  # for tasks whose images differ in size
        return _First(nn.Sequential(pixels, nn.Flatten(), nn.Linear(math.prod(signature.input), signature.outputs)))
    if signature.kind == "map":
        return _First(nn.Conv2d(signature.input[0], signature.outputs, 1))
    if signature.kind == "text":
        return _WordBefore(signature.outputs)
    return _MeanOfNeighbours(signature.input[0], signature.outputs)


class _First(nn.Module):
    """A network of the first input; what a task gives besides is not read."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, *rest: Tensor) -> Tensor:
        return self.network(x)  # type: ignore[no-any-return]


class _WordBefore(nn.Module):
    def __init__(self, words: int) -> None:
        super().__init__()
        self.scores = nn.Embedding(words, words)

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.scores(tokens), tokens.unsqueeze(-1).float()


class _MeanOfNeighbours(nn.Module):
    def __init__(self, features: int, outputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * features, outputs)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        ones = x.new_ones(edge_index.shape[1])
        count = x.new_zeros(len(x)).index_add(0, edge_index[1], ones).clamp(min=1)
        mean = torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]]) / count.unsqueeze(1)
        return self.linear(torch.cat([x, mean], dim=1))  # type: ignore[no-any-return]
