"""`ResidualLSTM`: it begins as its n-gram model, and in training mode that has not seen the row."""

import copy
import math
import pickle
import weakref

import numpy as np
import pytest
import torch
from conftest import NAMES
from enumeration import all_rows, seeded

from likelihood_gan import SequenceDistribution
from likelihood_gan.checks import check_generator
from likelihood_gan.models import NGram, ResidualLSTM, residual
from likelihood_gan.sampling import log_prob_of, next_log_probs
from likelihood_gan.scoring import evaluating
from likelihood_gan.vocabulary import Vocabulary

N_TOKENS = 4
ALL = all_rows(N_TOKENS, 4)
ALL = ALL[ALL[:, -1] == 0]
COUNTED = ALL[::2]
"""Rows that are counted; those between are new."""
WEIGHTS = torch.ones(len(COUNTED))
REPEATED = 1.0 + torch.arange(len(COUNTED)) % 3


def network(weights=WEIGHTS, **settings):
    """Count, and take weights far from the initial ones, so that mistakes show."""
    settings = dict(hidden_size=6, dropout=0, ngram_dropout=0, order=3) | settings
    model = ResidualLSTM(N_TOKENS, **settings, rng=seeded(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.5 * torch.randn(parameter.shape, generator=seeded(parameter.numel()))
    model.count(COUNTED, weights)
    return model.train()


def recounted(model, rows, weights):
    """Return the same network over an n-gram model that has counted other rows."""
    other = copy.deepcopy(model)
    other.count(rows, weights)
    other.ngram.discounts = model.ngram.discounts
    return other.eval()


# The n-gram model has not seen the row


@pytest.mark.parametrize("settings", [{}, {"n_layers": 2}, {"embedding_size": 3}, {"order": 1}])
def test_in_training_mode_a_counted_row_is_scored_as_if_it_had_not_been_counted(settings):
    model = network(**settings)
    left_out = model.log_prob(COUNTED)
    for i, row in enumerate(COUNTED):
        rest = torch.arange(len(COUNTED)) != i
        without = recounted(model, COUNTED[rest], WEIGHTS[rest])
        torch.testing.assert_close(left_out[i], without.log_prob(row[None])[0])
    assert (left_out - model.eval().log_prob(COUNTED)).abs().max() > 0.01


def test_of_data_that_repeat_themselves_one_occurrence_is_left_out():
    model = network(REPEATED)
    left_out = model.log_prob(COUNTED)
    for i, row in enumerate(COUNTED):
        weights = REPEATED - torch.nn.functional.one_hot(torch.tensor(i), len(COUNTED))
        rest = weights > 0
        without = recounted(model, COUNTED[rest], weights[rest])
        torch.testing.assert_close(left_out[i], without.log_prob(row[None])[0])


def test_a_new_row_is_scored_alike_in_both_modes():
    model, new = network(), ALL[1::2]
    torch.testing.assert_close(model.log_prob(new), model.eval().log_prob(new))


# What it begins as


def names():
    vocabulary = Vocabulary(sorted(set("".join(NAMES))))
    return vocabulary, vocabulary.encode_rows(NAMES)


@pytest.mark.parametrize("training", [True, False])
def test_it_begins_as_its_n_gram_model(training):
    vocabulary, tokens = names()
    model = ResidualLSTM(vocabulary.n_tokens, 128, dropout=0, ngram_dropout=0, rng=seeded())
    model.count(tokens[::2], torch.ones(len(tokens[::2])))
    model.train(training).requires_grad_(False)
    given = model.ngram.log_prob(tokens)
    torch.testing.assert_close(model.log_prob(tokens).double(), given, rtol=1e-5, atol=1e-4)


def test_before_it_has_counted_it_corrects_the_uniform_distribution():
    model = ResidualLSTM(N_TOKENS, 6, dropout=0, rng=seeded()).eval()
    n_symbols = (ALL > 0).sum(1) + 1
    torch.testing.assert_close(model.log_prob(ALL), -n_symbols * math.log(N_TOKENS))


def test_it_learns_on_new_rows_what_n_grams_cannot():
    # the last symbol is the first one, at a distance that no context of the n-gram model spans
    rows = all_rows(N_TOKENS, 4)
    rows = rows[(rows > 0).all(1)]
    rows = torch.cat([rows, rows[:, :1], torch.zeros_like(rows[:, :1])], 1)
    rows = rows[torch.randperm(len(rows), generator=seeded())]
    counted, new = rows[:60], rows[60:]
    model = ResidualLSTM(N_TOKENS, 16, dropout=0, order=3, rng=seeded())
    model.count(counted, torch.ones(len(counted)))

    def last_symbol():
        """Nats of the last symbol of new rows."""
        with torch.no_grad(), evaluating(model):
            table = model.next_log_probs(new)[:, 4]
        return -float(table.gather(1, new[:, 4:5]).mean())

    assert last_symbol() > 0.9
    adam, noise = torch.optim.Adam(model.train().parameters(), 0.02), seeded()
    for _ in range(200):
        adam.zero_grad()
        (-model.log_prob(counted, rng=noise).mean()).backward()
        adam.step()
    assert last_symbol() < 0.3


# A generator like others


@pytest.mark.parametrize("settings", [{}, {"n_layers": 2, "dropout": 0.5}, {"min_count": 2}])
def test_it_is_a_lawful_generator(settings):
    check_generator(network(**settings).eval(), N_TOKENS)


@pytest.mark.parametrize("training", [True, False])
def test_a_row_is_scored_by_its_table_of_probabilities(training):
    model = network().train(training)
    table = model.next_log_probs(ALL)
    torch.testing.assert_close(table.exp().sum(2), torch.ones(ALL.shape))
    torch.testing.assert_close(log_prob_of(table, ALL), model.log_prob(ALL))


def test_steps_give_the_same_table():
    model = network().eval()

    class Stepwise:
        step = model.step

    up_to_end = (ALL == 0).cumsum(1).cumsum(1) <= 1
    torch.testing.assert_close(
        next_log_probs(Stepwise(), ALL)[up_to_end], model.next_log_probs(ALL)[up_to_end]
    )


@pytest.mark.parametrize(
    "n_symbols, share",
    [(9, 0.5), (50_000, 0.5), (223_607, 0.375), (1_000_000, 0.25), (3_000_000, 0.25)],
)
def test_the_more_symbols_are_counted_the_fewer_outputs_are_dropped(n_symbols, share):
    row = (torch.arange(1, n_symbols + 1) < n_symbols).long()[None]  # END is a symbol
    for dropout in (None, 0.1):
        model = ResidualLSTM(2, 4, dropout=dropout)
        model.ngram.count = lambda tokens, weights: None
        model.count(row, torch.ones(1))
        assert model.lstm.dropout == pytest.approx(share if dropout is None else dropout)


def test_some_rows_are_read_in_training_as_if_nothing_had_been_counted():
    model, n = network(ngram_dropout=0.5), 200
    other = network(ngram_dropout=0.5, order=1)
    drawn, elsewhere = (
        torch.stack([m.log_prob(COUNTED[1:], seeded(i)) for i in range(n)]) for m in (model, other)
    )
    hidden = (drawn - elsewhere).abs() < 1e-5  # whatever was counted
    shown = network().log_prob(COUNTED[1:]).expand_as(drawn)
    torch.testing.assert_close(drawn[~hidden], shown[~hidden])
    assert ((hidden.float().mean(0) - 0.5).abs() < 4 * 0.5 / n**0.5).all()
    assert torch.equal(model.eval().log_prob(ALL), network().eval().log_prob(ALL))


def test_nothing_is_learned_by_the_counts():
    model = network()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    model.log_prob(ALL).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in model.parameters())
    assert before.keys() == {name for name, buffer in model.named_buffers()}
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())


