"""`Product` multiplies next-symbol distributions, exactly."""

import copy
import itertools
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from enumeration import Bigram, NoStep, all_rows, assert_distribution, seeded

from likelihood_gan import CharLSTM, SequenceDistribution
from likelihood_gan.checks import check_generator
from likelihood_gan.models import Mixture, NGram, Product
from likelihood_gan.protocols import is_by_steps
from likelihood_gan.sampling import Autoregressive, Constraints, next_log_probs, sample_by_steps
from likelihood_gan.scoring import score_rows

N_TOKENS = 4
ROWS = all_rows(N_TOKENS, 3)
EXPONENTS = [0.5, 0.9]


def lstm(seed=1):
    model = CharLSTM(N_TOKENS, 6, dropout=0, rng=seeded(seed))
    for parameter in model.parameters():
        parameter.data *= 4  # members that differ show mistakes better
    return model


def counted(order=3):
    model = NGram(N_TOKENS, order)
    rows = torch.tensor([[1, 2, 0, 0], [1, 2, 3, 0], [2, 0, 0, 0], [3, 3, 2, 0], [1, 1, 2, 0]])
    model.count(rows, torch.tensor([1.0, 2, 1, 1, 3]))
    return model


def bigrams():
    return [Bigram(N_TOKENS), Bigram(N_TOKENS, seed=1)]


class Never(Bigram):
    """A bigram that never writes one symbol."""

    def __init__(self, symbol, seed=2):
        super().__init__(N_TOKENS, seed)
        self.logits.data[:, symbol] = -torch.inf


class Watched(Bigram):
    """Counts how often it is asked."""

    asked = 0

    def step(self, tokens, state):
        self.asked += 1
        return super().step(tokens, state)


class Recorder(Watched):
    """Records what it is given to count."""

    def __init__(self):
        super().__init__(N_TOKENS)
        self.given = []

    def count(self, tokens, weights):
        self.given.append((tokens, weights))


class Wrapper(Recorder):
    """Counts by what stands in it, as a network above an n-gram model does."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def count(self, tokens, weights):
        super().count(tokens, weights)
        self.part.count(tokens, weights)


PRODUCTS = {
    "lstm and n-grams": lambda: Product([lstm(), counted()], EXPONENTS),
    "two bigrams": lambda: Product(bigrams(), EXPONENTS),
    "mean of logarithms": lambda: Product([lstm(), lstm(2), counted()]),
    "sharp": lambda: Product([lstm(), counted()], [2, 3]),
    "with a mixture": lambda: Product([Mixture([lstm(), counted()]), lstm(2)], EXPONENTS),
    "with a product": lambda: Product([Product([lstm(), counted()], [1, 0.3]), lstm(2)], EXPONENTS),
    "what one forbids": lambda: Product([lstm(), Never(2)], EXPONENTS),
}


@pytest.fixture(params=PRODUCTS)
def product(request):
    return PRODUCTS[request.param]().eval()


# The distribution


def test_all_rows_have_mass_one(product):
    for width in (1, 3, 4):
        mass = product.log_prob(all_rows(N_TOKENS, width)).exp().sum()
        torch.testing.assert_close(mass, torch.ones_like(mass))


def test_rows_at_once_steps_and_tables_agree(product):
    torch.testing.assert_close(product.log_prob(ROWS), Autoregressive.log_prob(product, ROWS))
    by_steps = next_log_probs(_OnlySteps(product), ROWS)
    at_once = product.next_log_probs(ROWS)
    assert at_once.shape == (*ROWS.shape, N_TOKENS)
    reached = ROWS.cumprod(1).roll(1, 1).bool()  # no place behind END
    reached[:, 0] = True
    torch.testing.assert_close(at_once[reached], by_steps[reached])


class _OnlySteps:
    """Hides what else a generator offers."""

    def __init__(self, model):
        self.step = model.step


def test_it_is_the_formula_in_float64(product):
    """Every symbol's probabilities multiplied, and divided by their sum."""
    product = product.double()
    tables = [next_log_probs(m, ROWS).double().exp() for m in product.generators]
    powers = [t**a for t, a in zip(tables, product.exponents.double(), strict=True)]
    p = torch.stack(powers).prod(0)
    p = p / p.sum(2, keepdim=True)
    expected = torch.ones(len(ROWS), dtype=torch.float64)
    for row, column in itertools.product(range(len(ROWS)), range(ROWS.shape[1])):
        if column == 0 or ROWS[row, column - 1] != 0:
            expected[row] *= p[row, column, ROWS[row, column]]
    torch.testing.assert_close(product.log_prob(ROWS).exp().double(), expected)


