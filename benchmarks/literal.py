"""The report, transcribed literally: what the speed of the package is compared with.

One-hot symbols, a constant width, no row dropped, two passes to judge, Adam from parameter to parameter;
batches as in the report, so no loop over words.
"""

import copy
from functools import partial

import torch
from torch import nn
from torch.nn.functional import logsigmoid, one_hot, pad

from likelihood_gan.protocols import END

BATCH, BLOCK, RATE = 128, 2048, 1e-6


class LiteralGenerator(nn.Module):
    """The report's generator, with the weights of a `CharLSTM` of one layer."""

    def __init__(self, like):
        super().__init__()
        self.lstm, self.output = copy.deepcopy((like.lstm.layers[0], like.output))

    def log_prob(self, tokens):
        read = one_hot(pad(tokens[:, :-1], (1, 0), value=END), self.lstm.input_size)
        log_probs = self.output(self.lstm(read.float())[0]).log_softmax(-1)
        chosen = log_probs.gather(2, tokens[:, :, None])[:, :, 0]
        return (chosen * ((tokens == END).cumsum(1).cumsum(1) <= 1)).sum(1)

    @torch.no_grad()
    def sample(self, n, width):
        read, state, columns = torch.full((n, 1), END), None, []
        for _ in range(width):
            hidden, state = self.lstm(one_hot(read, self.lstm.input_size).float(), state)
            read = torch.multinomial(self.output(hidden[:, 0]).softmax(-1), 1)
            columns.append(read)
        tokens = torch.cat(columns, 1)
        return tokens * ((tokens == END).cumsum(1) == 0)

    def sample_blocks(self, n, width):
        return [self.sample(min(BLOCK, n - start), width) for start in range(0, n, BLOCK)]

    @torch.no_grad()
    def score(self, tokens):
        return [self.log_prob(tokens[i]) for i in torch.randperm(len(tokens)).split(BATCH)]


class LiteralDiscriminator(nn.Module):
    """The report's discriminator: it reads all columns, whatever stands in them."""

    def __init__(self, like):
        super().__init__()
        self.lstm, self.output = copy.deepcopy((like.directions[0].layers[0], like.output))

    def forward(self, tokens):
        inputs = one_hot(tokens, self.lstm.input_size).float()
        return self.output(self.lstm(inputs)[0][:, -1])[:, 0]


class LiteralTraining:
    """The report's losses on rows of one width, and Adam from parameter to parameter."""

    def __init__(self, tokens, generator, judge, rate=RATE):
        self.tokens = tokens
        self.generator, self.judge = LiteralGenerator(generator), LiteralDiscriminator(judge)
        adam = partial(torch.optim.Adam, lr=rate, foreach=False)
        self.adams = [adam(module.parameters()) for module in (self.generator, self.judge)]

    def adversarial_epoch(self):
        for index in torch.randperm(len(self.tokens)).split(BATCH):
            real = self.tokens[index]
            generated = self.generator.sample(*real.shape)
            self.descend(self.judge_loss(real, generated), self.adams[1])
            self.descend(self.generator_loss(real), self.adams[0])

    def likelihood_epoch(self):
        for index in torch.randperm(len(self.tokens)).split(BATCH):
            self.descend(-self.generator.log_prob(self.tokens[index]).mean(), self.adams[0])

    def judge_loss(self, real, generated):
        """Equation 2, negated."""
        return -(logsigmoid(self.judge(real)) + logsigmoid(-self.judge(generated))).mean()

    def generator_loss(self, real):
        """-log(-L), L of Equation 5; float32 would not hold the probabilities of long words."""
        with torch.no_grad():
            log_generated = logsigmoid(-self.judge(real))
        ratio = self.generator.log_prob(real).double().exp() * len(self.tokens)
        return -(-(log_generated * ratio).mean()).log()

    def descend(self, loss, adam):
        adam.zero_grad()
        loss.backward()
        adam.step()
