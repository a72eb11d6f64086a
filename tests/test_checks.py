"""`check_generator` and `check_discriminator`: lawful models pass, and for each law one fails."""

import copy

import pytest
import torch
from unlawful import (
    BROKEN_DISCRIMINATORS,
    BROKEN_GENERATORS,
    N_TOKENS,
    Bigram,
    CountsCalls,
    Hot,
    IgnoresRng,
    Judge,
    LearnsWhileLooking,
    TwoColumns,
    Words,
)

from likelihood_gan import CharLSTM, LSTMDiscriminator, laws
from likelihood_gan.checks import check_discriminator, check_generator

GENERATORS = {
    "default": CharLSTM,
    "two layers": lambda n: CharLSTM(n, hidden_size=8, n_layers=2),
    "embedding": lambda n: CharLSTM(n, hidden_size=8, embedding_size=4, dropout=0.5),
    "double precision": lambda n: CharLSTM(n, hidden_size=8).double(),
    "bigram": lambda n: Bigram(n),
    "uniform bigram": lambda n: Bigram(n, scale=0.0),
    "without step": lambda n: Words(n),
}
DISCRIMINATORS = {
    "default": LSTMDiscriminator,
    "bidirectional": lambda n: LSTMDiscriminator(n, hidden_size=8, bidirectional=True),
    "layers": lambda n: LSTMDiscriminator(
        n, hidden_size=8, n_layers=2, dropout=0.5, embedding_size=3, bidirectional=True
    ),
}


# Lawful models


@pytest.mark.parametrize("n_tokens", [2, 3, 27])
@pytest.mark.parametrize("build", GENERATORS.values(), ids=GENERATORS)
def test_lawful_generators_pass(build, n_tokens):
    assert check_generator(build(n_tokens), n_tokens) is None


@pytest.mark.parametrize("n_tokens", [2, 3, 27])
@pytest.mark.parametrize("build", DISCRIMINATORS.values(), ids=DISCRIMINATORS)
def test_lawful_discriminators_pass(build, n_tokens):
    assert check_discriminator(build(n_tokens), n_tokens) is None


def test_a_large_alphabet_passes():
    check_generator(CharLSTM(3000, hidden_size=8, embedding_size=4), 3000, n_samples=2000)
    check_discriminator(LSTMDiscriminator(3000, hidden_size=8, embedding_size=4), 3000)


def test_a_lawful_generator_passes_whatever_the_seed():
    for seed in range(20):
        check_generator(Bigram(), N_TOKENS, n_samples=2000, random_state=seed)


def test_a_model_that_fails_for_one_alphabet_names_n_tokens():
    with pytest.raises(ValueError, match=r"n_tokens=4 with IndexError"):
        check_discriminator(Judge(3), 4)
    with pytest.raises(ValueError, match=r"^step is normalised: .*\(18, 3\).* got \(18, 20\)"):
        check_generator(CharLSTM(20), 3)
    with pytest.raises(ValueError, match=r"^samples are tokens: .* 0 to 2"):
        check_generator(Words(20), 3)
    with pytest.raises(ValueError, match="n_tokens must be at least 2"):
        check_generator(Bigram(), 1)


# Unlawful generators


@pytest.mark.parametrize("fault", BROKEN_GENERATORS, ids=str)
def test_an_unlawful_generator_is_refused_by_law(fault):
    with pytest.raises(ValueError, match=f"^{fault.law}: .*{fault.said}"):
        check_generator(fault.build(), N_TOKENS)


def test_a_sampler_that_is_a_little_off_is_found_with_enough_samples():
    model = Bigram(27)
    check_generator(model, 27)
    model.sample = lambda n, max_len: Bigram(27, scale=1.8).sample(n, max_len)
    with pytest.raises(ValueError, match="^samples follow the steps"):
        check_generator(model, 27)


# Unlawful discriminators


@pytest.mark.parametrize("fault", BROKEN_DISCRIMINATORS, ids=str)
def test_an_unlawful_discriminator_is_refused_by_law(fault):
    with pytest.raises(ValueError, match=f"^{fault.law}: .*{fault.said}"):
        check_discriminator(fault.build(), N_TOKENS)


def test_every_law_is_broken_by_some_model():
    for kept, broken in (
        (laws.GENERATOR_LAWS, BROKEN_GENERATORS),
        (laws.DISCRIMINATOR_LAWS, BROKEN_DISCRIMINATORS),
    ):
        names = {laws.name_of(law) for law in kept}
        assert names == {fault.law for fault in broken}


# What a check leaves behind: nothing


@pytest.mark.parametrize(
    ("check", "build"),
    [
        (check_generator, lambda: CharLSTM(N_TOKENS, hidden_size=4)),
        (check_generator, Words),
        (check_discriminator, lambda: LSTMDiscriminator(N_TOKENS, hidden_size=4, dropout=0.5)),
        (check_generator, TwoColumns),
        (check_generator, IgnoresRng),
        (check_generator, CountsCalls),
        (check_discriminator, LearnsWhileLooking),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_a_check_leaves_mode_weights_gradients_and_random_numbers(check, build, training):
    model = build().train(training)
    next(model.children(), model).train(not training)  # a part in another mode stays in it
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    modes = [part.training for part in model.modules()]
    weights = copy.deepcopy(model.state_dict())
    global_state = torch.random.get_rng_state()
    try:
        check(model, N_TOKENS)
    except ValueError:
        assert build in (TwoColumns, IgnoresRng, CountsCalls, LearnsWhileLooking)
    assert modes == [part.training for part in model.modules()]
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
    assert all((parameter.grad == 1).all() for parameter in model.parameters())
    assert torch.equal(global_state, torch.random.get_rng_state())
    assert torch.is_grad_enabled()


def test_a_check_repeats():
    messages = []
    for _ in range(2):
        with pytest.raises(ValueError, match="^samples follow the steps") as caught:
            check_generator(Hot(), N_TOKENS, random_state=7)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
