"""Vocabularies of many symbols: nothing is as wide as the vocabulary that need not be."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from likelihood_gan import CharLSTM, LSTMDiscriminator, SequenceDistribution
from likelihood_gan.models import ResidualLSTM
from likelihood_gan.models.recurrent import EMBEDDING_SIZE, ONE_HOT_TOKENS

ALL = [CharLSTM, ResidualLSTM, LSTMDiscriminator]


def seeded():
    return torch.Generator().manual_seed(0)


class Largest(TorchDispatchMode):
    """Remembers how many numbers the largest tensor has that was made."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.numbers = max(self.numbers, made.numel())
        return made


@pytest.mark.parametrize("cls", ALL)
def test_up_to_the_bound_symbols_are_one_hot(cls):
    symbols = cls(ONE_HOT_TOKENS, 2, rng=seeded()).symbols
    tokens = torch.tensor([[0, 7, ONE_HOT_TOKENS - 1]])
    assert not list(symbols.parameters())
    torch.testing.assert_close(
        symbols(tokens, torch.float32), torch.eye(ONE_HOT_TOKENS)[tokens], rtol=0, atol=0
    )


@pytest.mark.parametrize("cls", ALL)
def test_above_the_bound_they_have_an_embedding_and_no_vector_is_as_wide_as_the_vocabulary(cls):
    n_tokens = 20_000
    model = cls(n_tokens, 2, rng=seeded())
    tokens = torch.randint(n_tokens, (8, 5), generator=seeded())
    with Largest() as largest:
        vectors = model.symbols(tokens, torch.float32)
    assert vectors.shape == (8, 5, EMBEDDING_SIZE)
    assert largest.numbers == vectors.numel()
    first = model.directions[0] if cls is LSTMDiscriminator else model.lstm
    read = n_tokens if cls is ResidualLSTM else 0  # which reads the n-gram model's table, too
    assert first.layers[0].input_size == EMBEDDING_SIZE + read


def test_a_discriminator_of_many_symbols_makes_nothing_as_wide_as_the_vocabulary():
    judge = LSTMDiscriminator(20_000, 2, rng=seeded())
    tokens = torch.randint(20_000, (8, 5), generator=seeded())
    with Largest() as largest:
        judge(tokens)
    assert largest.numbers <= tokens.numel() * EMBEDDING_SIZE


@pytest.mark.parametrize("cls", ALL)
def test_a_width_that_is_asked_for_is_kept_on_both_sides_of_the_bound(cls):
    for n_tokens in (5, ONE_HOT_TOKENS + 1):
        assert cls(n_tokens, 2, embedding_size=3).symbols.size == 3


@pytest.mark.parametrize("cls", ALL)
def test_a_module_is_built_again_from_the_arguments_as_they_were_given(cls):
    model = cls(ONE_HOT_TOKENS + 1, 2, rng=seeded())
    assert model.arguments["embedding_size"] is None
    again = cls(**model.arguments)
    assert {k: v.shape for k, v in again.named_parameters()} == {
        k: v.shape for k, v in model.named_parameters()
    }


def test_a_file_brings_back_the_embedding(tmp_path):
    symbols = range(ONE_HOT_TOKENS + 5)
    model = SequenceDistribution(CharLSTM(ONE_HOT_TOKENS + 6, 2, rng=seeded()), symbols, 5)
    model.save(tmp_path / "large.safetensors")
    data = [(3, 1000, 4), (), (77,)]
    again = SequenceDistribution.load(tmp_path / "large.safetensors")
    assert (again.score_samples(data) == model.score_samples(data)).all()
