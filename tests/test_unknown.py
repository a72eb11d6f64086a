"""`handle_unknown="token"`: one token stands for every unseen symbol, and has a probability."""

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from copying import WAYS
from enumeration import all_rows

from likelihood_gan import LikelihoodGAN, Refined, SequenceDistribution
from likelihood_gan.models import NGram, ResidualLSTM
from likelihood_gan.sampling import next_log_probs
from likelihood_gan.vocabulary import UNKNOWN_CHARACTER, UNKNOWN_SYMBOL, Vocabulary

TRAFFIC = [("red", "green"), ("green",), ("red", "red"), ("green", "red"), ("red",)] * 3


@pytest.fixture(scope="module")
def fitted():
    return tiny(handle_unknown="token", generator=None).fit(NAMES)


def test_every_unseen_symbol_has_the_same_finite_probability(fitted):
    scores = fitted.score_samples(["an7a", "anÉa", "an\0a", f"an{UNKNOWN_CHARACTER}a"])
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, scores[0], rtol=1e-6)
    assert scores[0] < fitted.score_samples(["anna"])[0]
    assert np.isfinite(fitted.discriminate(["an7a", "777"])).all()
    assert fitted.vocabulary_.unknown(["7"]) == []


def test_the_token_is_the_last_and_decodes_to_the_stand_in():
    for sequence, text, stand_in in (("axb", True, "�"), (("a", "x", "b"), False, UNKNOWN_SYMBOL)):
        vocabulary = Vocabulary("ab", text, unknown_token=True)
        assert vocabulary.symbols[-1] == stand_in and vocabulary.n_tokens == 4
        tokens = vocabulary.encode_rows([sequence])
        assert tokens.tolist() == [[1, 3, 2, 0]]
        assert list(vocabulary.decode(tokens)[0]) == ["a", stand_in, "b"]
        assert vocabulary.encode(vocabulary.decode(tokens)[0]) == [1, 3, 2]
    assert repr(UNKNOWN_SYMBOL) == "UNKNOWN_SYMBOL"


def test_a_stand_in_among_the_data_is_the_token_itself():
    vocabulary = Vocabulary.from_sequences(["a�b"], unknown_token=True)
    assert vocabulary.symbols == ("a", "b", "�")
    assert vocabulary.encode("a�x") == [1, 3, 3]


def test_probabilities_of_all_rows_sum_to_1_with_the_token():
    vocabulary = Vocabulary("ab", unknown_token=True)
    generator = NGram(vocabulary.n_tokens).eval()
    generator.count(vocabulary.encode_rows(["ab", "ba", "b"]), torch.ones(3))
    rows = all_rows(vocabulary.n_tokens, 3)
    assert float(generator.log_prob(rows).exp().sum()) == pytest.approx(1)
    distribution = SequenceDistribution(generator, vocabulary, 3)
    log_p = generator.log_prob(torch.tensor([[3, 1, 0]])).tolist()
    np.testing.assert_allclose(distribution.score_samples(["xa"]), log_p)


def test_samples_may_hold_the_stand_in():
    # a vocabulary that leaves most symbols out teaches the token
    gan = tiny(handle_unknown="token", vocabulary=["red"]).fit(TRAFFIC)
    symbols = {symbol for sample in gan.sample(200, random_state=0) for symbol in sample}
    assert symbols == {"red", UNKNOWN_SYMBOL}
    assert np.isfinite(gan.score_samples(gan.sample(200, random_state=0))).all()


def test_the_token_of_listed_symbols_means_all_others():
    one = tiny(handle_unknown="token", vocabulary="an").fit(NAMES)
    renamed = ["".join(c if c in "an" else "x" for c in name) for name in NAMES]
    other = tiny(vocabulary="anx").fit(renamed)
    assert one.vocabulary_.symbols == ("a", "n", "�")
    np.testing.assert_array_equal(one.score_samples(NAMES), other.score_samples(renamed))


@pytest.mark.parametrize("way", WAYS)
def test_the_token_survives_a_copy(fitted, tmp_path, way):
    again = way(fitted, tmp_path)
    np.testing.assert_array_equal(again.score_samples(["an7a"]), fitted.score_samples(["an7a"]))
    assert again.vocabulary_.unknown_token


def test_sequences_with_the_sentinel_are_saved(tmp_path):
    gan = tiny(handle_unknown="token").fit(TRAFFIC)
    sample = [("red", UNKNOWN_SYMBOL)]
    gan.save(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan")
    np.testing.assert_array_equal(again.score_samples(sample), gan.score_samples(sample))
    assert again.vocabulary_.symbols[-1] is UNKNOWN_SYMBOL


def test_what_is_refined_scores_unseen_symbols(fitted):
    refined = Refined(fitted.distribution_, n_samples=100, random_state=0).fit(NAMES)
    assert np.isfinite(refined.score_samples(["an7a"])).all()


def test_a_vocabulary_without_the_token_says_how_to_get_one():
    gan = tiny().fit(NAMES)
    with pytest.raises(
        ValueError, match="handle_unknown='token' needs .* fit with handle_unknown="
    ):
        gan.set_params(handle_unknown="token").score_samples(["an7a"])
    with pytest.raises(
        ValueError, match="warm_start goes on .* unknown_token=False, and now it is True"
    ):
        gan.set_params(warm_start=True).fit(NAMES)


# What has never been counted is left to the counts


def trained(seed=0):
    """An estimator whose network has weights far from the initial ones."""
    gan = tiny(handle_unknown="token", generator=None, pretrain_epochs=30, random_state=seed)
    return gan.fit(NAMES * 2)


def test_the_network_of_the_default_leaves_unseen_symbols_to_the_counts():
    gan = trained()
    generator, unseen = gan.generator_, gan.vocabulary_.n_tokens - 1
    tokens = gan.vocabulary_.encode_rows(["an7a", "zoe"])
    with torch.no_grad():
        corrected, counted = (next_log_probs(g, tokens) for g in (generator, generator.ngram))
    written = torch.arange(tokens.shape[1]) <= torch.tensor([[4], [3]])
    change = (corrected - counted)[written]
    # theirs changes by the normalisation alone, which all symbols share
    assert change[:, :unseen].std() > 0.3
    assert change[:, unseen].abs().max() < 0.5


def test_a_symbol_that_was_never_counted_gets_no_gradient():
    model = ResidualLSTM(5, hidden_size=4, rng=torch.Generator().manual_seed(0))
    assert model.ngram.never_counted() is None  # nothing was counted at all
    model.count(torch.tensor([[1, 2, 0], [2, 0, 0]]), torch.ones(2))
    assert model.ngram.never_counted().tolist() == [False, False, False, True, True]
    (-model.train().log_prob(torch.tensor([[1, 2, 0], [3, 4, 0]])).sum()).backward()
    for layer in (model.output, model.trust):
        assert (layer.weight.grad[3:] == 0).all() and (layer.bias.grad[3:] == 0).all()
        assert (layer.bias.grad[:3] != 0).any()
    model.count(torch.tensor([[1, 2, 3, 4, 0]]), torch.ones(1))
    assert model.ngram.never_counted() is None
    model.train().log_prob(torch.tensor([[3, 4, 0]])).sum().backward()
    assert (model.output.bias.grad[3:] != 0).all()
