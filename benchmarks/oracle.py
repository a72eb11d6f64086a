"""A known distribution: how far are objectives from a random LSTM that wrote the data?

    python -m benchmarks.oracle --vocabulary 50 --length 8 --seeds 3 --objective mle likelihood
    python -m benchmarks.oracle --seqgan          # the sizes of Yu et al. (2017)

The task of SeqGAN: an LSTM with weights from N(0, 1) writes training sequences, and another LSTM is
trained on them. There the sequences have a fixed length and no END. Here both
models give END probability 0 before that length and 1 at it: END costs nothing, all rows of the
width are complete, and oracle and generator have one support, so that every divergence is finite.

A seed decides the oracle, the training sequences, the maximum-likelihood start, which all settings
share, and what is random in the epochs that follow; the settings are paired by it. Two models of a
fit are measured: the epoch of the best held-out likelihood (`kl_model`, ...), which may be the start
itself, and the last epoch (`last_kl_model`, ...), whatever it is. Both densities are exact, so the
divergences, in nats per sequence, have no error but that of Monte Carlo (`..._se`).

A CSV row is written per fit; a killed command goes on where it was.
"""

import argparse
import math
import time

import torch

from benchmarks import store
from benchmarks.objectives import OBJECTIVES
from benchmarks.starts import go_on
from likelihood_gan import CharLSTM, LikelihoodGAN
from likelihood_gan.devices import on_cpu
from likelihood_gan.protocols import END
from likelihood_gan.scoring import evaluating, log_probs

SIZE = 32  # of the oracle's layer and of all embeddings, as in SeqGAN
START_EPOCHS = 40
START = "start"  # the maximum-likelihood model before the epochs that are compared
SETTINGS = {
    name: OBJECTIVES[name]
    for name in (
        "mle",
        "likelihood",
        "likelihood-power0",
        "likelihood-normalised",
        "mixture-js",
        "pooled-kl",
        "pooled-js",
        "reinforce",
        "maligan",
    )
} | {"default": LikelihoodGAN().objective}
DIVERGENCES = ("kl_model", "kl_oracle", "js")


