"""`FromNumpy`, a model that knows NumPy alone as a generator.

What else is asked of a generator is left to `protocols` and `checks`.
"""

import inspect
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.utils.metaestimators import available_if
from torch import Tensor

from likelihood_gan.protocols import State, has_count, has_step
from likelihood_gan.sampling import Autoregressive


class FromNumpy:
    """A generator of a model that takes and returns NumPy arrays.

    Nothing of it is trained by gradients. It learns by `count`, if the model has that, or is taken as it
    is.

    Parameters
    ----------
    model : object
        Has ``log_prob(tokens)``, (batch, time) -> (batch,) in nats, and ``sample(n, max_len, rng)`` ->
        (n, length), which draws from the `numpy.random.Generator` that it is given. Or ``step(tokens,
        state)``, (batch,) -> (batch, n_tokens) and the next state, of which the other two are made where
        they are missing; the state is None at the start, then an array, or a tuple, list or dict of
        arrays, each with the batch first. It may have ``count(tokens, weights)``, see
        `likelihood_gan.protocols.CountingGenerator`. Tokens are int64, as they are in the package: 0 ends
        a sequence. The model is not copied.

    Raises
    ------
    TypeError
        If a method is missing, `sample` takes no `rng`, or, later, an array holds no numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from likelihood_gan import SequenceDistribution
    >>> from likelihood_gan.models import FromNumpy
    >>> class Coin:
    ...     def step(self, tokens, state):
    ...         return np.log(np.full((len(tokens), 3), [0.2, 0.4, 0.4])), state
    >>> coin = SequenceDistribution(FromNumpy(Coin()), "ht", max_len=5)
    >>> coin.score_samples(["ht"]).round(4)  # log(.4 * .4 * .2)
    array([-3.442])
    """

    def __init__(self, model: Any):
        methods = [name for name in ("log_prob", "sample") if callable(getattr(model, name, None))]
        if isinstance(model, type) or (len(methods) < 2 and not has_step(model)):
            raise TypeError(
                "FromNumpy needs an object with log_prob(tokens) and sample(n, max_len, rng), or with "
                f"step(tokens, state), got {model!r}"
            )
        if "sample" in methods:
            try:
                inspect.signature(model.sample).bind(1, 1, rng=None)
            except TypeError:
                raise TypeError(
                    f"{type(model).__name__}.sample must take n, max_len and rng, a "
                    "numpy.random.Generator from which it draws"
                ) from None
        self.model = model

    def log_prob(self, tokens: Tensor) -> Tensor:
        """Log-probability of each row in nats, (batch, time) -> (batch,), float64."""
        if not hasattr(self.model, "log_prob"):
            return Autoregressive.log_prob(self, tokens)
        return self._tensor("log_prob", self.model.log_prob(_array(tokens)), tokens.device)

    def sample(self, n: int, max_len: int, *, rng: torch.Generator | None = None) -> Tensor:
        """Draw `n` rows of at most `max_len` tokens, (n, length); longer sequences are cut."""
        if not hasattr(self.model, "sample"):
            return Autoregressive.sample(self, n, max_len, rng=rng)
        device = torch.device("cpu") if rng is None else rng.device
        seed = int(torch.randint(2**62, (), generator=rng, device=device))
        drawn = self.model.sample(n, max_len, rng=np.random.default_rng(seed))
        return self._tensor("sample", drawn, device)

    @available_if(lambda self: has_step(self.model))  # type: ignore[untyped-decorator]
    def step(self, tokens: Tensor, state: State) -> tuple[Tensor, State]:
        """Read one token a row; (batch,) -> next-symbol log-probabilities (batch, n_tokens)."""
        log_probs, state = self.model.step(_array(tokens), _map(_array, state))
        device = tokens.device
        return self._tensor("step", log_probs, device), _map(_to(device), state)

    @available_if(lambda self: has_count(self.model))  # type: ignore[untyped-decorator]
    def count(self, tokens: Tensor, weights: Tensor) -> None:
        """Learn distinct rows, (n, time), and their weights, (n,); forget what was counted before."""
        self.model.count(_array(tokens), _array(weights))

    def __repr__(self) -> str:
        return f"FromNumpy({self.model!r})"

    def _tensor(self, method: str, values: Any, device: torch.device) -> Tensor:
        """Return numbers as int64 or float64."""
        array = np.asarray(values)
        if array.dtype.kind not in "iuf":
            raise TypeError(
                f"{type(self.model).__name__}.{method} must return an array of numbers, got "
                f"{type(values).__name__} of {array.dtype}"
            )
        array = array.astype(np.float64 if array.dtype.kind == "f" else np.int64)  # a copy
        return torch.from_numpy(array).to(device)


def _array(tensor: Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.detach().cpu().numpy().copy()
    return array


def _to(device: torch.device) -> Any:
    return lambda array: torch.as_tensor(np.array(array), device=device)


def _map(function: Any, state: Any) -> Any:
    """Apply a function to every array or tensor of a state."""
    if isinstance(state, dict):
        return {key: _map(function, value) for key, value in state.items()}
    if isinstance(state, (tuple, list)):
        return type(state)(_map(function, value) for value in state)
    return function(state) if isinstance(state, (np.ndarray, Tensor)) else state
