"""A fitted estimator as one safetensors file with a JSON header; nothing in it is executable.

Everything but the weights is in the header, under a single key, as sorted JSON. Bundled classes
are written by name, and so are the parts of the default refiner; other code (a custom generator, a
callback) is only mentioned and must be given again on loading.
"""

import dataclasses
import inspect
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from likelihood_gan import models, objectives
from likelihood_gan.calibration import LogPartition
from likelihood_gan.fitting import Run
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.refinement import Refiner
from likelihood_gan.vocabulary import Vocabulary, pad, sort_symbols

FORMAT = 1
_KEY = "likelihood_gan"
_CODE: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        models.CharLSTM,
        models.ConvDiscriminator,
        models.LSTMDiscriminator,
        LogisticRegression,
        LogPartition,
        NGramHasher,
        Refiner,
        *objectives.OBJECTIVES.values(),
    )
}


@dataclasses.dataclass
class _Code:
    """The name of something that is not in the file."""

    name: str


def save(estimator: Any, path: str | os.PathLike[str]) -> None:
    """Write a fitted estimator; an existing file is replaced at the very end or not at all."""
    modules = {"generator": estimator.generator_}
    if estimator.discriminator_ is not None:
        modules["discriminator"] = estimator.discriminator_
    header = {
        "format": FORMAT,
        "parameters": {
            name: _encode_parameter(value)
            for name, value in estimator.get_params(deep=False).items()
        },
        "symbols": _encode(list(estimator.vocabulary_.symbols), "vocabulary"),
        "text": estimator.vocabulary_.text,
        "max_len": int(estimator.max_len_),
        "history": _encode(estimator.history_, "history_"),
        "best_epoch": estimator.best_epoch_,
        "held_out": [estimator.vocabulary_.encode(sequence) for sequence in estimator.held_out_],
        "modules": list(modules),
    }
    header["refiner"], tensors = _pack_refiner(estimator.refiner_)
    for name, module in modules.items():
        for key, value in module.state_dict().items():
            if not isinstance(value, torch.Tensor):
                raise ValueError(f"{name}_ has the extra state {key!r}, no tensor; use pickle")
            # a clone: safetensors refuses tensors that share memory
            tensors[f"{name}.{key}"] = value.detach().cpu().contiguous().clone()
    data = safetensors.torch.save(tensors, {_KEY: json.dumps(header, sort_keys=True)})
    _write_atomically(Path(path), data)


def load(cls: type, path: str | os.PathLike[str], replaced: Mapping[str, Any]) -> Any:
    """Build an estimator of class `cls` from a file; see `LikelihoodGAN.load`."""
    name = os.fspath(path)
    header, tensors = _read(name)
    try:
        saved = {key: _decode(value) for key, value in header["parameters"].items()}
        vocabulary = Vocabulary(_decode(header["symbols"]), header["text"])
        run = Run(_decode(header["history"]), int(header["best_epoch"]))
        max_len = int(header["max_len"])
        held_out = vocabulary.decode(pad(header.get("held_out", [])))
        weights: dict[str, dict[str, torch.Tensor]] = {"refiner": {}}
        weights |= {module: {} for module in header["modules"]}
        for key, value in tensors.items():
            module, _, key = key.partition(".")
            weights[module][key] = value
        refiner = _unpack_refiner(header.get("refiner"), weights.pop("refiner"))
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{name}: the header is damaged: {error!r}") from error
    parameters = saved | dict(replaced)
    missing = {key: value for key, value in parameters.items() if isinstance(value, _Code)}
    if missing:
        raise ValueError(
            f"{name} was saved with code that is not in the file; pass "
            + ", ".join(f"{key}= ({value.name})" for key, value in sorted(missing.items()))
            + " to load"
        )
    try:
        estimator = cls(**parameters)
    except TypeError as error:
        raise ValueError(f"{name}: a parameter is unknown: {error}") from None
    estimator._restore(vocabulary, max_len, weights, run, held_out)
    estimator.refiner_ = refiner
    return estimator