def test_two_bigrams_make_the_bigram_of_their_weighted_logits():
    first, second = bigrams()
    both = Bigram(N_TOKENS)
    both.logits.data = 0.5 * first.logits + 0.9 * second.logits
    product = Product([first, second], EXPONENTS)
    torch.testing.assert_close(product.log_prob(ROWS), both.log_prob(ROWS))


def test_without_exponents_every_member_has_the_same_share():
    members = [lstm(), lstm(2), counted()]
    expected = Product(members, [1 / 3] * 3).log_prob(ROWS)
    torch.testing.assert_close(Product(members).log_prob(ROWS), expected)
    # so copies of a model make the model
    alike = Product([lstm() for _ in range(3)])
    torch.testing.assert_close(alike.log_prob(ROWS), lstm().log_prob(ROWS))


def test_a_member_of_exponent_zero_does_not_count():
    first, other = lstm(), Watched(N_TOKENS)
    product = Product([first, other], [1, 0])
    torch.testing.assert_close(product.log_prob(ROWS), first.log_prob(ROWS))
    torch.testing.assert_close(product.step(ROWS[:, 0], None)[0], first.step(ROWS[:, 0], None)[0])
    assert other.asked == 0
    # nor does what it forbids
    torch.testing.assert_close(
        Product([first, Never(2)], [1, 0]).log_prob(ROWS), first.log_prob(ROWS)
    )


def test_it_is_a_lawful_generator(product):
    check_generator(product, N_TOKENS)


def test_scoring_by_prefixes_gives_the_same(product):
    assert is_by_steps(product)
    many = all_rows(N_TOKENS, 6)  # enough for the tree
    expected = product.log_prob(many).detach().double()
    torch.testing.assert_close(score_rows(product, many), expected, rtol=1e-5, atol=1e-5)


# What is impossible


def test_a_symbol_that_a_member_cannot_write_is_impossible():
    product = Product([lstm(), Never(2)], [0.5, 0.01])
    log_probs = product.log_prob(ROWS)
    assert torch.equal(log_probs == -torch.inf, (ROWS == 2).any(1))
    log_probs[(ROWS != 2).all(1)].sum().backward()
    gradients = [p.grad for p in product.parameters()]
    assert all(g.isfinite().all() for g in gradients) and any(g.any() for g in gradients)


def test_where_members_leave_no_symbol_all_are_alike():
    """There must be some distribution, and no NaN in it or in its gradient."""
    one, other = Never([0, 1]), Never([2, 3])
    product = Product([one, other])
    log_probs, _ = product.step(torch.tensor([0]), None)
    torch.testing.assert_close(log_probs.exp(), torch.full((1, 4), 0.25))
    product.log_prob(ROWS).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in product.parameters())
    mass = product.log_prob(ROWS).exp().sum()
    torch.testing.assert_close(mass, torch.ones_like(mass))


# Members


def test_the_gradient_is_that_of_the_formula():
    """Checked by finite differences in float64, for rows at once and step by step."""
    model = Product([lstm().double(), Bigram(N_TOKENS).double()], EXPONENTS)
    weight = torch.randn(len(ROWS), generator=seeded(), dtype=torch.float64)
    parameters = dict(model.named_parameters())
    for log_prob in (model.log_prob, partial(Autoregressive.log_prob, model)):
        model.zero_grad()
        (log_prob(ROWS) * weight).sum().backward()
        for name in ("generators.0.output.weight", "generators.1.logits"):
            entry = parameters[name].data.view(-1)
            values = []
            for change in (1e-5, -2e-5, 1e-5):
                entry[3] += change
                values.append(float(log_prob(ROWS).detach() @ weight))
            slope = (values[0] - values[1]) / 2e-5
            assert parameters[name].grad.view(-1)[3].item() == pytest.approx(slope, rel=1e-5)


