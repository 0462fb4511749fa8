"""The one loop: determinism, resuming, counting, stopping, and searches that several processes share."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graphnas.errors import GraphnasError
from graphnas.files import save_npz
from graphnas.oneshot.base import Group, Mix, State
from graphnas.oneshot.checkpoint import SearchState
from graphnas.oneshot.curvature import Curvature
from graphnas.oneshot.discretisers import TopKInputs
from graphnas.oneshot.gates import Every
from graphnas.oneshot.known_answer import GROUP, KnownAnswer
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods import get, names
from graphnas.oneshot.monitors import AlphaNorm, Gap, ParameterFree, RowEntropy
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.outer import FirstOrder
from graphnas.oneshot.relaxations import Softmax
from graphnas.oneshot.schedules import Constant, Cosine
from graphnas.oneshot.search import Budget, Result, search

MONITORS = (ParameterFree(), RowEntropy(), AlphaNorm(), Curvature(3), Gap())
KNOWN = KnownAnswer(0, examples=128)


def quick(name: str) -> Method:
    """A method that opens its gate often enough in a few steps, with rates that move this problem."""
    method = get(name)
    rate = Cosine(0.1, 0.01)
    inner = replace(method.inner, rate=rate)  # type: ignore[type-var]
    gate = Every(2) if name.startswith("zarts") else method.gate
    return replace(method, inner=inner, gate=gate, batch=8)


def run(method: Method, **options: Any) -> Result:
    streams = KNOWN.streams(batch=8, portion=method.split)
    return search(KNOWN, method, streams, budget=Budget(3, 3, options.pop("pause", None)), seed=4, **options)


def tensors(state: SearchState) -> list[Tensor]:
    return [value for _, value in state._tensors()]


def same(first: SearchState, second: SearchState) -> bool:
    keys = [key for key, _ in first._tensors()] == [key for key, _ in second._tensors()]
    equal = all(torch.equal(a, b) for a, b in zip(tensors(first), tensors(second), strict=True))
    return keys and equal and json.dumps(first._plain()) == json.dumps(second._plain())


@pytest.mark.parametrize("name", names())
def test_resuming_from_a_file_equals_no_interruption_bit_for_bit(name: str, tmp_path: Path) -> None:
    method = quick(name)
    noise = torch.random.get_rng_state()
    whole = run(method, monitors=MONITORS)
    assert whole.finished
    assert torch.equal(noise, torch.random.get_rng_state())
    paused = run(method, monitors=MONITORS, pause=4)
    assert (paused.finished, paused.state.step) == (False, 4)
    torch.manual_seed(123)  # nothing may depend on torch's own generator
    state = SearchState.load(paused.state.save(tmp_path / "state.npz"))
    assert same(state, paused.state)
    resumed = run(method, monitors=MONITORS, state=state)
    assert same(resumed.state, whole.state)
    assert all(torch.equal(whole.derived[n], m) for n, m in resumed.derived.items())
    assert len(whole.history) == 3
    assert json.loads(json.dumps(whole.history)) == whole.history


def test_another_seed_is_another_search() -> None:
    streams = KNOWN.streams(batch=8)
    first, second = (search(KNOWN, quick("darts1"), streams, budget=Budget(1), seed=s) for s in (0, 1))
    assert not same(first.state, second.state)


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("snas", 9, 9),
        ("darts1", 18, 18),
        ("darts2", 45, 45),
        ("idarts", 9 + 3 * 2, 9 + 3 * 5),  # open at steps 0, 4 and 8
        ("zarts_mgs", 9 + 5 * (1 + 4 * 11), 9 + 5 * (1 + 4 * 10)),
        ("zarts_rs", 9 + 5 * 8 * 11, 9 + 5 * 8 * 10),
        ("zarts_gld", 9 + 5 * 5 * 11, 9 + 5 * 5 * 10),
        ("unas_edges", 9 + 6 * 4, 9 + 6 * 2),  # the first of three epochs trains the weights alone
    ],
)
def test_evaluations_are_counted(name: str, forward: int, backward: int) -> None:
    state = run(quick(name)).state
    assert (state.count.forward, state.count.backward) == (forward, backward)
    assert state.history[-1]["forward"] == forward


def test_first_order_search_equals_one_written_out() -> None:
    """DARTS with torch's own optimisers and backward on the joint loss, step by step."""
    method = quick("darts1")
    streams = KNOWN.streams(batch=8)
    result = search(KNOWN, method, streams, budget=Budget(3, 3), seed=4)
    start = search(KNOWN, method, streams, budget=Budget(3, 3, pause=0), seed=4).state
    alpha = start.alpha[GROUP].clone().requires_grad_()
    weights = {n: p.clone().requires_grad_() for n, p in start.weights.parameters.items()}
    adam = torch.optim.Adam([alpha], 3e-4, betas=(0.5, 0.999), weight_decay=1e-3)
    sgd = torch.optim.SGD(weights.values(), 0.1, momentum=0.9, weight_decay=3e-4)

    def loss(batch: Any) -> Tensor:
        value, _ = KNOWN.inner_loss(State(weights, {}), Mix({GROUP: alpha.softmax(-1)}), batch)
        return value

    for step in range(9):
        for optimiser, batch in ((adam, streams.outer(step)), (sgd, streams.inner(step))):
            adam.zero_grad()
            sgd.zero_grad()
            if optimiser is sgd:
                sgd.param_groups[0]["lr"] = Cosine(0.1, 0.01)((step // 3) / 3)
            loss(batch).backward()
            if optimiser is sgd:
                torch.nn.utils.clip_grad_norm_(weights.values(), 5.0)
            optimiser.step()
    assert torch.allclose(result.alpha[GROUP], alpha, atol=1e-7)
    assert all(torch.allclose(result.state.weights.parameters[n], p, atol=1e-6) for n, p in weights.items())


def test_early_stop_goes_back_to_the_earlier_epoch(functions: Any) -> None:
    """The outer loss is made sharper in every epoch, so that its curvature grows by a known factor."""
    target = torch.tensor([[0.0, 1.0, 2.0]], dtype=torch.float64)
    problem = functions(
        [Group.make("g", "abc", ["row"])],
        lambda w, m, b: (w["w"] - 1).square().sum(),
        lambda w, m, b: 0.01 * 1.2**b * (m["g"] - target).square().sum(),
    )
    stop = replace(get("robust_darts"), gate=Every(1)).stop
    assert stop is not None
    method = replace(get("robust_darts"), inner=SGD(Constant(0.1)), architecture=SGD(Constant(0.01)), stop=stop)
    seen: dict[int, Tensor] = {}
    result = search(
        problem,
        method,
        problem,
        budget=Budget(30, 1),
        after_step=lambda s: seen.__setitem__(s.step, s.alpha["g"]),
    )
    # Values at epochs 2, 4, ...; the first comparison that the rule allows is at epoch 10.
    assert "back to epoch 2" in result.state.stopped
    assert result.state.step == 10
    assert torch.equal(result.alpha["g"], seen[2])
    assert [c["epoch"] for c in result.state.curvatures] == [2, 4, 6, 8, 10]
    assert [e["epoch"] for e in result.history] == list(range(1, 11))


def test_a_loss_that_is_not_finite_ends_the_search(functions: Any) -> None:
    problem = functions(
        [Group.make("g", "ab", ["row"])],
        lambda w, m, b: w["w"].sum() * (math.inf if b == 3 else 1.0),
        lambda w, m, b: m["g"].square().sum(),
        {"w": torch.ones(1)},
    )
    method = Method("m", "", Softmax(), FirstOrder(), TopKInputs(), SGD(Constant(0.1)), SGD(Constant(0.1)))
    result = search(problem, method, problem, budget=Budget(1, 10))
    assert result.finished
    assert "inner loss is inf at step 3" in result.state.stopped
    assert bool(torch.isfinite(result.state.weights.parameters["w"]).all())


def test_monitors_report_what_they_say() -> None:
    result = run(quick("darts1"), monitors=MONITORS)
    last = result.history[-1]
    weights = result.alpha[GROUP].softmax(1)
    assert last["entropy"] == pytest.approx(float(-(weights * weights.log()).sum(1).mean()))
    assert last["alpha_norm"] == pytest.approx(float(result.alpha[GROUP].norm()))
    chosen = weights.argmax(1)
    assert last["parameter_free"] == float((chosen < 2).sum())
    assert last["chosen"] == 6
    assert last["gap"] == pytest.approx(last["supernet"] - last["child"])
    assert torch.equal(torch.tensor(last["alpha"][GROUP]), result.alpha[GROUP])
    plain = run(quick("darts1"))
    assert torch.equal(plain.alpha[GROUP], result.alpha[GROUP])  # monitors change nothing


# -- several processes ------------------------------------------------------------------------------


class Shared:
    """Two searches in two threads that exchange their tensors, as two processes would."""

    def __init__(self) -> None:
        self.barrier = threading.Barrier(2, timeout=60)
        self.values: list[list[Tensor]] = [[], []]

    def average(self, rank: int) -> Any:
        def mean(values: list[Tensor]) -> list[Tensor]:
            self.values[rank] = values
            self.barrier.wait()
            joined = [(a + b) / 2 for a, b in zip(*self.values, strict=True)]
            self.barrier.wait()
            return joined

        return mean


class Half:
    """Every other example of each batch."""

    def __init__(self, whole: Any, rank: int) -> None:
        self.whole, self.rank = whole, rank
        self.length, self.outer_length = whole.length, whole.outer_length

    def inner(self, index: int) -> Any:
        return self._half(self.whole.inner(index))

    def outer(self, index: int) -> Any:
        return self._half(self.whole.outer(index))

    def _half(self, batch: Any) -> Any:
        return replace(batch, inputs=batch.inputs[self.rank :: 2], targets=batch.targets[:, self.rank :: 2])


@pytest.mark.parametrize("name", ["darts1", "darts2", "idarts", "snas", "zarts_mgs", "zarts_gld", "darts_pt"])
def test_two_processes_equal_one_with_the_joined_batch(name: str) -> None:
    problem = KnownAnswer(0, examples=64, dtype=torch.float64)
    method = quick(name)
    method = replace(method, discretiser=replace(method.discretiser, epochs=1)) if name == "darts_pt" else method  # type: ignore[type-var]
    budget = Budget(2, 2)
    one = search(problem, method, problem.streams(8, method.split), budget=budget, seed=1)
    shared, found = Shared(), {}

    def work(rank: int) -> None:
        streams = Half(problem.streams(8, method.split), rank)
        found[rank] = search(problem, method, streams, budget=budget, seed=1, average=shared.average(rank))

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in (0, 1):
        assert torch.allclose(found[rank].alpha[GROUP], one.alpha[GROUP], atol=1e-6, rtol=0)
        assert torch.allclose(found[rank].alpha[GROUP], found[0].alpha[GROUP], atol=0, rtol=0)
        assert torch.equal(found[rank].derived[GROUP], one.derived[GROUP])


# -- bad input --------------------------------------------------------------------------------------


def test_a_state_of_another_search_is_refused(tmp_path: Path) -> None:
    paused = run(quick("darts1"), pause=2).state
    with pytest.raises(GraphnasError, match="of a search with 'darts1'"):
        run(quick("darts2"), state=paused)
    path = tmp_path / "broken.npz"
    with pytest.raises(GraphnasError, match="does not exist"):
        SearchState.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(GraphnasError, match="not a readable npz"):
        SearchState.load(path)

    save_npz(path, {"a": torch.zeros(2).numpy()})
    with pytest.raises(GraphnasError, match="no checkpoint of a gradient-based search"):
        SearchState.load(path)


def test_batches_are_a_function_of_their_number() -> None:
    streams, again = (KNOWN.streams(batch=8, portion=0.75, seed=3) for _ in range(2))
    assert (streams.length, streams.outer_length) == (12, 4)
    later = streams.inner(20)
    assert torch.equal(streams.inner(3).inputs, again.inner(3).inputs)
    assert torch.equal(again.inner(20).inputs, later.inputs)

    def rows(batches: list[Any]) -> set[tuple[float, ...]]:
        return {tuple(row) for batch in batches for row in batch.inputs.tolist()}

    first, second = (rows([streams.inner(i) for i in range(e, e + 12)]) for e in (0, 12))
    outer = rows([streams.outer(i) for i in range(4)])
    assert first == second
    assert len(first) == 96
    assert len(outer) == 32
    assert not first & outer
    assert not torch.equal(streams.inner(0).inputs, streams.inner(12).inputs)
    with pytest.raises(GraphnasError, match="do not fill a batch of 80"):
        KNOWN.streams(batch=80)
    with pytest.raises(GraphnasError, match="between 0 and 1"):
        KNOWN.streams(portion=1.5)


def test_a_search_needs_a_step() -> None:
    with pytest.raises(GraphnasError, match="at least one epoch"):
        search(KNOWN, quick("darts1"), KNOWN.streams(batch=8), budget=Budget(0))


def test_unknown_methods_are_told_all_names() -> None:
    with pytest.raises(GraphnasError, match="unknown method of gradient-based search 'zarts_mgd'; known: darts1, "):
        get("zarts_mgd")
