"""The commands that make a model: `fit`, and `resume` from a checkpoint.

A file is written once all is done, so what is unfinished never passes for finished; and what ends a fit
before loses nothing. What a fit is is left to `estimator`, how a command is written to `command_line`.
"""

import ast
import contextlib
import difflib
import inspect
import os
import shlex
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sklearn.frozen import FrozenEstimator

from likelihood_gan import models
from likelihood_gan.callbacks import Checkpoint
from likelihood_gan.console import STANDARD_INPUT, read, write
from likelihood_gan.estimator import LikelihoodGAN
from likelihood_gan.refined import Refined
from likelihood_gan.splitting import make_splitter

GENERATORS = ("ResidualLSTM", "CharLSTM", "NGram")
"""Those that are called by name; others are code, which is Python's business."""
UNFINISHED = ".unfinished"
"""Where the best epoch of a fit goes that was cut short and has no checkpoint."""
_REFINED = "refined__"
_NESTED = ("generator__", "discriminator__")
_NOT_SET = ("generator", "discriminator", "callbacks", "warm_start", "verbose", "random_state")
_OPTIONS = (
    *("objective", "pretrain_epochs", "adversarial_epochs", "max_len", "vocabulary"),
    *("token_pattern", "handle_unknown", "device"),
)
"""Parameters with an option of their own."""


def fit(arguments: Namespace) -> None:
    """Fit a model to the lines of a file and save it."""
    gan, refined = _make_estimators(arguments)
    _check_targets(arguments)
    words, counts = read(arguments.words, arguments)
    if arguments.checkpoint:
        gan.callbacks = [Checkpoint(arguments.checkpoint, arguments.every)]
    with _keeping(arguments, gan):
        gan.fit(words, sample_weight=counts)
        gan.callbacks = None  # how someone watches is not what was made
        said = _finish(arguments, gan, refined, words, counts)
    write([said])


def resume(arguments: Namespace) -> None:
    """Go on with a fit from its checkpoint and save the model."""
    refined = _make_refined(arguments, dict(arguments.set))
    _check_targets(arguments)
    words, counts = read(arguments.words, arguments)
    with _keeping(arguments, None):
        gan = LikelihoodGAN.resume(
            arguments.checkpoint,
            words,
            counts,
            callbacks=[Checkpoint(arguments.checkpoint, arguments.every)],
            verbose=_verbose(arguments),
        )
        gan.callbacks = None
        said = _finish(arguments, gan, refined, words, counts)
    write([said])


