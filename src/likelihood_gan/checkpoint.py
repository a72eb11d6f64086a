"""Going on with a fit that was cut short, by Ctrl-C or by the end of its process: to the same bits.

What a fit consists of is left to `fitting`, how a file is written to `persistence`.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from likelihood_gan import persistence
from likelihood_gan.devices import resolve_device
from likelihood_gan.fitting import Fit, State
from likelihood_gan.rules import check, integer
from likelihood_gan.symbols import enums_among
from likelihood_gan.validation import Sequences
from likelihood_gan.vocabulary import Vocabulary

WATCHING = ("callbacks", "verbose")
"""Parameters that may differ: they watch a fit, and are no part of it."""


@persistence.bundled
@dataclass(frozen=True)
class Checkpoint:
    """Write the whole state of a fit to a file, so that `LikelihoodGAN.resume` can go on with it.

    One of the `callbacks`. The file is written before the first epoch, after every `every` epochs and
    after the last one, each time as a whole or not at all, so that it can be read whatever ends the process.
    It holds the networks with what was counted, their optimisers, the weights of the best epoch, random
    states, the history, the parameters, and hashes of the data: numbers and JSON, nothing executable.

    Parameters
    ----------
    path : path
        The file. Fits that run at the same time need one each.
    every : int, default=1
        Epochs from one writing to the next: as many are lost at most.

    Raises
    ------
    TypeError, ValueError
        If `every` is no integer, or below 1.
    """

    path: str | os.PathLike[str]
    every: int = 1

    def __post_init__(self) -> None:
        check(self.every, "every", integer(1))
        object.__setattr__(self, "path", os.fspath(self.path))

    def __call__(self, distribution: Any, history: Any) -> None:
        """Do nothing: once all callbacks were asked, `fit` calls `write`."""

    def write(self, fit: Fit, frame: "Frame") -> None:
        """Write the state of a fit, if it is time."""
        if fit.epoch % self.every == 0 or fit.is_over:
            numbers, tensors = fit.state()
            parts = {"numbers": numbers, **frame._asdict()}
            fit_tensors = {f"fit.{name}": value for name, value in tensors.items()}
            persistence.write_parts(self.path, parts, fit_tensors)


class Frame(NamedTuple):
    """What stands around a fit and is the same in every epoch.

    `estimator` has the parameters, and nothing that was learned; `held_out` the weights of distinct
    sequences; `random_state` is that of a `numpy.random.RandomState` after all that the fit draws.
    """

    estimator: Any
    vocabulary: Vocabulary
    held_out: NDArray[np.float64]
    data: dict[str, Any]
    random_state: Sequence[Any] | None

    @classmethod
    def of(
        cls,
        estimator: Any,
        vocabulary: Vocabulary,
        tokens: Tensor,
        weights: NDArray[np.float64],
        held_out: NDArray[np.float64],
    ) -> Self:
        """Frame a fit of some distinct rows."""
        bare = estimator.get_params(deep=False) | dict.fromkeys(WATCHING)
        state = None
        if isinstance(bare["random_state"], np.random.RandomState):
            kind, keys, *rest = bare["random_state"].get_state(legacy=True)
            state = [kind, np.asarray(keys).astype(np.int64), *rest]
            bare["random_state"] = None
        bare["verbose"] = 0
        data = fingerprint(tokens, weights)
        return cls(type(estimator)(**bare), vocabulary, held_out, data, state)


class Saved(NamedTuple):
    """What was read from a checkpoint."""

    frame: Frame
    state: State
    path: str

    @property
    def is_warm(self) -> bool:
        """Whether the fit continues another one."""
        return bool(self.state.numbers["n_before"])

    def check(self, tokens: Tensor, weights: NDArray[np.float64]) -> None:
        """Raise ValueError if data, as distinct rows, are not those of the checkpoint."""
        found, expected = fingerprint(tokens, weights), self.frame.data
        for key, name in {"sequences": "X", "weights": "sample_weight"}.items():
            if found[key] != expected[key]:
                raise ValueError(
                    f"{name} is not what {self.path} was written with: {found['n']} distinct sequences "
                    f"now, {expected['n']} then; pass the same data, or fit anew"
                )


class Resumable:
    """Mixin of an estimator whose fits can be gone on with."""

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        X: Sequences,
        sample_weight: ArrayLike | None = None,
        *,
        callbacks: Sequence[Any] | None = None,
        verbose: int = 0,
        **parameters: Any,
    ) -> Self:
        """Go on with a fit from the file of a `Checkpoint`, to the same bits as if it had not ended.

        Parameters
        ----------
        path : path
            The file.
        X, sample_weight
            The data of the fit.
        callbacks : sequence of callables, optional
            They are not in the file; with a `Checkpoint` among them the rest is saved, too.
        verbose : int, default=0
            As in the constructor.
        **parameters
            Code, which is not in the file either: a custom `generator`, `discriminator`, `objective`
            or learning rate, a callable `token_pattern`, or as `vocabulary` the Enum whose members
            are symbols. Other parameters may be given, but must be those of the file.

        Returns
        -------
        LikelihoodGAN
            The fitted estimator; at once if the fit was finished.

        Raises
        ------
        ValueError
            If the data or a parameter differ from those of the fit, code is missing, or the file is
            no checkpoint.

        Notes
        -----
        The same bits need the same machine, versions and number of threads; a GPU may not give the same
        ones twice. A plug-in goes on likewise if all that it remembers is in its parameters and buffers.
        """
        saved, estimator = _read(cls, path, parameters)
        estimator.callbacks, estimator.verbose = callbacks, verbose
        try:
            estimator._fit(X, sample_weight, resolve_device(estimator.device), saved)
        finally:
            if saved.frame.random_state is not None:
                kind, keys, *rest = saved.frame.random_state
                estimator.random_state = np.random.RandomState()
                estimator.random_state.set_state((kind, keys.astype(np.uint32), *rest))
        fitted: Self = estimator
        return fitted


def _read(cls: Any, path: str | os.PathLike[str], given: dict[str, Any]) -> tuple[Saved, Any]:
    file = persistence.Parts(path)
    code = {name: given[name] for name in ("vocabulary", "token_pattern") if name in given}
    parameters = file.encoded["estimator"]["object"][1]["parameters"]
    if "vocabulary" not in parameters and enums_among(given.get("vocabulary", ())):
        given = {name: value for name, value in given.items() if name != "vocabulary"}
    _check_parameters(cls, file.name, parameters, given)
    bare = file.decode("estimator", cls, **given)
    names = [name for name in Frame._fields if name != "estimator"]
    frame = Frame(bare, **{name: file.decode(name, **code) for name in names})
    tensors = {
        name.removeprefix("fit."): value
        for name, value in file.tensors.items()
        if name.startswith("fit.")
    }
    for leftover in Path(path).parent.glob(f".{Path(path).name}.*.tmp"):
        leftover.unlink(missing_ok=True)  # of a process that was killed while it wrote
    return Saved(frame, State(file.decode("numbers"), tensors), file.name), cls(
        **bare.get_params(deep=False)
    )


def _check_parameters(cls: Any, file: str, expected: dict[str, Any], given: dict[str, Any]) -> None:
    """Raise ValueError if a parameter is given that is not the one of the file."""
    found = persistence.encode_parameters(cls(**given))
    for name, value in given.items():
        if found.get(name) != expected.get(name):
            before = json.dumps(expected[name]) if name in expected else "the default"
            raise ValueError(
                f"{name} is not what {file} was written with: {value!r} now, {before} then; leave "
                "it out to go on, or fit anew"
            )


def fingerprint(tokens: Tensor, weights: NDArray[np.float64]) -> dict[str, Any]:
    """Return hashes of distinct rows in their order, and of their weights."""
    tokens = torch.nn.functional.pad(tokens, (0, 1))  # empty sequences alone have no column
    return {
        "n": len(tokens),
        "sequences": hashlib.sha256(tokens.numpy().tobytes()).hexdigest(),
        "weights": hashlib.sha256(weights.tobytes()).hexdigest(),
    }
