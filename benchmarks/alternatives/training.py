"""How the alternatives are trained: copies, constant discriminators, seeds and tensors."""

from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

from benchmarks.starts import go_on
from likelihood_gan.corpus import Corpus
from likelihood_gan.devices import device_of, torch_rng
from likelihood_gan.rows import count_distinct
from likelihood_gan.scoring import evaluating


@contextmanager
def playing(generator, discriminator):
    """Hold both models without dropout, as samples are drawn, and the discriminator constant."""
    learning = [p for p in discriminator.parameters() if p.requires_grad]
    no_cudnn = torch.backends.cudnn.flags(enabled=False)  # it has no gradient in evaluation mode
    with evaluating(generator), evaluating(discriminator), no_cudnn:
        for parameter in learning:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)


def train_copy(gan, sequences, objective, epochs, random_state, params):
    """Train a copy of an estimator from where it stands, with another objective."""
    fixed = dict(early_stopping=False, random_state=random_state)
    return go_on(gan, sequences, objective, epochs, **(fixed | params))[0]


def rng_on(gan, random_state):
    """Return a source of randomness on the device of an estimator; None draws the seed anew."""
    return torch_rng(check_random_state(random_state), device_of(gan.generator_))


def make_corpus(gan, sequences):
    """Return sequences as the tensors an estimator would train on."""
    tokens = gan.vocabulary_.encode_rows(sequences)
    first, shares = count_distinct(tokens, np.ones(len(tokens)))
    return Corpus(tokens[first], torch.from_numpy(shares)).to(device_of(gan.generator_))
