"""
Do two processes train one model faster?
========================================

Run it on two cores:

    OMP_NUM_THREADS=1 python examples/torchrun_names.py
    OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node=2 examples/torchrun_names.py

Both print the same held-out nats, up to rounding.
"""

import time

import torch

from likelihood_gan import LikelihoodGAN
from likelihood_gan.datasets import load_first_names
from likelihood_gan.processes import several_processes

PRETRAIN_EPOCHS = 4
HIDDEN_SIZE = 512

torch.set_num_threads(1)
names = load_first_names()
gan = LikelihoodGAN(
    generator_params={"hidden_size": HIDDEN_SIZE},
    pretrain_epochs=PRETRAIN_EPOCHS,
    adversarial_epochs=0,
    objective="mle",
    batch_size=256,
    random_state=0,
)

started = time.perf_counter()
with several_processes() as rank:
    gan.fit(names)
if rank == 0:  # the first process alone writes and prints
    seconds = time.perf_counter() - started
    print(f"{seconds:.1f} s, {gan.history_[-1]['validation_nll']:.5f} held-out nats")
    print(*gan.sample(3, random_state=0), sep="\n")