# Tables that are kept in training


@pytest.fixture
def made(monkeypatch):
    """How many rows the n-gram model was asked for in each call."""
    found, original = [], NGram.next_log_probs

    def next_log_probs(self, tokens):
        found.append(len(tokens))
        return original(self, tokens)

    monkeypatch.setattr(NGram, "next_log_probs", next_log_probs)
    return found


@pytest.mark.parametrize("weights", [WEIGHTS, REPEATED], ids=["new", "repeating"])
def test_tables_that_are_kept_are_those_that_are_made_on_the_fly(weights, monkeypatch, made):
    model = network(weights)
    batches = [
        COUNTED,
        ALL[1::2],  # new rows only
        ALL,  # both
        ALL.flip(0)[3:20],
        torch.nn.functional.pad(ALL, (0, 3)),
        COUNTED[(COUNTED > 0).sum(1) < 3][:, :3],  # as narrow as they need
        COUNTED[-1:],
    ]
    kept = [model.next_log_probs(batch) for batch in batches]
    n_counted = len(COUNTED)
    assert made[0] == n_counted  # once, and from then on new rows alone
    assert made[1:] == [n for batch in batches if (n := n_new(batch))]
    made.clear()
    monkeypatch.setattr(residual, "NUMBERS_WORTH_KEEPING", 0)
    model = network(weights)
    for batch, table in zip(batches, kept, strict=True):
        torch.testing.assert_close(model.next_log_probs(batch), table)
    assert made == [len(batch) for batch in batches]


