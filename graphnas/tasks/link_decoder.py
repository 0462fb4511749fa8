"""A learned decoder for link prediction."""

from __future__ import annotations

from torch import Tensor, nn


class HadamardDecoder(nn.Module):
    """Scores of pairs from the element-wise product of their rows: ``MLP(z_i * z_j)`` (Hu et al., 2020, baselines of ogbl).

    For tasks with ``decoder=None``. A TrainingEstimator makes it of each network with the argument ``build``::

        def build(network):
            return HadamardDecoder(graphnas.compile.compile(network), 64)

    Args:
        encoder: called as ``encoder(x, edge_index)``; returns ``[N, features]``.
        features: what the encoder returns for a node.
        hidden: width of the two hidden layers.
        dropout: after each of them.
    """

    def __init__(self, encoder: nn.Module, features: int, hidden: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        layers: list[nn.Module] = []
        for width in (features, hidden):
            layers += [nn.Linear(width, hidden), nn.ReLU(), nn.Dropout(dropout)]
        self.decoder = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, x: Tensor, edge_index: Tensor, pairs: Tensor) -> Tensor:
        """Scores ``[L]`` of ``pairs[2, L]``."""
        z = self.encoder(x, edge_index)
        return self.decoder(z[pairs[0]] * z[pairs[1]]).squeeze(1)  # type: ignore[no-any-return]
