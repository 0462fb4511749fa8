"""Translation as a task: batches, loss, beam search, BLEU, and training."""

from __future__ import annotations

import gzip
import itertools
import math
import pickle

import numpy as np
import pytest
import sacrebleu
import torch
from torch import nn

from graphnas.compile import compile
from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import inverse_sqrt, train
from graphnas.estimators.training import TrainingEstimator
from graphnas.registry import names
from graphnas.search import Search
from graphnas.tasks.base import Batch
from graphnas.tasks.beam_search import NextToken, beam_search, length_penalty
from graphnas.tasks.subwords import BEGIN, END, Subwords
from graphnas.tasks.translation import TranslationTask, bleu
from graphnas.tasks.translation_data import multi30k, wmt14
from graphnas.testing import check_task
from spaces import transformer
from spaces.transformer_network import standard_network

WORDS = {"one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fünf"}


def corpus(count, seed=0, longest=5):
    rng = np.random.default_rng(seed)
    sentences = [list(rng.choice(list(WORDS), int(rng.integers(1, longest + 1)))) for _ in range(count)]
    return [" ".join(s) for s in sentences], [" ".join(WORDS[w] for w in s) for s in sentences]


def made(count=60, **options):
    given = {"vocabulary": 40, "batch_tokens": 60, "name": "numbers", **options}
    return TranslationTask(corpus(count), corpus(10, 1), corpus(12, 2), **given)


@pytest.fixture(scope="module")
def task():
    return made()


def small_network(task, seed=0, **changes):
    sizes = {"width": 8, "hidden": 16, "embedding": 8, "layers": 1, "heads": 1, "dropout": 0.1, **changes}
    return compile(standard_network(task.signature, **sizes), seed)


# -- text and batches ---------------------------------------------------------------------------


def test_text_survives_subwords(task):
    sentences = ["one fünf two", "zwei", "four five three drei"]
    found = task.subwords.encode(sentences)
    tokens = [found.tokens[a:b] for a, b in itertools.pairwise(found.bounds)]
    assert task.subwords.decode(tokens) == sentences
    assert pickle.loads(pickle.dumps(task.subwords)).model == task.subwords.model
    again = Subwords.learn((line for side in corpus(60) for line in side), 40)
    assert again.model == task.subwords.model


def test_a_task_keeps_the_rules(task):
    check_task(task, small_network(task))
    check_task(made(metric="cross_entropy"), small_network(task))


@pytest.mark.parametrize("generator", [None, 3])
def test_batches_hold_every_pair_once_and_no_more_tokens_than_allowed(task, generator):
    drawn = None if generator is None else torch.Generator().manual_seed(generator)
    found = []
    for batch in task.batches("train", drawn):
        source, target = batch.inputs
        assert max(source.numel(), target.numel()) <= task.batch_tokens
        assert bool((target[:, 0] == BEGIN).all())
        lengths = (batch.target != 0).sum(1)
        for row, after, length in zip(target, batch.target, lengths, strict=True):
            assert torch.equal(row[1:length], after[: length - 1])
            assert after[length - 1] == END
            assert not after[length:].any()
        assert bool((source == END).any(1).all())
        words = [s.tolist() for s in source], [t.tolist() for t in batch.target]
        found += list(zip(*map(task.subwords.decode, words), strict=True))
    assert sorted(found) == sorted(zip(*corpus(60), strict=True))


def test_training_pairs_that_are_too_long_or_empty_are_left_out():
    source, target = corpus(40)
    task = TranslationTask(
        ([*source, "", "one " * 50], [*target, "eins", "eins " * 50]), corpus(5, 1), vocabulary=40, max_length=20
    )
    assert sum(len(batch.target) for batch in task.batches("train")) == 40
    assert list(task.training_rows) == list(range(40))
    assert sum(len(batch.target) for batch in task.batches("validation")) == 5