def test_members_are_shared_and_exponents_are_not_trained():
    member = Bigram(N_TOKENS)
    product = Product([member, Bigram(N_TOKENS, seed=1)])
    assert product.generators[0] is member
    names = [name for name, _ in product.named_parameters()]
    assert names == ["generators.0.logits", "generators.1.logits"]
    assert "exponents" in product.state_dict()


def test_a_member_that_stands_in_several_is_computed_once():
    member = Watched(N_TOKENS)
    inner = Product([member, Bigram(N_TOKENS, seed=1)], [0.5, 2])
    product = Product([member, inner, member], [0.4, 1, 0.1])
    product.step(torch.tensor([0, 0]), None)
    assert member.asked == 1
    member.asked = 0
    product.log_prob(ROWS)
    assert member.asked == ROWS.shape[1]
    member.asked = 0
    product.fit_exponents(ROWS[:5])
    assert member.asked == ROWS.shape[1]


def test_a_product_of_a_product_is_taken_apart_without_a_change():
    """The inner one multiplied as what it is, a distribution of its own."""
    first, second, third = lstm(), counted(), lstm(2)
    inner = Product([first, second], [1, 0.3]).eval()
    flat = Product([inner, third, first], [0.8, 0.5, 0.2])
    nested = Product([_opaque(inner), third, first], [0.8, 0.5, 0.2])
    torch.testing.assert_close(flat.log_prob(ROWS), nested.log_prob(ROWS))
    torch.testing.assert_close(flat.step(ROWS[:, 0], None)[0], nested.step(ROWS[:, 0], None)[0])


def _opaque(product):
    class Opaque(Bigram):
        def step(self, tokens, state):
            return product.step(tokens, state)

    return Opaque(N_TOKENS)


