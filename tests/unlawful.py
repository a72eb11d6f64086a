"""Models that keep every law of `checks`, and for each law some that break it."""

import copy
import random

import torch
from torch import nn
from torch.nn.functional import pad

from likelihood_gan import Autoregressive

N_TOKENS = 3


class Bigram(Autoregressive, nn.Module):
    """A lawful generator: one row of logits for each symbol."""

    def __init__(self, n_tokens=N_TOKENS, scale=2.0):
        super().__init__()
        rng = torch.Generator().manual_seed(1)
        self.logits = nn.Parameter(scale * torch.randn(n_tokens, n_tokens, generator=rng))
        self.register_buffer("calls", torch.zeros(()))

    def step(self, tokens, state):
        return self.logits.log_softmax(-1)[tokens], state


class Words(nn.Module):
    """A lawful generator that is not autoregressive: a table of words, none with two symbols."""

    def __init__(self, n_tokens=N_TOKENS):
        super().__init__()
        self.logits = nn.Parameter(torch.linspace(0, 2, n_tokens))

    def log_prob(self, tokens):
        in_table = (tokens[:, 1:] == 0).all(1)
        return self.logits.log_softmax(0)[tokens[:, 0]].where(in_table, -torch.inf)

    def sample(self, n, max_len):
        symbols = torch.multinomial(self.logits.softmax(0), n, replacement=True)
        return pad(symbols[:, None], (0, 1))[:, :max_len]


class Judge(nn.Module):
    """A lawful discriminator: the mean weight of the symbols."""

    def __init__(self, n_tokens=N_TOKENS):
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, n_tokens))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, tokens):
        inside = tokens != 0
        return (self.weight[tokens] * inside).sum(1) / (inside.sum(1) + 1)


# Unlawful generators


class TwoColumns(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens)[:, None]


class WholeNumbers(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens).long()


class Positive(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens).exp() + 0.1


class NotANumber(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens) * torch.nan


class CountsPadding(Bigram):
    def log_prob(self, tokens):
        log_probs = self.logits.log_softmax(-1)[pad(tokens[:, :-1], (1, 0))]
        return log_probs.gather(2, tokens[:, :, None]).sum((1, 2))


class ForgetsEnd(Words):
    def log_prob(self, tokens):
        return super().log_prob(tokens) - 0.5


class BatchNormalised(Bigram):
    def log_prob(self, tokens):
        values = super().log_prob(tokens)
        return values - 0.1 * values.mean().abs()


class Hot(Bigram):
    def sample(self, n, max_len, *, rng=None):
        hot = Bigram()
        hot.logits.data = self.logits.data / 1.3
        return Autoregressive.sample(hot, n, max_len, rng=rng)


class DrawsTheImpossible(Words):
    def sample(self, n, max_len):
        tokens = pad(super().sample(n, max_len), (0, 1))[:, :max_len]
        tokens[0, :2] = 1
        return tokens


