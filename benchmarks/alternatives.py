"""The methods the report names as alternatives, as baselines outside the package; what each costs.

    python benchmarks/alternatives.py                    # cost of one generator update
    python benchmarks/alternatives.py --batch 128 --hidden 64

`ALTERNATIVES` holds functions f(gan, sequences, *, epochs, random_state) of a fitted estimator, which
they leave as it is, that return something with `sample` and, if it has a likelihood, `score_samples`.

* `seqgan`: policy gradient with Monte-Carlo roll-outs (Yu et al. 2017, Equation 4, Algorithm 1). It
  changes nothing in the models, but the generator must offer `step`, states included: every prefix
  of every generated sequence is completed `n_rollouts` times and every completion judged: for T
  symbols a sequence up to n_rollouts (T - 1) / 2 passes of the generator and n_rollouts (T - 1) of
  the discriminator. With 16 of them an update of names costs 18 maximum-likelihood steps.
* `gumbel`: straight-through Gumbel-softmax (Jang et al. 2017; Kusner and Hernández-Lobato 2016). Both
  models must read vectors of symbol weights instead of tokens, so it needs their insides (a linear
  input layer); a prefix tree, a language model with token ids or a discriminator on features has
  none. One pass of each, but symbol by symbol: 2 maximum-likelihood steps. The gradient is biased.
* `textkd`: an autoencoder's softmax as soft targets (Haidar and Rezagholizadeh 2019). It replaces the
  models: an autoencoder, a generator from noise to a matrix of symbol weights of fixed width, a
  Wasserstein critic of such matrices. It has no likelihood, and no pretraining to start from; the
  critic needs its gradient's gradient, `n_critic` times for every update of the generator: with
  those, some 50 maximum-likelihood steps.
"""

import argparse
import copy
import itertools
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import report
import torch
from sklearn.utils import check_random_state
from torch import nn
from torch.nn.functional import one_hot, pad, softplus

from likelihood_gan import LikelihoodGAN, LSTMDiscriminator, objectives, training
from likelihood_gan.corpus import Corpus, count_distinct
from likelihood_gan.modules import device_of
from likelihood_gan.protocols import END, call_with_rng, lengths
from likelihood_gan.sampling import draw, take_rows
from likelihood_gan.vocabulary import pad as pad_rows


@contextmanager
def playing(generator, discriminator):
    """Hold both models without dropout, as samples are drawn, and the discriminator constant."""
    learning = [p for p in discriminator.parameters() if p.requires_grad]
    no_cudnn = torch.backends.cudnn.flags(enabled=False)  # it has no gradient in evaluation mode
    with training.evaluating(generator), training.evaluating(discriminator), no_cudnn:
        for parameter in learning:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in learning:
                parameter.requires_grad_(True)


def fit_copy(gan, sequences, objective, epochs, random_state, params):
    """Train a copy of an estimator from where it stands, with another objective."""
    fixed = dict(objective=objective, max_epochs=epochs, random_state=random_state)
    go_on = dict(warm_start=True, pretrain_epochs=0, early_stopping=False)
    return copy.deepcopy(gan).set_params(**fixed, **go_on, **params).fit(sequences)


def make_rng(device, random_state):
    """Return a source of randomness on a device; None draws the seed anew."""
    seed = int(check_random_state(random_state).randint(2**31 - 1))
    return torch.Generator(device).manual_seed(seed)


# SeqGAN