def test_dropout_is_drawn_from_rng_and_off_when_exponents_are_chosen():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    product = Product([CharLSTM(N_TOKENS, 16, dropout=0.5, rng=seeded()), Bigram(N_TOKENS)])
    first, again, other = (product.log_prob(ROWS, rng=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    weights = copy.deepcopy(product).eval().log_prob(ROWS).exp().detach()
    chosen = product.fit_exponents(ROWS, weights).exponents
    assert all(part.training for part in product.modules())
    torch.testing.assert_close(chosen, torch.tensor([0.5, 0.5]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", [Mixture, Product])
def test_members_that_count_are_asked_once_each(kind):
    one, part = Recorder(), Recorder()
    above = Wrapper(part)
    model = kind([one, kind([one, Bigram(N_TOKENS)]), Bigram(N_TOKENS, seed=1), above, part])
    rows, weights = ROWS[:5], torch.arange(1.0, 6)
    model.count(rows, weights)
    for member in (one, above, part):  # and the part by what it is in
        assert [(r is rows, w is weights) for r, w in member.given] == [(True, True)]


@pytest.mark.parametrize("kind", [Mixture, Product])
def test_there_is_no_count_if_no_member_counts(kind):
    assert not hasattr(kind([Bigram(N_TOKENS), kind(bigrams())]), "count")
    assert hasattr(kind([Bigram(N_TOKENS), kind([*bigrams(), counted()])]), "count")


def test_in_training_a_counted_row_is_scored_as_if_it_had_not_been_counted():
    product = Product([lstm(), NGram(N_TOKENS, 3)], EXPONENTS).train()
    rows = ROWS[[0, 7, 20, 30, 39]]
    rows = torch.cat([rows, torch.zeros_like(rows[:, :1])], 1)
    product.count(rows, torch.ones(len(rows)))
    left_out = product.log_prob(rows)
    discounts = product.generators[1].discounts
    for i in range(len(rows)):
        others = rows[torch.arange(len(rows)) != i]
        again = copy.deepcopy(product).eval()
        again.count(others, torch.ones(len(others)))
        again.generators[1].discounts = discounts
        torch.testing.assert_close(left_out[i], again.log_prob(rows[i : i + 1])[0])


@pytest.mark.parametrize(
    "build, error, words",
    [
        (lambda: Product([Bigram(3), NoStep(3)]), TypeError, ["NoStep", "step(tokens, state)"]),
        (lambda: Product([Mixture([NoStep(3)])]), TypeError, ["Mixture without step"]),
        (lambda: Product([]), ValueError, ["at least one model", "got 0 generators"]),
        (lambda: Product([Bigram(3)] * 2, [1]), ValueError, ["exponents one number", "[1]"]),
        (lambda: Product([Bigram(3)], [-1]), ValueError, ["exponents must be", "pass None"]),
        (lambda: Product([Bigram(3)], [0]), ValueError, ["exponents must be", "not all 0"]),
        (
            lambda: Product([torch.nn.Linear(2, 2)]),
            TypeError,
            ["generators[0] must have", "got Linear"],
        ),
        (
            lambda: Product(bigrams()).fit_exponents(ROWS, torch.ones(3)),
            *(ValueError, ["weights must hold a number for each row", "(3,)", "40 rows"]),
        ),
        (lambda: Product(bigrams()).fit_exponents(ROWS[:0]), ValueError, ["0 rows"]),
        (lambda: Product(bigrams()).fit_exponents(ROWS, -torch.ones(40)), ValueError, ["negative"]),
        (
            lambda: Product([Never(2), Never(3)]).fit_exponents(ROWS),
            *(ValueError, ["every member gives some row probability 0", "leave those rows out"]),
        ),
    ],
)
def test_bad_arguments_are_refused_by_name(build, error, words):
    with pytest.raises(error) as caught:
        build()
    assert all(word in str(caught.value) for word in words)


# Copies


def through_state(model):
    again = Product([lstm(), NGram(N_TOKENS, 3)])
    again.load_state_dict(model.state_dict())
    return again


@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), through_state]
)
def test_a_product_can_be_copied(way):
    model = Product([lstm(), counted()]).fit_exponents(ROWS[:9]).eval()
    before = model.log_prob(ROWS)
    again = way(model).eval()
    assert torch.equal(again.exponents, model.exponents)
    assert torch.equal(again.log_prob(ROWS), before)
    assert torch.equal(again.sample(50, 4, rng=seeded()), model.sample(50, 4, rng=seeded()))
    for parameter in again.parameters():
        parameter.data += torch.arange(parameter.numel()).view_as(parameter)
    assert not torch.equal(again.log_prob(ROWS), before)
    assert torch.equal(model.log_prob(ROWS), before)


def test_a_file_holds_members_counts_and_exponents(tmp_path):
    shared = counted()
    model = Product([Product([lstm(), shared], [1, 0.3]), shared, Mixture([lstm(2), shared])])
    model.fit_exponents(ROWS[:9])
    saved = SequenceDistribution(model, "abc", max_len=6)
    saved.save(tmp_path / "model")
    again = SequenceDistribution.load(tmp_path / "model")
    words = ["", "a", "abc", "cab", "bbbb"]
    np.testing.assert_array_equal(again.score_samples(words), saved.score_samples(words))
    assert again.sample(30, random_state=0) == saved.sample(30, random_state=0)
    assert torch.equal(again.generator.exponents, saved.generator.exponents)
    found = again.generator.generators
    assert found[1] is found[0].generators[1]  # one part, as before
    again.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()


# Sampling


def test_samples_are_as_frequent_as_the_product_says(product):
    drawn = product.sample(20_000, 3, rng=seeded())
    assert_distribution(drawn, ROWS, product.log_prob(ROWS).exp())


def test_constrained_samples_are_as_frequent_as_the_conditional_says():
    model, n = PRODUCTS["lstm and n-grams"]().eval(), 20_000
    drawn = sample_by_steps(model, n, Constraints(3, prefix=[2], min_len=2), rng=seeded())
    possible = ROWS[(ROWS[:, 0] == 2) & (ROWS[:, 1] != 0)]
    p = model.log_prob(possible).softmax(0)
    assert_distribution(drawn, possible, p)


def test_a_distribution_of_a_product_takes_all_constraints():
    distribution = SequenceDistribution(Product([lstm(), counted()]), "abc", max_len=6)
    asked = dict(prefix="ab", min_len=3, temperature=0.5, random_state=0)
    for n in (20, 2000):  # also by the prefix tree
        drawn = distribution.sample(n, **asked)
        assert all(word.startswith("ab") and 3 <= len(word) <= 6 for word in drawn)
    # temperature .5 is the same as exponents twice as large
    sharp = SequenceDistribution(Product([lstm(), counted()], [1, 1]), "abc", max_len=6)
    cold = distribution.sample(500, temperature=0.5, random_state=1)
    assert cold == sharp.sample(500, random_state=1)
