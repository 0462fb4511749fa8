"""The encoders of AGNN: for each class of components, an LSTM that reads the rest of an architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.strategies.policy import take

CLASSES = ("auto", "groups", "choices")
_MAX_HIDDEN = 4096
_SURE = -1e-6
"""Log-probability from which on what the best architecture has counts as certain."""


def component_classes(space: Space, classes: str = "auto") -> dict[str, tuple[int, ...]]:
    """The classes of components of a space: positions of their decisions by name, in the order of the choices.

    "groups" takes the groups of the choices: in the AGNN space one decision of every layer is in each of them.
    "choices" makes every choice a class of its own. "auto" takes the groups where none of them has more than half of the
    decisions, so that a change of one class leaves at least half of an architecture as it is, and else the choices.
    Decisions with one option belong to no class.

    Raises:
        GraphnasError: nothing is open.
    """
    open_ = [i for i, radix in enumerate(space.radices) if radix > 1]
    if not open_:
        raise GraphnasError(f"space {space.name!r} has no decisions, so there is nothing for AGNN to change")
    groups: dict[str, list[int]] = {}
    for i in open_:
        groups.setdefault(space.choices[i].group, []).append(i)
    small = 2 * max(map(len, groups.values())) <= len(open_)
    if classes == "choices" or (classes == "auto" and not small):
        return {space.choices[i].name: (i,) for i in open_}
    return {name: tuple(places) for name, places in groups.items()}


class ClassEncoder:
    """The distribution of what one class of components should be, given the rest of the architecture.

    An LSTM reads a learned start and then the decisions of all other classes, in their order; from its last state every
    place of the class (a layer, in the AGNN space) has a softmax over its options, independent of the other places.
    Logits are divided by ``temperature`` and then squashed to ``c * tanh(logits)`` with ``tanh_constant`` c.

    Args:
        space: whose decisions it reads and gives.
        places: positions of the class's decisions.
        rng: draws the first weights, uniform in ``(-scale, scale)``.
        hidden: units of the LSTM, and size of the embeddings.
        learning_rate: of Adam.
        temperature: above 1 flattens the distributions.
        tanh_constant: limits the logits; None does not.
        scale: see ``rng``.

    Raises:
        GraphnasError: an argument out of range.
    """

    def __init__(
        self,
        space: Space,
        places: Sequence[int],
        rng: np.random.Generator,
        hidden: int = 100,
        learning_rate: float = 3.5e-4,
        temperature: float = 5.0,
        tanh_constant: float | None = 2.5,
        scale: float = 0.1,
    ) -> None:
        given = {"learning_rate": learning_rate, "temperature": temperature, "scale": scale}
        if tanh_constant is not None:
            given["tanh_constant"] = tanh_constant
        wrong = {name: value for name, value in given.items() if not 0 < value < np.inf}
        if not 1 <= hidden <= _MAX_HIDDEN or wrong:
            raise GraphnasError(
                f"AGNN needs hidden in 1..{_MAX_HIDDEN} and a positive {', '.join(given)}, "
                f"not hidden {hidden}{''.join(f', {k} {v}' for k, v in wrong.items())}"
            )
        self.places = tuple(places)
        self.others = tuple(i for i in range(len(space.radices)) if i not in self.places)
        self.temperature = temperature
        self.tanh_constant = tanh_constant
        read = [space.radices[i] for i in self.others]
        self._first_row = 1 + np.concatenate([[0], np.cumsum(read)[:-1]]).astype(np.int64)[: len(read)]
        radices = np.array([space.radices[i] for i in self.places])
        self._open = torch.from_numpy(np.arange(radices.max()) < radices[:, None])
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            self.network = nn.ModuleDict(
                {
                    "embedding": nn.Embedding(1 + sum(read), hidden),
                    "lstm": nn.LSTM(hidden, hidden, batch_first=True),
                    "heads": nn.Linear(hidden, self._open.numel()),
                }
            )
        with torch.no_grad():
            for parameter in self.network.parameters():
                drawn = rng.uniform(-scale, scale, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(drawn.astype(np.float32)))
        self._optimiser = torch.optim.Adam(self.network.parameters(), learning_rate, fused=True)

    def log_probs(self, decisions: Decisions) -> Tensor:
        """Differentiable log-probabilities ``[places, widest radix]``; minus infinity where there is no such option.

        Args:
            decisions: of an architecture; those of the class itself are not read.
        """
        rows = np.concatenate([[0], self._first_row + np.array([decisions[i] for i in self.others], dtype=np.int64)])
        states, _ = self.network["lstm"](self.network["embedding"](torch.from_numpy(rows)[None]))
        logits = self.network["heads"](states[0, -1]).reshape(self._open.shape) / self.temperature
        if self.tanh_constant is not None:
            logits = self.tanh_constant * torch.tanh(logits)
        return torch.log_softmax(logits.masked_fill(~self._open, -torch.inf), dim=1)

    def table(self, decisions: Decisions) -> np.ndarray:
        """``log_probs`` as an array of float64."""
        with torch.no_grad():
            return np.asarray(self.log_probs(decisions).double().numpy())

    def objective(self, parent: Decisions, child: Decisions) -> Tensor:
        """The log-probability of the child's components of this class, given that they are not all those of the parent.

        The distribution is that of ``log_probs`` without one outcome, what the parent has: drawing again until something
        else comes gives exactly this.
        """
        log = self.log_probs(parent)
        own = torch.arange(len(self.places))
        drawn, kept = (log[own, [d[i] for i in self.places]].sum() for d in (child, parent))
        return drawn - torch.log(-torch.expm1(kept.clamp(max=_SURE)))

    def step(self, parent: Decisions, child: Decisions, reward: float) -> None:
        """One step of Adam UP ``reward * objective``: a negative reward makes the child's components less likely."""
        self._optimiser.zero_grad()
        (-reward * self.objective(parent, child)).backward()  # type: ignore[no-untyped-call]  # Adam goes down
        self._optimiser.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights by name, and (once there was a step) both moments of Adam and its steps; nested lists."""
        state: dict[str, Any] = {}
        for name, parameter in self.network.named_parameters():
            state[name] = parameter.detach().numpy().tolist()
            moments = self._optimiser.state.get(parameter)
            if moments:
                state[f"{name}.first"] = moments["exp_avg"].numpy().tolist()
                state[f"{name}.second"] = moments["exp_avg_sq"].numpy().tolist()
                state["steps"] = float(moments["step"])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``.

        Raises:
            GraphnasError: an entry is missing, or of another shape.
        """
        self._optimiser.state.clear()
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                like = parameter.detach().numpy()
                parameter.copy_(torch.from_numpy(take(state, name, like)))
                if "steps" in state:
                    first, second = (torch.from_numpy(take(state, f"{name}.{m}", like)) for m in ("first", "second"))
                    steps = torch.tensor(state["steps"], dtype=torch.float32)
                    self._optimiser.state[parameter] = {"step": steps, "exp_avg": first, "exp_avg_sq": second}


def entropy(log: np.ndarray) -> float:
    """Entropy in nats of independent softmaxes with log-probabilities ``[places, options]``, summed over the places."""
    finite = np.where(np.isfinite(log), log, 0.0)
    return max(0.0, float(-(np.exp(log) * finite).sum()))
