"""The policy with memory: an LSTM that makes one decision after the other, as in NAS by reinforcement learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from graphnas.errors import GraphnasError
from graphnas.space import Decisions, Space
from graphnas.strategies.policy import Allowed, Policy, later_entropy, log_softmax, open_options, take

_MAX_HIDDEN = 4096


class RecurrentPolicy(Policy):
    """An LSTM reads the decisions made so far and gives the probabilities of the options of the next one.

    The controller of Zoph & Le (ICLR 2017), ENAS (Pham et al., ICML 2018), GraphNAS (Gao et al., IJCAI 2020) and CTNAS (Chen
    et al., CVPR 2021). The first input is learned; each later one is the embedding of the last decision. Every
    decision has embeddings and output weights of its own. On the way to probabilities, logits are divided by
    ``temperature`` and then, with ``tanh_constant`` c, squashed to ``c * tanh(logits)``, as in ENAS.

    Args:
        space: whose decisions it draws.
        rng: draws the first weights.
        learning_rate: of Adam.
        entropy: weight of the entropy in what is maximised.
        allowed: see ``Policy``.
        hidden: units of the LSTM, and size of the embeddings.
        scale: the first weights are uniform in ``(-scale, scale)``.
        temperature: above 1 flattens the distribution.
        tanh_constant: limits the logits; None does not.
        clip: greatest norm of a gradient; a longer one is shortened to it. None does not.

    Raises:
        GraphnasError: an argument out of range, or a space without decisions.
    """

    def __init__(
        self,
        space: Space,
        rng: np.random.Generator,
        learning_rate: float = 5e-3,
        entropy: float = 1e-3,
        allowed: Allowed | None = None,
        hidden: int = 64,
        scale: float = 0.1,
        temperature: float = 1.0,
        tanh_constant: float | None = None,
        clip: float | None = 5.0,
    ) -> None:
        super().__init__(space, learning_rate, entropy, allowed)
        positive = {"temperature": temperature, "tanh_constant": tanh_constant, "clip": clip, "scale": scale}
        wrong = {k: v for k, v in positive.items() if v is not None and not 0 < v < np.inf}
        if not 1 <= hidden <= _MAX_HIDDEN or wrong:
            raise GraphnasError(
                f"a recurrent policy needs hidden in 1..{_MAX_HIDDEN} and a positive {', '.join(positive)}, "
                f"not hidden {hidden}{''.join(f', {k} {v}' for k, v in wrong.items())}"
            )
        if not space.radices:
            raise GraphnasError(f"space {space.name!r} has no decisions, so there is nothing for a policy to learn")
        self.hidden = hidden
        self.scale = scale
        self.temperature = temperature
        self.tanh_constant = tanh_constant
        self.clip = clip
        # Rows of the embeddings: the learned start, then the options of all decisions but the last.
        self._first_row = 1 + np.concatenate([[0], np.cumsum(space.radices[:-1])]).astype(np.int64)
        self._open = torch.from_numpy(open_options(space))
        self.reset(rng)

    def reset(self, rng: np.random.Generator) -> None:
        """New random weights, drawn from ``rng``."""
        choices, hidden = len(self.space.radices), self.hidden
        with torch.random.fork_rng(devices=[]):  # layers draw their first weights from the global generator
            self.network = nn.ModuleDict(
                {
                    "embedding": nn.Embedding(1 + sum(self.space.radices[:-1]), hidden),
                    "lstm": nn.LSTM(hidden, hidden, batch_first=True),
                    "heads": nn.Linear(hidden, choices * self.widest),
                }
            )
        with torch.no_grad():
            for parameter in self.network.parameters():
                drawn = rng.uniform(-self.scale, self.scale, tuple(parameter.shape))
                parameter.copy_(torch.from_numpy(drawn.astype(np.float32)))
        self._optimiser = torch.optim.Adam(self.network.parameters(), self.learning_rate, fused=True)

    # -- probabilities --------------------------------------------------------------------------

    def log_probs(self, decisions: Sequence[Decisions]) -> tuple[Tensor, Tensor]:
        """Differentiable log-probabilities of every decision given those before it, and entropies, both ``[n, choices]``.

        The log-probability of what ``allowed`` excludes is minus infinity.
        """
        made = np.array(decisions, dtype=np.int64)
        before = np.zeros_like(made)
        before[:, 1:] = self._first_row[:-1] + made[:, :-1]
        features, _ = self.network["lstm"](self.network["embedding"](torch.from_numpy(before)))
        heads = self.network["heads"]
        assert isinstance(heads, nn.Linear)
        weights = heads.weight.reshape(*self._open.shape, self.hidden)
        logits = torch.einsum("nch,cwh->ncw", features, weights) + heads.bias.reshape(self._open.shape)
        masks = self._masks(decisions)
        open_ = self._open if masks is None else torch.from_numpy(masks)
        logits = logits / self.temperature
        if self.tanh_constant is not None:
            logits = self.tanh_constant * torch.tanh(logits)
        log = torch.log_softmax(logits.masked_fill(~open_, -torch.inf), dim=2)
        entropies = -(log.exp() * log.masked_fill(~open_, 0.0)).sum(2)
        return log.gather(2, torch.from_numpy(made)[:, :, None])[:, :, 0], entropies

    def log_prob(self, decisions: Sequence[Decisions]) -> np.ndarray:
        """Log-probabilities ``[n]``, before rejection; minus infinity for what ``allowed`` excludes."""
        if not len(decisions):
            return np.zeros(0)
        with torch.no_grad():
            return np.asarray(self.log_probs(decisions)[0].double().sum(1).numpy())

    def mode(self) -> Decisions:
        """The most probable option of every decision, given those before it (valid or not)."""
        return tuple(self._unroll(None, 1)[0][0].tolist())

    def _draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        return self._unroll(rng.random((n, len(self.space.radices))), n)

    def _unroll(self, uniform: np.ndarray | None, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Decisions ``[n, choices]`` by inversion of uniform numbers, or by the greatest probability.

        In numpy: one decision after the other, it takes a fifth of the time of torch's layers.
        """
        arrays = {name: value.detach().numpy() for name, value in self.network.named_parameters()}
        recurrent, heads, biases = arrays["lstm.weight_hh_l0"].T, arrays["heads.weight"], arrays["heads.bias"]
        read = arrays["embedding.weight"] @ arrays["lstm.weight_ih_l0"].T
        read += arrays["lstm.bias_ih_l0"] + arrays["lstm.bias_hh_l0"]
        made = np.zeros((n, len(self.space.radices)), dtype=np.int64)
        total = np.zeros(n)
        rows = np.zeros(n, dtype=np.int64)
        state = memory = np.zeros((n, self.hidden), dtype=np.float32)
        for i, radix in enumerate(self.space.radices):
            gates = read[rows] + state @ recurrent
            entry, keep, content, out = np.split(gates, 4, axis=1)
            memory = _sigmoid(keep) * memory + _sigmoid(entry) * np.tanh(content)
            state = _sigmoid(out) * np.tanh(memory)
            part = slice(i * self.widest, i * self.widest + radix)
            logits: np.ndarray = (state @ heads[part].T + biases[part]).astype(np.float64) / self.temperature
            if self.tanh_constant is not None:
                logits = self.tanh_constant * np.tanh(logits)
            if self.allowed is not None:
                for row, prefix in zip(logits, made[:, :i].tolist(), strict=True):
                    row[np.delete(np.arange(radix), self._options(tuple(prefix)))] = -np.inf
            log = log_softmax(logits)
            if uniform is None:
                made[:, i] = log.argmax(1)
            else:
                upto = np.exp(log).cumsum(1)
                # The total is 1 up to rounding, and a closed option at the end must not be reached.
                made[:, i] = (upto <= (uniform[:, i] * upto[:, -1])[:, None]).sum(1)
            total += log[np.arange(n), made[:, i]]
            rows = self._first_row[i] + made[:, i]
        return made, total

    # -- learning -------------------------------------------------------------------------------

    def _climb(self, decisions: Sequence[Decisions], weights: np.ndarray) -> None:
        self._optimiser.zero_grad()
        self.objective(decisions, weights).neg().backward()  # type: ignore[no-untyped-call]
        if self.clip is not None:  # what clipping does before the gradient is there, it does to nothing
            nn.utils.clip_grad_norm_(self.network.parameters(), self.clip)
        self._optimiser.step()

    def objective(self, decisions: Sequence[Decisions], weights: np.ndarray) -> Tensor:
        """What a step climbs: a scalar whose gradient is that of ``mean(weights * log p) + entropy * H``.

        The part of the entropy is an unbiased estimate from the draws: their decisions' entropies, and the change of what
        later decisions can still vary (``later_entropy``).
        """
        log_prob, entropies = self.log_probs(decisions)
        later = self.entropy * later_entropy(entropies.detach().numpy())
        each = torch.from_numpy(weights[:, None] + later).to(log_prob.dtype)
        return (each * log_prob + self.entropy * entropies).sum(1).mean()

    # -- state ----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, np.ndarray]:
        """Weights by name, both moments of Adam and the number of its steps; copies."""
        state = {"steps": np.array(0.0, dtype=np.float32)}
        for name, parameter in self.network.named_parameters():
            moments = self._optimiser.state.get(parameter)
            value = parameter.detach().numpy()
            state[name] = value.copy()
            state[f"{name}.first"] = moments["exp_avg"].numpy().copy() if moments else np.zeros_like(value)
            state[f"{name}.second"] = moments["exp_avg_sq"].numpy().copy() if moments else np.zeros_like(value)
            if moments:
                state["steps"] = moments["step"].numpy().copy()
        return state

    def load_state_dict(self, state: Mapping[str, np.ndarray]) -> None:
        """The inverse of ``state_dict``; entries may be nested lists.

        Raises:
            GraphnasError: an entry is missing, or of another shape.
        """
        found = {name: torch.from_numpy(take(state, name, like)) for name, like in self.state_dict().items()}
        with torch.no_grad():
            for name, parameter in self.network.named_parameters():
                parameter.copy_(found[name])
                moments = {"exp_avg": found[f"{name}.first"], "exp_avg_sq": found[f"{name}.second"]}
                self._optimiser.state[parameter] = {"step": found["steps"].clone(), **moments}


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * np.tanh(0.5 * x) + 0.5)
