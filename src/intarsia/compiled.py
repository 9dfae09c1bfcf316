"""Loops over numbers, compiled for the processor, where tensor operations would be several times slower."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])
Result = TypeVar("Result")

# Steps of an innermost loop that take longer than a thread to start: about a millisecond.
_WORTH_A_THREAD = 2**23

# Sums may be taken in any order: only then can a processor take several at once. The compiler is not promised that
# nothing is NaN: that makes nothing faster, and a model that diverged might go unnoticed.
_ARITHMETIC = {"nsz", "arcp", "contract", "reassoc", "afn"}


def compiled(function: Function) -> Function:
    """Compiles at the first call, keeps the machine code on disk, and lets other threads run meanwhile."""
    options: dict[str, Any] = {"fastmath": _ARITHMETIC, "nogil": True}
    machine_code: Function
    try:
        machine_code = numba.njit(cache=True, **options)(function)
    except RuntimeError:
        # Neither the package's folder nor the user's can be written: compiled anew in every process.
        machine_code = numba.njit(**options)(function)
    return machine_code


def compilable(values: Tensor) -> bool:
    """Returns whether compiled loops can work on such a tensor: float32, on a processor."""
    return values.device.type == "cpu" and values.dtype == torch.float32 and not torch.compiler.is_compiling()


def in_threads(rows: int, steps: int, work: Callable[[slice], Result]) -> list[Result]:
    """Does rows in as many parts as torch has threads, if there is much to do.

    Args:
        rows: How many there are.
        steps: Of the innermost loop for one of them.
        work: What to do with some of them.
    """
    parts = min(torch.get_num_threads(), rows, rows * steps // _WORTH_A_THREAD)
    if parts <= 1:
        return [work(slice(0, rows))]
    ends = [rows * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as pool:
        return list(pool.map(work, map(slice, ends[:-1], ends[1:])))
