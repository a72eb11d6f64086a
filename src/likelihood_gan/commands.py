"""What each command does: from files to files and lines.

They use a model that is there; how one comes to be is left to `fit_command`, how a command is written, and
what becomes of an error, to `command_line`.
"""

import math
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from likelihood_gan import metrics, persistence
from likelihood_gan.comparison import compare as compared
from likelihood_gan.comparison import control_of
from likelihood_gan.console import (
    STANDARD_INPUT,
    open_source,
    read,
    tell,
    write,
    write_scores,
    write_table,
)
from likelihood_gan.datasets import iter_sequences
from likelihood_gan.distribution import SequenceDistribution, SequenceEstimator
from likelihood_gan.progress import counted, watched
from likelihood_gan.refined import Refined
from likelihood_gan.validation import check_chunks, check_known
from likelihood_gan.vocabulary import Vocabulary, vocabulary_of


def sample(arguments: Namespace) -> None:
    """Print sequences that a model draws, one a line, perhaps with their log-probabilities."""
    model = load(arguments)
    constraints = {
        name: value
        for name in ("prefix", "temperature", "min_len", "top_k", "top_p", "banned", "allowed")
        if (value := getattr(arguments, name)) is not None
    }
    known = set(read(arguments.new, arguments)[0]) if arguments.new else None
    with watched(sys.stderr.isatty()):
        found = model.sample(
            arguments.n,
            arguments.max_len,
            distinct=arguments.distinct,
            exclude=known,
            where=re.compile(arguments.match).search if arguments.match is not None else None,
            cut=arguments.cut,
            return_log_prob=arguments.scores,
            random_state=arguments.seed,
            **constraints,
        )
    if arguments.scores:
        write_scores(*found)
    else:
        write(found)


def score(arguments: Namespace) -> None:
    """Print lines with their log-probabilities, as they are read."""
    model = load(arguments)
    vocabulary: Any = vocabulary_of(model)
    source = open_source(arguments.sequences)
    lines = iter_sequences(source, encoding=arguments.encoding, keep_empty=arguments.keep_empty)
    waits = arguments.sequences == STANDARD_INPUT and sys.stdin.isatty()
    size = 1 if arguments.line_by_line or waits else None
    with watched(sys.stderr.isatty() and not sys.stdout.isatty()):
        for chunk in counted(check_chunks(lines, size), None, "scoring sequences"):
            scores = np.full(len(chunk), -np.inf)
            known = np.ones(len(chunk), dtype=bool)
            if arguments.handle_unknown == "neg_inf":
                known = np.array([not vocabulary.unknown([line]) for line in chunk])
            elif arguments.handle_unknown == "error":
                check_known(vocabulary, chunk, arguments.sequences)
            if known.any():
                scores[known] = model.score_samples([chunk[i] for i in np.flatnonzero(known)])
            write_scores(chunk, scores)
            sys.stdout.flush()


def compare(arguments: Namespace) -> None:
    """Print a table: the model, an n-gram model and other data, against data that is held out."""
    model = load(arguments)
    held_out, _ = read(arguments.held_out, arguments, counts=False)
    if not held_out:
        raise ValueError(f"{arguments.held_out} holds no sequences")
    training, weights = None, None
    if arguments.training:
        training, weights = read(arguments.training, arguments)
        if known := round(len(held_out) * (1 - metrics.novelty(held_out, training))):
            tell(
                f"{known} of the {len(held_out)} sequences of {arguments.held_out} are in "
                f"{arguments.training}: to know these by heart looks good here"
            )
    with watched(sys.stderr.isatty()):
        control = control_of(model, training, weights)
        table = compared(
            model,
            held_out,
            training=training,
            control=control,
            n_samples=arguments.n,
            random_state=arguments.seed,
        )
    names = list(table[0].values)
    lines = [["", "best", *names]]
    for row in table:
        lines.append([row.figure, row.best, *(_number(row.values[name]) for name in names)])
    write_table(lines)
    if training is None:
        missing = "the share of new samples" + (
            "" if control else ", or the n-gram model beside it"
        )
        tell(f"pass --training with the data of the fit for {missing}")


