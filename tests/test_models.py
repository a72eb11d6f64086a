"""Laws of every generator and discriminator, by exact enumeration of a tiny alphabet."""

import copy

import pytest
import torch
from enumeration import Bigram, NoStep, all_rows, frequencies, seeded, stirred
from torch import nn

from likelihood_gan import CharLSTM, LSTMDiscriminator
from likelihood_gan.checks import check_discriminator
from likelihood_gan.models import Mixture, NGram, Product, ResidualLSTM
from likelihood_gan.protocols import has_step

N_TOKENS, WIDTH = 4, 4


def counted(model):
    """Let a generator that counts do so: some rows, once and twice."""
    rows = all_rows(N_TOKENS, WIDTH)
    rows = rows[rows[:, -1] == 0][::3]
    model.count(rows, 1.0 + torch.arange(len(rows)) % 2)
    return model


def mixed_kinds():
    return [NGram(N_TOKENS, 3), CharLSTM(N_TOKENS, 8, dropout=0, rng=seeded())]


GENERATORS = {
    "report": lambda: CharLSTM(N_TOKENS, hidden_size=8, dropout=0, rng=seeded()),
    "two layers": lambda: CharLSTM(N_TOKENS, hidden_size=6, n_layers=2, rng=seeded()),
    "embedding": lambda: CharLSTM(N_TOKENS, hidden_size=6, embedding_size=3, rng=seeded()),
    "bigram": lambda: Bigram(N_TOKENS),
    "no step": lambda: NoStep(N_TOKENS),
    "mixture": lambda: Mixture([CharLSTM(N_TOKENS, 8, rng=seeded()), Bigram(N_TOKENS)], [2, 1]),
    "mixture without step": lambda: Mixture([Bigram(N_TOKENS), NoStep(N_TOKENS)]),
    "mixture that counts": lambda: counted(Mixture(mixed_kinds())),
    "product": lambda: counted(Product(mixed_kinds(), [0.7, 0.6])),
    "n-grams": lambda: counted(NGram(N_TOKENS, order=3)),
    "residual": lambda: counted(
        stirred(ResidualLSTM(N_TOKENS, 6, dropout=0, order=3, rng=seeded()))
    ),
}
DISCRIMINATORS = {
    "report": lambda: LSTMDiscriminator(N_TOKENS, hidden_size=8, rng=seeded()),
    "two layers": lambda: LSTMDiscriminator(N_TOKENS, 6, n_layers=2, dropout=0.5, rng=seeded()),
    "bidirectional": lambda: LSTMDiscriminator(N_TOKENS, 6, bidirectional=True, rng=seeded()),
    "embedding": lambda: LSTMDiscriminator(N_TOKENS, 6, embedding_size=3, rng=seeded()),
}


@pytest.fixture(params=GENERATORS)
def generator(request):
    model = GENERATORS[request.param]().eval()
    for parameter in model.parameters():  # a peaked distribution shows mistakes better
        parameter.data *= 3
    return model


@pytest.fixture(params=DISCRIMINATORS)
def discriminator(request):
    return DISCRIMINATORS[request.param]().eval()


def test_probabilities_of_all_rows_sum_to_one(generator):
    for width in range(1, WIDTH + 1):
        total = generator.log_prob(all_rows(N_TOKENS, width)).exp().sum()
        assert total.item() == pytest.approx(1, abs=1e-5)


def test_sampled_frequencies_agree_with_log_prob(generator):
    rows, n = all_rows(N_TOKENS, 3), 40_000
    torch.manual_seed(0)
    p = generator.log_prob(rows).exp()
    observed = frequencies(generator.sample(n, 3), rows)
    chi_square = (n * (observed - p).square() / p)[p > 1e-4].sum()
    assert chi_square < 1.6 * (p > 1e-4).sum()  # 85 rows: about 4 standard deviations
    assert not (observed > 0)[p < 1e-12].any()


def test_padding_does_not_change_log_prob(generator):
    rows = all_rows(N_TOKENS, 3)
    ended = rows[rows[:, -1] == 0]
    padded = torch.nn.functional.pad(ended, (0, 5))
    torch.testing.assert_close(generator.log_prob(padded), generator.log_prob(ended))


def test_unfinished_row_has_the_probability_of_all_its_continuations(generator):
    rows = all_rows(N_TOKENS, WIDTH)
    beginning = torch.tensor([[1, 3]])
    continuations = rows[(rows[:, :2] == beginning).all(1)]
    total = generator.log_prob(continuations).logsumexp(0)
    torch.testing.assert_close(total, generator.log_prob(beginning)[0])


