"""`Mixture` is the average of its members, in what it scores, draws and predicts."""

import copy
import pickle

import numpy as np
import pytest
import torch
from conftest import NAMES, tiny
from enumeration import Bigram, NoStep, all_rows, frequencies, seeded

from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.checks import check_generator
from likelihood_gan.models import Mixture
from likelihood_gan.protocols import has_step
from likelihood_gan.sampling import Constraints, sample_by_steps

N_TOKENS = 4
ROWS = all_rows(N_TOKENS, 3)
SHARES = torch.tensor([0.5, 0.3, 0.2])


def mixture(weights=(5, 3, 2)):
    members = [CharLSTM(N_TOKENS, 6, rng=seeded(1)), Bigram(N_TOKENS), Bigram(N_TOKENS, seed=1)]
    for parameter in members[0].parameters():
        parameter.data *= 4  # members that differ show mistakes better
    return Mixture(members, weights).eval()


class Always(Bigram):
    """Writes one symbol, again and again, and never ends."""

    def __init__(self, symbol):
        super().__init__(N_TOKENS)
        self.logits.data = torch.full((N_TOKENS, N_TOKENS), -torch.inf)
        self.logits.data[:, symbol] = 0


def test_log_prob_is_the_weighted_mean_of_the_members_probabilities():
    model = mixture()
    members = torch.stack([member.log_prob(ROWS) for member in model.generators]).double()
    expected = (SHARES.double() @ members.exp()).log().float()
    torch.testing.assert_close(model.log_prob(ROWS), expected)


def test_without_weights_members_count_alike():
    torch.testing.assert_close(
        mixture(None).log_prob(ROWS), mixture(np.full(3, 0.1)).log_prob(ROWS)
    )


def test_a_member_of_weight_zero_does_not_count():
    model = mixture([0, 1, 0])
    member = model.generators[1]
    torch.testing.assert_close(model.log_prob(ROWS), member.log_prob(ROWS))
    torch.testing.assert_close(model.step(ROWS[:, 0], None)[0], member.step(ROWS[:, 0], None)[0])
    check_generator(model, N_TOKENS)


def test_mixtures_are_lawful():
    check_generator(mixture(), N_TOKENS)
    check_generator(Mixture([mixture(), NoStep(N_TOKENS)]), N_TOKENS)


def test_steps_give_the_exact_conditional_distribution():
    model = mixture()
    for beginning in ([1], [2, 3], [3, 3, 1], [1, 2, 3, 1, 2, 3]):
        read, state = torch.tensor([0, *beginning]), None
        for token in read:
            found, state = model.step(token[None], state)
        continued = torch.tensor([[*beginning, symbol] for symbol in range(N_TOKENS)])
        expected = model.log_prob(continued) - model.log_prob(continued[:1, :-1])
        torch.testing.assert_close(found[0], expected)


def test_constrained_samples_are_as_frequent_as_the_conditional_says():
    model, n = mixture(), 40_000
    drawn = sample_by_steps(model, n, Constraints(3, prefix=[2], min_len=2), rng=seeded())
    possible = ROWS[(ROWS[:, 0] == 2) & (ROWS[:, 1] != 0)]
    # END after the prefix is banned, everything else keeps its proportions
    p = model.log_prob(possible).softmax(0)
    assert (n * (frequencies(drawn, possible) - p).square() / p).sum() < 2.5 * len(p)


def test_every_row_draws_its_member_anew():
    n = 20_000
    first = Mixture([Always(1), Always(2)], [3, 1]).sample(n, 2, rng=seeded())[:, 0]
    for share in (first == 1).float().view(4, -1).mean(1):  # in random order
        assert share.item() == pytest.approx(0.75, abs=0.025)
    changes = (first[1:] != first[:-1]).float().mean()
    assert changes.item() == pytest.approx(2 * 0.75 * 0.25, abs=0.025)


def test_rows_of_members_of_different_widths_are_padded():
    ends_at_once = Always(0)
    sample = Mixture([ends_at_once, Always(2)]).sample(100, 5, rng=seeded())
    assert {tuple(row) for row in sample.tolist()} == {(0,) * 5, (2,) * 5}
    assert Mixture([ends_at_once, ends_at_once]).sample(100, 5).shape == (100, 1)
    assert len(mixture().sample(0, 5)) == 0


