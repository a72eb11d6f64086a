"""What one generator update costs: milliseconds, and passes of both models."""

import argparse
import copy
from statistics import median

import torch

from benchmarks.alternatives import gumbel, seqgan, textkd
from benchmarks.alternatives.training import make_corpus
from benchmarks.tasks import report_names
from benchmarks.timing import alternate
from likelihood_gan import LikelihoodGAN, LSTMDiscriminator, objectives, training


def cost(gan, sequences, batch_size, repeats):
    """Return rows of a table: method, median ms, its ratio to mle, passes of both models.

    A pass reads as many symbols as the padded real batch has; where a method needs samples, their
    drawing is counted, and the networks of textkd are not. Rates are 0, so that the models, and the
    lengths they write, stay the same.
    """
    corpus, rng = make_corpus(gan, sequences), torch.Generator().manual_seed(0)
    generator, size = copy.deepcopy(gan.generator_).train(), gan.generator_.output.in_features
    discriminator = LSTMDiscriminator(gan.vocabulary_.n_tokens, size // 2, rng=rng)
    model = textkd.train(gan, sequences, epochs=0, random_state=0, size=size)
    index = next(corpus.epoch(batch_size, rng))
    models = training._Models(generator, discriminator, rng, "float32")

    def learn(module, loss):
        adam = training.Memory().adam("module", module)

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
        "importance": objectives.ImportanceSampled(),
        "pooled": objectives.Pooled(),
        "reinforce": objectives.Reinforce(),
        "seqgan, 16 roll-outs": seqgan.RollOuts(corpus.width, 16, rng),
        "gumbel": gumbel.GumbelSoftmax(corpus.width, 1.0, rng),
    }
    steps = {name: learn(generator, loss) for name, loss in losses.items()}
    steps["textkd, the generator alone"] = lambda: model.generator_step(batch_size)
    steps["textkd, with 5 critic steps"] = textkd_round
    steps["(a discriminator step)"] = learn(discriminator, judged)
    rounds = alternate(steps, repeats)
    milliseconds = {name: 1e3 * median(seconds) for name, seconds in rounds.items()}
    stacks, symbols = (generator.lstm, discriminator.directions[0]), corpus.rows(index)[0].numel()
    return [
        [name, value, value / milliseconds["mle"]]
        + [count_symbols(stack, steps[name]) / symbols for stack in stacks]
        for name, value in milliseconds.items()
    ]


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
    names = report_names()
    settings = dict(objective="mle", pretrain_epochs=4, adversarial_epochs=0, random_state=0)
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
