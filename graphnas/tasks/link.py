"""Link prediction: which pairs of nodes of a graph are joined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from graphnas.errors import GraphnasError, unknown
from graphnas.tasks.base import SPLITS, Batch, Metric, Signature, Task
from graphnas.tasks.graph_data import edges_of, features_of, graph_inputs
from graphnas.tasks.image import share_of
from graphnas.tasks.link_split import both_ways, draw_non_links, pairs_of, ranks_of, split_links
from graphnas.tasks.measure import check_output, device_of, evaluating
from graphnas.tasks.ranking import hits, parse_metric

DECODERS = ("dot",)


class Links(NamedTuple):
    """Pairs of nodes that are joined, ``[2, P]``, and pairs that are not, ``[2, Q]``."""

    positive: Tensor
    negative: Tensor


class LinkTask(Task):
    """Missing links of one undirected graph (transductive); selection is by ROC-AUC, average precision or Hits@K.

    The network is called as ``network(x, edge_index)`` on the training links and returns ``outputs`` features a node; the
    score of a pair is the dot product of its two rows (Kipf & Welling, 2016). With ``decoder=None`` it is called as
    ``network(x, edge_index, pairs)`` with ``pairs[2, L]`` and returns the scores ``[L]`` itself, as
    ``graphnas.tasks.link_decoder.HadamardDecoder`` does. The loss is the binary cross entropy of the scores.

    Validation and test come with as many pairs without a link, drawn once from ``seed`` among the pairs that no split
    joins. Training draws as many in each epoch, among the pairs that no training link joins, so that nothing is learned
    about the other splits. A link counts once, whatever its direction and multiplicity; self-loops do not count.

    Args:
        data: a PyG ``Data`` or anything with ``x[N, F]`` and, unless ``links`` are given, ``edge_index[2, E]``.
        links: "train", "validation" and "test" pairs where they are prescribed; the negative ones of "train" are not
            used.
        name: for settings and reports.
        shares: train, validation and test parts of the links where none are given.
        outputs: features that the network returns for a node.
        decoder: "dot" or None.
        metric: "rocauc", "ap" or "hits@K": the share of the links that score above the K-th best pair without one.
        also_hits: other K to measure.
        batch_size: links a training batch, each with the whole graph for the network; None takes all at once.
        validation_edges: let the network see the validation links when the test split is measured, as PyG's
            ``RandomLinkSplit`` does.
        evaluator: an OGB data set whose own evaluator computes the metric.
        seed: of the split, the pairs without a link, and the subsets that ``share`` selects.

    Raises:
        GraphnasError: features or links that are not as they should be, or too few pairs.
    """

    recipe: ClassVar[Mapping[str, Any]] = {  # Kipf & Welling (2016, section 3)
        "optimiser": "adam",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "schedule": "constant",
        "clip": None,
    }

    def __init__(
        self,
        data: Any,
        links: Mapping[str, Links] | None = None,
        *,
        name: str = "link",
        shares: tuple[float, float, float] = (0.85, 0.05, 0.1),
        outputs: int = 64,
        decoder: str | None = "dot",
        metric: str = "rocauc",
        also_hits: tuple[int, ...] = (),
        batch_size: int | None = None,
        validation_edges: bool = True,
        evaluator: str | None = None,
        seed: int = 0,
    ) -> None:
        if decoder is not None and decoder not in DECODERS:
            raise unknown("decoder", decoder, DECODERS)
        if outputs < 1 or (batch_size is not None and batch_size < 1):
            raise GraphnasError(f"outputs ({outputs}) and batch size ({batch_size}) must be at least 1")
        chosen = parse_metric(metric)
        self.hits = tuple(sorted({*also_hits, *([chosen] if chosen else [])}))
        self.name = name
        self.metric = Metric(metric)
        self.decoder = decoder
        self.batch_size = batch_size
        self.validation_edges = validation_edges
        self.evaluator = evaluator
        self.seed = seed
        self.x = features_of(data)
        rng = np.random.default_rng([seed, 0])
        if links is None:
            train, validation, test = split_links(ranks_of(edges_of(data, len(self.x), False)), shares, rng)
            everything = np.sort(np.concatenate([train, validation, test]))
            negative = draw_non_links(everything, len(self.x), len(validation) + len(test), rng)
            held = {
                "validation": Links(pairs_of(validation), pairs_of(negative[: len(validation)])),
                "test": Links(pairs_of(test), pairs_of(negative[len(validation) :])),
            }
        else:
            train, held = self._given(links)
        self._train = train
        self._links = {"train": Links(pairs_of(train), self._draw(np.random.default_rng([seed, 1]))), **held}
        seen = both_ways(train)
        more = ranks_of(held["validation"].positive) if validation_edges and "test" in held else train
        self._edges = dict.fromkeys(self._links, seen)
        if "test" in held:
            self._edges["test"] = both_ways(np.union1d(train, more))
        self._order = torch.from_numpy(np.random.default_rng([seed, 2]).permutation(len(train)))
        self.signature = Signature("node", (self.x.shape[1],), outputs, len(self.x), seen.shape[1])

    def _given(self, links: Mapping[str, Links]) -> tuple[Any, dict[str, Links]]:
        missing = [split for split in ("train", "validation") if split not in links]
        wrong = [split for split in links if split not in SPLITS]
        if wrong or missing:
            raise unknown("split", wrong[0], SPLITS) if wrong else GraphnasError(f"there are no {missing[0]} links")
        checked = {}
        for split, given in links.items():
            parts = [edges_of(_Pairs(part), len(self.x), False) for part in given]
            if parts[0].shape[1] == 0 or (split != "train" and parts[1].shape[1] == 0):
                raise GraphnasError(f"the {split} split needs pairs with a link and pairs without one")
            checked[split] = Links(*parts)
        train = ranks_of(checked.pop("train").positive)
        if len(train) == 0:
            raise GraphnasError("the training links are all self-loops; a link joins two nodes")
        return train, {split: checked[split] for split in SPLITS if split in checked}

    def _draw(self, rng: np.random.Generator) -> Tensor:
        return pairs_of(draw_non_links(self._train, len(self.x), len(self._train), rng))

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that there are; "test" may be missing."""
        return tuple(self._links)

    def links(self, split: str) -> Links:
        """The pairs of a split; of training, those without a link are the ones drawn without a generator.

        Raises:
            GraphnasError: there is no such split.
        """
        if split not in self._links:
            raise unknown(f"split of task {self.name}:", split, self.splits)
        return self._links[split]

    def edges(self, split: str) -> Tensor:
        """The ``edge_index[2, E]`` that the network sees when this split is trained on or measured."""
        self.links(split)
        return self._edges[split]

    def batches(self, split: str, generator: torch.Generator | None = None, share: float = 1.0) -> Iterator[Batch]:
        """One pass over the links of a split and as many pairs without one; each batch has the whole graph.

        With a generator the order is drawn, and in training the pairs without a link. ``share`` of the training links
        is a fixed subset of those that count in the loss; the network sees all of them.

        Raises:
            GraphnasError: there is no such split, or the share is not in (0, 1].
        """
        positive, negative = self.links(split)
        if split == "train":
            if generator is not None:
                seed = int(torch.randint(2**62, (), generator=generator))
                negative = self._draw(np.random.default_rng(seed))
            count = share_of(positive.shape[1], share)
            positive, negative = positive[:, self._order[:count].sort().values], negative[:, :count]
        if generator is not None:
            positive = positive[:, torch.randperm(positive.shape[1], generator=generator)]
            negative = negative[:, torch.randperm(negative.shape[1], generator=generator)]
        return self._iterate(split, positive, negative)

    def _iterate(self, split: str, positive: Tensor, negative: Tensor) -> Iterator[Batch]:
        parts = -(-positive.shape[1] // (self.batch_size or positive.shape[1]))
        for ones, zeros in zip(positive.tensor_split(parts, 1), negative.tensor_split(parts, 1), strict=True):
            yield self._batch(split, ones, zeros)

    def _batch(self, split: str, positive: Tensor, negative: Tensor) -> Batch:
        pairs = torch.cat([positive, negative], dim=1)
        target = torch.cat([torch.ones(positive.shape[1]), torch.zeros(negative.shape[1])])
        more = [pairs] if self.decoder is None else []
        return Batch(graph_inputs(self.x, self._edges[split], *more), target, parts=pairs)

    def scores(self, output: Tensor, batch: Batch) -> Tensor:
        """The score of each pair of a batch, ``[L]``, from what the network returned."""
        if self.decoder is None:
            scores = output.squeeze(1) if output.ndim == 2 and output.shape[1] == 1 else output
            if scores.shape != batch.target.shape:
                needed = list(batch.target.shape)
                raise GraphnasError(f"the network returned shape {list(output.shape)}, but the task needs {needed}")
            return scores
        check_output(output, len(self.x), self.signature.outputs)
        assert batch.parts is not None
        return (output[batch.parts[0]] * output[batch.parts[1]]).sum(1)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """Mean binary cross entropy in nats over the pairs of the batch."""
        return functional.binary_cross_entropy_with_logits(self.scores(output, batch), batch.target)

    def evaluate(self, network: nn.Module, split: str) -> dict[str, float]:
        """``rocauc``, ``ap`` and every ``hits@K`` (fractions), and ``cross_entropy`` in nats, on a split."""
        batch = self._batch(split, *self.links(split)).to(device_of(network))
        with evaluating(network):
            scores = self.scores(network(*batch.inputs), batch).cpu()
        names = ["rocauc", "ap", *(f"hits@{k}" for k in self.hits), "cross_entropy"]
        if not bool(torch.isfinite(scores).all()):
            return dict.fromkeys(names, float("nan"))
        from sklearn.metrics import average_precision_score, roc_auc_score

        y = batch.target.cpu()
        positive, negative = scores[y > 0], scores[y == 0]
        values = [float(measure(y.numpy(), scores.numpy())) for measure in (roc_auc_score, average_precision_score)]
        values += [hits(positive, negative, k) for k in self.hits]
        values.append(float(functional.binary_cross_entropy_with_logits(scores.double(), y.double())))
        result = dict(zip(names, values, strict=True))
        if self.evaluator is not None:
            from graphnas.tasks.ogb_data import evaluate_ogb

            result.update(evaluate_ogb(self.evaluator, {"y_pred_pos": positive, "y_pred_neg": negative}))
        return result

    def describe(self) -> dict[str, Any]:
        """Settings and sizes, as JSON values."""
        return {
            "name": self.name,
            "nodes": self.signature.nodes,
            "edges": self.signature.edges,
            "sizes": {split: links.positive.shape[1] for split, links in self._links.items()},
            "negatives": {split: links.negative.shape[1] for split, links in self._links.items()},
            "metric": self.metric.name,
            "decoder": self.decoder,
            "batch_size": self.batch_size,
            "validation_edges": self.validation_edges,
            "seed": self.seed,
        }


class _Pairs:
    """Pairs in the form in which ``edges_of`` checks them."""

    def __init__(self, pairs: Any) -> None:
        self.edge_index = pairs