class FixedLength(CharLSTM):
    """A `CharLSTM` that writes exactly `length` symbols."""

    def __init__(self, n_tokens, length, **params):
        super().__init__(n_tokens, **params)
        self.length = length

    def _read(self, tokens, state, rng=None):
        n_read, state = (tokens.new_zeros(len(tokens)), None) if state is None else state
        log_probs, state = super()._read(tokens, state, rng)
        place = n_read[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        is_end = torch.arange(log_probs.shape[2], device=tokens.device) == END
        symbols = log_probs.masked_fill(is_end, -torch.inf).log_softmax(-1)
        end = torch.zeros_like(log_probs[0, 0]).masked_fill(~is_end, -torch.inf)
        log_probs = torch.where((place < self.length)[:, :, None], symbols, end)
        return log_probs, (n_read + tokens.shape[1], state)


def make_oracle(vocabulary, length, rng):
    """Return SeqGAN's oracle: an LSTM over `vocabulary` symbols with all weights from N(0, 1)."""
    params = {"hidden_size": SIZE, "embedding_size": SIZE, "dropout": 0.0}
    oracle = FixedLength(vocabulary + 1, length, rng=rng, **params)
    with torch.no_grad():
        for weight in oracle.parameters():
            weight.normal_(generator=rng)
    return oracle.eval()


def divergences(model, oracle, n, max_len, rng):
    """Estimate divergences from n samples of each model and both exact log-probabilities.

    Returns
    -------
    dict
        In nats: "kl_model", KL(model, oracle); "kl_oracle", KL(oracle, model); "js", with standard
        errors "..._se"; "oracle_nll", the mean of -log oracle(x) over samples of the model
        (SeqGAN's measure, per sequence); "outside", the share of these that the oracle cannot
        write. If there is one, "kl_model" is infinite.
    """
    of_model, of_oracle = (_score(drawn, model, oracle, n, max_len, rng) for drawn in "mo")
    ratio_model = of_model[0] - of_model[1]
    ratio_oracle = of_oracle[1] - of_oracle[0]
    found = {}
    found["kl_model"], found["kl_model_se"] = _mean(ratio_model)
    found["kl_oracle"], found["kl_oracle_se"] = _mean(ratio_oracle)
    # log p / ((p + q) / 2) = log 2 - log(1 + q / p)
    halves = [
        _mean(math.log(2) - torch.nn.functional.softplus(-r)) for r in (ratio_model, ratio_oracle)
    ]
    found["js"] = sum(mean for mean, _ in halves) / 2
    found["js_se"] = math.hypot(*(error for _, error in halves)) / 2
    found["oracle_nll"] = -float(of_model[1].mean())
    found["outside"] = float((of_model[1] == -torch.inf).double().mean())
    return found


def measure(start, oracle, sequences, setting, seed, arguments):
    """Train from a copy of `start` and return a row of figures."""
    started = time.perf_counter()
    gan, last = start, start.distribution_
    if setting != START:
        gan, last = go_on(start, sequences, SETTINGS[setting], arguments.epochs)
    row = {"setting": setting, "seed": seed}
    for prefix, model in {"": gan.generator_, "last_": last.generator}.items():
        rng = torch.Generator().manual_seed(10**6 + seed)  # other draws than the data's
        width = arguments.length + 1
        values = divergences(on_cpu(model), oracle, arguments.measured, width, rng)
        row |= {prefix + key: value for key, value in store.rounded(values, 6).items()}
    judging = [record["phase"] for record in gan.history_].count("discriminator")
    return row | {
        "kept": 0 if setting == START else max(gan.best_epoch_ - judging, 0),
        "validation_nll": round(min(record["validation_nll"] for record in gan.history_), 4),
        "discriminator_accuracy": round(
            gan.history_[-1].get("discriminator_accuracy", math.nan), 4
        ),
        "seconds": round(time.perf_counter() - started, 1),
    }


def prepare(seed, arguments):
    """Return the oracle of a seed, its training sequences and the fit that all settings share."""
    rng = torch.Generator().manual_seed(seed)
    oracle = make_oracle(arguments.vocabulary, arguments.length, rng)
    with torch.no_grad():
        tokens = oracle.sample(arguments.sequences, arguments.length + 1, rng=rng)
    sequences = [tuple(row) for row in tokens[:, :-1].tolist()]
    start = LikelihoodGAN(
        FixedLength,
        generator_params={
            "length": arguments.length,
            "hidden_size": arguments.hidden_size,
            "embedding_size": SIZE,
            "dropout": arguments.dropout,
        },
        discriminator_params={"embedding_size": SIZE},
        vocabulary=range(1, arguments.vocabulary + 1),  # so that tokens are symbols
        objective="mle",
        pretrain_epochs=START_EPOCHS,
        adversarial_epochs=0,
        device=arguments.device,
        random_state=seed,  # in every fit, so that all hold out the same sequences
    )
    return oracle, sequences, start.fit(sequences)


def run(path, arguments):
    """Do the fits that the result file lacks; return all its rows of this command."""
    for seed in range(arguments.seeds):
        missing = store.missing(path, arguments.objective, arguments.seeds)
        settings = [setting for setting, of_seed in missing if of_seed == seed]
        if settings:
            oracle, sequences, start = prepare(seed, arguments)
        for setting in settings:
            row = measure(start, oracle, sequences, setting, seed, arguments)
            store.append_row(path, row)
            print(f"{setting}, seed {seed}: {row['seconds']} s", flush=True)
    return [
        row
        for setting in arguments.objective
        for row in store.read_rows(path)
        if row["setting"] == setting and row["seed"] < arguments.seeds
    ]


def parse(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", type=int, default=50)
    parser.add_argument("--length", type=int, default=8)
    parser.add_argument("--sequences", type=int, default=5000)
    # the best held-out likelihood of the start within its time; 128 and 0.5 is a little better
    parser.add_argument("--hidden-size", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.25)
    parser.add_argument("--seqgan", action="store_true", help="all of the above as in the paper")
    parser.add_argument("--epochs", type=int, default=20, help="after the start")
    parser.add_argument("--measured", type=int, default=10_000, help="samples of each model")
    parser.add_argument("--seeds", type=int, default=3)
    settings = [START, *SETTINGS]
    parser.add_argument("--objective", nargs="+", default=settings, choices=settings)
    parser.add_argument("--device", default="cpu", help="where to train")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args(argv)
    if arguments.seqgan:
        arguments.vocabulary, arguments.length, arguments.sequences = 5000, 20, 10_000
        arguments.hidden_size, arguments.dropout = SIZE, 0.0
    return arguments


def path_of(arguments):
    """Return the result file of a task and model: rows of one file can be compared."""
    names = ("vocabulary", "length", "sequences", "hidden_size", "dropout", "epochs", "measured")
    return store.RESULTS / f"oracle-{'-'.join(str(getattr(arguments, name)) for name in names)}.csv"


def main():
    """Run, and print the table with paired differences to maximum likelihood."""
    arguments = parse()
    torch.set_num_threads(arguments.threads)
    rows = run(path_of(arguments), arguments)
    for prefix, title in {"": "best held-out epoch", "last_": "last epoch"}.items():
        columns = [prefix + name for name in (*DIVERGENCES, "oracle_nll")]
        print(f"\n{title}; in brackets: difference to mle, 95 % t-interval\n")
        summary = store.paired_summary(rows, "mle", columns)
        print("\n".join(store.markdown_table(summary, "mle", columns)))


def _score(drawn, model, oracle, n, max_len, rng):
    """Log-probabilities under both models of samples of one."""
    source = model if drawn == "m" else oracle
    with torch.no_grad(), evaluating(source):
        tokens = source.sample(n, max_len, rng=rng)
    n_tokens = oracle.output.out_features
    batch_size = max(1, min(1024, 2**24 // (n_tokens * max_len)))  # 64 MB a table
    return [log_probs(m, tokens, rng, batch_size) for m in (model, oracle)]


def _mean(values):
    """Mean and its standard error."""
    if not values.isfinite().all():
        return float(values.mean()), math.nan
    return float(values.mean()), float(values.std()) / math.sqrt(len(values))


if __name__ == "__main__":
    main()
