"""`Product.fit_exponents` finds the exponents under which rows are likeliest."""

import itertools

import numpy as np
import pytest
import torch
from conftest import NAMES
from enumeration import Bigram, all_rows
from test_product import N_TOKENS, ROWS, Never, lstm

from likelihood_gan.models import NGram, Product
from likelihood_gan.vocabulary import Vocabulary


def names_split():
    known = Vocabulary.from_sequences(NAMES)
    tokens = known.encode_rows(NAMES)
    return known, tokens[::2], tokens[1::4], tokens[3::4]


def members_for_names():
    known, train, _, _ = names_split()
    models = [NGram(known.n_tokens, order) for order in (1, 3)]
    for model in models:
        model.count(train, torch.ones(len(train)))
    return models


def nats(model, rows, weights=None):
    log_probs = model.eval().log_prob(rows).detach().double()
    return -float(np.average(log_probs, weights=weights))


@pytest.mark.parametrize("weights", [None, torch.tensor([0.0, 1, 5] * 4)])
def test_the_best_exponents_are_those_of_a_grid(weights):
    _, _, held_out, _ = names_split()
    held_out = held_out[:12] if weights is not None else held_out
    product = Product(members_for_names())
    assert product.fit_exponents(held_out, weights) is product
    found, best = product.exponents.clone(), nats(product, held_out, weights)
    grid = torch.arange(0, 2.001, 0.05)
    values = {}
    for pair in itertools.product(grid.tolist(), repeat=2):
        product.exponents = torch.tensor(pair)
        values[pair] = nats(product, held_out, weights)
    nearest = min(values, key=values.get)
    assert best <= values[nearest] + 1e-6
    assert (found - torch.tensor(nearest)).abs().max() <= 0.05 + 1e-6


def test_the_exponents_that_made_the_data_are_found():
    """Rows weighted by the probabilities of a product: no other product explains them better."""
    truth = Product([lstm(), Bigram(N_TOKENS)], [0.7, 1.2])
    rows = all_rows(N_TOKENS, 4)
    weights = truth.log_prob(rows).exp().detach()
    found = Product(list(truth.generators)).fit_exponents(rows, weights).exponents
    torch.testing.assert_close(found, truth.exponents, rtol=1e-3, atol=1e-3)


def test_a_member_that_is_no_help_gets_exponent_zero():
    good, bad = lstm_like(), lstm_like()
    bad.logits.data *= -1  # the better a symbol, the less likely
    rows = all_rows(N_TOKENS, 4)
    weights = good.log_prob(rows).exp().detach()
    found = Product([Bigram(N_TOKENS, seed=3), bad]).fit_exponents(rows, weights).exponents
    assert found[0] > 0 and found[1] == 0
    # with the truth there are many best ones, good^(1 + t) bad^t, and all are the truth
    product = Product([good, bad, Bigram(N_TOKENS, seed=3)]).fit_exponents(rows, weights)
    torch.testing.assert_close(product.log_prob(rows), good.log_prob(rows))
    # if nobody is of use all get 0, which is the same as to know nothing
    product = Product([bad]).fit_exponents(rows, weights)
    assert product.exponents.tolist() == [0]
    torch.testing.assert_close(product.step(rows[:, 0], None)[0].exp(), torch.full((121, 4), 0.25))


def lstm_like():
    model = Bigram(N_TOKENS, seed=5)
    model.logits.data *= 2
    return model


def test_a_product_explains_new_rows_better_than_its_members():
    _, _, held_out, test = names_split()
    members = members_for_names()
    product = Product(members).fit_exponents(held_out)
    each = [nats(member, test) for member in members]
    assert nats(product, test) < min(each)


def test_a_member_that_cannot_write_a_row_gets_exponent_zero():
    never, always = Never(2), Bigram(N_TOKENS)
    product = Product([never, always]).fit_exponents(ROWS)
    assert product.exponents[0] == 0 and product.exponents[1] > 0
    # a row of weight 0 does not count
    again = Product([never, always]).fit_exponents(ROWS, (ROWS != 2).all(1).float())
    assert again.exponents[0] > 0


def test_what_a_member_rightly_forbids_stays_forbidden():
    """It may be wrong about everything else: its exponent is small, but not 0."""
    rows = ROWS[(ROWS != 2).all(1)]
    good = lstm_like()
    bad = Never(2)
    bad.logits.data[:, [0, 1, 3]] = -good.logits.data[:, [0, 1, 3]]
    weights = good.log_prob(rows).exp().detach()
    product = Product([good, bad], [1, 1]).fit_exponents(rows, weights)
    assert product.exponents[1] > 0
    assert (product.log_prob(ROWS[(ROWS == 2).any(1)]) == -torch.inf).all()


def test_exponents_stay_finite_where_the_likelihood_has_no_maximum():
    model = Bigram(N_TOKENS)
    model.logits.data *= 0.2
    row, token = [], 0
    for _ in range(3):  # always the likeliest symbol
        token = int(model.logits[token].argmax())
        row.append(token)
    product = Product([model]).fit_exponents(torch.tensor([row]))
    assert product.exponents.tolist() == [10]
