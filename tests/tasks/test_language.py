"""Language modelling: the texts, perplexity against numpy, the carried state, and how language models are trained."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pytest
import torch

from graphnas.compile import compile
from graphnas.data import find
from graphnas.errors import GraphnasError
from graphnas.estimators.averaging import Averaged
from graphnas.estimators.fidelity import Fidelity, Recipe
from graphnas.estimators.fit import make_optimiser, train
from graphnas.estimators.training import TrainingEstimator
from graphnas.tasks import language_data
from graphnas.tasks.language import LanguageTask
from graphnas.tasks.language_data import language_task, penn_treebank, read_texts
from graphnas.testing import check_task
from spaces import darts_recurrent
from spaces.recurrent_genotype import DARTS_V1, from_genotype

WORDS = tuple("abcdefg")


def text(length, seed=0):
    return np.random.default_rng(seed).integers(len(WORDS), size=length)


def small(**changes):
    settings = {"words": WORDS, "batch_size": 4, "length": 5, "validation_batch": 2, **changes}
    return LanguageTask(text(203), text(61, 1), text(45, 2), **settings)


def cell_network(task, features=6, seed=0):
    network = darts_recurrent.space().network(from_genotype(DARTS_V1), task.signature, features=features)
    module = compile(network, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator))
    return module


def test_a_language_task_keeps_the_rules():
    check_task(small())


@pytest.mark.skipif(find("text/ptb.tar.xz") is None, reason="text/ptb.tar.xz is not in GRAPHNAS_DATA")
def test_penn_treebank_has_the_published_sizes():
    task = penn_treebank()
    assert task.describe()["sizes"] == {"train": 929_589, "validation": 73_760, "test": 82_430}
    assert task.signature.outputs == len(set(task.words)) == 10_000
    assert {"<eos>", "<unk>", "N"} <= set(task.words)
    ends = [int((task.text(split) == task.words.index("<eos>")).sum()) for split in task.splits]
    assert ends == [42_068, 3_370, 3_761]
    first = [task.words[i] for i in task.text("test")[:7]]
    assert first == ["no", "it", "was", "n't", "black", "monday", "<eos>"]


# -- perplexity ---------------------------------------------------------------------------------


def perplexity_by_hand(module, words, columns):
    """exp of the mean of -log p(next word), with the equations of the cell in numpy; the state is carried to the end."""
    w = {name: p.detach().double().numpy() for name, p in module.named_parameters()}

    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    functions = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "sigmoid": sigmoid, "identity": lambda x: x}

    def gated(state, weights, read, function):
        gate, made = np.split(read @ weights.T, 2, axis=1)
        return state + sigmoid(gate) * (function(made) - state)

    table = words[: len(words) // columns * columns].reshape(columns, -1)
    h = np.zeros((columns, w["words.weight"].shape[1]))
    nats = []
    for now, following in zip(table.T[:-1], table.T[1:], strict=True):
        read = np.concatenate([w["words.weight"][now], h], 1)
        made = [gated(h, w["recurrent.cell.start.weight"], read, np.tanh)]
        for i, (op, j) in enumerate(darts_recurrent.steps_of(from_genotype(DARTS_V1)), 1):
            made.append(gated(made[j], w[f"recurrent.cell.node{i}.weight"], made[j], functions[op]))
        h = np.mean(made[1:], 0)
        scores = h @ w["words.weight"].T + w["output.words.bias"]
        top = scores.max(1)
        log = scores - (top + np.log(np.exp(scores - top[:, None]).sum(1)))[:, None]
        nats += (-log[np.arange(columns), following]).tolist()
    return float(np.exp(np.mean(nats)))


def test_perplexity_is_that_of_an_independent_computation():
    task = small()
    module = cell_network(task).double()
    for split, columns in (("train", 4), ("validation", 2), ("test", 1)):
        expected = perplexity_by_hand(module, task.text(split).numpy(), columns)
        found = task.evaluate(module, split)
        assert found["perplexity"] == pytest.approx(expected, rel=1e-9)
        assert found["cross_entropy"] == pytest.approx(np.log(expected), rel=1e-9)


def test_perplexity_does_not_depend_on_the_length_of_segments():
    module = cell_network(small()).double()
    found = [small(length=length).evaluate(module, "test")["perplexity"] for length in (3, 7, 1000)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-12)


def test_a_uniform_model_has_as_many_equally_likely_words_as_there_are():
    task = small()
    module = cell_network(task)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    assert task.evaluate(module, "validation")["perplexity"] == pytest.approx(len(WORDS))
    assert task.metric.score(7.0) > task.metric.score(8.0)


def test_the_loss_is_the_cross_entropy_and_the_slowness_of_the_states():
    task = small(slowness=0.5)
    batch = next(iter(task.batches("train")))
    scores, states = torch.randn(4, 5, 7, dtype=torch.float64), torch.randn(4, 5, 3, dtype=torch.float64)
    log = torch.log_softmax(scores, -1).gather(2, batch.target[..., None]).mean()
    change = ((states[:, 1:] - states[:, :-1]) ** 2).mean()
    torch.testing.assert_close(task.loss((scores, states), batch), -log + 0.5 * change)
    with pytest.raises(GraphnasError, match=r"needs a network that returns scores \[4, 5, 7\] and all states"):
        task.loss(scores, batch)


# -- segments -----------------------------------------------------------------------------------


def test_segments_go_through_every_column_once_and_targets_are_the_next_words():
    task = small()
    table = task.text("train")[:200].view(4, 50)
    for generator in (None, torch.Generator().manual_seed(0)):
        batches = list(task.batches("train", generator))
        assert torch.equal(torch.cat([b.inputs[0] for b in batches], 1), table[:, :-1])
        assert torch.equal(torch.cat([b.target for b in batches], 1), table[:, 1:])
        assert all(b.inputs[1].shape == (4, 0) for b in batches)
    assert {b.target.shape[1] for b in task.batches("validation")} == {5, 4}


def test_drawn_lengths_scatter_around_the_length_and_scale_the_learning_rate():
    task = LanguageTask(text(40_000), text(60), words=WORDS, batch_size=2, length=35)
    lengths = [b.target.shape[1] for b in task.batches("train", torch.Generator().manual_seed(0))][:-1]
    assert min(lengths) >= 5
    assert max(lengths) <= 55
    assert np.mean(lengths) == pytest.approx(0.95 * 34.5 + 0.05 * 17, abs=0.8)
    assert 0.01 < np.mean(np.array(lengths) < 24) < 0.1
    batch = next(iter(task.batches("validation")))
    assert task.pace(batch) == batch.target.shape[1] / 35


def test_a_network_is_trained_with_the_last_state_of_the_segment_before():
    class Counts(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = torch.nn.Parameter(torch.zeros(7))
            self.seen = []

        def forward(self, tokens, state):
            if self.training:
                self.seen.append(state.detach().clone())
            start = state[:, -1:] if state.shape[1] else torch.zeros(len(tokens), 1)
            states = (start + torch.arange(1, tokens.shape[1] + 1)).unsqueeze(-1)
            return self.scores.expand(*tokens.shape, 7), states

    task, network = small(slowness=0.0, vary=False), Counts()
    train(network, task, Recipe.for_kind("text"), Fidelity(2))
    widths = [state.shape[1] for state in network.seen]
    assert widths == ([0] + [1] * 9) * 2  # each epoch starts at the beginning of the text
    assert [float(s[0, 0]) for s in network.seen if s.shape[1]] == [5.0 * i for i in range(1, 10)] * 2


def test_the_learning_rate_follows_the_length_of_a_segment():
    class Scores(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(7, dtype=torch.float64))

        def forward(self, tokens, state):
            return self.w.expand(*tokens.shape, 7), state.new_zeros(len(tokens), tokens.shape[1], 1)

    task = LanguageTask(text(4 * 8), text(60), words=WORDS, batch_size=4, length=5, vary=False, slowness=0.0)
    recipe = Recipe("sgd", learning_rate=0.5, momentum=0.0, weight_decay=0.0, schedule="constant", clip=None)
    network, by_hand = Scores(), torch.zeros(7, dtype=torch.float64)
    train(network, task, recipe, Fidelity(1))
    for batch in task.batches("train"):
        share = torch.bincount(batch.target.flatten(), minlength=7).double() / batch.target.numel()
        by_hand -= 0.5 * batch.target.shape[1] / 5 * (torch.softmax(by_hand, 0) - share)
    torch.testing.assert_close(network.w.detach(), by_hand)


# -- averaging and momentum ---------------------------------------------------------------------


def test_weights_are_averaged_from_the_moment_at_which_scores_cease_to_grow():
    p = torch.nn.Parameter(torch.tensor([0.0]))
    mean = Averaged([p], window=2)
    for score, begun in ((1.0, False), (3.0, False), (2.0, False), (2.5, False), (2.9, True), (9.0, True)):
        mean.judge(score)  # 2.5 is above 1.0 and 2.9 below 3.0, the best but for the last two
        assert mean.begun == begun
    values = [4.0, 8.0, 3.0]
    for value in values:
        p.data.fill_(value)
        mean.add()
    with mean.in_place():
        assert p.item() == pytest.approx(np.mean(values))
    assert p.item() == 3.0


def test_the_averages_are_those_of_torch():
    weights = [torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for _ in range(2)]
    theirs = torch.optim.ASGD([weights[0]], lr=0.1, t0=0, lambd=0.0, weight_decay=0.01)
    ours = make_optimiser([weights[1]], Recipe("asgd", learning_rate=0.1, weight_decay=0.01, momentum=0.0))
    mean = Averaged([weights[1]], 1)
    mean.begun = True
    for step in range(5):
        for p, optimiser in zip(weights, (theirs, ours), strict=True):
            p.grad = torch.arange(3.0, dtype=torch.float64) * (step + 1)
            optimiser.step()
        if step:  # torch's mean leaves the first step out
            mean.add()
    with mean.in_place():
        torch.testing.assert_close(weights[1].detach(), theirs.state[weights[0]]["ax"])


def test_a_score_is_that_of_the_averaged_weights_that_are_kept():
    task = LanguageTask(text(43), text(21, 1), words=WORDS, batch_size=4, length=5, validation_batch=2)
    space, recipe = (
        darts_recurrent.space(),
        Recipe("asgd", 20.0, momentum=0.0, schedule="constant", clip=0.25, window=1),
    )
    estimator = TrainingEstimator(space, task, Fidelity(5, size={"features": 4}), recipe)
    architecture = space.sample(np.random.default_rng(0))
    network, history = estimator.train(architecture, seed=0)
    assert task.evaluate(network, "validation") == history.best_epoch.validation
    assert estimator.evaluate(architecture, seed=0) == estimator.evaluate(architecture, seed=0)


def test_momentum_is_nesterov_s_only_if_the_recipe_says_so():
    for nesterov in (True, False):
        optimiser = make_optimiser([torch.nn.Parameter(torch.ones(1))], Recipe(nesterov=nesterov))
        assert optimiser.param_groups[0]["nesterov"] == nesterov
    assert "nesterov" not in Recipe().describe()
    assert Recipe(nesterov=False).describe()["nesterov"] is False
    with pytest.raises(GraphnasError, match="window of averaging is 0"):
        Recipe(window=0)


# -- files --------------------------------------------------------------------------------------

FILES = {"ptb.train.txt": " a b <unk>\n b c\n", "ptb.valid.txt": " c z\n", "ptb.test.txt": " a\n"}


def check_texts(texts, words):
    assert words == ["a", "b", "<unk>", "<eos>", "c"]
    read = {split: " ".join(words[i] for i in numbers) for split, numbers in texts.items()}
    assert read == {"train": "a b <unk> <eos> b c <eos>", "validation": "c <unk> <eos>", "test": "a <eos>"}


def test_texts_come_from_folders_and_archives(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    check_texts(*read_texts(tmp_path))
    wiki = {name.replace("ptb", "wiki").replace(".txt", ".tokens"): content for name, content in FILES.items()}
    with zipfile.ZipFile(tmp_path / "wikitext-2-v1.zip", "w") as archive:
        for name, content in wiki.items():
            archive.writestr(f"wikitext-2/{name}", content)
    check_texts(*read_texts(tmp_path / "wikitext-2-v1.zip"))
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as packed:
        for name, content in FILES.items():
            info = tarfile.TarInfo(f"../../{name}")  # the folder of a member does not matter: nothing is written
            info.size = len(content)
            packed.addfile(info, io.BytesIO(content.encode()))
    before = sorted(tmp_path.parent.rglob("*"))
    check_texts(*read_texts(tmp_path / "t.tar.gz"))
    assert sorted(tmp_path.parent.rglob("*")) == before


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ptb.train.txt": "a\n"}, "lacks the validation text: one of ptb.valid.txt, wiki.valid.tokens, valid.txt"),
        ({"train.txt": "a\n", "valid.txt": "b\n"}, "has the word 'b', which the training text does not have"),
        ({"train.txt": "a\n", "ptb.train.txt": "a\n", "valid.txt": "a\n"}, "two files of the train text"),
        ({"train.txt": b"\xff\xfe", "valid.txt": "a\n"}, "is no UTF-8 text"),
        ({"train.txt": "a b\n", "valid.txt": "a\n"}, "too few for 64 columns; choose a smaller batch"),
        ({"train.txt": "a" * 101, "valid.txt": "a\n"}, "more than 100 bytes; it was refused"),
    ],
)
def test_wrong_texts_are_refused_in_one_line(tmp_path, monkeypatch, files, message):
    monkeypatch.setattr(language_data, "_MAX_FILE", 100)
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(GraphnasError, match=message) as caught:
        language_task(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_in_an_archive_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(language_data, "_MAX_FILE", 100)
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.txt", "a " * 1000)
    with pytest.raises(GraphnasError, match="more than 100 bytes"):
        read_texts(tmp_path / "t.zip")
    with pytest.raises(GraphnasError, match="does not exist"):
        read_texts(tmp_path / "nowhere.tar")


def test_wrong_numbers_and_sizes_are_refused():
    with pytest.raises(GraphnasError, match="has the word number 9; there are 7 words"):
        LanguageTask(np.array([0, 9] * 90), text(60), words=WORDS)
    with pytest.raises(GraphnasError, match="must be a row of word numbers"):
        LanguageTask(np.zeros((3, 3)), text(60), words=WORDS)
    with pytest.raises(GraphnasError, match="must be at least 1"):
        small(length=0)