def test_samples_come_from_rng_alone_whatever_the_members():
    model = Mixture([mixture(), NoStep(N_TOKENS)])
    state = torch.get_rng_state()
    first, again, other = (model.sample(200, 5, rng=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(state, torch.get_rng_state())


def test_there_is_no_step_if_a_member_has_none():
    assert has_step(mixture())
    assert not has_step(Mixture([mixture(), NoStep(N_TOKENS)]))
    assert not hasattr(Mixture([NoStep(N_TOKENS)]), "step")


def test_what_no_member_can_write_is_impossible_and_has_no_gradient():
    model = Mixture([Always(1), Always(2)])
    tokens = torch.tensor([[1, 1, 1], [1, 2, 1], [2, 2, 2]])
    log_probs = model.log_prob(tokens)
    torch.testing.assert_close(log_probs.exp(), torch.tensor([0.5, 0, 0.5]))
    log_probs[[0, 2]].sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    # a prefix may be impossible: what follows is a distribution all the same
    drawn = sample_by_steps(model, 100, Constraints(3, prefix=[3]), rng=seeded())
    assert {tuple(row) for row in drawn.tolist()} == {(3, 1, 1), (3, 2, 2)}


def test_members_are_shared_and_weights_are_not_trained():
    member = Bigram(N_TOKENS)
    model = Mixture([member, Bigram(N_TOKENS, seed=1)])
    assert model.generators[0] is member
    assert [name for name, _ in model.named_parameters()] == [
        "generators.0.logits",
        "generators.1.logits",
    ]
    assert "log_weights" in model.state_dict()


@pytest.mark.parametrize("way", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_a_mixture_can_be_copied(way):
    model = mixture()
    again = way(model)
    assert torch.equal(again.log_prob(ROWS), model.log_prob(ROWS))
    assert torch.equal(again.sample(50, 4, rng=seeded()), model.sample(50, 4, rng=seeded()))
    again.generators[1].logits.data += torch.arange(N_TOKENS)
    assert not torch.equal(again.log_prob(ROWS), model.log_prob(ROWS))


# In an estimator


@pytest.fixture(scope="module")
def averaged():
    gans = [tiny(random_state=seed).fit(NAMES) for seed in (1, 2)]
    model = Mixture([gan.generator_ for gan in gans], [1, 3])
    settings = dict(generator=model, generator_params=None, vocabulary=set("".join(NAMES)))
    return tiny(**settings).fit(NAMES)


def test_an_estimator_trains_a_copy_of_a_mixture(averaged):
    for trained, given in zip(
        averaged.generator_.parameters(), averaged.generator.parameters(), strict=True
    ):
        assert not torch.equal(trained, given)
    names = averaged.sample(20, prefix="an", min_len=4, temperature=0.8, random_state=0)
    assert all(name.startswith("an") and len(name) >= 4 for name in names)


def test_an_estimator_of_a_mixture_survives_the_file(averaged, tmp_path):
    averaged.save(tmp_path / "gan")
    again = LikelihoodGAN.load(tmp_path / "gan")
    np.testing.assert_array_equal(again.score_samples(NAMES), averaged.score_samples(NAMES))
    assert again.sample(20, random_state=1) == averaged.sample(20, random_state=1)
    tokens = averaged.vocabulary_.encode_rows(NAMES)
    pairs = [(again.generator, averaged.generator), (again.generator_, averaged.generator_)]
    for found, expected in pairs:  # the parameter, and what was trained from it
        assert torch.equal(found.eval().log_prob(tokens), expected.eval().log_prob(tokens))


def test_the_weights_of_a_mixture_are_in_the_file(averaged, tmp_path):
    averaged.save(tmp_path / "gan")
    fresh = Mixture([copy.deepcopy(m) for m in averaged.generator.generators], [1, 9])
    again = LikelihoodGAN.load(tmp_path / "gan", generator=fresh)
    assert again.generator is fresh
    np.testing.assert_array_equal(again.score_samples(NAMES), averaged.score_samples(NAMES))
