"""
How do I plug in my own generator?
==================================

Write `step`, the distribution of the next symbol, and inherit the rest from `Autoregressive`. Here
it is a causal Transformer; its state is simply all that was read so far. Beside it stand an LSTM
alone, and the default, an LSTM that corrects an n-gram model.
"""

import torch
from torch import nn

from likelihood_gan import Autoregressive, CharLSTM, LikelihoodGAN
from likelihood_gan.checks import check_generator
from likelihood_gan.datasets import load_first_names

EVERY = 2
EPOCHS = 20


class CausalTransformer(Autoregressive, nn.Module):
    def __init__(self, n_tokens, width=64, n_heads=4, n_layers=2, max_len=32):
        super().__init__()
        self.embedding = nn.Embedding(n_tokens, width)
        self.position = nn.Parameter(0.1 * torch.randn(max_len, width))
        layer = nn.TransformerEncoderLayer(width, n_heads, 2 * width, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, n_layers, enable_nested_tensor=False)
        self.output = nn.Linear(width, n_tokens)

    def forward(self, read):
        """Next-symbol log-probabilities at every position, (batch, time, n_tokens)."""
        time = read.shape[1]
        future = nn.Transformer.generate_square_subsequent_mask(time, device=read.device)
        hidden = self.embedding(read) + self.position[:time]
        return self.output(self.layers(hidden, future, is_causal=True)).log_softmax(-1)

    def step(self, tokens, state):
        read = tokens[:, None] if state is None else torch.cat([state, tokens[:, None]], 1)
        return self(read)[:, -1], read

    def log_prob(self, tokens):  # optional: `Autoregressive` would call `step` for every symbol
        read = nn.functional.pad(tokens[:, :-1], (1, 0))  # 0 is also the start symbol
        chosen = self(read).gather(2, tokens[:, :, None])[:, :, 0]
        counts = read != 0
        counts[:, 0] = True
        return (chosen * counts).sum(1)


check_generator(CausalTransformer(4), n_tokens=4)
print("the Transformer keeps all laws of a generator")
names = load_first_names()[::EVERY]
train, test = [w for i, w in enumerate(names) if i % 5], names[::5]
for generator in (CausalTransformer, CharLSTM, None):  # None is the default
    gan = LikelihoodGAN(generator, vocabulary=set("".join(names)), random_state=0)
    rates = {"pretrain_learning_rate": 0.002 if generator is CausalTransformer else 0.005}
    gan.set_params(pretrain_epochs=EPOCHS, **rates).fit(train)
    print(f"{type(gan.generator_).__name__}: {-gan.score(test):.2f} nats per unseen name, writes")
    print("   ", *gan.sample(10, random_state=0))