def info(arguments: Namespace) -> None:
    """Print what a file holds."""
    path = arguments.model
    facts: dict[str, object] = {"file": f"{path}, {Path(path).stat().st_size:,} bytes"}
    if persistence.kind_of(path) == "checkpoint":
        facts |= _of_checkpoint(path)
    else:
        facts |= _of_model(persistence.load(path))
    write_table([name, str(value)] for name, value in facts.items())


def load(arguments: Namespace) -> Any:
    """Read a model of strings, as it is or without its refinement."""
    path = arguments.model
    model = persistence.load(path)
    if not isinstance(model, (SequenceDistribution, SequenceEstimator)):
        raise ValueError(
            f"{path} holds a {type(model).__name__}, which the command line cannot use; load it in Python"
        )
    if isinstance(model, Refined):
        if arguments.plain:
            model = model.estimator_
    elif arguments.refined:
        raise ValueError(
            f"--refined, but {path} holds a {type(model).__name__}; what `likelihood-gan fit --refine` "
            "writes is refined"
        )
    vocabulary = vocabulary_of(model)
    if vocabulary is None or not vocabulary.text:
        raise ValueError(
            f"{path} holds a model of sequences that are no strings; load it in Python, with "
            f"likelihood_gan.{type(model).__name__}.load"
        )
    if odd := [symbol for symbol in vocabulary.symbols if {"\n", "\r"}.intersection(symbol)]:
        raise ValueError(
            f"{path} holds a model whose sequences may hold line ends, {odd}; load it in Python"
        )
    return model


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _of_checkpoint(path: str) -> dict[str, object]:
    file = persistence.Parts(path)
    numbers = file.decode("numbers")
    history = numbers["history"]
    return {
        "holds": "checkpoint of a fit; go on with `likelihood-gan resume`",
        "estimator": _shown(file.decode("estimator")),
        "data": f"{file.decode('data')['n']:,} distinct sequences",
        "epochs": history[-1]["epoch"] if history else 0,
        **_best(history, numbers["best_epoch"]),
        **_symbols(file.decode("vocabulary")),
    }


def _of_model(model: Any) -> dict[str, object]:
    facts: dict[str, object] = {"holds": type(model).__name__}
    if isinstance(model, Refined):
        z = model.log_partition_
        facts |= {
            "refined by": f"{model.gain_:.3f} held-out nats per sequence, error {model.gain_error_:.3f}",
            "beta": model.beta_,
            "log Z": f"{z.value:.4f}, from {z.lower:.4f} to {z.upper:.4f}",
        }
        model = model.estimator_
        facts["above"] = type(model).__name__
    if hasattr(model, "history_"):
        facts |= {
            "estimator": _shown(model),
            "epochs": model.n_iter_,
            **_best(model.history_, model.best_epoch_),
        }
    distribution = getattr(model, "distribution_", model)
    generator = getattr(distribution, "generator", None)
    if generator is not None:
        numbers = sum(p.numel() for p in generator.parameters())
        facts["generator"] = f"{type(generator).__name__}, {numbers:,} weights"
    if (vocabulary := vocabulary_of(model)) is not None:
        facts |= _symbols(vocabulary)
    max_len = getattr(model, "max_len_", getattr(model, "max_len", None))
    return facts | {"max_len": max_len}


def _shown(estimator: Any) -> str:
    return " ".join(repr(estimator).split())


def _best(history: Sequence[dict[str, Any]], epoch: int) -> dict[str, object]:
    nats = [r["validation_nll"] for r in history if r["epoch"] == epoch and "validation_nll" in r]
    shown = f"{epoch}, {nats[-1]:.3f} held-out nats per sequence" if nats else epoch
    return {"best epoch": shown}


def _symbols(vocabulary: Vocabulary) -> dict[str, object]:
    symbols = [symbol if isinstance(symbol, str) else repr(symbol) for symbol in vocabulary.symbols]
    blank = "" if vocabulary.text and vocabulary.token_pattern is None else " "
    shown = blank.join(symbols)
    if len(shown) > 100:
        shown = f"{shown[:97]}..."
    return {"symbols": f"{len(symbols)}: {shown}"}