def test_log_prob_does_not_depend_on_the_other_rows(generator):
    rows = all_rows(N_TOKENS, 3)
    alone = torch.cat([generator.log_prob(row[None]) for row in rows])
    torch.testing.assert_close(generator.log_prob(rows), alone)


def test_steps_multiply_to_log_prob(generator):
    if not has_step(generator):
        assert any(isinstance(part, NoStep) for part in generator.modules())
        return
    from likelihood_gan import Autoregressive

    rows = all_rows(N_TOKENS, 3)
    by_steps = Autoregressive.log_prob(generator, rows)
    torch.testing.assert_close(generator.log_prob(rows).float(), by_steps.float())


def test_gradient_reaches_every_parameter(generator):
    total = generator.log_prob(all_rows(N_TOKENS, 3))[3:9].sum()
    if isinstance(generator, NGram):
        assert not total.requires_grad and not [*generator.parameters()]
        return
    total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in generator.parameters())


def test_copies_are_equal_and_independent(generator):
    rows = all_rows(N_TOKENS, 3)
    twin = copy.deepcopy(generator)
    before = generator.log_prob(rows)
    for parameter in twin.parameters():
        parameter.data += 1 + torch.arange(parameter.numel()).view_as(parameter)
    if callable(getattr(twin, "count", None)):
        twin.count(rows[:1], torch.ones(1))
    assert torch.equal(generator.log_prob(rows), before)
    assert not torch.equal(twin.log_prob(rows), before)


def test_logit_does_not_depend_on_padding(discriminator):
    rows = all_rows(N_TOKENS, 3)
    ended = rows[rows[:, -1] == 0]
    padded = torch.nn.functional.pad(ended, (0, 6))
    torch.testing.assert_close(discriminator(padded), discriminator(ended))


def test_logit_does_not_depend_on_its_batch(discriminator):
    rows = all_rows(N_TOKENS, 3)
    alone = torch.cat([discriminator(row[None]) for row in rows])
    torch.testing.assert_close(discriminator(rows), alone)


def test_logit_depends_on_every_symbol(discriminator):
    word = torch.tensor([[1, 2, 3, 0]])
    for place in range(3):
        other = word.clone()
        other[0, place] = 1 if word[0, place] != 1 else 2
        assert discriminator(word) != discriminator(other)


@pytest.mark.parametrize("model", [CharLSTM, ResidualLSTM, LSTMDiscriminator])
def test_weights_come_from_the_given_rng_and_leave_the_global_state_alone(model):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, second, third = (model(5, 4, rng=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    weights = [
        next(part.weight_hh_l0 for part in m.modules() if isinstance(part, nn.LSTM))
        for m in (first, second, third)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_initial_weights_have_pytorchs_scale():
    ours, theirs = CharLSTM(30, 64, rng=seeded()), torch.nn.LSTM(30, 64)
    for name, weight in theirs.named_parameters():
        mine = dict(ours.lstm.layers[0].named_parameters())[name]
        assert mine.shape == weight.shape
        assert mine.abs().max() <= 1 / 8
        assert mine.std().item() == pytest.approx(weight.std().item(), rel=0.15)


@pytest.mark.parametrize(
    "build, score",
    [
        (CharLSTM, "log_prob"),
        (ResidualLSTM, "log_prob"),
        (LSTMDiscriminator, "forward"),
        (lambda *args, **options: Mixture([CharLSTM(*args, **options)]), "log_prob"),
        (lambda *args, **options: Product([CharLSTM(*args, **options)]), "log_prob"),
    ],
)
def test_dropout_acts_in_training_only_and_is_drawn_from_rng(build, score):
    model, rows = stirred(build(N_TOKENS, 16, dropout=0.5, rng=seeded())), all_rows(N_TOKENS, 3)
    score = getattr(model, score)
    first, again, other = (score(rows, rng=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    model.eval()
    assert torch.equal(score(rows, rng=seeded(1)), score(rows, rng=seeded(2)))


def test_discriminators_are_lawful(discriminator):
    check_discriminator(discriminator, N_TOKENS)


def test_the_reports_sizes_are_reachable():
    # LSTM of 8 units over 28 one-hot tokens, then a linear layer
    lstm = 4 * 8 * (28 + 8 + 2)
    generator = CharLSTM(28, hidden_size=8, dropout=0)
    discriminator = LSTMDiscriminator(28, hidden_size=8)
    assert sum(p.numel() for p in generator.parameters()) == lstm + 8 * 28 + 28
    assert sum(p.numel() for p in discriminator.parameters()) == lstm + 8 + 1
