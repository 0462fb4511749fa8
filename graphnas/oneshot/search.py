"""The loop of all gradient-based searches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphnas.errors import GraphnasError
from graphnas.oneshot.base import Alpha, Group, Problem, State, Tensors
from graphnas.oneshot.checkpoint import History, SearchState
from graphnas.oneshot.context import Average, Context, seeded
from graphnas.oneshot.curvature import top_eigenvalue
from graphnas.oneshot.derivatives import weight_gradient
from graphnas.oneshot.derive import derive
from graphnas.oneshot.method import Method
from graphnas.oneshot.monitors import Monitor
from graphnas.oneshot.outer.base import Update
from graphnas.oneshot.regularisers import View, prepared
from graphnas.oneshot.schedules import Clock
from graphnas.oneshot.streams import Follows, Streams


@dataclass(frozen=True)
class Budget:
    """How long to search.

    Attributes:
        epochs: None: the method's.
        length: weight steps of an epoch; None: the streams'.
        pause: return after so many weight steps in all, to go on later; None: at the end.
    """

    epochs: int | None = None
    length: int | None = None
    pause: int | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """What a search found.

    Attributes:
        derived: for each group 1 at what the architecture has; empty while the search is not finished.
        state: to go on from, or to read alpha and the weights from.
        finished: whether the search has come to its end.
    """

    derived: Tensors
    state: SearchState
    finished: bool

    @property
    def alpha(self) -> Alpha:
        """Architecture parameters."""
        return self.state.alpha

    @property
    def history(self) -> History:
        """One entry for each epoch, with alpha."""
        return self.state.history


def search(
    problem: Problem,
    method: Method,
    streams: Streams,
    *,
    budget: Budget | None = None,
    seed: int = 0,
    state: SearchState | None = None,
    monitors: Sequence[Monitor] = (),
    after_step: Callable[[SearchState], None] | None = None,
    average: Average | None = None,
) -> Result:
    """Search with a method: before every weight step, the architecture steps if the gate opens.

    All noise is a function of the seed and the number of the step, so equal seeds give equal searches, bit for bit, and
    so does a search that is interrupted and goes on.

    Args:
        problem: the supernet's losses.
        method: what to do.
        streams: batches; ``Split`` with the method's ``split`` and ``batch`` is what the papers use.
        budget: how long.
        seed: of weights, alpha and noise.
        state: go on from here; it is changed in place.
        monitors: take figures at the end of every epoch.
        after_step: called after every weight step, to save or show the state.
        average: the means of tensors over the processes of a distributed search.

    Raises:
        GraphnasError: a state of another search.
    """
    return _Search(problem, method, streams, budget or Budget(), monitors, average, state, seed).run(after_step)


class _Search:
    def __init__(
        self,
        problem: Problem,
        method: Method,
        streams: Streams,
        budget: Budget,
        monitors: Sequence[Monitor],
        average: Average | None,
        state: SearchState | None,
        seed: int,
    ) -> None:
        self.problem, self.method, self.streams, self.budget = problem, method, streams, budget
        self.monitors, self.average = monitors, average
        self.epochs = method.epochs if budget.epochs is None else budget.epochs
        self.length = streams.length if budget.length is None else budget.length
        if self.epochs < 1 or self.length < 1:
            raise GraphnasError(f"a search needs at least one epoch of one step, not {self.epochs} of {self.length}")
        self.costs = problem.costs() if method.regularisers else {}
        self.state = self._fresh(seed) if state is None else self._checked(state)
        if isinstance(streams, Follows) and self.state.streams:
            streams.restore(self.state.streams)

    def _fresh(self, seed: int) -> SearchState:
        weights = self.problem.initial(seed)
        like = next(p for p in weights.parameters.values() if p.is_floating_point())
        groups = tuple(g.masked(g.mask.to(like.device)) for g in self.problem.groups)
        drawn = self.method.relaxation.initial(self.problem.groups, seeded(seed, 0, "alpha"))
        alpha = {name: a.to(like) for name, a in drawn.items()}
        groups = self.method.relaxation.project_(groups, alpha, 0.0)
        return SearchState(self.method.name, seed, alpha, {g.name: g.mask for g in groups}, weights)

    def _checked(self, state: SearchState) -> SearchState:
        shapes = {g.name: g.mask.shape for g in self.problem.groups}
        if state.method != self.method.name or {n: m.shape for n, m in state.masks.items()} != shapes:
            raise GraphnasError(
                f"the state is of a search with {state.method!r} over groups {list(state.masks)}, not with "
                f"{self.method.name!r} over {list(shapes)}; start anew"
            )
        return state

    # -- the loop -----------------------------------------------------------------------------------

    def run(self, after_step: Callable[[SearchState], None] | None) -> Result:
        state = self.state
        while not state.stopped and state.step < self.epochs * self.length:
            if self.budget.pause is not None and state.step >= self.budget.pause:
                return Result({}, state, False)
            self._step()
            if after_step is not None:
                after_step(state)
        state.stopped = state.stopped or "all epochs are over"
        return Result(derive(self._context(), self.method.discretiser), state, True)

    def _context(self) -> Context:
        """This moment; alpha as leaves."""
        state = self.state
        return Context(
            problem=self.problem,
            groups=tuple(g.masked(state.masks[g.name]) for g in self.problem.groups),
            relaxation=self.method.relaxation,
            alpha={name: a.detach().requires_grad_() for name, a in state.alpha.items()},
            state=state.weights,
            inner=self.method.inner,
            slots=state.slots,
            clock=Clock(state.step, self.length, self.epochs),
            streams=self.streams,
            opened=state.opened,
            seed=state.seed,
            count=state.count,
            average=self.average,
        )

    def _step(self) -> None:
        state, method = self.state, self.method
        context = self._context()
        if isinstance(self.streams, Follows):
            self.streams.follow(context)
        opens, state.gate = method.gate(context.clock, state.gate, state.fisher)
        update = method.outer(context) if opens else None
        kept = context.kept
        if update is not None:
            self._move_alpha(context, update)
            for name, value in update.log.items():
                self._add(name, value)
        if update is not None and update.weights is not None:
            half = update.weights
            loss, gradients, buffers = half.loss, half.gradients, half.buffers
        else:
            context = self._context()
            batch = context.inner_batch()
            with torch.no_grad():
                mix = context.mix(batch=batch, purpose="weights").detached()
            loss, gradients, buffers = weight_gradient(context, state.weights, mix, batch)
        value = context.value(loss)
        if not math.isfinite(value):
            state.stopped = f"the inner loss is {value} at step {state.step}"
            return
        if method.gate.needs_fisher:
            state.fisher = float(sum(g.square().sum() for g in gradients.values()))
        parameters, state.slots = method.inner.step(state.weights.parameters, gradients, state.slots, context.rate)
        state.weights = State(parameters, {**buffers, **kept})
        state.step += 1
        self._add("inner_loss", value)
        if state.step % self.length == 0:
            self._end_epoch()

    def _move_alpha(self, context: Context, update: Update) -> None:
        state, method = self.state, self.method
        if update.delta is not None:
            alpha = {name: a.detach() + update.delta[name] for name, a in context.alpha.items()}
        else:
            assert update.surrogate is not None
            assert method.architecture is not None
            total = update.surrogate
            if method.regularisers:
                mix = context.mix() if update.mix is None else update.mix
                view = View(context.groups, context.alpha, mix, context.relaxation, context.clock.progress, self.costs)
                state.regularisers = prepared(method.regularisers, view, state.regularisers)
                for regulariser, memory in zip(method.regularisers, state.regularisers, strict=True):
                    total = total + regulariser(view, memory)
            found = torch.autograd.grad(total, list(context.alpha.values()), allow_unused=True)
            values = [
                torch.zeros_like(a) if g is None else g for g, a in zip(found, context.alpha.values(), strict=True)
            ]
            gradients = dict(zip(context.alpha, context.averaged(values), strict=True))
            rate = method.architecture.rate(context.clock.progress)
            alpha, state.architecture = method.architecture.step(state.alpha, gradients, state.architecture, rate)
        groups = context.relaxation.project_(context.groups, alpha, context.clock.progress)
        self._settle(groups, alpha)
        state.opened += 1
        self._add("opened", 1.0)

    def _settle(self, groups: Sequence[Group], alpha: Alpha) -> None:
        """Entries that are not in use are 0 and forgotten by the optimiser, so that nothing moves them later."""
        state = self.state
        masks = self.method.relaxation.masks(groups)
        state.masks = {g.name: g.mask for g in groups}
        state.alpha = {name: a.masked_fill(~masks[name], 0.0) for name, a in alpha.items()}
        state.architecture = {
            kind: {name: t if t.ndim == 0 else t.masked_fill(~masks[name], 0) for name, t in tensors.items()}
            for kind, tensors in state.architecture.items()
        }

    # -- the end of an epoch ------------------------------------------------------------------------

    def _add(self, name: str, value: float) -> None:
        total = self.state.sums.setdefault(name, [0.0, 0.0])
        total[0] += value
        total[1] += 1.0

    def _end_epoch(self) -> None:
        state = self.state
        context = self._context()
        entry: dict[str, Any] = {name: total / count for name, (total, count) in state.sums.items()}
        entry.update(epoch=context.clock.epoch, step=state.step, opened=int(state.sums.get("opened", [0.0])[0]))
        if self.monitors:
            with torch.no_grad():
                derived = derive(context, self.method.discretiser, look=False)
            for monitor in self.monitors:
                entry.update(monitor(context, derived))
        entry.update(forward=state.count.forward, backward=state.count.backward)
        entry["alpha"] = {name: a.tolist() for name, a in state.alpha.items()}
        state.history.append(entry)
        state.sums = {}
        if isinstance(self.streams, Follows):
            state.streams = self.streams.memory()
        self._stop_early(context)

    def _stop_early(self, context: Context) -> None:
        state, stop = self.state, self.method.stop
        epoch = context.clock.epoch
        if stop is None or not stop.due(epoch):
            return
        value = top_eigenvalue(context, stop.iterations)
        state.curvatures.append({"epoch": float(epoch), "curvature": value})
        earlier = stop.back_to(state.curvatures)
        if earlier is not None:
            known = next(entry for entry in state.history if entry["epoch"] == earlier)["alpha"]
            state.alpha = {
                name: torch.tensor(known[name], dtype=a.dtype, device=a.device) for name, a in state.alpha.items()
            }
            state.stopped = f"the curvature grew to {value:.3g}; back to epoch {earlier}"
