"""One model on several processes: each computes some rows of every batch, and all learn the same.

What is computed is left to `training`, how the processes are started to `torchrun`. Without others,
everything here does nothing.
"""

import atexit
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from likelihood_gan.rules import POSITIVE, check

_Value = TypeVar("_Value")


class _Group(NamedTuple):
    """Which of how many processes this is."""

    rank: int
    size: int


class _Rows(NamedTuple):
    """Which rows of a batch are computed here, of how many."""

    n: int
    mine: Tensor


_GROUP: ContextVar[_Group | None] = ContextVar("group", default=None)
_ROWS: ContextVar[_Rows | None] = ContextVar("rows", default=None)


@contextmanager
def several_processes(timeout: float = 600.0) -> Iterator[int]:
    """Let all processes that `torchrun` has started train one model: every `fit` inside is a common one.

    Each runs the same script with the same data, and holds the whole model. Of every batch each
    computes some rows; what an objective reads is then gathered, and the gradients are averaged. So
    the weights are those of one process, up to rounding, whatever the objective. Only the first
    process calls callbacks, writes checkpoints and shows progress.

    Parameters
    ----------
    timeout : float, default=600.0
        Seconds without a word of another process that end a fit. A callback keeps the others
        waiting. A process that ends is noticed at once.

    Yields
    ------
    int
        The number of this process, from 0. Without `torchrun` it is 0, and a fit is what it always is.

    Raises
    ------
    ConnectionError
        By `fit`, if another process has ended or is silent. The estimator holds the best epoch so far.
    ValueError
        By `fit`, if the data of the processes differ, or they have come to other weights.

    Notes
    -----
    The processes talk through `torch.distributed`, by gloo (by NCCL what is on GPUs); a process group
    that exists already is used as it is, and the one that is made here stays open until the script ends, so
    its first `timeout` counts. A plug-in with random numbers of its own, drawn in `log_prob`, must draw
    them for the rows that it is given: they are not those of one process. Fits in other threads, and in processes that joblib starts,
    are not common ones.
    """
    check(timeout, "timeout", POSITIVE)
    if not dist.is_available() or not (dist.is_initialized() or "RANK" in os.environ):
        yield 0
        return
    if not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout))
        atexit.register(dist.destroy_process_group)  # not sooner: no second one can be opened
    group = _Group(dist.get_rank(), dist.get_world_size())
    token = _GROUP.set(group)
    try:
        yield group.rank
    finally:
        _GROUP.reset(token)


def is_first() -> bool:
    """Tell whether this process is the one that writes and shows."""
    group = _GROUP.get()
    return group is None or group.rank == 0


def from_first(value: _Value) -> _Value:
    """Return what the first process has."""
    if (group := _GROUP.get()) is None:
        return value
    values = [value]
    with _listening(group):
        dist.broadcast_object_list(values)
    return value if group.rank == 0 else values[0]


def check_same(what: str, value: Callable[[], Any]) -> None:
    """Raise ValueError, in all processes, if they do not have the same."""
    if (group := _GROUP.get()) is None:
        return
    values: list[Any] = [None] * group.size
    with _listening(group):
        dist.all_gather_object(values, value())
    if odd := [rank for rank in range(group.size) if values[rank] != values[0]]:
        raise ValueError(
            f"{what} must be the same in all {group.size} processes, and differ from those of process "
            f"0 in {odd}; run the same script with the same data in each, fit itself divides the work"
        )


def divided(function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """Apply a function of rows, each process to some of them: (n, time) -> (n,), everywhere the same.

    The gradient of a loss that every process computes of the result reaches only the rows that were
    computed here, times the number of processes: averaged, the gradients are those of all rows.
    """
    if (group := _GROUP.get()) is None:
        return function(rows)
    n, share = len(rows), -(-len(rows) // group.size)
    # all compute equally many, so that all draw equally many random numbers; the last ones may
    # compute a row again, which is not used
    start = group.rank * share
    index = torch.arange(start, start + share, device=rows.device).clamp(max=n - 1)
    token = _ROWS.set(_Rows(n, index))
    try:
        own = function(rows[index])
    finally:
        _ROWS.reset(token)
    parts = [torch.empty_like(own, requires_grad=False) for _ in range(group.size)]
    with _listening(group):
        dist.all_gather(parts, own.detach().contiguous())
    if own.requires_grad:
        parts[group.rank] = own.clone()
        parts[group.rank].register_hook(lambda gradient: gradient * group.size)
    return torch.cat(parts)[:n]


def draw_rows(draw: Callable[[Tensor], Tensor], like: Tensor) -> Tensor:
    """Draw random numbers like a tensor, the batch first: of all rows, if others are computed elsewhere.

    So a row meets the numbers that it would meet in one process.
    """
    rows = _ROWS.get()
    if rows is None or len(rows.mine) != len(like):
        return draw(like)
    # in memory as the tensor is: in that order numbers are drawn
    layout = sorted(range(like.ndim), key=lambda d: (like.stride(d), d), reverse=True)
    size = (rows.n, *like.shape[1:])
    return draw(torch.empty_permuted(size, layout, dtype=like.dtype, device=like.device))[rows.mine]


def average_gradients(parameters: Iterable[Tensor]) -> None:
    """Replace the gradients by their means over the processes."""
    if (group := _GROUP.get()) is None:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    with _listening(group):
        dist.all_reduce(flat)
    flat /= group.size
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@contextmanager
def _listening(group: _Group) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(
            f"process {group.rank} (of {group.size}, from 0) hears nothing of another one: it has ended, and "
            "then its own error says why, or was silent until timeout; start all of them again, with "
            "LikelihoodGAN.resume if there is a Checkpoint"
        ) from error
