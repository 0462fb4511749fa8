"""Beam search: the most probable sequences that a network finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, fx, nn


class Hypothesis(NamedTuple):
    """A finished sequence, without begin and end, and its score."""

    tokens: tuple[int, ...]
    score: float


def length_penalty(length: int, alpha: float) -> float:
    """What the log-probability of a sequence is divided by (Wu et al., 2016, equation 14); the length counts its end."""
    return float(((5 + length) / 6) ** alpha)


def beam_search(
    step: Callable[[Tensor], Tensor],
    longest: Sequence[int],
    *,
    beam: int,
    begin: int,
    end: int,
    alpha: float = 0.6,
    barred: Sequence[int] = (),
) -> list[Hypothesis]:
    """The best sequence of each of several searches side by side.

    The best is that with the greatest log-probability over ``length_penalty``. In every step, each search goes on with the
    ``beam`` most probable sequences that have not ended. It stops when none of them can become better than the best that has, so
    a beam that holds all sequences finds the best of all.

    Args:
        step: from sequences so far ``[searches * beam, t]``, which start with ``begin``, to scores ``[searches * beam, tokens]`` of
            their next token, before the softmax.
        longest: of each search how many tokens there are at most before the end.
        beam: sequences of a search that go on; 1 is greedy search.
        begin, end: tokens.
        alpha: of the length penalty.
        barred: tokens that are never chosen.
    """
    searches = len(longest)
    alive = torch.full((searches, beam, 1), begin)
    scores = torch.full((searches, beam), float("-inf"), dtype=torch.float64)
    scores[:, 0] = 0.0  # in the beginning all sequences are one
    best: list[Hypothesis | None] = [None] * searches
    bound = torch.tensor(list(longest))
    final = [length_penalty(length + 1, alpha) for length in longest]
    for t in range(1, max(longest) + 2):
        chances = step(alive.flatten(0, 1)).double().log_softmax(-1).view(searches, beam, -1).cpu()
        tokens = chances.shape[-1]
        chances[..., list(barred)] = float("-inf")
        over = (bound < t)[:, None, None] & (torch.arange(tokens) != end)
        total = (scores[..., None] + chances.masked_fill(over, float("-inf"))).flatten(1)
        for i, (score, k) in enumerate(zip(*total.view(searches, beam, tokens)[..., end].max(1), strict=True)):
            found = float(score) / length_penalty(t, alpha)
            known = best[i]
            if score > float("-inf") and (known is None or found > known.score):
                best[i] = Hypothesis(tuple(alive[i, k, 1:].tolist()), found)
        total.view(searches, beam, tokens)[..., end] = float("-inf")
        scores, where = total.topk(min(beam, total.shape[1]), 1)
        if scores.shape[1] < beam:
            missing = beam - scores.shape[1]
            scores = nn.functional.pad(scores, (0, missing), value=float("-inf"))
            where = nn.functional.pad(where, (0, missing))
        kept = alive.gather(1, (where // tokens)[..., None].expand(-1, -1, t))
        alive = torch.cat([kept, (where % tokens)[..., None]], 2)
        reach = [float(score) / final[i] for i, score in enumerate(scores[:, 0])]
        if all(known is not None and known.score >= r for known, r in zip(best, reach, strict=True)):
            break
    return [Hypothesis((), float("-inf")) if known is None else known for known in best]


class NextToken:
    """Scores of the next token for fixed sources: ``step`` of a beam search.

    Of a compiled network, all that does not depend on the target is worked out once.

    Args:
        network: from source ``[B, S]`` and target ``[B, T]`` to scores ``[B, T, tokens]``, in evaluation mode.
        source: ``[B, S]``.
    """

    def __init__(self, network: nn.Module, source: Tensor) -> None:
        self.network, self.source = network, source
        self.known: dict[fx.Node, object] | None = None

    def __call__(self, target: Tensor) -> Tensor:
        """Scores ``[B, tokens]`` after a target ``[B, T]``."""
        target = target.to(self.source.device)
        network = self.network
        if not isinstance(network, fx.GraphModule):
            made: Tensor = network(self.source, target)
            return made[:, -1]
        run = fx.Interpreter(network, garbage_collect_values=self.known is not None)
        made = run.run(self.source, target, initial_env=None if self.known is None else dict(self.known))
        if self.known is None:
            kept = _without(network.graph, "target")
            self.known = {n: value for n, value in run.env.items() if n in kept}
        return made[:, -1]


def _without(graph: fx.Graph, argument: str) -> set[fx.Node]:
    """The values of a graph that do not depend on one of its arguments; arguments are not among them."""
    depends: set[fx.Node] = set()
    for n in graph.nodes:
        if (n.op == "placeholder" and n.target == argument) or any(i in depends for i in n.all_input_nodes):
            depends.add(n)
    return {n for n in graph.nodes if n not in depends and n.op not in ("placeholder", "output")}