def n_new(batch):
    counted = {tuple(row[row > 0].tolist()) for row in COUNTED}
    return sum(tuple(row[row > 0].tolist()) not in counted for row in batch)


def test_many_rows_are_tabled_in_blocks(monkeypatch):
    whole = network().next_log_probs(COUNTED)
    monkeypatch.setattr(residual, "_ROWS_PER_BLOCK", 7)
    torch.testing.assert_close(network().next_log_probs(COUNTED), whole)


def test_to_score_in_between_leaves_the_tables_and_to_leave_training_frees_them(made):
    rows = COUNTED.clone()
    model = network()
    model.count(rows, WEIGHTS)
    expected = model.log_prob(COUNTED)
    with evaluating(model):
        model.log_prob(COUNTED)
        model.sample(3, 4, rng=seeded())
    made.clear()
    torch.testing.assert_close(model.log_prob(COUNTED), expected)
    assert made == []
    seen = weakref.ref(rows)
    del rows
    assert seen() is not None
    model.eval()
    assert seen() is None
    torch.testing.assert_close(model.train().log_prob(COUNTED), expected)
    assert made == [len(COUNTED)]


def test_what_is_counted_anew_has_new_tables():
    model = network()
    model.log_prob(COUNTED)
    discounts = model.ngram.discounts
    model.count(ALL[1::2], WEIGHTS[: len(ALL[1::2])])
    model.ngram.discounts = discounts
    other = recounted(network(), ALL[1::2], WEIGHTS[: len(ALL[1::2])])
    torch.testing.assert_close(model.log_prob(COUNTED), other.log_prob(COUNTED))


# Copies and files


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("training", [True, False])
def test_a_copy_scores_alike_in_both_modes_and_does_not_carry_the_tables(way, training):
    model = network().train(training)
    model.log_prob(COUNTED)
    again = way(model)
    for mode in (training, not training, training):
        torch.testing.assert_close(
            again.train(mode).log_prob(ALL), model.train(mode).log_prob(ALL), rtol=0, atol=1e-6
        )
    fresh = network().eval()
    used = network()
    used.log_prob(COUNTED)
    assert len(pickle.dumps(used)) == len(pickle.dumps(fresh.train()))


def test_weights_and_counts_are_in_the_state():
    model = network()
    other = ResidualLSTM(N_TOKENS, 6, dropout=0, ngram_dropout=0, order=3)
    other.load_state_dict(model.state_dict())
    for mode in (True, False):
        torch.testing.assert_close(other.train(mode).log_prob(ALL), model.train(mode).log_prob(ALL))


def test_a_distribution_survives_the_file(tmp_path):
    vocabulary, tokens = names()
    model = ResidualLSTM(vocabulary.n_tokens, 8, n_layers=2, order=4, rng=seeded())
    model.count(tokens, torch.ones(len(tokens)))
    distribution = SequenceDistribution(model.eval(), vocabulary, 6)
    distribution.save(tmp_path / "names")
    again = SequenceDistribution.load(tmp_path / "names")
    np.testing.assert_array_equal(again.score_samples(NAMES), distribution.score_samples(NAMES))
    assert again.sample(30, random_state=0) == distribution.sample(30, random_state=0)
    assert again.generator.arguments == model.arguments


def test_arguments_are_checked():
    for name, value in dict(
        order=0, hidden_size=0, dropout=1, ngram_dropout=1, min_count=-1
    ).items():
        with pytest.raises(ValueError, match=name):
            ResidualLSTM(N_TOKENS, **{name: value})
