"""`DiscriminatorClassifier` is a scikit-learn classifier whose logit depends on the sequence alone."""

import copy
import inspect
import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.ensemble import StackingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags

from likelihood_gan.classifiers import DiscriminatorClassifier
from likelihood_gan.models import ConvDiscriminator, LSTMDiscriminator
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.refinement import Refiner


def words(n, seed, longest=7, symbols="abc"):
    rng = np.random.RandomState(seed)
    return ["".join(rng.choice(list(symbols), rng.randint(2, longest))) for _ in range(n)]


X = words(80, 0)
Y = np.array([int("ab" in word) for word in X])


def tiny(**params):
    settings = {
        "discriminator_params": {"hidden_size": 4, "n_layers": 2},
        "max_epochs": 2,
        "batch_size": 32,
        "random_state": 0,
    }
    return DiscriminatorClassifier(**(settings | params))


@pytest.fixture(scope="module")
def fitted():
    return tiny().fit(X, Y)


def same_weights(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


# What it learns


def matching_ends(n, seed):
    """Draw words whose last symbol is the first (1) or is not (0)."""
    chosen = words(n, seed, longest=9)
    y = np.arange(n) % 2
    return [
        word[:-1] + (word[0] if same else "abc"[("abc".index(word[0]) + 1 + i // 2 % 2) % 3])
        for i, (word, same) in enumerate(zip(chosen, y, strict=True))
    ], y


def test_learns_to_compare_the_ends_which_n_grams_cannot():
    learned, new = matching_ends(1500, 1), matching_ends(500, 2)
    classifier = DiscriminatorClassifier(
        discriminator_params={"hidden_size": 24, "dropout": 0.0},
        learning_rate=0.01,
        batch_size=64,
        max_epochs=12,
        random_state=0,
    ).fit(*learned)
    assert classifier.score(*new) > 0.9
    assert log_loss(new[1], classifier.predict_proba(new[0])) < 0.3
    linear = make_pipeline(NGramHasher((1, 3), 2**12), LogisticRegression(C=0.1)).fit(*learned)
    assert linear.score(*new) < 0.7


@pytest.mark.parametrize("discriminator", [None, LSTMDiscriminator], ids=["conv", "lstm"])
def test_learns_a_separable_language(discriminator):
    every = words(400, 3)
    y = np.array(["yes" if word[0] == "a" else "no" for word in every])
    classifier = tiny(
        discriminator=discriminator,
        discriminator_params={"hidden_size": 16, "n_layers": 1},
        learning_rate=0.02,
        max_epochs=10,
    ).fit(every[:300], y[:300])
    assert classifier.classes_.tolist() == ["no", "yes"]
    assert classifier.score(every[300:], y[300:]) > 0.9


def test_the_best_epoch_is_kept_and_the_fit_ends_when_nothing_is_gained():
    coins = np.random.RandomState(0).randint(2, size=len(X))
    classifier = tiny(max_epochs=40, n_iter_no_change=3, learning_rate=0.05).fit(X, coins)
    losses = [record["validation_loss"] for record in classifier.history_]
    assert classifier.n_iter_ == len(losses) == classifier.best_epoch_ + 3
    assert classifier.best_epoch_ == 1 + np.argmin(losses)
    # fresh classifiers that train as long end with the weights that were kept
    shorter = clone(classifier).set_params(max_epochs=classifier.best_epoch_).fit(X, coins)
    assert same_weights(shorter.discriminator_, classifier.discriminator_)


def test_without_early_stopping_every_epoch_is_run_and_the_last_kept():
    classifier = tiny(max_epochs=3, n_iter_no_change=1, early_stopping=False).fit(X, Y)
    assert classifier.n_iter_ == classifier.best_epoch_ == 3
    assert "validation_loss" not in classifier.history_[0]


def test_the_learning_rate_may_be_a_schedule():
    still = tiny(learning_rate={1: 0.01, 2: 1e-12}, early_stopping=False).fit(X, Y)
    once = tiny(learning_rate=0.01, max_epochs=1, early_stopping=False).fit(X, Y)
    moved = tiny(learning_rate=0.01, early_stopping=False).fit(X, Y)
    expected = once.decision_function(X)
    np.testing.assert_allclose(still.decision_function(X), expected, atol=1e-5)
    assert abs(moved.decision_function(X) - expected).max() > 1e-4


# The logit


def test_the_logit_depends_on_the_sequence_alone(fitted):
    several = fitted.decision_function(["ab", "", "c" * 40, "cab"])
    assert several.dtype == np.float64
    alone = [fitted.decision_function([word])[0] for word in ("ab", "", "c" * 40, "cab")]
    np.testing.assert_allclose(several, alone, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(fitted.decision_function(np.array(["ab"])), alone[:1])


def test_probabilities_and_labels_follow_from_the_logit(fitted):
    logits, p = fitted.decision_function(X), fitted.predict_proba(X)
    np.testing.assert_allclose(np.log(p[:, 1] / p[:, 0]), logits)
    np.testing.assert_allclose(p.sum(1), 1)
    np.testing.assert_array_equal(fitted.predict(X), fitted.classes_[p.argmax(1)])


def test_all_unknown_symbols_are_one(fitted):
    logits = fitted.decision_function(["ab", "zb", "yb", "éb"])
    assert np.isfinite(logits).all()
    assert logits[0] != logits[1] == logits[2] == logits[3]


def test_symbol_dropout_teaches_the_unknown_symbol():
    embedding_of_unknown = [
        clone(tiny(discriminator_params={"embedding_size": 2}, weight_decay=0.0))
        .set_params(symbol_dropout=share, max_epochs=epochs, early_stopping=False)
        .fit(X, Y)
        .discriminator_.symbols.embedding.weight[-1]
        for share, epochs in [(0.0, 1), (0.0, 2), (0.3, 1), (0.3, 2)]
    ]
    assert torch.equal(*embedding_of_unknown[:2])
    assert not torch.equal(*embedding_of_unknown[2:])


# The data


def logits_after(X, y, **fit_params):
    return tiny().fit(X, y, **fit_params).decision_function(words(20, 9))


def test_a_weight_of_two_is_a_sequence_given_twice_and_its_unit_makes_no_difference():
    def judged(X, y, sample_weight=None):
        return tiny(early_stopping=False).fit(X, y, sample_weight).decision_function(words(20, 9))

    weights = np.where(np.arange(len(X)) < 20, 2, 1)
    twice = judged(X + X[:20], [*Y, *Y[:20]])
    np.testing.assert_array_equal(judged(X, Y, weights), twice)
    np.testing.assert_array_equal(judged(X, Y, 8 * weights), twice)
    assert not np.array_equal(judged(X, Y), twice)


def test_repeated_sequences_are_held_out_one_by_one():
    # "a" is 0 three times in four: a fit that saw no "a" of the one class or the other would err
    classifier = tiny(max_epochs=20, learning_rate=0.05).fit(["a"] * 80, [0, 0, 0, 1] * 20)
    entropy = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25))
    assert min(r["validation_loss"] for r in classifier.history_) == pytest.approx(
        entropy, abs=0.01
    )
    assert classifier.predict_proba(["a"])[0, 1] == pytest.approx(0.25, abs=0.05)


def test_a_weight_of_zero_is_a_sequence_left_out():
    found = logits_after(["z", *X], [2, *Y], sample_weight=[0, *np.ones(len(X))])
    np.testing.assert_array_equal(found, logits_after(X, Y))


def test_the_order_of_the_data_makes_no_difference():
    np.testing.assert_array_equal(logits_after(X[::-1], Y[::-1]), logits_after(X, Y))


def test_heavier_sequences_count_more():
    weights = np.where(Y == 1, 9.0, 1.0)
    assert (logits_after(X, Y, sample_weight=weights) > logits_after(X, Y)).all()


# scikit-learn conventions


def test_init_stores_its_arguments_untouched():
    names = inspect.signature(DiscriminatorClassifier).parameters
    given = {name: object() for name in names}
    classifier = DiscriminatorClassifier(**given)
    assert vars(classifier) == given
    assert classifier.get_params(deep=False) == given


def test_the_same_seed_gives_the_same_numbers_and_leaves_the_global_state_alone(fitted):
    before = torch.get_rng_state()
    again, other = (tiny(random_state=seed).fit(X, Y) for seed in (0, 1))
    np.testing.assert_array_equal(again.decision_function(X), fitted.decision_function(X))
    assert not np.array_equal(other.decision_function(X), fitted.decision_function(X))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_fitted_classifier_survives_pickle_and_deepcopy_and_a_clone_is_not_fitted(fitted):
    for copied in (pickle.loads(pickle.dumps(fitted)), copy.deepcopy(fitted)):
        np.testing.assert_array_equal(copied.decision_function(X), fitted.decision_function(X))
    copied = clone(fitted)
    assert copied.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copied.predict(X)


def test_a_module_is_copied_and_not_trained_in_place():
    module = ConvDiscriminator(5, hidden_size=4)  # END, three symbols, the unknown one
    before = copy.deepcopy(module)
    classifier = tiny(discriminator=module, discriminator_params=None, early_stopping=False)
    classifier.fit(X, Y)
    assert same_weights(module, before)
    assert not same_weights(classifier.discriminator_, before)


def test_tags_say_two_classes_of_strings(fitted):
    tags = get_tags(fitted)
    assert tags.estimator_type == "classifier"
    assert not tags.classifier_tags.multi_class
    assert tags.input_tags.string
    assert not tags.input_tags.two_d_array


@pytest.mark.parametrize("kind", [str, tuple])
def test_stacks_with_n_grams(kind):
    sequences = [kind(word) for word in X]
    stack = StackingClassifier(
        [
            ("ngrams", make_pipeline(NGramHasher((1, 2), 2**10), LogisticRegression())),
            ("neural", tiny(max_epochs=1)),
        ],
        cv=2,
    ).fit(sequences, Y)
    assert stack.decision_function(sequences).shape == (len(X),)
    assert stack.score(sequences, Y) > 0.9
    apart = cross_val_predict(tiny(max_epochs=1), sequences, Y, cv=2, method="predict_proba")
    assert apart.shape == (len(X), 2)


@pytest.mark.parametrize("kind", [str, tuple])
def test_refines_a_generator_that_knows_no_bigrams(kind):
    def propose(n):
        return [kind(word) for word in words(n, rng.randint(2**31), longest=6)]

    rng = np.random.RandomState(0)
    data = sorted({x for x in propose(300) if "aa" not in "".join(x)})
    weights = np.arange(1, len(data) + 1)
    held_out = np.arange(len(data)) % 2 == 0
    neural = tiny(
        discriminator_params={"hidden_size": 8, "n_layers": 2}, learning_rate=0.02, max_epochs=15
    )
    refiner = Refiner(neural, n_samples=600)
    refiner.fit(data, weights, held_out, propose, None, rng)
    assert refiner.gain_ > 0.2
    assert np.subtract(*refiner.log_weight([kind("bbb"), kind("aaa")], None)) > 1


# What is refused


class ReadsPadding(torch.nn.Module):
    def __init__(self, n_tokens, rng=None):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, tokens):
        return (tokens == 0).sum(1) * self.scale


class Explodes(ConvDiscriminator):
    def forward(self, tokens, rng=None):
        return super().forward(tokens, rng) / (1 - self.training)


@pytest.mark.parametrize(
    "params, y, error, message",
    [
        ({"max_epochs": 0}, Y, ValueError, "max_epochs == 0"),
        ({"batch_size": 0}, Y, ValueError, "batch_size == 0"),
        ({"learning_rate": 0}, Y, ValueError, "learning_rate == 0"),
        ({"weight_decay": -1}, Y, ValueError, "weight_decay == -1"),
        ({"symbol_dropout": 1}, Y, ValueError, "symbol_dropout == 1"),
        ({"validation_fraction": 0}, Y, ValueError, "validation_fraction == 0"),
        ({"discriminator": 3}, Y, TypeError, "discriminator must be .* got 3"),
        ({"discriminator": ReadsPadding, "discriminator_params": None}, Y, ValueError, "but .* alone"),
        ({"discriminator": ConvDiscriminator(2), "discriminator_params": None}, Y, ValueError,
         "ConvDiscriminator failed on tokens from 0 to 4"),
        ({"discriminator": torch.nn.Identity, "discriminator_params": None}, Y, ValueError,
         "Identity has no parameters"),
        ({"discriminator": Explodes}, Y, FloatingPointError, "diverged in epoch 1.*learning_rate"),
        ({}, Y * 0, ValueError, r"y must hold two classes, got 1 class\(es\), \[0\]"),
        ({}, np.arange(len(X)) % 3, ValueError, "two classes, got 3 .*OneVsRestClassifier"),
        ({}, Y[1:], ValueError, "inconsistent numbers of samples"),
        ({}, np.arange(len(X)) == 0, ValueError, "of class True; pass more or set early_stopping"),
    ],
)  # fmt: skip
def test_what_is_refused_names_the_argument_the_value_and_the_remedy(params, y, error, message):
    classifier = tiny(**params)
    with pytest.raises(error, match=message):
        classifier.fit(X, y)
    with pytest.raises(NotFittedError):
        classifier.predict(X)


@pytest.mark.parametrize(
    "X, error, message",
    [
        ("ab", TypeError, "bare string 'ab'"),
        ([], ValueError, "X is empty"),
        ([("a", "b")], TypeError, "X must hold strings, like the data of fit"),
    ],
)
def test_only_sequences_like_those_of_fit_are_judged(fitted, X, error, message):
    with pytest.raises(error, match=message):
        fitted.decision_function(X)
