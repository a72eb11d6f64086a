"""Generators that learn by counting: when they are asked to, with what, and what is left of it."""

import math
import pickle

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram, seeded
from sklearn.exceptions import NotFittedError
from torch import nn

from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.models import Mixture, NGram, Product, ResidualLSTM
from likelihood_gan.vocabulary import Vocabulary

VOCABULARY = Vocabulary(sorted(set("".join(NAMES))))
N_TOKENS = VOCABULARY.n_tokens
TOKENS = VOCABULARY.encode_rows(NAMES)


class Symbols(nn.Module):
    """What a user may write: shares of the symbols, one added to each; no weights, no `step`."""

    def __init__(self, n_tokens):
        super().__init__()
        self.register_buffer("counts", torch.ones(n_tokens))
        self.asked = []

    def count(self, tokens, weights):
        self.asked.append((tokens.clone(), weights.clone()))
        up_to_end = (tokens == 0).cumsum(1).cumsum(1) <= 1
        times = weights[:, None].float().expand_as(tokens)[up_to_end]
        ones = torch.ones_like(self.counts)
        self.counts = ones.index_add(0, tokens[up_to_end], times)

    def log_prob(self, tokens):
        log_p = (self.counts / self.counts.sum()).log()
        up_to_end = (tokens == 0).cumsum(1).cumsum(1) <= 1
        return (log_p[tokens] * up_to_end).sum(1)

    def sample(self, n, max_len):
        tokens = torch.multinomial(self.counts, n * max_len, replacement=True).view(n, max_len)
        return tokens * ((tokens == 0).cumsum(1) == 0)


class CountingBigram(Bigram):
    """Has weights, too, and tells in which order it is asked what."""

    def __init__(self, n_tokens):
        super().__init__(n_tokens)
        self.told = []

    def count(self, tokens, weights):
        self.told.append(("count", len(tokens), self.logits.detach().clone()))

    def log_prob(self, tokens):
        if self.training and torch.is_grad_enabled():
            self.told.append(("gradient",))
        return super().log_prob(tokens)

    def __deepcopy__(self, memo):
        return self  # so that a test can ask the one that is trained


def plain(**settings):
    """Build an estimator whose generator takes no parameters."""
    return tiny(generator_params=None, **settings)


def shares_by_hand(X):
    """Shares of END and the symbols, one added to each count."""
    text = "".join(X)
    counts = {"": len(X) + 1} | {symbol: text.count(symbol) + 1 for symbol in set(text)}
    return {symbol: n / sum(counts.values()) for symbol, n in counts.items()}


# What is counted, and when


def test_a_generator_without_weights_is_fitted_by_counting_alone():
    gan = plain(generator=Symbols).fit(NAMES)
    p = shares_by_hand(NAMES)  # of all data, what was held out included
    expected = [math.log(p[""]) + sum(math.log(p[symbol]) for symbol in name) for name in NAMES]
    np.testing.assert_allclose(gan.score_samples(NAMES), expected, rtol=1e-5)
    assert (gan.n_iter_, gan.best_epoch_, gan.discriminator_) == (0, 0, None)
    assert [record["phase"] for record in gan.history_] == ["count"]
    assert gan.sample(9, random_state=0) == gan.sample(9, random_state=0)


def as_dict(tokens, weights):
    """Weights of sequences, which must be different."""
    sequences = VOCABULARY.decode(tokens)
    assert len(set(sequences)) == len(sequences)
    assert len(weights) == len(sequences) and (weights > 0).all()
    return dict(zip(sequences, weights.tolist(), strict=True))


def test_the_training_part_is_counted_first_and_in_the_end_all_data():
    weights = np.arange(1, len(NAMES) + 1) / 64  # ends as one of the lowest
    X, w = [*NAMES, "anna", "zoe"], [*weights, 1 / 32, 1 / 64]
    gan = plain(generator=Symbols, validation_fraction=0.2).fit(X, sample_weight=w)
    first, last = (as_dict(*asked) for asked in gan.generator_.asked)
    everything = {name: weights[i] for i, name in enumerate(NAMES)}
    everything["anna"] += 1 / 32
    everything["zoe"] += 1 / 64
    assert last == pytest.approx(everything)
    # occurrences are held out: the data repeat themselves
    assert sum(first.values()) == pytest.approx(0.8 * sum(last.values()), abs=1 / 64)
    assert all(first[name] <= last[name] for name in first)


