"""The decoder of NAO: an LSTM with attention that writes decisions one after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from graphnas.space import Decisions, Space
from predictors.nao_latent import Latent
from predictors.nao_tokens import START, DecisionTokens

State = tuple[Tensor, Tensor]


class AttentionDecoder(nn.Module):
    """Writes the decisions of a Space from a latent (Luo et al., NeurIPS 2018, section 3.1).

    The vector of the latent is the initial hidden state and cell. At every place the state attends to the rows by dot
    product, and state and attended row together score the tokens, of which only the options of the choice in turn are
    allowed. Beside the token before, the LSTM reads which place is in turn: long runs of yes and no are hard to count.

    Args:
        space: whose decisions it writes.
        width: D, of the latent and of all layers.
    """

    def __init__(self, space: Space, width: int) -> None:
        super().__init__()
        self.tokens = DecisionTokens(space)
        self.embedding = nn.Embedding(len(self.tokens), width)
        self.place = nn.Embedding(max(1, self.tokens.places), width)
        self.recurrent = nn.LSTM(width, width, batch_first=True)
        self.query = nn.Linear(width, width, bias=False)
        self.join = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, len(self.tokens))
        # Unit rows have small entries; with these the layers behind them start at the usual size.
        self.scale = width**0.5

    def loss(self, latent: Latent, decisions: Tensor) -> Tensor:
        """Mean negative log-likelihood of the decisions ``[B, C]``, each given those before (teacher forcing)."""
        wanted = self.tokens.ids(decisions)
        before = torch.cat([torch.full_like(wanted[:, :1], START), wanted[:, :-1]], dim=1)
        logits, _ = self._logits(latent, before, 0, self._begin(latent))
        return cross_entropy(logits.flatten(0, 1), wanted.flatten())

    def _begin(self, latent: Latent) -> State:
        vector = (latent.vector() * self.scale).unsqueeze(0)
        return vector, vector

    def _logits(self, latent: Latent, before: Tensor, place: int, state: State) -> tuple[Tensor, State]:
        """Logits ``[B, T, V]`` at T places from ``place`` on, after the tokens ``before [B, T]``, and the new state."""
        here = slice(place, place + before.shape[1])
        hidden, state = self.recurrent(self.embedding(before) + self.place.weight[here], state)
        rows = latent.rows * self.scale
        match = self.query(hidden) @ rows.transpose(1, 2)
        seen = match.masked_fill(~latent.mask.unsqueeze(1), -torch.inf).softmax(-1) @ rows
        scores = self.out(torch.tanh(self.join(torch.cat([seen, hidden], dim=-1))))
        return scores + self.tokens.allowed[here], state

    @torch.no_grad()
    def decode(self, latent: Latent, beams: int, valid: Callable[[Decisions], bool]) -> list[list[Decisions]]:
        """For each latent the valid decisions that a beam search finds, the most likely first.

        Args:
            latent: B architectures.
            beams: how many partial decisions are carried along for each; 1 is greedy.
            valid: the rule for complete decisions.
        """
        batch = len(latent.rows)
        wide = Latent(latent.rows.repeat_interleave(beams, 0), latent.mask.repeat_interleave(beams, 0))
        state = self._begin(wide)
        before = torch.full((batch * beams, 1), START)
        made = torch.zeros(batch, beams, 0, dtype=torch.long)
        # All beams are equal at the start: only the first one counts.
        total = torch.full((batch, beams), -torch.inf)
        total[:, 0] = 0
        for place, options in enumerate(self.tokens.table):
            logits, state = self._logits(wide, before, place, state)
            # Padding of the table is the token of the start, which is allowed nowhere.
            likely = logits[:, 0].log_softmax(-1)[:, options].view(batch, beams, -1)
            total, best = (total.unsqueeze(-1) + likely).flatten(1).topk(beams, dim=1)
            parent, option = best // len(options), best % len(options)
            made = torch.cat([made.gather(1, parent.unsqueeze(-1).expand(-1, -1, place)), option[..., None]], 2)
            rows = (torch.arange(batch).unsqueeze(1) * beams + parent).flatten()
            state = state[0][:, rows].contiguous(), state[1][:, rows].contiguous()
            before = options[option].view(-1, 1)
        found: list[list[Decisions]] = []
        for some, weights in zip(made.tolist(), total.tolist(), strict=True):
            possible = [tuple(d) for d, w in zip(some, weights, strict=True) if w > -torch.inf]
            found.append([d for d in possible if valid(d)])
        return found
