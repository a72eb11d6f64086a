"""Ten kinds of models, as docs/extending.md writes them, as generators: what works, what is refused."""

import ast
import copy
import itertools
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import assert_refused, learned, tiny
from copying import WAYS, through_file
from enumeration import all_rows, assert_distribution, seeded, stirred
from sklearn.base import clone
from torch import nn

from likelihood_gan import GenerativeClassifier, LikelihoodGAN, Refined, SequenceDistribution
from likelihood_gan.callbacks import Checkpoint
from likelihood_gan.checks import check_generator
from likelihood_gan.devices import device_of
from likelihood_gan.models import Mixture, Product
from likelihood_gan.protocols import has_count, has_parameters, has_step

pytestmark = pytest.mark.filterwarnings("ignore::likelihood_gan.controls.PoorFitWarning")

TEXT = (Path(__file__).parents[1] / "docs/extending.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
PAGE = types.ModuleType("extending_page")
"""What the page imports and defines; nothing else of it is run."""
LINES = {}
"""Of each definition, without blank ones and comments."""


def read_page():
    sys.modules[PAGE.__name__] = PAGE  # where pickle looks for its classes
    for block in BLOCKS:
        for statement in ast.parse(block).body:
            if isinstance(statement, (ast.Import, ast.ImportFrom, ast.ClassDef, ast.FunctionDef)):
                exec(compile(ast.Module([statement], []), PAGE.__name__, "exec"), vars(PAGE))  # noqa: S102
            if isinstance(statement, (ast.ClassDef, ast.FunctionDef)):
                written = block.splitlines()[statement.lineno - 1 : statement.end_lineno]
                written = [line for line in map(str.strip, written) if line]
                LINES[statement.name] = sum(line[0] not in '#"' for line in written)


read_page()
SMALL_GPT = {"model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 2}
SMALL_LLAMA = {"model_type": "llama", "hidden_size": 8, "intermediate_size": 16}
SMALL_LLAMA |= {"num_hidden_layers": 1, "num_attention_heads": 2}


def hmm(n):
    return PAGE.FromNumpy(PAGE.HMM(n))


def letters(n):
    return PAGE.Letters([0.3] + [0.7 / (n - 1)] * (n - 1))


def fixed(n):
    return stirred(PAGE.CharGRU(n, 4)).requires_grad_(False)


def repeatable(build):
    """Build with weights that are always the same."""

    def repeat(n):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return build(n)

    return repeat


# from the number of tokens to a model, as the table of the page lists them
KINDS = {
    "GRU": lambda n: stirred(PAGE.CharGRU(n, 4)),
    "Transformer with a cache": lambda n: stirred(PAGE.CharTransformer(n, 8, n_heads=2)),
    "GPT-2": lambda n: stirred(PAGE.CausalLM(n, config=SMALL_GPT)),
    "Llama": lambda n: stirred(PAGE.CausalLM(n, config=SMALL_LLAMA)),
    "counts, without parameters": lambda n: PAGE.CountedPairs(n),
    "HMM in NumPy": hmm,
    "plain class": letters,
    "fixed module": fixed,
    "mixture of unlike ones": lambda n: PAGE.unlike(n),
    "`log_prob` and `sample` alone": lambda n: stirred(PAGE.Positions(n)),
}
KINDS = {kind: repeatable(build) for kind, build in KINDS.items()}
WRITTEN = [
    *(["CharGRU"], ["CharTransformer", "Layer"], [], [], ["CountedPairs", "after_end"], ["HMM"]),
    *(["Letters"], [], [], ["Positions", "after_end"]),
]
"""What one has to write, beside one line."""
each_kind = pytest.mark.parametrize("build", KINDS.values(), ids=KINDS)

ROWS = all_rows(3, 4)
DATA = ["ab", "ab", "aab", "ba", "b", "", "abab", "aa", "bb", "a", "abb", "aba"]
FEW = dict(discriminator_params={"hidden_size": 4}, generator_params=None, vocabulary="ab")
AS_IT_IS = FEW | dict(pretrain_epochs=0, discriminator_pretrain_epochs=0, adversarial_epochs=0)


def distribution(build):
    return SequenceDistribution(build(3), "ab", max_len=4)


def scores_of(model, rows=ROWS):
    """Give its log-probabilities in evaluation mode, float64: all that a model is, as numbers."""
    model = model.eval() if isinstance(model, nn.Module) else model
    return model.log_prob(rows).detach().double()


# What the page says


def test_the_table_of_the_page_has_the_lines_that_the_page_has():
    table = re.findall(r"^\| \[(.+?)\]\(.*?\) \| (\d+) \|", TEXT, re.MULTILINE)
    expected = [sum(LINES[name] for name in names) or 1 for names in WRITTEN]
    assert table == [(kind, str(lines)) for kind, lines in zip(KINDS, expected, strict=True)]


# The laws, for each kind


@each_kind
def test_it_is_lawful(build):
    assert check_generator(build(3), 3, n_samples=2000) is None


@each_kind
def test_fit_trains_what_can_learn_and_refuses_the_rest_before_the_first_epoch(build):
    model = build(3)
    before, gan = scores_of(model), tiny(**FEW | {"generator": model})
    if has_parameters(model) or has_count(model):
        fitted = gan.fit(DATA).generator_
        assert (scores_of(fitted) - before).abs().max() > 1e-3
        assert fitted is not model
    else:
        words = "nothing to train", "pretrain_epochs=2 and adversarial_epochs=2", "both epochs to 0"
        assert_refused(lambda: gan.fit(DATA), ValueError, [*words, "SequenceDistribution", "count"])
        assert not learned(gan)
    torch.testing.assert_close(scores_of(model), before)  # it was copied


@each_kind
def test_without_epochs_an_object_is_taken_as_it_is_or_counts_alone(build):
    model = build(3)
    gan = tiny(**AS_IT_IS | {"generator": model}).fit(DATA)
    assert [record["phase"] for record in gan.history_] == ["count"] * has_count(model)
    if not has_count(model):
        torch.testing.assert_close(scores_of(gan.generator_), scores_of(model))
    scores = gan.score_samples(["ab", "bbb"])
    expected = gan.generator_.log_prob(torch.tensor([[1, 2, 0, 0], [2, 2, 2, 0]]))
    np.testing.assert_allclose(scores, expected.detach(), rtol=1e-5)
    assert set("".join(gan.sample(20, random_state=0))) <= set("ab")


@each_kind
def test_after_a_fit_the_probabilities_of_all_rows_sum_to_one(build):
    learns = has_parameters(build(3)) or has_count(build(3))
    gan = tiny(**(FEW if learns else AS_IT_IS) | {"generator": build(3)}).fit(DATA)
    assert float(scores_of(gan.generator_).exp().sum()) == pytest.approx(1, abs=1e-4)


@each_kind
def test_constraints_work_with_step_and_the_error_names_it_without(build):
    model = distribution(build)
    if not has_step(model.generator):
        with pytest.raises(ValueError, match=r"prefix='b' needs .* step\(tokens, state\)"):
            model.sample(5, prefix="b")
        return
    drawn = model.sample(2000, prefix="b", min_len=2, random_state=0)
    possible = ROWS[(ROWS[:, 0] == 2) & (ROWS[:, 1] != 0)]
    # END after the prefix is banned, everything else keeps its proportions
    p = scores_of(model.generator, possible).softmax(0)
    # `encode_rows` adds a column for END, which a row that was cut does not have
    assert_distribution(model.vocabulary.encode_rows(drawn)[:, :4], possible, p)


@pytest.mark.filterwarnings("ignore:the effective sample size")  # some are far from the data
@each_kind
def test_it_is_refined(build):
    rng = np.random.default_rng(0)
    data = ["".join(rng.choice(["ab", "b"], rng.integers(1, 5))) for _ in range(300)]  # no "aa"
    plain = SequenceDistribution(build(3), "ab", max_len=8)
    refined = Refined(plain, n_samples=2000, random_state=0).fit(data)
    assert refined.gain_ > 3 * refined.gain_error_
    assert refined.score(data) > plain.score(data)
    assert all(set(sequence) <= set("ab") for sequence in refined.sample(10, random_state=0))


@each_kind
def test_mixed_it_is_averaged(build):
    other, model = letters(3), build(3)
    mixed = Mixture([model, other], [3, 1])
    expected = 0.75 * scores_of(model).exp() + 0.25 * scores_of(other).exp()
    torch.testing.assert_close(scores_of(mixed).exp(), expected, rtol=1e-4, atol=1e-6)
    assert has_step(mixed) == has_step(model)
    drawn = mixed.sample(2000, 4, rng=seeded())
    assert_distribution(drawn, ROWS, expected)


@each_kind
def test_multiplied_it_votes_on_every_symbol_or_the_error_names_step(build):
    other, model = letters(3), build(3)
    if not has_step(model):
        with pytest.raises(TypeError, match=r"without step\(tokens, state\).* a Mixture does not"):
            Product([model, other])
        return
    product = Product([model, other], [1, 2])
    beginning = [2, 1]

    def next_probabilities(member):
        return scores_of(member, torch.tensor([[*beginning, symbol] for symbol in range(3)])).exp()

    expected = next_probabilities(model) * next_probabilities(other) ** 2
    found = next_probabilities(product)
    torch.testing.assert_close(found / found.sum(), expected / expected.sum(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_copies_score_and_draw_the_same_where_they_can_be_made(kind, way, tmp_path):
    original = distribution(KINDS[kind])
    holds_a_plain_one = kind == "mixture of unlike ones"
    if way is through_file and (holds_a_plain_one or not isinstance(original.generator, nn.Module)):
        words = ["generator", "cannot be written to a safe file", "pickle or", "joblib"]
        assert_refused(lambda: way(original, tmp_path), ValueError, words)
        return
    code = {} if kind in ("GPT-2", "Llama") else {"generator": KINDS[kind]}
    again = way(original, tmp_path, **code)
    np.testing.assert_array_equal(again.score_samples(DATA), original.score_samples(DATA))
    assert again.sample(50, random_state=1) == original.sample(50, random_state=1)


# The hidden Markov model


def by_all_paths(model, row):
    """Sum over all paths of hidden states; what stands behind END does not count."""
    written = row[: row.index(0) + 1] if 0 in row else row
    total = 0.0
    for path in itertools.product(range(len(model.start)), repeat=len(written)):
        written_on_it = np.prod([model.writes[pair] for pair in zip(path, written, strict=True)])
        moves = np.prod([model.moves[pair] for pair in itertools.pairwise(path)])
        total += model.start[path[0]] * moves * written_on_it
    return total


def test_the_hidden_markov_model_gives_the_sum_over_all_hidden_paths():
    model = hmm(3)
    expected = [by_all_paths(model.model, row) for row in ROWS.tolist()]
    assert sum(expected) == pytest.approx(1)
    np.testing.assert_allclose(model.log_prob(ROWS).exp(), expected, rtol=1e-9)


# Objects that are no modules


def test_counts_of_a_plain_class_are_those_of_the_data():
    gan = tiny(**FEW | {"generator": PAGE.CountedPairs}).fit({"ab": 3, "b": 1, "a": 2})
    # a follows the start 5 times of 6, END follows a 2 times of 5; one is added to each of 3 symbols
    expected = np.log((5 + 1) / (6 + 3) * (2 + 1) / (5 + 3))
    assert gan.score(["a"]) == pytest.approx(expected, abs=1e-6)


def test_a_plain_class_is_built_copied_cloned_and_gone_on_with(tmp_path):
    gan = tiny(**FEW | {"generator": PAGE.CountedPairs}, callbacks=[Checkpoint(tmp_path / "fit")])
    scores = gan.fit(DATA).score_samples(DATA)
    resumed = LikelihoodGAN.resume(tmp_path / "fit", DATA, generator=PAGE.CountedPairs)
    np.testing.assert_array_equal(resumed.score_samples(DATA), scores)
    np.testing.assert_array_equal(copy.deepcopy(gan).score_samples(DATA), scores)
    np.testing.assert_array_equal(clone(gan).fit(DATA).score_samples(DATA), scores)
    warm = gan.set_params(warm_start=True, callbacks=None).fit(DATA)
    np.testing.assert_array_equal(warm.score_samples(DATA), scores)
    assert [record["phase"] for record in warm.history_] == ["count", "count"]


def test_what_holds_a_network_is_called_as_it_is():
    class Holder:
        def __init__(self):
            self.network = stirred(PAGE.CharGRU(3, 4)).train()
            self.log_prob, self.sample = self.network.log_prob, self.network.sample

    holder = Holder()
    before = scores_of(copy.deepcopy(holder.network))
    gan = tiny(**AS_IT_IS | {"generator": holder}).fit(DATA)
    assert holder.network.training
    torch.testing.assert_close(gan.generator_.log_prob(ROWS).detach().double(), before)
    gan.set_params(pretrain_epochs=1)
    words = ["parameters of a torch.nn.Module", "pretrain_epochs=1:"]
    assert_refused(lambda: gan.fit(DATA), ValueError, words)


class Slots:
    """Counts pairs without a `__dict__`; what is counted second is lost."""

    __slots__ = ("counts", "times")
    log_prob, sample = PAGE.Autoregressive.log_prob, PAGE.Autoregressive.sample
    step = PAGE.CountedPairs.step

    def __init__(self, n_tokens):
        self.counts, self.times = torch.zeros(n_tokens, n_tokens), 0

    def count(self, tokens, weights):
        self.times += 1
        PAGE.CountedPairs.count(self, tokens, weights)
        if self.times == 2:
            raise KeyError("this is the second time")


def test_a_failure_of_the_last_count_leaves_what_was_counted_first_without_a_dict():
    gan = tiny(**FEW | {"generator": Slots}, check_plugins=False)
    with pytest.raises(KeyError, match="second time"):
        gan.fit(DATA)
    everything = sum(len(sequence) + 1 for sequence in DATA)
    assert 0 < float(gan.generator_.counts.sum()) < everything


def test_members_that_cannot_be_compared_are_told_apart_by_identity():
    class Unhashable(PAGE.Letters):
        __hash__ = None

    alike = Unhashable([0.2, 0.3, 0.5])
    product = Product([Product([alike, alike]), alike])  # the same one three times
    torch.testing.assert_close(product.log_prob(ROWS), alike.log_prob(ROWS))
    torch.testing.assert_close(Mixture([alike, alike]).log_prob(ROWS), alike.log_prob(ROWS))


def test_in_a_mixture_the_modules_are_trained_and_those_that_count_do():
    gan = tiny(**FEW | {"generator": PAGE.unlike}).fit(DATA)
    network, counts, unchanged = gan.generator_.generators
    assert float(counts.counts.sum()) == sum(len(sequence) + 1 for sequence in DATA)
    assert [id(p) for p in gan.generator_.parameters()] == [id(p) for p in network.parameters()]
    torch.testing.assert_close(unchanged.log_prob(ROWS), hmm(3).log_prob(ROWS))


def test_a_plain_generator_classifies():
    X, y = ["aa", "aab", "ab", "bb", "bba", "ba"] * 5, ["a", "a", "a", "b", "b", "b"] * 5
    gan = tiny(generator=PAGE.CountedPairs, generator_params=None)
    model = GenerativeClassifier(gan).fit(X, y)
    assert list(model.predict(["aaa", "bbb"])) == ["a", "b"]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (object(), TypeError, ["generator must be an object with log_prob and sample"]),
        (lambda n: PAGE.Letters, TypeError, ["the class Letters; call it"]),
        (lambda n: PAGE.HMM(n), TypeError, ["got HMM without log_prob and sample"]),
        (distribution(letters), TypeError, ["generator must be an object with log_prob"]),
    ],
)
def test_what_is_no_generator_is_refused(given, error, words):
    assert_refused(lambda: tiny(**FEW | {"generator": given}).fit(DATA), error, words)


def test_a_file_of_a_module_is_not_filled_with_something_else(tmp_path):
    distribution(KINDS["GRU"]).save(tmp_path / "file")
    with pytest.raises(ValueError, match=r"saved as a torch.nn.Module, got a CountedPairs"):
        SequenceDistribution.load(tmp_path / "file", generator=PAGE.CountedPairs)


def test_what_has_no_weights_is_where_its_buffers_are_and_a_plain_object_on_the_cpu():
    counts = nn.BatchNorm1d(2, affine=False, device="meta")
    assert device_of(counts) == torch.device("meta")
    assert device_of(PAGE.CountedPairs(3)) == torch.device("cpu")
