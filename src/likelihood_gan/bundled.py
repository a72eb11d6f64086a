"""Which classes are written to a file by name, and what their fields may be when they are read.

How objects are written and read is left to `encoding` and `decoding`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from likelihood_gan import models, objectives
from likelihood_gan.huggingface import CausalLM
from likelihood_gan.ngrams import NGramHasher
from likelihood_gan.rules import (
    FINITE,
    FLAG,
    NOT_NEGATIVE,
    Rule,
    array,
    check,
    instance,
    integer,
)
from likelihood_gan.vocabulary import Vocabulary

BUNDLED: dict[str, Any] = {}
"""The classes by name."""
_RULES: dict[type, dict[str, Rule]] = {}
_Class = TypeVar("_Class", bound=type)


def bundled(**rules: Rule) -> Callable[[_Class], _Class]:
    """Register a class whose objects are written by name: an estimator, dataclass, named tuple or module.

    Of an estimator there is a rule for every attribute that it learns; of the others for the fields
    that the class does not check itself.
    """

    def register(cls: _Class) -> _Class:
        BUNDLED[cls.__name__] = cls
        _RULES[cls] = rules
        return cls

    return register


def class_of(value: Any) -> type | None:
    """Return the class to name, None if an object cannot be made again from what is written."""
    cls = type(value)
    if isinstance(value, Pipeline) and changed(value).keys() != {"steps"}:
        return None
    while cls not in _RULES and hasattr(cls, "load") and cls.__base__ is not None:
        cls = cls.__base__  # a subclass is read by its own `load`
    return cls if cls in _RULES else None


def is_learned(name: str) -> bool:
    """Tell whether an attribute of an estimator is what `fit` leaves."""
    return (name.endswith("_") and not name.startswith("_")) or name == "n_features_in_"


def changed(estimator: BaseEstimator) -> dict[str, Any]:
    """Return the parameters that are not at their default: what is deprecated is not written."""
    defaults = inspect.signature(type(estimator)).parameters
    return {
        name: value
        for name, value in sorted(estimator.get_params(deep=False).items())
        if type(value) is not type(defaults[name].default) or value != defaults[name].default
    }


def fields_of(cls: Any) -> tuple[str, ...]:
    """Return the fields of a class that is no estimator and no module."""
    if cls is Vocabulary:
        return "symbols", "text", "token_pattern", "unknown_token"
    if issubclass(cls, tuple):
        return tuple(cls._fields)
    saved = (field for field in dataclasses.fields(cls) if field.metadata.get("saved", True))
    return tuple(field.name for field in saved)


def learned_by(cls: type) -> tuple[str, ...]:
    """Return the attributes that an estimator learns."""
    return tuple(_RULES[cls])


def check_names(found: Iterable[str], expected: Iterable[str]) -> None:
    """Raise ValueError if names are not those that are expected."""
    found, expected = set(found), set(expected)
    if found != expected:
        raise ValueError(
            f"unknown are {sorted(found - expected)}, missing {sorted(expected - found)}"
        )


def check_fields(fields: dict[str, Any], cls: type) -> None:
    """Raise TypeError or ValueError if a field is not what it may be."""
    for name, rule in _RULES[cls].items():
        check(fields[name], name, rule)


_DIVERGENCE = instance(str) | FINITE

for _module in (
    *(models.CharLSTM, models.LSTMDiscriminator, models.Mixture, models.NGram, models.Product),
    *(models.ResidualLSTM, CausalLM),
):
    bundled()(_module)
for _plain in (FrozenEstimator, NGramHasher, Pipeline, objectives.MLE, objectives.Reinforce):
    bundled()(_plain)
bundled(
    classes_=array("biufU", 1),
    coef_=array("f", 2),
    intercept_=array("f", 1),
    n_features_in_=integer(1),
    n_iter_=array("iu", 1),
)(LogisticRegression)
bundled(symbols=instance(list), text=FLAG, unknown_token=FLAG)(Vocabulary)
bundled(power=FINITE, length_normalised=FLAG)(objectives.ImportanceSampled)
bundled(divergence=_DIVERGENCE, control_variate=FLAG)(objectives.BalanceHeuristic)
bundled(divergence=_DIVERGENCE, mle_weight=NOT_NEGATIVE)(objectives.Pooled)
bundled(baseline=FINITE)(objectives.MaliGAN)
