"""TextKD-GAN: an autoencoder's softmax as soft targets (Haidar and Rezagholizadeh 2019).

It replaces the models: an autoencoder, a generator from noise to a matrix of symbol weights of fixed
width, a Wasserstein critic of such matrices. It has no likelihood, and no pretraining to start from;
the critic needs its gradient's gradient, `n_critic` times for every update of the generator: with
those, some 50 maximum-likelihood steps.
"""

import itertools

import torch
from sklearn.utils import check_random_state
from torch import nn
from torch.nn.functional import one_hot

from benchmarks.alternatives.training import make_corpus, rng_on
from likelihood_gan.devices import torch_rng
from likelihood_gan.protocols import call_with_rng


class Residual(nn.Sequential):
    """Two convolutions over positions whose output is added, as in Gulrajani et al. (2017)."""

    def __init__(self, size):
        first, second = (nn.Conv1d(size, size, 5, padding=2) for _ in range(2))
        super().__init__(nn.ReLU(), first, nn.ReLU(), second)

    def forward(self, inputs):
        return inputs + 0.3 * super().forward(inputs)


class Autoencoder(nn.Module):
    """One-hot rows to softmax rows, through one vector: LSTM encoder, LSTM decoder."""

    def __init__(self, n_tokens, size):
        super().__init__()
        self.encoder = nn.LSTM(n_tokens, size, batch_first=True)
        self.decoder = nn.LSTM(size, size, batch_first=True)
        self.output = nn.Linear(size, n_tokens)

    def forward(self, rows):
        code = self.encoder(rows)[1][0][0]
        hidden, _ = self.decoder(code[:, None].expand(-1, rows.shape[1], -1))
        return self.output(hidden).softmax(-1)


def build_networks(n_tokens, width, size, n_blocks):
    """Return an autoencoder, a generator (noise to softmax rows) and a critic of softmax rows."""

    def stack(first, *last):
        return nn.Sequential(*first, *(Residual(size) for _ in range(n_blocks)), *last)

    noise_in = nn.Linear(size, size * width), nn.Unflatten(1, (size, width))
    return (
        Autoencoder(n_tokens, size),
        stack(noise_in, nn.Conv1d(size, n_tokens, 1), nn.Softmax(1)),
        stack([nn.Conv1d(n_tokens, size, 1)], nn.Flatten(), nn.Linear(size * width, 1)),
    )


class TextKD:
    """The three networks, how they learn, and how the generator is read.

    Adam's rates and moments are those of the autoencoder, the generator and the critic.
    """

    def __init__(self, vocabulary, networks, rng, rates=(1e-3, 1e-4, 1e-4), penalty=10.0):
        self.vocabulary, self.rng, self.penalty = vocabulary, rng, penalty
        self.autoencoder, self.generator, self.critic = (n.to(rng.device) for n in networks)
        betas = (0.9, 0.999), (0.5, 0.9), (0.5, 0.9)
        self.adams = [
            torch.optim.Adam(network.parameters(), rate, beta, fused=True)
            for network, rate, beta in zip(networks, rates, betas, strict=True)
        ]

    def write(self, n, rng):
        """Return softmax rows of as many draws of noise, (n, n_tokens, width)."""
        size = self.generator[0].in_features
        return self.generator(torch.randn((n, size), device=rng.device, generator=rng))

    def judge_step(self, tokens):
        """Train the autoencoder on its squared error and the critic on what it reconstructs."""
        rows = one_hot(tokens, self.vocabulary.n_tokens).float()
        soft = self.autoencoder(rows)
        self.descend(0, (rows - soft).square().sum((1, 2)).mean())
        real, generated = soft.detach().mT, self.write(len(tokens), self.rng).detach()
        share = torch.rand((len(tokens), 1, 1), device=tokens.device, generator=self.rng)
        between = (share * real + (1 - share) * generated).requires_grad_()
        slopes = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)[0]
        steepness = (slopes.flatten(1).norm(dim=1) - 1).square().mean()
        distance = self.critic(real).mean() - self.critic(generated).mean()
        self.descend(2, self.penalty * steepness - distance)

    def generator_step(self, n):
        """Train the generator to please the critic."""
        self.descend(1, -self.critic(self.write(n, self.rng)).mean())

    def descend(self, which, loss):
        """Let one of the networks, and no other, follow its gradient."""
        adam = self.adams[which]
        adam.zero_grad()
        loss.backward(inputs=adam.param_groups[0]["params"])
        adam.step()

    @torch.no_grad()
    def sample(self, n_samples=1, max_len=None, *, random_state=None):
        """Decode the likeliest symbol of every position up to the first END, at most `max_len`.

        None is the longest of the data; no more than one symbol beyond it can be written.
        """
        rng = torch_rng(check_random_state(random_state), self.rng.device)
        blocks = [min(1024, n_samples - start) for start in range(0, n_samples, 1024)]
        tokens = torch.cat([self.write(n, rng).argmax(1) for n in blocks])
        return self.vocabulary.decode(tokens[:, : max_len or tokens.shape[1] - 1])


def train(gan, sequences, *, epochs, random_state, size=128, n_blocks=2, n_critic=5, batch_size=64):
    """Train from scratch with an estimator's vocabulary; the generator once in `n_critic` batches.

    The paper's networks have 512 units, and its convolutions are those of Gulrajani et al., five
    blocks; two blocks already see 17 positions.
    """
    rng = rng_on(gan, random_state)
    corpus = make_corpus(gan, sequences)
    sizes = gan.vocabulary_.n_tokens, corpus.width, size, n_blocks
    model = TextKD(gan.vocabulary_, call_with_rng(build_networks, *sizes, rng=rng), rng)
    steps = itertools.count(1)
    for _ in range(epochs):
        for index in corpus.epoch(batch_size, rng):
            model.judge_step(corpus.tokens[index])
            if next(steps) % n_critic == 0:
                model.generator_step(len(index))
    return model
