"""Models that keep every law of `checks`, and for each law some that break it."""

import copy
import math
import random
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from likelihood_gan import Autoregressive
from likelihood_gan.sampling import Constraints, sample_by_steps

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


class Half(Bigram):
    def __init__(self):
        super().__init__()
        self.half()


class HalfScores(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens).half()


class Nothing(Bigram):
    def log_prob(self, tokens):
        super().log_prob(tokens)


class Array(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens).detach().numpy()


class Elsewhere(Bigram):
    def log_prob(self, tokens):
        return self.logits.to("meta").log_softmax(-1)[tokens, tokens].sum(1)


class NeedsTwoColumns(Words):
    def log_prob(self, tokens):
        return super().log_prob(tokens) + 0 * tokens[:, 1]


class Bits(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens) / math.log(2)


class MeanOverTime(Bigram):
    def log_prob(self, tokens):
        return super().log_prob(tokens) / ((tokens != 0).sum(1) + 1)


class EndTwice(Bigram):
    def log_prob(self, tokens):
        return Bigram.log_prob(self, tokens) + (tokens == 0).any(1) * self.end(tokens)

    def end(self, tokens):
        """Log-probability of END behind the last symbol of a row."""
        last = tokens.gather(1, ((tokens != 0).sum(1) - 1).clamp(min=0)[:, None])[:, 0]
        return self.logits.log_softmax(-1)[last, 0]


class NoEnd(EndTwice):
    def log_prob(self, tokens):
        return Bigram.log_prob(self, tokens) - (tokens == 0).any(1) * self.end(tokens)


class Unnormalised(Bigram):
    """Mass above 1, and no number that shows it."""

    def log_prob(self, tokens):
        return 0.5 * super().log_prob(tokens)


class ReadsWhatItPredicts(Bigram):
    def log_prob(self, tokens):
        before = (tokens == 0).cumsum(1).cumsum(1) <= 1
        return (self.logits.log_softmax(-1)[tokens, tokens] * before).sum(1)


class SoftmaxOverRows(Words):
    def log_prob(self, tokens):
        return self.logits[tokens[:, 0]].log_softmax(0)


class StepSoftmaxOverRows(Bigram):
    def step(self, tokens, state):
        return self.logits[tokens].log_softmax(0), state


class StepInBits(Bigram):
    def step(self, tokens, state):
        return super().step(tokens, state)[0] / math.log(2), state


class ChangesTokens(Bigram):
    def log_prob(self, tokens):
        score = super().log_prob(tokens)
        tokens.clamp_(max=1)
        return score


class StepChangesTokens(Bigram):
    def step(self, tokens, state):
        log_probs = self.logits.log_softmax(-1)[tokens.clone()]
        tokens += 1
        return log_probs, state


class ReturnsItsScores(Bigram):
    """The same tensor every time, if no gradient is asked for."""

    def log_prob(self, tokens):
        score = super().log_prob(tokens)
        if torch.is_grad_enabled():
            return score
        if not hasattr(self, "buffer") or len(self.buffer) != len(score):
            self.buffer = torch.zeros_like(score)
        return self.buffer.copy_(score + 1e-6 * torch.rand(()))


class ReturnsItsSamples(Bigram):
    def sample(self, n, max_len, *, rng=None):
        drawn = super().sample(n, max_len, rng=rng)
        if not hasattr(self, "buffer") or self.buffer.shape != (n, max_len):
            self.buffer = torch.zeros((n, max_len), dtype=torch.int64)
        return self.buffer.copy_(pad(drawn, (0, max_len - drawn.shape[1])))


class StaysInTraining(Bigram):
    def sample(self, n, max_len, *, rng=None):
        self.train()
        return super().sample(n, max_len, rng=rng)


class LearnsFromScores(Bigram):
    def log_prob(self, tokens):
        self.logits.data += 1e-3
        self.logits.data[0, 0] += 1e-3
        return super().log_prob(tokens)


class Drifts(Bigram):
    n_calls = 0

    def log_prob(self, tokens):
        self.n_calls += 1
        return super().log_prob(tokens) - 4e-5 * self.n_calls


class DriftsLater(Bigram):
    n_calls = 0

    def sample(self, n, max_len, *, rng=None):
        self.n_calls += 1
        return super().sample(n, max_len, rng=rng)

    def log_prob(self, tokens):
        return super().log_prob(tokens) * (0.999 if self.n_calls > 8 else 1)


