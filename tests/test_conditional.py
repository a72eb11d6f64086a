"""`GenerativeClassifier`: p(x | y) is a distribution, and p(y | x) follows from it by Bayes' rule.

The oracle is the enumeration of all sequences of a tiny alphabet, with the fitted table of next
symbols at hand. scikit-learn's own checks are in `test_classifier_checks`.
"""

import numpy as np
import pytest
from conftest import NAMES, tiny
from copying import WAYS
from enumeration import Bigram, NoStep, all_rows, assert_distribution, seeded, stirred
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from test_messages import assert_refused

from likelihood_gan import GenerativeClassifier, LikelihoodGAN, Refined, SequenceDistribution
from likelihood_gan.checks import check_generator
from likelihood_gan.conditional import Label
from likelihood_gan.models import NGram, ResidualLSTM
from likelihood_gan.models.given import Given

WORDS = ["ab", "ba", "aab", "b", "", "abb", "bb", "bab", "a"] * 3
LABELS = ["x", "y", "x", "y", "z", "x", "y", "y", "z"] * 3


def table(**changes):
    """Learn a table of next symbols, which can be enumerated by hand."""
    return tiny(**(dict(generator=Bigram, generator_params=None, objective="mle") | changes))


def classifier(**changes):
    return GenerativeClassifier(table(**changes))


@pytest.fixture(scope="module")
def model():
    model = classifier().fit(WORDS, LABELS)
    stirred(model.estimator_.generator_)  # labels would be written in other places, too
    return model


@pytest.fixture(scope="module")
def of_names():
    sexes = ["male" if name in "ben carl dan ed finn hal ian" else "female" for name in NAMES]
    return GenerativeClassifier(tiny()).fit(NAMES, sexes)


# The distribution of a class


def test_a_table_that_writes_labels_everywhere_is_what_is_tested(model):
    words = model.estimator_.sample(500, random_state=0)
    odd = [w for w in words if any(isinstance(s, Label) for s in w[1:])]
    assert len(odd) > 50


def test_the_probabilities_of_a_class_sum_to_one(model):
    for distribution in model.distributions_:
        log_p = distribution.generator.log_prob(all_rows(3, 6)).detach()
        assert float(log_p.double().logsumexp(0).exp()) == pytest.approx(1, abs=1e-6)


def by_hand(model, word, k):
    """Log-probability of a word given a class, from the table itself."""
    joint = model.estimator_.distribution_
    tokens = {symbol: t for t, symbol in enumerate(joint.vocabulary.symbols, start=1)}
    p = joint.generator.logits.detach().double().softmax(-1).numpy()
    allowed = [0, tokens["a"], tokens["b"]]
    read = [tokens[Label(k)], *(tokens[symbol] for symbol in word)]
    written = [*read[1:], 0]
    return sum(np.log(p[r, w] / p[r, allowed].sum()) for r, w in zip(read, written, strict=True))