def test_files_are_read_and_mistakes_are_told_in_a_line(tmp_path, task):
    source, target = corpus(60)
    (tmp_path / "a.en").write_text("\n".join(source) + "\n", encoding="utf-8")
    (tmp_path / "a.de.gz").write_bytes(gzip.compress(("\r\n".join(target)).encode()))
    read = TranslationTask((tmp_path / "a.en", str(tmp_path / "a.de.gz")), corpus(10, 1), vocabulary=task.subwords)
    for ours, theirs in zip(read.pairs("train"), task.pairs("train"), strict=True):
        assert np.array_equal(ours.tokens, theirs.tokens)
    (tmp_path / "bad.en").write_bytes(b"\xff\xfe")
    (tmp_path / "bad.gz").write_bytes(b"no gzip")
    for train_split, message in (
        ((source, target[:-1]), "has 60 sentences and 59 translations"),
        (([], []), "has 0 sentences"),
        ((tmp_path / "none.en", target), "cannot be read"),
        ((tmp_path / "bad.en", target), "cannot be read as lines of UTF-8"),
        ((tmp_path / "bad.gz", target), "cannot be read"),
        (source, "must be a pair"),
        (([1], ["a"]), "sentences must be text, not 1"),
    ):
        with pytest.raises(GraphnasError, match=message) as caught:
            TranslationTask(train_split, corpus(5, 1), vocabulary=task.subwords)
        assert "\n" not in str(caught.value)
    with pytest.raises(GraphnasError, match=r"no vocabulary of 5000 subwords: .*too high") as caught:
        TranslationTask((source, target), corpus(5, 1), vocabulary=5000)
    assert "\n" not in str(caught.value)
    with pytest.raises(GraphnasError, match="unknown metric of a translation 'blue'"):
        made(metric="blue")
    with pytest.raises(GraphnasError, match="label smoothing is 1"):
        made(smoothing=1)
    with pytest.raises(GraphnasError, match="no model of SentencePiece"):
        Subwords(b"nothing")
    with pytest.raises(GraphnasError, match="give a list of sentences"):
        task.translate(small_network(task), "one two")


def test_streams_are_disjoint_and_of_about_one_length(task):
    streams = task.streams(6, 0.5, 0)
    parts = []
    for draw, length in ((streams.inner, streams.length), (streams.outer, streams.outer_length)):
        batches = [draw(i).batch for i in range(length)]
        assert all(len(b.target) == 6 for b in batches)
        spread = [b.inputs[0].ne(0).sum(1) for b in batches]
        assert np.mean([float(s.max() - s.min()) for s in spread]) < 5
        parts.append({tuple(row) for b in batches for row in b.target.tolist()})
        assert torch.equal(draw(length + 1).batch.target, draw(length + 1).batch.target)
    assert streams.length == streams.outer_length == 5
    epochs = [sorted(len(streams.inner(i).batch.target[0]) for i in range(5 * e, 5 * e + 5)) for e in (0, 1)]
    assert epochs[0]
    rows = [set(streams.parts[i].tolist()) for i in (0, 1)]
    assert not rows[0] & rows[1]


# -- loss ---------------------------------------------------------------------------------------