@dataclass(eq=False)
class RollOuts:
    """Ascend E_p[D] with a value for every symbol: an objective of the package's loop.

    The value of a prefix is the mean D of `n_rollouts` completions, drawn from the generator as it
    is (the paper's roll-out policy); that of a whole sequence is its D. The baseline of a symbol is
    the value of what stands before it, of the first the mean D of the other sequences: neither
    depends on the symbol, so the gradient stays unbiased. The paper has no baseline.
    """

    width: int
    n_rollouts: int
    rng: torch.Generator

    def __call__(self, batch):
        generator, discriminator = batch.generated.generator, batch.generated.discriminator
        with playing(generator, discriminator):
            log_prob, values = self.read(generator, discriminator, batch.generated.tokens)
        loss = -((values[:, 1:] - values[:, :-1]) * log_prob).sum() / len(log_prob)
        return loss - (loss + values[:, -1].mean()).detach()  # its value is the mean D, negated

    def read(self, generator, discriminator, tokens):
        """Return log p of every symbol and the values before, between and after the symbols.

        Shapes (batch, time) and (batch, time + 1). After the end the first are 0 and the second
        repeat the sequence's D, so that no advantage is left there.
        """
        with torch.no_grad():
            whole = discriminator(tokens).sigmoid()
        values = whole[:, None].repeat(1, tokens.shape[1] + 1)
        values[:, 0] = (whole.sum() - whole) / max(len(whole) - 1, 1)
        going = torch.arange(len(tokens), device=tokens.device)
        current, state, columns = torch.full_like(going, END), None, []
        for t in range(tokens.shape[1]):
            log_probs, state = generator.step(current, state)
            if t > 0:
                prefixes = tokens[going, :t]
                values[going, t] = self.value(generator, discriminator, prefixes, log_probs, state)
            current = tokens[going, t]
            chosen = log_probs.gather(1, current[:, None])[:, 0]
            columns.append(chosen.new_zeros(len(tokens)).index_put((going,), chosen))
            keep = (current != END).nonzero()[:, 0]
            if len(keep) == 0:
                break
            going, current, state = going[keep], current[keep], take_rows(state, keep)
        return pad(torch.stack(columns, 1), (0, tokens.shape[1] - len(columns))), values

    @torch.no_grad()
    def value(self, generator, discriminator, prefixes, log_probs, state):
        """Return the mean D of `n_rollouts` completions of every prefix, (rows,)."""
        many = torch.arange(len(prefixes), device=prefixes.device)
        many = many.repeat_interleave(self.n_rollouts)
        state = take_rows(state, many)
        completed = self.complete(generator, prefixes[many], log_probs[many], state)
        return discriminator(completed).sigmoid().view(-1, self.n_rollouts).mean(1)

    def complete(self, generator, prefixes, log_probs, state):
        """Draw the rest of every row, (rows, t) -> (rows, width); rows that end are dropped."""
        tokens = pad(prefixes, (0, self.width - prefixes.shape[1]))
        going = torch.arange(len(tokens), device=tokens.device)
        for t in range(prefixes.shape[1], self.width):
            drawn = draw(log_probs, self.rng)
            tokens[going, t] = drawn
            keep = (drawn != END).nonzero()[:, 0]
            if t + 1 == self.width or len(keep) == 0:
                break
            going, drawn, state = going[keep], drawn[keep], take_rows(state, keep)
            log_probs, state = generator.step(drawn, state)
        return tokens


def seqgan(gan, sequences, *, epochs, random_state, n_rollouts=16, **params):
    """Train a copy by SeqGAN; `params` are further parameters of the estimator."""
    width = max(map(len, sequences)) + 1
    objective = RollOuts(width, n_rollouts, make_rng(device_of(gan.generator_), random_state))
    return fit_copy(gan, sequences, objective, epochs, random_state, params)


# Straight-through Gumbel-softmax


@dataclass(eq=False)
class GumbelSoftmax:
    """Differentiate D through the symbols: one-hot forwards, softmax at a temperature backwards.

    The loss is the non-saturating -mean log D. The discriminator's own loss needs no change: what
    it reads in the forward direction are sequences.
    """

    width: int
    temperature: float
    rng: torch.Generator

    def __call__(self, batch):
        generator, discriminator = batch.real.generator, batch.real.discriminator
        with playing(generator, discriminator):
            weights = self.write(generator, len(batch.real.tokens))
            return softplus(-judge(discriminator, weights)).mean()

    def write(self, generator, n):
        """Draw rows of symbol weights, one-hot in value, (n, time, n_tokens); END once they end."""
        parameter = generator.output.weight
        end = one_hot(torch.tensor(END), len(parameter)).to(parameter).expand(n, -1)
        going, state, current, columns = torch.arange(n, device=parameter.device), None, end, []
        for _ in range(self.width):
            inputs = embed(generator.symbols, current)[:, None]
            hidden, state = generator.lstm(inputs, state, None)
            log_probs = generator.output(hidden[:, 0]).log_softmax(-1)
            gumbel = -torch.empty_like(log_probs).exponential_(generator=self.rng).log()
            drawn = (log_probs + gumbel).argmax(-1)
            soft = ((log_probs + gumbel) / self.temperature).softmax(-1)
            current = one_hot(drawn, len(parameter)) + (soft - soft.detach())
            columns.append(end.index_put((going,), current))
            keep = (drawn != END).nonzero()[:, 0]
            if len(keep) == 0:
                break
            going, current, state = going[keep], current[keep], take_rows(state, keep)
        return torch.stack(columns, 1)


def embed(symbols, weights):
    """Return what the module `symbols` makes of tokens, of weighted symbols."""
    return weights if symbols.embedding is None else weights @ symbols.embedding.weight


def judge(discriminator, weights):
    """Return the logits of an `LSTMDiscriminator` for symbol weights (batch, time, n_tokens)."""
    rows, positions = (torch.arange(size, device=weights.device) for size in weights.shape[:2])
    last = lengths(weights.argmax(-1)).clamp(max=len(positions) - 1)
    inputs = embed(discriminator.symbols, weights)
    backwards = inputs[rows[:, None], (last[:, None] - positions).clamp(min=0)]
    readings = zip(discriminator.directions, (inputs, backwards), strict=False)
    summaries = [stack(reading, None, None)[0][rows, last] for stack, reading in readings]
    return discriminator.output(torch.cat(summaries, 1))[:, 0]