def test_scores_are_those_of_the_table_without_its_labels(model):
    words = ["", "a", "b", "ab", "bba", "abbab"]
    for k, label in enumerate(model.classes_):
        expected = [by_hand(model, word, k) for word in words]
        np.testing.assert_allclose(model.score_samples(words, label), expected, rtol=1e-5)
    labels = model.classes_[[0, 1, 2, 0, 1, 2]]
    expected = [by_hand(model, word, i % 3) for i, word in enumerate(words)]
    np.testing.assert_allclose(model.score_samples(words, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("n", [400, 6000])  # symbol by symbol, and by the tree of prefixes
def test_samples_of_a_class_come_as_often_as_its_probabilities_say(model, n):
    rows = all_rows(3, 4)
    for label, distribution in zip(model.classes_, model.distributions_, strict=True):
        samples = model.sample(n, 4, y=label, random_state=1)
        tokens = distribution.vocabulary.encode_rows(samples)[:, :4]
        assert_distribution(tokens, rows, distribution.generator.log_prob(rows).exp())


@pytest.mark.parametrize(
    "joint", [Bigram, ResidualLSTM, lambda n: ResidualLSTM(n, 4, rng=seeded())]
)
def test_what_follows_a_first_symbol_keeps_the_laws_of_a_generator(joint):
    check_generator(Given(stirred(joint(5)), 4, [3, 1]), n_tokens=3)


def test_a_class_is_a_distribution_like_any_other(of_names):
    for label, distribution in zip(of_names.classes_, of_names.distributions_, strict=True):
        assert isinstance(distribution, SequenceDistribution)
        expected = distribution.sample(30, 3, prefix="ma", min_len=3, random_state=0)
        assert of_names.sample(30, 3, y=label, prefix="ma", min_len=3, random_state=0) == expected
        assert all(word.startswith("ma") and len(word) == 3 for word in expected)
        assert len(set(of_names.sample(30, y=label, distinct=True, random_state=0))) == 30


def test_the_label_is_out_of_sight_and_the_length_that_of_the_words(of_names):
    assert {type(word) for word in of_names.sample(20, y="male")} == {str}
    assert {distribution.max_len for distribution in of_names.distributions_} == {4}
    assert set(of_names.distributions_[0].vocabulary.symbols) == set("".join(NAMES))


def test_sequences_of_symbols_may_be_like_labels_and_come_back_as_tuples():
    X = [(0, ("label", 1)), (("label", 0), 1), (1, 1, 0)] * 4
    model = GenerativeClassifier(table()).fit(X, [0, 1, 1] * 4)
    samples = model.sample(50, y=1, random_state=0)
    assert {type(sample) for sample in samples} == {tuple}
    assert {symbol for sample in samples for symbol in sample} <= {0, 1, ("label", 0), ("label", 1)}
    assert np.isfinite(model.score_samples(X, 0)).all()


# Bayes' rule


def test_classes_are_told_by_bayes_rule_on_the_enumerated_joint(model):
    words = model.distributions_[0].vocabulary.decode(all_rows(3, 4)[:31])
    joint = np.array([[by_hand(model, word, k) for k in range(3)] for word in words])
    joint += np.log([1 / 3, 4 / 9, 2 / 9])
    np.testing.assert_allclose(model.predict_joint_log_proba(words), joint, rtol=1e-5)
    log_p = joint - logsumexp(joint, axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_log_proba(words), log_p, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(words), np.exp(log_p), rtol=1e-4)
    assert model.predict(words).tolist() == ["xyz"[k] for k in joint.argmax(1)]
    np.testing.assert_allclose(model.score_samples(words), logsumexp(joint, axis=1), rtol=1e-5)


def test_a_share_of_the_samples_with_a_word_has_each_label(model):
    words, labels = model.sample(20_000, random_state=0)
    of_word = labels[[word == "b" for word in words]]
    p = model.predict_proba(["b"])[0]
    shares = [(of_word == label).mean() for label in model.classes_]
    error = np.sqrt(p * (1 - p) / len(of_word))
    assert (np.abs(shares - p) < 4 * error).all(), (shares, p)


def test_the_priors_are_the_weighed_shares_of_the_data():
    weights = np.arange(len(WORDS))
    model = classifier().fit(WORDS, LABELS, weights)
    expected = [weights[np.array(LABELS) == label].sum() / weights.sum() for label in "xyz"]
    np.testing.assert_allclose(model.class_prior_, expected)


def test_given_priors_take_the_place_of_the_shares(model):
    priors = [0.2, 0.0, 0.8]
    other = clone(model).set_params(priors=priors).fit(WORDS, LABELS)
    stirred(other.estimator_.generator_)
    np.testing.assert_allclose(other.class_prior_, priors)
    expected = model.predict_proba(["ab", "b"]) / model.class_prior_ * priors
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(other.predict_proba(["ab", "b"]), expected, atol=1e-12)
    assert set(other.sample(500, random_state=0)[1]) == {"x", "z"}


def test_an_unknown_symbol_says_nothing_of_the_class():
    model = classifier(handle_unknown="neg_inf").fit(WORDS, LABELS)
    np.testing.assert_allclose(model.predict_proba(["ac"])[0], model.class_prior_)
    assert model.score_samples(["ac"], "x") == -np.inf == model.score_samples(["ac"])


def test_an_unknown_token_has_a_probability_that_depends_on_the_class():
    model = classifier(handle_unknown="token").fit(WORDS, LABELS)
    stirred(model.estimator_.generator_)
    for label, distribution in zip(model.classes_, model.distributions_, strict=True):
        log_p = distribution.generator.log_prob(all_rows(4, 5)).detach()
        assert float(log_p.double().logsumexp(0).exp()) == pytest.approx(1, abs=1e-6)
        assert np.isfinite(model.score_samples(["ac", "q"], label)).all()
        assert model.score_samples(["ac"], label) == model.score_samples(["ad"], label)
        assert model.score_samples(["ac"], label) != model.score_samples(["ab"], label)


@pytest.mark.parametrize("way", WAYS)
def test_strings_are_split_as_the_estimator_says_and_come_back_as_strings(way, tmp_path):
    model = classifier(token_pattern="bb|.").fit(WORDS, LABELS)
    model = way(model, tmp_path, generator=Bigram)
    assert model.vocabulary_.symbols == ("a", "b", "bb")
    assert {type(s) for s in model.sample(30, y="x", random_state=0)} == {str}
    joint = model.estimator_.score_samples([(Label(0), "a", "bb"), (Label(0), "a", "b", "b")])
    assert joint[0] != joint[1]
    assert np.isfinite(model.score_samples(["abb"], "x")).all()
    with pytest.raises(ValueError, match="does not cover"):
        classifier(token_pattern="a|bb").fit(WORDS, LABELS)


# What is learned


def test_the_label_reaches_the_end_of_a_long_word():
    # all classes begin alike, and differ only where no n-gram sees the label any more
    X = ["o" * 12 + end for end in "ab"] * 30
    y = [0, 1] * 30
    estimator = LikelihoodGAN(
        pretrain_epochs=150,
        objective="mle",
        early_stopping=False,
        random_state=0,
        generator_params={"hidden_size": 16, "dropout": 0.0, "order": 4},
        pretrain_learning_rate=0.02,
    )
    model = GenerativeClassifier(estimator).fit(X, y)
    assert model.score(X, y) == 1
    counting = GenerativeClassifier(LikelihoodGAN(NGram, generator_params={"order": 4}))
    np.testing.assert_allclose(counting.fit(X, y).predict_proba(X), 0.5, atol=1e-6)


def test_the_estimator_sees_sequences_that_begin_with_their_labels():
    model = classifier(early_stopping=False).fit(WORDS, LABELS)
    rows = [(Label("xyz".index(label)), *word) for word, label in zip(WORDS, LABELS, strict=True)]
    alone = table(early_stopping=False).fit(rows)
    np.testing.assert_array_equal(model.estimator_.score_samples(rows), alone.score_samples(rows))


@pytest.mark.parametrize(
    "labels",
    [
        ["n", "o", "ok"],
        [3, 1, 2],
        [True, False, True],
        [0.0, 1, 2],
        np.array(["a", "b", "c"], object),
    ],
)
@pytest.mark.parametrize("kind", [list, np.array])
def test_labels_come_back_as_they_were(labels, kind):
    y = kind([labels["xyz".index(label)] for label in LABELS])
    model = GenerativeClassifier(LikelihoodGAN(NGram)).fit(WORDS, y)
    assert model.classes_.dtype == np.asarray(y).dtype
    assert model.classes_.tolist() == sorted(set(labels))
    assert set(model.predict(WORDS)) <= set(labels)
    assert len(model.sample(3, y=labels[0])) == 3


def test_vocabulary_and_greatest_length_are_those_of_the_words():
    model = classifier(vocabulary="abc", max_len=3).fit(WORDS, LABELS)
    assert model.distributions_[0].vocabulary.symbols == ("a", "b", "c")
    assert max(map(len, model.sample(200, y="x", random_state=0))) == 3
    assert np.isfinite(model.score_samples(["cc"], "x"))


def test_without_an_estimator_the_default_is_seeded():
    few = dict(X=WORDS, y=LABELS)
    scores = [
        GenerativeClassifier(random_state=seed).fit(**few).score_samples(WORDS, LABELS)
        for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).any()


# As an estimator


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_draws_scores_and_tells_the_same(model, way, tmp_path):
    again = way(model, tmp_path, generator=Bigram)
    np.testing.assert_array_equal(again.predict_log_proba(WORDS), model.predict_log_proba(WORDS))
    np.testing.assert_array_equal(again.classes_, model.classes_)
    assert again.sample(9, random_state=0)[0] == model.sample(9, random_state=0)[0]
    assert again.sample(9, y="z", random_state=0) == model.sample(9, y="z", random_state=0)


@pytest.mark.parametrize("way", WAYS)
def test_the_distribution_of_a_class_is_copied_alone(of_names, way, tmp_path):
    distribution = of_names.distributions_[1]
    again = way(distribution, tmp_path)
    np.testing.assert_array_equal(again.score_samples(NAMES), distribution.score_samples(NAMES))
    assert again.sample(9, random_state=0) == distribution.sample(9, random_state=0)


def test_model_selection_reaches_the_estimator():
    grid = {"estimator__generator__order": [1, 3], "priors": [None, [0.4, 0.3, 0.3]]}
    model = GenerativeClassifier(
        LikelihoodGAN(NGram, vocabulary="ab", generator_params={"order": 2})
    )
    search = GridSearchCV(model, grid, cv=3, error_score="raise").fit(WORDS, LABELS)
    assert (
        search.best_estimator_.estimator_.generator_.order
        == (search.best_params_["estimator__generator__order"])
    )
    scores = cross_val_score(
        model, WORDS, LABELS, cv=3, scoring="neg_log_loss", error_score="raise"
    )
    assert (scores < 0).all()


def test_a_weight_of_zero_leaves_a_sequence_out_and_its_symbols_and_its_class():
    model = classifier().fit([*WORDS, "c" * 9], [*LABELS, "w"], [1] * len(WORDS) + [0])
    alone = classifier().fit(WORDS, LABELS)
    np.testing.assert_array_equal(model.predict_proba(WORDS), alone.predict_proba(WORDS))
    assert model.classes_.tolist() == ["x", "y", "z"]
    assert model.vocabulary_.symbols == ("a", "b")


def test_weights_and_repetitions_are_the_same():
    weights = [1 + (label == "x") for label in LABELS]
    twice = WORDS + [word for word, label in zip(WORDS, LABELS, strict=True) if label == "x"]
    one = classifier().fit(WORDS, LABELS, weights)
    other = classifier().fit(twice, LABELS + ["x"] * 9)
    np.testing.assert_array_equal(one.predict_proba(WORDS), other.predict_proba(WORDS))


VERBS = [
    "predict",
    "predict_proba",
    "predict_log_proba",
    "predict_joint_log_proba",
    "score_samples",
]


@pytest.mark.parametrize("verb", [*VERBS, "sample"])
def test_nothing_works_before_fit(verb):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(classifier(), verb)(*[WORDS] * (verb != "sample"))
    assert not hasattr(classifier(), "classes_")


# What is refused

FIT = {
    "no labels": (classifier, None, ValueError, ["requires y to be passed", "y is None"]),
    "one class": (classifier, ["x"] * 27, ValueError, ["only one class", "'x'", "two"]),
    "too few labels": (classifier, LABELS[1:], ValueError, ["inconsistent numbers", "27", "26"]),
    "numbers": (classifier, np.linspace(0, 1, 27), ValueError, ["Unknown label type"]),
    "nan": (classifier, [np.nan, 1.0, 2.0] * 9, ValueError, ["NaN"]),
    "priors": (
        lambda: classifier().set_params(priors=[0.5, 0.6, 0.1]),
        LABELS, ValueError, ["priors", "3 classes", "[0.5, 0.6, 0.1]", "None"],
    ),
    "a shape of priors": (
        lambda: classifier().set_params(priors=[0.5, 0.5]), LABELS, ValueError, ["priors", "3"]
    ),
    "no estimator": (lambda: GenerativeClassifier("gan"), LABELS, TypeError, ["LikelihoodGAN()"]),
    "a class": (lambda: GenerativeClassifier(LikelihoodGAN), LABELS, TypeError, ["LikelihoodGAN()"]),
    "frozen": (
        lambda: GenerativeClassifier(FrozenEstimator(table().fit(WORDS))),
        LABELS, TypeError, ["FrozenEstimator", "LikelihoodGAN()"],
    ),
    "refined": (lambda: GenerativeClassifier(Refined()), LABELS, TypeError, ["Refined", "refine each of distributions_"]),
    "no step": (lambda: classifier(generator=NoStep), LABELS, TypeError, ["NoStep", "step"]),
    "too long": (lambda: classifier(max_len=2), LABELS, ValueError, ["max_len=2", "3 symbols"]),
    "a vocabulary of words": (
        lambda: classifier(vocabulary=["a", "b", "ab"]), LABELS, ValueError, ["vocabulary", "'ab'"]
    ),
    "a small vocabulary": (
        lambda: classifier(vocabulary="a"), LABELS, ValueError, ["['b']", "vocabulary="]
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FIT)
def test_a_fit_that_cannot_be_is_refused(case):
    make, y, error, words = FIT[case]
    model = make()
    assert_refused(lambda: model.fit(WORDS, y), error, words)
    assert not hasattr(model, "estimator_")


USE = {
    "an unseen label": (
        lambda m: m.score_samples(["ab"], ["q"]),
        ["['q']", "['x', 'y', 'z']", "fit"],
    ),
    "a label of another type": (lambda m: m.sample(2, y=1), ["[1]", "['x', 'y', 'z']"]),
    "two labels for three": (lambda m: m.score_samples(["a", "b", ""], ["x", "y"]), ["3", "(2,)"]),
    "labels for one": (lambda m: m.sample(2, y=["x", "y"]), ["y must have one label"]),
    "an unknown symbol": (lambda m: m.predict(["abc"]), ["['c']", "vocabulary="]),
    "log-probabilities": (lambda m: m.sample(2, return_log_prob=True), ["return_log_prob", "y="]),
}


@pytest.mark.parametrize("case", USE)
def test_a_use_that_cannot_be_is_refused(model, case):
    call, words = USE[case]
    assert_refused(lambda: call(model), ValueError, words)