class GoesOnAfterEnd(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return torch.tensor([1, 0, 2, 0, 1, 0, 2, 1])[:max_len].expand(n, -1)


class TooLong(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(n, max_len + 1, rng=rng)


class StopsWithoutEnd(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(n, min(max_len, 3), rng=rng)


class TokensFromOne(Bigram):
    def sample(self, n, max_len, *, rng=None):
        tokens = super().sample(n, max_len, rng=rng)
        return tokens * (1 + tokens)


class Detached(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens).detach()


class ZeroGradient(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens).detach() + 0 * self.logits.sum()


class NanGradient(Bigram):
    def log_prob(self, tokens):
        zero = self.logits.sum() * 0
        return super().log_prob(tokens) + zero.sqrt() * 0


class CannotBeCopied(Bigram):
    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle 'generator' object")


class CopiesByReference(Bigram):
    def __deepcopy__(self, memo):
        return copy.copy(self)


class CopiesFresh(Bigram):
    def __deepcopy__(self, memo):
        fresh = CopiesFresh()
        torch.nn.init.normal_(fresh.logits)
        return fresh


class IgnoresRng(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(n, max_len)


class DrawsElsewhere(Bigram):
    def sample(self, n, max_len):
        return super().sample(n, max_len, rng=torch.Generator().manual_seed(random.getrandbits(32)))


class Noisy(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens) - torch.rand(len(tokens))


class AlwaysDropsOut(Bigram):
    def log_prob(self, tokens):
        return nn.functional.dropout(super().log_prob(tokens), 0.1)


class CountsCalls(Bigram):
    def sample(self, n, max_len, *, rng=None):
        self.calls += 1
        return super().sample(n, max_len, rng=rng)


class OwnLogProb(Bigram):
    """The right log_prob and samples beside a step that a subclass breaks."""

    def log_prob(self, tokens):
        return Autoregressive.log_prob(self.lawful(), tokens)

    def sample(self, n, max_len, *, rng=None):
        return Autoregressive.sample(self.lawful(), n, max_len, rng=rng)

    def lawful(self):
        lawful = Bigram()
        del lawful.logits
        lawful.logits = self.logits  # the parameter itself, so that gradients reach it
        return lawful


class StepShape(OwnLogProb):
    def step(self, tokens, state):
        return super().step(tokens, state)[0][:, :-1], state


class StepOfLogits(OwnLogProb):
    def step(self, tokens, state):
        return self.logits[tokens], state


class StepForgets(OwnLogProb):
    def step(self, tokens, state):
        return super().step(torch.zeros_like(tokens), state)


class HiddenState(Bigram):
    """Remembers the symbol before the last, but keeps it in the module."""

    def step(self, tokens, state):
        before = tokens if state is None else self.before
        self.before = tokens
        return super().step((tokens + before) % len(self.logits), "started")


class StateIsChangedInPlace(Bigram):
    def step(self, tokens, state):
        state = torch.zeros_like(tokens) if state is None else state
        state += tokens
        return super().step(state % len(self.logits), state)


class BatchLast(Bigram):
    def step(self, tokens, state):
        state = torch.stack([torch.zeros_like(tokens), tokens]) if state is None else state
        state = torch.stack([state[1], tokens])
        return super().step(state.sum(0) % len(self.logits), state)


class NoSample(nn.Module):
    log_prob = Bigram.log_prob


class LearnsFromSamples(Autoregressive):
    """No module, so that only its scores can show it."""

    times = 0

    def step(self, tokens, state):
        scores = torch.arange(N_TOKENS) * (1.0 + self.times)
        return scores.log_softmax(0).expand(len(tokens), -1), state

    def sample(self, n, max_len, *, rng=None):
        self.times += 1
        return super().sample(n, max_len, rng=rng)


# a model, the law that it breaks, and what the message says of it
BROKEN_GENERATORS = [
    (object, "it has what is called", "got object without log_prob and sample"),
    (NoSample, "it has what is called", "without sample"),
    (lambda: Bigram, "it has what is called", "the class Bigram; call it"),
    (LearnsFromSamples, "scores repeat", "only training and count"),
    (CannotBeCopied, "it can be copied", "cannot pickle"),
    (CopiesByReference, "it can be copied", "shares 2 tensors"),
    (CopiesFresh, "scores repeat", "in a deep copy"),
    (TwoColumns, "every row has a score", r"shape \(1,\)"),
    (WholeNumbers, "every row has a score", "int64"),
    (Positive, "every row has a score", "at most 0"),
    (NotANumber, "every row has a score", "NaN"),
    (Noisy, "scores repeat", "self.training"),
    (AlwaysDropsOut, "scores repeat", "self.training"),
    (CountsCalls, "using it leaves its weights", "calls"),
    (CountsPadding, "padding does not count", "3 more zeros"),
    (BatchNormalised, "rows do not depend on each other", "beside"),
    (ForgetsEnd, "total mass is one", r"probability 0\.6065"),
    (GoesOnAfterEnd, "samples are tokens", "after the first 0"),
    (TooLong, "samples are tokens", "at most 1 tokens"),
    (StopsWithoutEnd, "samples are tokens", "without END"),
    (TokensFromOne, "samples are tokens", "tokens from 0 to 2, got 0 to 6"),
    (IgnoresRng, "an rng repeats the samples", "generator=rng"),
    (DrawsElsewhere, "an rng repeats the samples", "NumPy or random"),
    (Hot, "sample frequencies are probabilities", "temperature"),
    (DrawsTheImpossible, "sample frequencies are probabilities", "1 samples impossible"),
    (StepShape, "step is normalised", r"\(18, 3\)"),
    (StepOfLogits, "step is normalised", "log_softmax"),
    (StepForgets, "steps multiply to log prob", "by its steps"),
    (HiddenState, "state rows can be selected", "selection step failed"),
    (StateIsChangedInPlace, "state rows can be selected", "return a new one"),
    (BatchLast, "state rows can be selected", "batch first"),
    (Detached, "a gradient reaches the parameters", "detached"),
    (ZeroGradient, "a gradient reaches the parameters", "are 0"),
    (NanGradient, "a gradient reaches the parameters", "logits.* NaN"),
]


# Unlawful discriminators


class ReadsPadding(nn.Module):
    """What one writes first: a bidirectional LSTM and its last hidden states."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(N_TOKENS, 4)
        self.lstm = nn.LSTM(4, 4, batch_first=True, bidirectional=True)
        self.output = nn.Linear(8, 1)

    def forward(self, tokens):
        _, (hidden, _) = self.lstm(self.embedding(tokens))
        return self.output(hidden.transpose(0, 1).flatten(1))[:, 0]


class ColumnOfLogits(Judge):
    def forward(self, tokens):
        return super().forward(tokens)[:, None]


class NanLogits(Judge):
    def forward(self, tokens):
        return super().forward(tokens) / (tokens != 0).sum(1) * 0


class InfiniteLogits(Judge):
    def forward(self, tokens):
        return super().forward(tokens).exp() / 0.0


class LooksAtTheBatch(Judge):
    def forward(self, tokens):
        logits = super().forward(tokens)
        return logits - logits.mean()


class NoGradient(Judge):
    @torch.no_grad()
    def forward(self, tokens):
        return super().forward(tokens)


class Frozen(Judge):
    def __init__(self):
        super().__init__()
        self.requires_grad_(False)


class KeepsItsLogits(Judge):
    def __init__(self):
        super().__init__()
        self.last = self(torch.tensor([[1, 0]]))  # not a leaf: PyTorch refuses to copy it


class Dropped(Judge):
    def forward(self, tokens):
        return nn.functional.dropout(super().forward(tokens))


class LearnsWhileLooking(Judge):
    def forward(self, tokens):
        self.calls += 1
        return super().forward(tokens)


BROKEN_DISCRIMINATORS = [
    (lambda: len, "it has what is called", "builtin_function"),
    (KeepsItsLogits, "it can be copied", "deepcopy"),
    (ColumnOfLogits, "every row has a score", r"shape \(1,\)"),
    (NanLogits, "every row has a score", "NaN"),
    (InfiniteLogits, "every row has a score", "inf"),
    (LearnsWhileLooking, "using it leaves its weights", "calls"),
    (Dropped, "scores repeat", "self.training"),
    (ReadsPadding, "padding does not count", "width of the batch"),
    (LooksAtTheBatch, "rows do not depend on each other", "LayerNorm"),
    (NoGradient, "a gradient reaches the parameters", "detached"),
    (Frozen, "a gradient reaches the parameters", "0 parameters"),
]