def test_the_loss_is_label_smoothing_over_tokens(task):
    batch = next(iter(task.batches("train")))
    size = task.signature.outputs
    scores = torch.randn(*batch.target.shape, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    terms = []
    for row, targets in zip(scores.numpy(), batch.target.numpy(), strict=True):
        for z, y in zip(row, targets, strict=True):
            if y != 0:
                log_p = z - np.log(np.exp(z).sum())
                wanted = np.full(size, 0.1 / size)
                wanted[y] += 0.9
                terms.append(-(wanted * log_p).sum())
    assert float(task.loss(scores, batch)) == pytest.approx(np.mean(terms), abs=1e-12)
    with pytest.raises(GraphnasError, match="the network returned shape"):
        task.loss(scores[:, 1:], batch)


def test_padding_a_batch_does_not_change_loss_or_figures(task):
    network = small_network(task).eval()
    batch = next(iter(task.batches("validation")))
    padded = Batch(tuple(nn.functional.pad(x, (0, 3)) for x in batch.inputs), nn.functional.pad(batch.target, (0, 3)))
    first, second = (task.loss(network(*b.inputs), b) for b in (batch, padded))
    torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_cross_entropy_is_that_of_single_sentences(task):
    network = small_network(task).eval()
    nats = count = 0.0
    for i in range(10):
        batch = task.batch("validation", [i])
        with torch.no_grad():
            chances = network(*batch.inputs)[0].log_softmax(-1)
        nats -= float(chances[torch.arange(batch.target.shape[1]), batch.target[0]].sum())
        count += batch.target.shape[1]
    assert task.evaluate(network, "validation")["cross_entropy"] == pytest.approx(nats / count, abs=1e-5)


# -- beam search --------------------------------------------------------------------------------

TOKENS, LONGEST = 5, 3  # begin 0, end 1, and three words


def chain_scores(seed):
    """Scores of a tiny model: of the next token after each pair of tokens."""
    return torch.randn(TOKENS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2


def model(seed):
    table = chain_scores(seed)

    def step(prefixes):
        before = prefixes[:, -2] if prefixes.shape[1] > 1 else torch.zeros(len(prefixes), dtype=torch.long)
        return table[before, prefixes[:, -1]]

    return step


def exhaustive(seed, alpha, longest=LONGEST):
    """The best of all sequences of at most so many words, by enumeration."""
    table = chain_scores(seed).numpy()
    log_p = table - np.log(np.exp(table).sum(-1, keepdims=True))
    best = (-math.inf, ())
    for length in range(longest + 1):
        for words in itertools.product((2, 3, 4), repeat=length):
            path = (0, 0, *words, 1)
            total = sum(log_p[a, b, c] for a, b, c in zip(path, path[1:], path[2:], strict=False))
            best = max(best, (total / length_penalty(length + 1, alpha), words))
    return best


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_the_best_of_all_sequences(alpha):
    for seed in range(15):
        score, words = exhaustive(seed, alpha)
        (found,) = beam_search(model(seed), [LONGEST], beam=27, begin=0, end=1, alpha=alpha, barred=(0,))
        assert found.tokens == words
        assert found.score == pytest.approx(score, abs=1e-12)


def test_searches_side_by_side_are_those_alone_and_wider_is_no_worse_here():
    for seed in range(5):
        lengths = [3, 1, 2]
        options = {"begin": 0, "end": 1, "barred": (0,)}
        together = beam_search(model(seed), lengths, beam=3, **options)
        alone = [beam_search(model(seed), [n], beam=3, **options)[0] for n in lengths]
        assert together == alone
        for n, found in zip(lengths, together, strict=True):
            assert len(found.tokens) <= n
            assert found.score <= exhaustive(seed, 0.6, n)[0] + 1e-12
            (wide,) = beam_search(model(seed), [n], beam=27, **options)
            assert wide.score >= found.score - 1e-12


def test_a_beam_of_one_is_greedy():
    for seed in range(10):
        step = model(seed)
        prefix = [0]
        total = 0.0
        while True:
            scores = step(torch.tensor([prefix]))[0].log_softmax(-1)
            scores[0] = -math.inf
            choice = 1 if len(prefix) > LONGEST else int(scores.argmax())
            total += float(scores[choice])
            if choice == 1:
                break
            prefix.append(choice)
        (found,) = beam_search(step, [LONGEST], beam=1, begin=0, end=1, alpha=0.0, barred=(0,))
        # An end that is less probable than going on is still a candidate, as in a wider beam.
        assert found.tokens == tuple(prefix[1:]) or found.score > total


def test_what_does_not_depend_on_the_target_is_worked_out_once(task):
    network = small_network(task).eval()
    source = next(iter(task.batches("validation"))).inputs[0]
    calls = []
    network.encoder.layer0.attention.register_forward_hook(lambda *_: calls.append(1))
    step = NextToken(network, source)
    target = torch.full((len(source), 1), BEGIN)
    with torch.no_grad():
        for t in range(4):
            expected = network(source, target)[:, -1]
            torch.testing.assert_close(step(target), expected, rtol=0, atol=1e-6)
            target = torch.cat([target, torch.full((len(source), 1), 4 + t)], 1)
    assert len(calls) == 4 + 1


def test_translations_do_not_depend_on_their_company(task):
    network = small_network(task)
    sentences = corpus(9, 5)[0]
    assert task.translate(network, sentences) == [task.translate(network, [s])[0] for s in sentences]
    assert task.translate(network, []) == []


# -- BLEU ---------------------------------------------------------------------------------------


def test_bleu_is_that_which_sacrebleu_publishes():
    """The example of its documentation."""
    system = ["The dog bit the man.", "It wasn't surprising.", "The man had just bitten him."]
    first = ["The dog bit the man.", "It was not unexpected.", "The man bit him first."]
    second = ["The dog had bit the man.", "No one was surprised.", "The man had bitten the dog."]
    assert bleu(system, first, second) == pytest.approx(48.530827, abs=1e-5)


class Oracle(nn.Module):
    """Knows the translation of every source."""

    def __init__(self, task, split):
        super().__init__()
        self.task, self.known = task, {}
        source, target = task.pairs(split)
        for i in range(len(source)):
            row = source.padded([i])[0].tolist()
            self.known[tuple(row)] = [*target.padded([i])[0].tolist(), END]

    def forward(self, source, target):
        scores = torch.zeros(*target.shape, self.task.signature.outputs)
        for i, row in enumerate(source.tolist()):
            words = self.known[tuple(t for t in row if t > END)]
            for t in range(min(target.shape[1], len(words))):
                scores[i, t, words[t]] = 50.0
        return scores


def test_an_oracle_has_a_bleu_of_100(task):
    values = task.evaluate(Oracle(task, "test"), "test")
    assert values["bleu"] == pytest.approx(100)
    assert values["cross_entropy"] == pytest.approx(0, abs=1e-9)
    assert set(made(metric="cross_entropy").evaluate(Oracle(task, "validation"), "validation")) == {"cross_entropy"}


def test_bleu_is_that_of_the_written_translations_of_a_network_that_has_learned():
    task = made(80, metric="cross_entropy", vocabulary=34)
    network = small_network(task, width=16, hidden=32, embedding=16, dropout=0.0)
    history = train(
        network, task, Recipe("adam", 0.01, 0.0, schedule="inverse_sqrt", clip=1.0, warmup=20), Fidelity(14)
    )
    assert history.best_epoch.validation["cross_entropy"] < 0.7 * history.epochs[0].validation["cross_entropy"]
    sources, references = corpus(12, 2)
    found = task.evaluate(network, "test")["bleu"]
    expected = sacrebleu.corpus_bleu(task.translate(network, sources), [references], force=True).score
    assert found == pytest.approx(expected, abs=1e-9)
    assert 5 < found < 100


def test_a_broken_network_has_no_bleu(task):
    network = small_network(task)
    with torch.no_grad():
        network.tokens.weight.fill_(math.nan)
    assert all(math.isnan(v) for v in task.evaluate(network, "validation").values())


# -- training -----------------------------------------------------------------------------------


def test_the_learning_rate_follows_the_inverse_square_root():
    recipe = Recipe("adam", 0.5, schedule="inverse_sqrt", warmup=4)
    assert [inverse_sqrt(recipe, step) for step in (1, 2, 4, 16, 64)] == [0.125, 0.25, 0.5, 0.25, 0.125]
    with pytest.raises(GraphnasError, match="warm-up takes 0 steps"):
        Recipe(warmup=0)
    with pytest.raises(GraphnasError, match="betas"):
        Recipe(betas=(0.9, 1.0))


def test_training_steps_with_the_schedule_and_the_betas_of_the_recipe(task):
    recipe = Recipe("adam", 0.01, 0.0, schedule="inverse_sqrt", clip=None, betas=(0.8, 0.9), warmup=3)
    network, reference = (small_network(task, dropout=0.0) for _ in range(2))
    history = train(network, task, recipe, Fidelity(1), torch.Generator().manual_seed(7))
    generator = torch.Generator().manual_seed(7)
    torch.randint(2**62, (), generator=generator)
    optimiser = torch.optim.Adam(reference.parameters(), lr=0.01, betas=(0.8, 0.9))
    factor = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda s: min((s + 1) / 3, math.sqrt(3 / (s + 1))))
    for batch in task.batches("train", generator):
        optimiser.zero_grad()
        task.loss(reference(*batch.inputs), batch).backward()
        optimiser.step()
        last = optimiser.param_groups[0]["lr"]
        factor.step()
    assert history.epochs[0].learning_rate == pytest.approx(last)
    for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_networks_of_the_space_are_searched_by_training(task):
    estimator = TrainingEstimator(
        transformer.space(2, 1), task, Fidelity(2, size={"width": 12, "embedding": 8, "blocks": 1, "heads": 1})
    )
    assert estimator.recipe.schedule == "inverse_sqrt"
    result = Search(estimator.space, estimator, "random", budget=2, seed=0).run()
    assert [t.status for t in result.trials] == ["complete"] * 2
    assert all({"validation_bleu", "validation_cross_entropy"} <= set(t.metrics) for t in result.trials)
    assert {"test_bleu", "test_cross_entropy"} == set(estimator.test(result.best.architecture, seed=result.best.seed))


def test_multi30k_has_its_published_size():
    if find("text/multi30k/train.en.gz") is None:
        pytest.skip("text/multi30k is not below GRAPHNAS_DATA")
    assert "multi30k" in names("task")
    task = multi30k(vocabulary=200)
    assert task.describe()["sizes"] == {"train": 29_000, "validation": 1014, "test": 1000}
    assert task.text["test"][1][0] == "Ein Mann mit einem orangefarbenen Hut, der etwas anstarrt."
    assert task.recipe["learning_rate"] == 2e-3


def test_missing_files_are_named(monkeypatch, tmp_path):
    monkeypatch.setenv("GRAPHNAS_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHNAS_CACHE", str(tmp_path))
    with pytest.raises(GraphnasError, match=r"text/wmt14/train.en is missing .*one sentence a line"):
        wmt14()
    folder = tmp_path / "text" / "wmt14"
    folder.mkdir(parents=True)
    source, target = corpus(60)
    for stem in ("train", "valid", "test"):
        (folder / f"{stem}.en").write_text("\n".join(source))
        (folder / f"{stem}.de").write_text("\n".join(target))
    with pytest.raises(GraphnasError, match="no vocabulary of 32000 subwords"):
        wmt14()