def _read(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safetensors.safe_open(name, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise ValueError(f"{name} is a safetensors file, but not of LikelihoodGAN.save")
            header = json.loads(text)
            if header["format"] > FORMAT:
                raise ValueError(
                    f"{name} has format {header['format']}, this version of likelihood-gan reads "
                    f"up to {FORMAT}; install a newer one"
                )
            return header, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as error:
        raise ValueError(f"{name} is damaged or no safetensors file: {error}") from error


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


_COEFFICIENTS = ("classes_", "coef_", "intercept_", "n_iter_")


def _pack_refiner(refiner: Refiner | None) -> tuple[Any, dict[str, torch.Tensor]]:
    """Return what the header says of a fitted refiner, and its coefficients."""
    if refiner is None:
        return None, {}
    learned = {key: value for key, value in vars(refiner).items() if key.endswith("_")}
    classifiers = learned.pop("classifiers_")
    try:
        header = {
            "parameters": _encode(refiner, "refiner_"),
            "classifiers": _encode(classifiers, "refiner_"),
            "learned": _encode(learned, "refiner_"),
        }
        models = [_last_step(classifier) for classifier in classifiers]
    except ValueError as error:
        raise ValueError(f"{error}, or set refiner_ = None") from None
    return header, {
        f"refiner.{k}.{name}": torch.tensor(getattr(model, name))
        for k, model in enumerate(models)
        for name in _COEFFICIENTS
    }


def _unpack_refiner(header: Any, tensors: Mapping[str, torch.Tensor]) -> Refiner | None:
    if header is None:
        return None
    refiner = _decode(header["parameters"])
    refiner.classifiers_ = _decode(header["classifiers"])
    for k, classifier in enumerate(refiner.classifiers_):
        model = _last_step(classifier)
        for name in _COEFFICIENTS:
            setattr(model, name, tensors[f"{k}.{name}"].numpy())
        model.n_features_in_ = model.coef_.shape[1]
    for name, value in _decode(header["learned"]).items():
        setattr(refiner, name, value)
    return refiner


def _last_step(classifier: Any) -> LogisticRegression:
    """Return the linear part of the only kind of classifier that is written with what it learned."""
    steps = classifier.steps if isinstance(classifier, Pipeline) else []
    if [type(step) for _, step in steps] != [NGramHasher, LogisticRegression]:
        raise _unwritable(classifier, "refiner_")
    return classifier[-1]


# JSON knows no tuples, no classes and no keys but text: such values are written as
# {"kind": content}. A plain dict never looks like that, it is written as {"dict": pairs}.


def _encode_parameter(value: Any) -> Any:
    try:
        return _encode(value, "parameter")
    except ValueError:
        return {"code": getattr(value, "__qualname__", type(value).__qualname__)}


def _encode(value: Any, where: str) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, torch.device):
        return str(value)
    if isinstance(value, (set, frozenset)):
        return {"set": [_encode(v, where) for v in sort_symbols(value)]}
    if isinstance(value, list):
        return [_encode(v, where) for v in value]
    if type(value) is Pipeline and _changed(value).keys() == {"steps"}:
        return {"pipeline": _encode(value.steps, where)}
    if type(value) in _CODE.values() and (fields := _fields(value)) is not None:
        return {"object": [type(value).__name__, _encode(fields, where)]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, where) for v in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(k, where), _encode(v, where)] for k, v in value.items()]}
    if isinstance(value, type) and value in _CODE.values():
        return {"class": value.__name__}
    raise _unwritable(value, where)


def _unwritable(value: Any, where: str) -> ValueError:
    return ValueError(
        f"{where} holds {value!r}, which cannot be written to a safe file; "
        "use pickle or joblib instead"
    )


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the arguments that make an object again, None if that is not known."""
    if isinstance(value, LogPartition):
        return value._asdict()
    if isinstance(value, BaseEstimator):
        return _changed(value)
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return None


def _changed(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that are not at their default: what is deprecated is not written."""
    defaults = inspect.signature(type(estimator)).parameters
    return {
        name: value
        for name, value in estimator.get_params(deep=False).items()
        if type(value) is not type(defaults[name].default) or value != defaults[name].default
    }


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(v) for v in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tuple":
        return tuple(_decode(v) for v in content)
    if kind == "set":
        return {_decode(v) for v in content}
    if kind == "dict":
        return {_decode(k): _decode(v) for k, v in content}
    if kind == "pipeline":
        return Pipeline(_decode(content))
    if kind == "code":
        return _Code(content)
    if kind == "class":
        return _CODE[content]
    name, fields = content
    return _CODE[name](**_decode(fields))