class RowsAsLists(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return [row[row != 0].tolist() for row in super().sample(n, max_len, rng=rng)]


class SmallIntegers(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(n, max_len, rng=rng).int()


class Floats(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(n, max_len, rng=rng).float()


class OneRow(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(1, max_len, rng=rng)


class BelowZero(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return -super().sample(n, max_len, rng=rng)


class OutOfRangeInTheHundredthRow(Bigram):
    def sample(self, n, max_len, *, rng=None):
        tokens = super().sample(n, max_len, rng=rng)
        tokens[99:100, 0] = N_TOKENS
        return tokens


class SeedsInside(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(n, max_len, rng=torch.Generator().manual_seed(0))


class SeedsTheGlobalState(Bigram):
    def sample(self, n, max_len):
        torch.manual_seed(0)
        return super().sample(n, max_len)


class SameRowForAll(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return super().sample(1, max_len, rng=rng).expand(n, -1)


class Twins(Bigram):
    """Every row comes twice: frequencies are right on average."""

    def sample(self, n, max_len, *, rng=None):
        return super().sample(n, max_len, rng=rng).repeat_interleave(2, 0)[:n]


class NeverEnds(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return sample_by_steps(self, n, Constraints(max_len, min_len=max_len), rng=rng)


class NeverEndsWithoutStep(nn.Module):
    """Symbols and END are as likely everywhere."""

    def __init__(self):
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(N_TOKENS))

    def log_prob(self, tokens):
        before = (tokens == 0).cumsum(1).cumsum(1) <= 1
        return (self.logits.log_softmax(0)[tokens] * before).sum(1)

    def sample(self, n, max_len):
        return torch.randint(1, N_TOKENS, (n, max_len))


class WrongFromTheEighth(NeverEndsWithoutStep):
    def log_prob(self, tokens):
        before = (tokens == 0).cumsum(1).cumsum(1) <= 1
        log_probs = self.logits.log_softmax(0)[tokens] * before
        return log_probs[:, :7].sum(1) + 0.5 * log_probs[:, 7:].sum(1)

    def sample(self, n, max_len):
        tokens = torch.randint(0, N_TOKENS, (n, max_len))
        return tokens * ((tokens == 0).cumsum(1) == 0)


class TopTwo(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return sample_by_steps(self, n, Constraints(max_len, top_k=2), rng=rng)


class Warm(Bigram):
    def sample(self, n, max_len, *, rng=None):
        return sample_by_steps(self, n, Constraints(max_len, temperature=1.1), rng=rng)


class WarmWords(Words):
    """Without step, so that rows alone can show it."""

    def sample(self, n, max_len):
        symbols = torch.multinomial((self.logits / 1.3).softmax(0), n, replacement=True)
        return pad(symbols[:, None], (0, 1))[:, :max_len]


class BatchNorm(Bigram):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(N_TOKENS)

    def step(self, tokens, state):
        return self.norm(self.logits[tokens]).log_softmax(-1), state


class OtherInTraining(Bigram):
    def step(self, tokens, state):
        logits = self.logits * (2 if self.training else 1)
        return logits.log_softmax(-1)[tokens], state


class Counts(Bigram):
    """A lawful generator that counts symbols."""

    def __init__(self):
        super().__init__()
        self.register_buffer("counted", torch.ones(N_TOKENS))

    def step(self, tokens, state):
        return (self.logits + self.counted.log()).log_softmax(-1)[tokens], state

    def count(self, tokens, weights):
        self.counted = 1 + (nn.functional.one_hot(tokens, N_TOKENS).sum(1).T * weights).sum(1)


class CountsAdd(Counts):
    def count(self, tokens, weights):
        before = self.counted
        super().count(tokens, weights)
        self.counted = self.counted + before


class CountsNothing(Counts):
    def count(self, tokens, weights):
        pass


class CountsInPlace(Counts):
    def count(self, tokens, weights):
        super().count(tokens, weights)
        tokens.zero_()


class WrongFromTheTenth(Bigram):
    """Lawful in rows of up to nine tokens."""

    def step(self, tokens, state):
        place = torch.zeros_like(tokens) if state is None else state + 1
        log_probs = super().step(tokens, None)[0]
        return log_probs * torch.where(place < 9, 1.0, 0.5)[:, None], place


class TooFewPlaces(Bigram):
    """A table of positions that is too short."""

    def __init__(self):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(11))

    def step(self, tokens, state):
        place = torch.zeros_like(tokens) if state is None else state + 1
        logits = self.logits[tokens] + self.places[place][:, None]
        return logits.log_softmax(-1), place


@dataclass(frozen=True)
class Fault:
    """A model, the law that it breaks, and what the message says of it.

    `by_fit` is what `fit` says where that is something else; None where it cannot know.
    """

    build: Any
    law: str
    said: str
    by_fit: str | None = ""

    def __str__(self):
        return self.build.__name__

    @property
    def in_fit(self):
        return self.said if self.by_fit == "" else self.by_fit


BROKEN_GENERATORS = [
    Fault(object, "it has what is called", "got object without log_prob and sample"),
    Fault(NoSample, "it has what is called", "without sample"),
    Fault(lambda: Bigram, "it has what is called", "the class Bigram; call it"),
    Fault(CannotBeCopied, "it can be copied", "cannot pickle"),
    Fault(CopiesByReference, "it can be copied", "shares 2 tensors"),
    Fault(CopiesFresh, "scores repeat", "in a deep copy"),
    Fault(Half, "weights can take small steps", r"torch.float16, .*\.float\(\)"),
    Fault(TwoColumns, "every row has a score", r"shape \(1,\)", r"shape \(8,\)"),
    Fault(WholeNumbers, "every row has a score", "int64"),
    Fault(Positive, "every row has a score", "at most 0"),
    Fault(NotANumber, "every row has a score", "NaN"),
    Fault(Nothing, "every row has a score", "got NoneType"),
    Fault(Array, "every row has a score", "got ndarray"),
    Fault(Elsewhere, "every row has a score", "meta"),
    Fault(NeedsTwoColumns, "every row has a score", "IndexError"),
    Fault(ChangesTokens, "every row has a score", "in place"),
    Fault(CountsCalls, "using it leaves its weights", "calls"),
    Fault(LearnsFromScores, "using it leaves its weights", "logits"),
    Fault(StaysInTraining, "using it leaves its weights", "training"),
    Fault(LearnsFromSamples, "scores repeat", "only training and count", "nothing to train"),
    Fault(Noisy, "scores repeat", "self.training"),
    Fault(AlwaysDropsOut, "scores repeat", "self.training"),
    Fault(ReturnsItsScores, "scores repeat", "return a new tensor"),
    Fault(DriftsLater, "scores do not drift", r"after \d+ calls"),
    Fault(Drifts, "rows do not depend on each other", r"after \d+ calls"),
    Fault(CountsPadding, "padding does not count", "more zeros"),
    Fault(BatchNormalised, "rows do not depend on each other", "beside"),
    Fault(SoftmaxOverRows, "rows do not depend on each other", "beside"),
    Fault(Detached, "a gradient reaches the parameters", "detached"),
    Fault(ZeroGradient, "a gradient reaches the parameters", "are 0"),
    Fault(NanGradient, "a gradient reaches the parameters", "logits.* NaN"),
    Fault(HalfScores, "a gradient reaches the parameters", "float16"),
    Fault(BatchNorm, "training computes what evaluation does", "no BatchNorm"),
    Fault(OtherInTraining, "training computes what evaluation does", "in training mode"),
    Fault(ForgetsEnd, "total mass is one", r"probability 0\.6065"),
    Fault(Bits, "total mass is one", "in nats"),
    Fault(MeanOverTime, "total mass is one", "in nats"),
    Fault(EndTwice, "total mass is one", "count the first 0"),
    Fault(NoEnd, "total mass is one", "count the first 0"),
    Fault(Unnormalised, "total mass is one", "log_softmax"),
    Fault(ReadsWhatItPredicts, "total mass is one", "log_softmax"),
    Fault(
        WrongFromTheEighth,
        "a beginning is as likely as all that follows",
        "every position",
        None,  # the data of the tests are shorter
    ),
    Fault(GoesOnAfterEnd, "samples are tokens", "after the first 0"),
    Fault(TooLong, "samples are tokens", "rows of at most 1 tokens"),
    Fault(StopsWithoutEnd, "samples are tokens", "without END"),
    Fault(TokensFromOne, "samples are tokens", "tokens from 0 to 2, got 0 to 6"),
    Fault(RowsAsLists, "samples are tokens", "int64 tensor"),
    Fault(SmallIntegers, "samples are tokens", "torch.int32"),
    Fault(Floats, "samples are tokens", "torch.float32"),
    Fault(OneRow, "samples are tokens", "must return 64 rows", "must return 2 rows"),
    Fault(BelowZero, "samples are tokens", "from 0 to 2, got -"),
    Fault(OutOfRangeInTheHundredthRow, "samples are tokens", "got 0 to 3"),
    Fault(IgnoresRng, "an rng repeats the samples", "generator=rng"),
    Fault(DrawsElsewhere, "an rng repeats the samples", "NumPy or random"),
    Fault(SeedsInside, "draws are independent", "seed nothing inside"),
    Fault(SeedsTheGlobalState, "draws are independent", "seed nothing inside"),
    Fault(Twins, "draws are independent", "equal to the one before"),
    Fault(ReturnsItsSamples, "draws are independent", "return a new tensor"),
    Fault(SameRowForAll, "samples follow the steps", "than", "128 times in 128 samples"),
    Fault(NeverEnds, "samples follow the steps", "END was drawn .* less"),
    Fault(NeverEndsWithoutStep, "samples follow the steps", "END was drawn .* less"),
    Fault(TopTwo, "samples follow the steps", "no top-k"),
    Fault(Hot, "samples follow the steps", "more evenly .* same temperature", None),
    Fault(Warm, "samples follow the steps", "more evenly .* same temperature", None),
    Fault(WarmWords, "sample frequencies are probabilities", "temperature", None),
    Fault(DrawsTheImpossible, "sample frequencies are probabilities", "1 samples impossible"),
    Fault(StepShape, "step is normalised", r"\(18, 3\)", "3\\)"),
    Fault(StepOfLogits, "step is normalised", "log_softmax"),
    Fault(StepSoftmaxOverRows, "step is normalised", "log_softmax"),
    Fault(StepInBits, "step is normalised", "in nats"),
    Fault(StepChangesTokens, "step is normalised", "in place"),
    Fault(StepForgets, "steps multiply to log prob", "by its steps"),
    Fault(HiddenState, "state rows can be selected", "selection step failed"),
    Fault(StateIsChangedInPlace, "state rows can be selected", "return a new one"),
    Fault(BatchLast, "state rows can be selected", "batch first"),
    Fault(CountsAdd, "counting forgets what was counted", "forget in count"),
    Fault(CountsNothing, "counting forgets what was counted", "changes no score"),
    Fault(CountsInPlace, "counting forgets what was counted", "in place"),
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


class Whole(Judge):
    def forward(self, tokens):
        return super().forward(tokens).long()


class HalfJudge(Judge):
    def __init__(self):
        super().__init__()
        self.half()


class JudgeChangesTokens(Judge):
    def forward(self, tokens):
        logits = super().forward(tokens.clone())
        tokens.clamp_(max=1)
        return logits


class ReturnsItsLogits(Judge):
    def forward(self, tokens):
        logits = super().forward(tokens)
        if torch.is_grad_enabled():
            return logits
        if not hasattr(self, "buffer") or len(self.buffer) != len(logits):
            self.buffer = torch.zeros_like(logits)
        return self.buffer.copy_(logits + 1e-6 * torch.rand(()))


class NormalisesTheBatch(Judge):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, tokens):
        return self.norm(super().forward(tokens)[:, None])[:, 0]


class NeedsThreeColumns(Judge):
    def forward(self, tokens):
        return super().forward(tokens) + 0 * tokens[:, 2]


class TiresOfIt(Judge):
    times = 0

    def forward(self, tokens):
        self.times += len(tokens) > 1 and not self.training
        return super().forward(tokens) + 0.01 * (self.times > 7)


BROKEN_DISCRIMINATORS = [
    Fault(lambda: len, "it has what is called", "builtin_function"),
    Fault(KeepsItsLogits, "it can be copied", "deepcopy"),
    Fault(HalfJudge, "weights can take small steps", "torch.float16"),
    Fault(ColumnOfLogits, "every row has a score", r"shape \(1,\)", r"shape \(8,\)"),
    Fault(Whole, "every row has a score", "int64"),
    Fault(NanLogits, "every row has a score", "NaN"),
    Fault(InfiniteLogits, "every row has a score", "inf"),
    Fault(NeedsThreeColumns, "every row has a score", "IndexError"),
    Fault(JudgeChangesTokens, "every row has a score", "in place"),
    Fault(LearnsWhileLooking, "using it leaves its weights", "calls"),
    Fault(Dropped, "scores repeat", "self.training"),
    Fault(ReturnsItsLogits, "scores repeat", "return a new tensor"),
    Fault(ReadsPadding, "padding does not count", "width of the batch"),
    Fault(LooksAtTheBatch, "rows do not depend on each other", "LayerNorm"),
    Fault(NoGradient, "a gradient reaches the parameters", "detached"),
    Fault(Frozen, "a gradient reaches the parameters", "0 parameters", "no parameters to train"),
    Fault(NormalisesTheBatch, "training computes what evaluation does", "no BatchNorm"),
    Fault(TiresOfIt, "scores do not drift", r"after \d+ calls"),
]


# Objectives and callbacks, and what `fit` says of them


def root_of_zero(batch):
    return (batch.real.log_prob - batch.real.log_prob).sqrt().mean()


def reads_logits(batch):
    return (batch.real.logits * batch.real.log_prob).mean()


reads_logits.adversarial = False


BROKEN_OBJECTIVES = [
    (lambda batch: batch.real.log_prob, r"scalar tensor, got \(8,\)"),
    (lambda batch: -batch.real.log_prob.mean()[None], r"scalar tensor, got \(1,\)"),
    (lambda batch: None, "scalar tensor, got NoneType"),
    (lambda batch: -float(batch.real.log_prob.detach().mean()), "scalar tensor, got float"),
    (lambda batch: -batch.real.log_prob.detach().mean(), r"without detach\(\)"),
    (lambda batch: batch.real.logits.mean(), "a constant without gradient"),
    (
        lambda batch: -batch.generated.log_frequency.mean() * batch.real.log_prob.mean(),
        "inf before training",
    ),
    (lambda batch: batch.real.log_prob.mean() * math.nan, "nan before training"),
    (lambda batch: batch.real.log_prob.log().mean(), "nan before training"),
    (root_of_zero, "the gradient of objective=.* is NaN or infinite before training"),
    (reads_logits, "adversarial = False"),
]


def raises(distribution, history):
    raise KeyError("on purpose")


BROKEN_CALLBACKS = [
    ([3], "a list of callables"),
    (raises, "a list of callables"),
    ([raises], "on purpose"),
    ([lambda distribution: None], "positional argument"),
    ([lambda distribution, history: history[-1]["no such column"]], "no such column"),
]


# What nobody can know: it passes for lawful


class EvenAtAnyTemperature(Bigram):
    """Uniform before it is trained, so that a temperature makes no difference yet."""

    def __init__(self):
        super().__init__(scale=0.0)

    sample = Hot.sample


class HiddenByNoise(Bigram):
    """Dropout, and a mistake, in training mode alone."""

    def step(self, tokens, state):
        logits = nn.functional.dropout(self.logits[tokens], 0.1, self.training)
        return (logits * (2 if self.training else 1)).log_softmax(-1), state


class WrongForOneRow(Bigram):
    def log_prob(self, tokens):
        odd = torch.tensor([2, 2, 1, 1, 2, 1, 1, 2])
        wide = pad(tokens, (0, max(0, len(odd) - tokens.shape[1])))
        return super().log_prob(tokens) - 3.0 * (wide[:, : len(odd)] == odd).all(1)


class WrongFromTheThousandthCall(Bigram):
    n_calls = 0

    def log_prob(self, tokens):
        self.n_calls += 1
        return super().log_prob(tokens) * (1 if self.n_calls < 1000 else 2)


class LooksAtOneSymbol(Bigram):
    """A lawful model, and a poor one: `step` forgets what it has read."""

    def step(self, tokens, state):
        return super().step(torch.zeros_like(tokens), state)


CANNOT_BE_KNOWN = [
    EvenAtAnyTemperature,
    HiddenByNoise,
    WrongForOneRow,
    WrongFromTheThousandthCall,
    LooksAtOneSymbol,
    WrongFromTheTenth,
    TooFewPlaces,
]