def test_of_new_sequences_the_training_part_is_the_rest_of_them():
    gan = plain(generator=Symbols, validation_fraction=0.2).fit(NAMES)
    first, last = (as_dict(*asked) for asked in gan.generator_.asked)
    assert last == dict.fromkeys(NAMES, 1)
    assert first.items() < last.items()
    assert len(first) == len(NAMES) - round(0.2 * len(NAMES))


def test_without_early_stopping_all_data_are_counted_once():
    gan = plain(generator=Symbols, early_stopping=False).fit(NAMES)
    ((tokens, weights),) = gan.generator_.asked
    assert as_dict(tokens, weights) == dict.fromkeys(NAMES, 1)
    assert "validation_nll" not in gan.history_[0]


def test_it_counts_before_the_first_gradient_and_after_the_last_epoch():
    model = CountingBigram(N_TOKENS)
    begin, watched = model.logits.detach().clone(), []

    def watch(distribution, history):
        watched.append([record["epoch"] for record in history])
        model.told.append(("epoch", len(history) - 1))

    gan = plain(generator=model, callbacks=[watch], check_plugins=False).fit(NAMES)
    kinds = [event[0] for event in model.told]
    assert kinds.count("count") == 2
    assert kinds[0] == kinds[-1] == "count"
    assert torch.equal(model.told[0][2], begin)
    assert torch.equal(model.told[-1][2], gan.generator_.logits)  # of the epoch that is kept
    assert model.told[0][1] < model.told[-1][1] == len(NAMES)
    assert watched == [list(range(n + 1)) for n in range(1, 6)]


# What is left of it


def test_the_history_begins_with_the_counting_which_is_no_epoch():
    gan = tiny(generator=None).fit(NAMES)
    first, *others = gan.history_
    assert (first["epoch"], first["phase"]) == (0, "count")
    assert first.keys() == {"epoch", "phase", "seconds", "validation_nll"}
    assert [record["epoch"] for record in others] == [1, 2, 3, 4, 5]
    assert gan.n_iter_ == 5
    assert isinstance(gan.generator_, ResidualLSTM)


def test_what_was_held_out_is_counted_so_it_is_not_held_out():
    assert tiny().fit(NAMES).held_out_  # an LSTM alone has not seen them
    for generator in (None, NGram, Symbols):
        gan = plain(generator=generator, pretrain_epochs=1, adversarial_epochs=0).fit(NAMES)
        assert gan.held_out_ == []


def test_counting_can_be_the_best_epoch():
    settings = dict(adversarial_epochs=0, pretrain_learning_rate=0.5, objective="mle")
    gan = tiny(generator=None, **settings).fit(NAMES)
    assert gan.best_epoch_ == 0
    assert gan.history_[0]["validation_nll"] == min(r["validation_nll"] for r in gan.history_)
    # the network is as it was before the first epoch
    assert (gan.generator_.trust.weight == 0).all() and (gan.generator_.trust.bias == 1).all()


def test_the_held_out_nats_of_the_counting_are_those_of_what_was_not_counted():
    gan = plain(generator=Symbols, validation_fraction=0.2).fit(NAMES)
    counted = set(VOCABULARY.decode(gan.generator_.asked[0][0]))
    p = shares_by_hand([*counted])
    assert len(p) == N_TOKENS
    nats = [
        -math.log(p[""]) - sum(math.log(p[symbol]) for symbol in name)
        for name in NAMES
        if name not in counted
    ]
    assert gan.history_[0]["validation_nll"] == pytest.approx(np.mean(nats), rel=1e-5)


def test_a_warm_start_counts_anew():
    gan = LikelihoodGAN(NGram, warm_start=True).fit(NAMES)
    gan.fit(NAMES[::2])
    model = NGram(N_TOKENS)
    rows = VOCABULARY.encode_rows(NAMES[::2])
    model.count(rows, torch.ones(len(rows)))
    model.discounts = gan.generator_.discounts  # chosen from those of before
    torch.testing.assert_close(gan.generator_.log_prob(TOKENS), model.eval().log_prob(TOKENS))


def test_a_fitted_generator_that_counts_can_be_pickled():
    gan = plain(generator=None, pretrain_epochs=1, adversarial_epochs=0).fit(NAMES)
    again = pickle.loads(pickle.dumps(gan))
    np.testing.assert_array_equal(again.score_samples(NAMES), gan.score_samples(NAMES))
    assert again.sample(20, random_state=0) == gan.sample(20, random_state=0)