def gumbel(gan, sequences, *, epochs, random_state, temperature=1.0, **params):
    """Train a copy by straight-through Gumbel-softmax; both models must be the bundled ones."""
    width = max(map(len, sequences)) + 1
    objective = GumbelSoftmax(width, temperature, make_rng(device_of(gan.generator_), random_state))
    return fit_copy(gan, sequences, objective, epochs, random_state, params)


# TextKD-GAN


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
        rng = make_rng(self.rng.device, random_state)
        blocks = [min(1024, n_samples - start) for start in range(0, n_samples, 1024)]
        tokens = torch.cat([self.write(n, rng).argmax(1) for n in blocks])
        return self.vocabulary.decode(tokens[:, : max_len or tokens.shape[1] - 1])


def make_corpus(gan, sequences):
    """Return sequences as the tensors an estimator would train on."""
    rows, shares = count_distinct(map(gan.vocabulary_.encode, sequences), np.ones(len(sequences)))
    return Corpus(pad_rows(rows), torch.tensor(shares)).to(device_of(gan.generator_))


def textkd(
    gan, sequences, *, epochs, random_state, size=128, n_blocks=2, n_critic=5, batch_size=64
):
    """Train from scratch with an estimator's vocabulary; the generator once in `n_critic` batches.

    The paper's networks have 512 units, and its convolutions are those of Gulrajani et al., five
    blocks; two blocks already see 17 positions.
    """
    rng = make_rng(device_of(gan.generator_), random_state)
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


ALTERNATIVES = {"seqgan": seqgan, "gumbel": gumbel, "textkd": textkd}


# What one generator update costs


def cost(gan, sequences, batch_size, repeats):
    """Return rows of a table: method, median ms, its ratio to mle, passes of both models.

    A pass reads as many symbols as the padded real batch has; where a method needs samples, their
    drawing is counted, and the networks of textkd are not. Rates are 0, so that the models, and the
    lengths they write, stay the same.
    """
    corpus, rng = make_corpus(gan, sequences), make_rng("cpu", 0)
    generator, size = copy.deepcopy(gan.generator_).train(), gan.generator_.output.in_features
    discriminator = LSTMDiscriminator(gan.vocabulary_.n_tokens, size // 2, rng=rng)
    model = textkd(gan, sequences, epochs=0, random_state=0, size=size)
    index = next(corpus.epoch(batch_size, rng))
    models = training._Models(generator, discriminator, rng, "float32")

    def learn(module, loss):
        adam = training._adam(module)

        def step():
            batch = training._make_batch(index, corpus, models, check=False)
            training._descend(loss(batch), adam, 0.0)

        return step

    def textkd_round():
        for _ in range(5):
            model.judge_step(corpus.tokens[index])
        model.generator_step(batch_size)

    def judged(batch):
        return training._discriminator_loss(models, batch, check=False)[0]

    losses = {
        "mle": objectives.MLE(),
        "likelihood": objectives.Likelihood(),
        "pooled": objectives.Pooled(),
        "reinforce": objectives.Reinforce(),
        "seqgan, 16 roll-outs": RollOuts(corpus.width, 16, rng),
        "gumbel": GumbelSoftmax(corpus.width, 1.0, rng),
    }
    steps = {name: learn(generator, loss) for name, loss in losses.items()}
    steps["textkd, the generator alone"] = lambda: model.generator_step(batch_size)
    steps["textkd, with 5 critic steps"] = textkd_round
    steps["(a discriminator step)"] = learn(discriminator, judged)
    milliseconds = time_in_turns(steps, repeats)
    stacks, symbols = (generator.lstm, discriminator.directions[0]), corpus.rows(index)[0].numel()
    return [
        [name, value, value / milliseconds["mle"]]
        + [count_symbols(stack, steps[name]) / symbols for stack in stacks]
        for name, value in milliseconds.items()
    ]


def time_in_turns(functions, repeats):
    """Return median milliseconds; one call of each in turn, so that load hits all alike."""
    times = {name: [] for name in functions}
    for _ in range(repeats + 1):
        for name, function in functions.items():
            started = time.perf_counter()
            function()
            times[name].append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(of[1:]) for name, of in times.items()}  # the first warms up


def count_symbols(stack, function):
    """Count the symbols that a module reads, (batch, time, features), during a call."""
    counts = []
    hook = stack.register_forward_hook(lambda _, args, __: counts.append(args[0][..., 0].numel()))
    function()
    hook.remove()
    return sum(counts)


def main():
    """Print the table, in Markdown, for a generator that has learnt how long names are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    names = report.load_names()
    settings = dict(objective="mle", pretrain_epochs=4, max_epochs=0, random_state=0)
    gan = LikelihoodGAN(generator_params={"hidden_size": arguments.hidden}, **settings).fit(names)
    print(
        "| method | ms | / mle | generator passes | discriminator passes |",
        "|---" * 5 + "|",
        sep="\n",
    )
    for name, *values in cost(gan, names, arguments.batch, arguments.repeats):
        print(f"| {name} | {' | '.join(f'{value:.3g}' for value in values)} |")


if __name__ == "__main__":
    main()
