"""
What does a small GPT-2 know of a list of names?
================================================

`CausalLM` makes a generator of any causal language model of Hugging Face's transformers. Here it is a
GPT-2 with random weights, which has seen no text; nothing is downloaded. It is fitted on first names
alone, and on top of an n-gram model, whose mistakes it then corrects. Beside both stands the default,
where an LSTM does that.
"""

import torch
from transformers import GPT2Config

from likelihood_gan import LikelihoodGAN
from likelihood_gan.checks import check_generator
from likelihood_gan.datasets import load_first_names
from likelihood_gan.huggingface import CausalLM
from likelihood_gan.models import NGram, Product

EVERY = 1
EPOCHS = 8
torch.set_num_threads(1)

config = GPT2Config(n_embd=64, n_layer=2, n_head=4)
check_generator(CausalLM(4, config=config), n_tokens=4)
print("GPT-2 keeps all laws of a generator")


def corrected(n_tokens):
    return Product([CausalLM(n_tokens, config=config), NGram(n_tokens)], exponents=[1, 1])


names = load_first_names()[::EVERY]
train, test = [w for i, w in enumerate(names) if i % 5], names[::5]
generators = {
    "GPT-2": dict(generator=CausalLM, generator_params={"config": config}),
    "GPT-2 on n-grams": dict(generator=corrected),
    "default": {},
}
for kind, parameters in generators.items():
    rate = {} if kind == "default" else {"pretrain_learning_rate": 0.002}
    gan = LikelihoodGAN(vocabulary=set("".join(names)), random_state=0, **parameters, **rate)
    gan.set_params(pretrain_epochs=EPOCHS).fit(train)
    print(f"{kind}: {-gan.score(test):.2f} nats per unseen name, writes")
    print("   ", *gan.sample(10, random_state=0))