# Members that count


def made_of(kind, *others):
    return kind([NGram(N_TOKENS, order=3), Bigram(N_TOKENS), *others])


@pytest.mark.parametrize("kind", [Mixture, Product])
def test_members_count_while_the_others_are_trained(kind):
    model = made_of(kind, ResidualLSTM(N_TOKENS, 4, order=2, rng=seeded()))
    gan = tiny(generator=model, generator_params=None, early_stopping=False).fit(NAMES)
    ngram, bigram, residual = gan.generator_.generators
    for found, order in ((ngram, 3), (residual.ngram, 2)):
        alone = NGram(N_TOKENS, order)
        alone.count(TOKENS, torch.ones(len(TOKENS)))
        torch.testing.assert_close(found.log_prob(TOKENS), alone.eval().log_prob(TOKENS))
    assert not torch.equal(bigram.logits, Bigram(N_TOKENS).logits)
    assert len(model.generators[0].rows) == 0  # what was passed is copied
    assert [record["epoch"] for record in gan.history_] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("kind", [Mixture, Product])
def test_if_no_member_counts_nothing_is_counted(kind):
    model = kind([Bigram(N_TOKENS), CharLSTM(N_TOKENS, 4, rng=seeded())])
    gan = tiny(generator=model, generator_params=None).fit(NAMES)
    assert [record["epoch"] for record in gan.history_] == [1, 2, 3, 4, 5]
    assert gan.held_out_


# When a fit is cut short


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_of_the_first_count_leaves_the_estimator_as_it_was(error):
    class Failing(Symbols):
        def count(self, tokens, weights):
            raise error("no more")

    gan = plain(generator=Failing, check_plugins=False)
    with pytest.raises(error, match="no more"):
        gan.fit(NAMES)
    with pytest.raises(NotFittedError):
        gan.sample()
    gan = plain(generator=Symbols).fit(NAMES)
    before = gan.score_samples(NAMES)
    with pytest.raises(error, match="no more"):
        gan.set_params(generator=Failing).fit(NAMES[::2])
    np.testing.assert_array_equal(gan.score_samples(NAMES), before)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_of_the_last_count_leaves_what_was_counted_first(error):
    class Failing(Symbols):
        def count(self, tokens, weights):
            super().count(tokens, weights)
            if len(self.asked) == 2:
                raise error("no more")

    gan = plain(generator=Failing, check_plugins=False)
    with pytest.raises(
        error, match="no more\n.*epoch 0, .* which has not counted what was held out"
    ):
        gan.fit(NAMES)
    ((tokens, _),) = gan.generator_.asked
    assert len(tokens) == len(NAMES) - len(gan.held_out_) < len(NAMES)
    assert -gan.score(gan.held_out_) == pytest.approx(gan.history_[0]["validation_nll"], rel=1e-5)


def test_nan_in_the_first_epoch_leaves_what_was_counted():
    def diverge(batch):
        n = len(batch.real.log_prob)  # 8 are tried out
        return batch.real.log_prob.mean() * (1 if n == 8 else math.nan)

    settings = dict(objective=diverge, pretrain_epochs=0, discriminator_pretrain_epochs=0)
    gan = tiny(generator=None, **settings)
    with pytest.raises(FloatingPointError, match="epoch 1: .* the model of epoch 0"):
        gan.fit(NAMES)
    assert (gan.n_iter_, gan.best_epoch_) == (0, 0)
    assert np.isfinite(gan.score_samples(NAMES)).all()


def test_a_fit_that_is_cut_short_has_not_counted_what_was_held_out_and_says_so():
    def interrupt(distribution, history):
        raise KeyboardInterrupt

    gan = tiny(generator=None, callbacks=[interrupt])
    with pytest.raises(KeyboardInterrupt, match="epoch 1, .*, which has not counted what was held"):
        gan.fit(NAMES)
    assert gan.held_out_
    assert len(gan.generator_.ngram.rows) == len(NAMES) - len(gan.held_out_)
    # so its held-out nats are those of sequences that it does not know
    assert -gan.score(gan.held_out_) == pytest.approx(gan.history_[-1]["validation_nll"], abs=1e-4)


@pytest.mark.parametrize("generator", [NGram, Symbols])
def test_callbacks_are_not_asked_if_there_are_no_epochs(generator):
    asked = []
    plain(generator=generator, callbacks=[lambda *arguments: asked.append(1)]).fit(NAMES)
    assert not asked