def setting(text: str) -> tuple[str, Any]:
    """Read name=value: a Python literal such as 3, 0.5, True or {1: 0.02}, else a string."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ArgumentTypeError(f"{text!r} is not of the form name=value")
    try:
        return name.strip(), ast.literal_eval(value.strip())
    except (ValueError, SyntaxError):
        return name.strip(), value


def _finish(
    arguments: Namespace, gan: LikelihoodGAN, refined: Refined | None, words: Any, counts: Any
) -> str:
    """Refine a fitted model, if that is wanted, and save it; return what there is to say of it."""
    model: Any = gan
    if refined is not None:
        refined.estimator = FrozenEstimator(gan)
        model = refined.fit(words, sample_weight=counts)
    model.save(arguments.out)
    best = [r for r in gan.history_ if r["epoch"] == gan.best_epoch_ and "validation_nll" in r]
    nats = f", {best[-1]['validation_nll']:.2f} held-out nats per sequence" if best else ""
    said = f"{arguments.out}: epoch {gan.best_epoch_} of {gan.n_iter_}{nats}"
    if refined is not None:
        gain = f"refined by {refined.gain_:.3f} nats, error {refined.gain_error_:.3f}"
        said += f"; {gain if refined.beta_ else 'the classifier found nothing to refine'}"
    return said


@contextlib.contextmanager
def _keeping(arguments: Namespace, gan: LikelihoodGAN | None) -> Iterator[None]:
    """See to it that what ends a fit loses nothing, and say where it is; `gan` is None in `resume`."""
    out, checkpoint = arguments.out, arguments.checkpoint
    before = _stamp(checkpoint)
    try:
        # what is said of progress is no result
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except BaseException as error:
        is_new = _stamp(checkpoint) != before
        if isinstance(error, FloatingPointError):
            is_new = False  # it would come to the same
        if is_new or (gan is None and isinstance(error, KeyboardInterrupt)):
            # the estimator, of which a note goes on to tell, ends with the process
            ended = [note.partition(";")[0] for note in getattr(error, "__notes__", [])]
            error.__notes__ = [*ended, f"go on with: {_resumption(arguments)}"]
        elif gan is not None and hasattr(gan, "distribution_"):
            gan.callbacks = None
            gan.save(out + UNFINISHED)
            error.add_note(f"it is in {out}{UNFINISHED}, and {out} was not written")
        raise


def _resumption(arguments: Namespace) -> str:
    """Return the command that goes on."""
    command = ["likelihood-gan", "resume", arguments.checkpoint, arguments.words]
    command += ["--out", arguments.out]
    defaults: dict[str, Any] = {"every": 1, "encoding": "utf-8", "verbose": None}
    if arguments.refine:
        defaults["seed"] = None
    for name, default in defaults.items():
        if (value := getattr(arguments, name)) != default:
            command += [f"--{name}", str(value)]
    for name in ("counts", "keep_empty", "refine", "force"):
        if getattr(arguments, name):
            command.append(f"--{name.replace('_', '-')}")
    for name, value in arguments.set:
        if name.startswith(_REFINED):
            command += ["--set", f"{name}={value!r}"]
    return shlex.join(command)


def _stamp(path: str | None) -> tuple[int, int] | None:
    """Return what changes when a file is written anew."""
    if path is None or not os.path.exists(path):
        return None
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


def _check_targets(arguments: Namespace) -> None:
    """Raise before anything is trained if what will be written cannot be, or would destroy a file."""
    out, checkpoint = arguments.out, arguments.checkpoint
    is_fit = arguments.command == "fit"
    for option, path in {"--out": out, "--checkpoint": checkpoint if is_fit else None}.items():
        if path is None:
            continue
        folder = Path(path).parent
        if not folder.is_dir():
            raise ValueError(f"{option} {path}: there is no folder {folder}; make it first")
        if Path(path).is_dir() or not os.access(folder, os.W_OK):
            raise ValueError(f"{option} {path}: no file of that name can be written")
    paths = {"the data": arguments.words, "the checkpoint": checkpoint, "--out": out}
    real = [os.path.realpath(path) for path in paths.values() if path not in (None, STANDARD_INPUT)]
    if len(set(real)) < len(real):
        raise ValueError(f"{' and '.join(paths)} must be different files")
    if arguments.force:
        return
    if is_fit and checkpoint and os.path.exists(checkpoint):
        raise ValueError(
            f"--checkpoint {checkpoint} exists; go on with it by `{_resumption(arguments)}`, or pass "
            "--force to begin anew"
        )
    if os.path.exists(out):
        raise ValueError(f"--out {out} exists; pass --force to replace it once the fit is finished")


def _make_estimators(arguments: Namespace) -> tuple[LikelihoodGAN, Refined | None]:
    """Turn options into parameters."""
    set_ = dict(arguments.set)
    refined = _make_refined(arguments, set_)
    parameters: dict[str, Any] = {
        name: value for name in _OPTIONS if (value := getattr(arguments, name)) is not None
    }
    own = {name: value for name, value in set_.items() if not name.startswith(_REFINED)}
    if twice := sorted(own.keys() & parameters.keys()):
        raise ValueError(f"--set {twice[0]} is given twice: it is also an option of its own")
    known = [n for n in inspect.signature(LikelihoodGAN).parameters if n not in _NOT_SET]
    _check_names({n: v for n, v in own.items() if not n.startswith(_NESTED)}, known)
    if arguments.vocabulary is not None and arguments.token_pattern is not None:
        parameters["vocabulary"] = make_splitter(arguments.token_pattern)(arguments.vocabulary)
    gan = LikelihoodGAN(
        None if arguments.generator is None else getattr(models, arguments.generator),
        random_state=arguments.seed,
        verbose=_verbose(arguments),
    )
    return gan.set_params(**parameters, **own), refined


def _make_refined(arguments: Namespace, settings: Mapping[str, Any]) -> Refined | None:
    """Return what refines, with the parameters that are set as refined__name; None if nothing does."""
    named = {n: v for n, v in settings.items() if n.startswith(_REFINED)}
    if arguments.command == "resume" and (others := settings.keys() - named.keys()):
        raise ValueError(
            f"--set {min(others)}: a fit goes on with the parameters that it was begun with"
        )
    if not arguments.refine:
        if named:
            raise ValueError(f"--set {min(named)} needs --refine")
        return None
    left_out = ("estimator", "classifier", "verbose", "random_state")
    known = [n for n in inspect.signature(Refined).parameters if n not in left_out]
    _check_names(named, [_REFINED + name for name in known])
    own = {name.removeprefix(_REFINED): value for name, value in named.items()}
    refined = Refined(**own, random_state=arguments.seed, verbose=_verbose(arguments))
    refined._check_parameters()  # now, not in minutes
    return refined


def _check_names(settings: Mapping[str, Any], known: list[str]) -> None:
    """Raise ValueError if there is no such parameter."""
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}? There are" if near else "there are"
            raise ValueError(
                f"--set {name}: there is no such parameter to set; {hint} {', '.join(known)}, and "
                "generator__NAME and discriminator__NAME for those of the networks"
            )


def _verbose(arguments: Namespace) -> int:
    """Return how progress is shown: on a terminal a bar, elsewhere not at all, unless it is said."""
    if arguments.verbose is not None:
        return int(arguments.verbose)
    return int(sys.stderr.isatty())
