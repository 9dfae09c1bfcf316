"""The exact k-th largest magnitude of values that do not fit in memory.

The bits of a non-negative float, read as an integer, are ordered as the floats are. So the k-th largest magnitude is
found digit by digit, 16 bits at a time: one pass counts the highest digits, which tells the highest digit of the value
sought, the next pass counts the second digits of the values that begin with it. Two passes over float32, four over
float64, one counter array per pass, no value kept.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

_DIGIT_BITS = 16
_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64}


def passes(dtype: torch.dtype) -> int:
    """Returns how many passes over values of `dtype` the search takes."""
    return dtype.itemsize * 8 // _DIGIT_BITS


def digit_counts(values: Float[Tensor, "*shape"], prefix: int, level: int) -> NDArray[np.int64]:
    """Counts the digits at `level` (0 is the highest) of the magnitudes whose higher digits are `prefix`.

    Returns:
        65,536 counts.
    """
    kind = _INTEGERS[values.dtype]
    shift = values.dtype.itemsize * 8 - _DIGIT_BITS * (level + 1)
    magnitudes = values.flatten().view(kind) & torch.iinfo(kind).max
    if level > 0:
        # Few values are left after the first digit, and for few numpy's selection is the faster one.
        matching = magnitudes >> (shift + _DIGIT_BITS) == prefix
        magnitudes = torch.from_numpy(magnitudes.numpy()[matching.numpy()]).bitwise_and_(2 ** (shift + _DIGIT_BITS) - 1)
    return torch.bincount(magnitudes.bitwise_right_shift_(shift), minlength=2**_DIGIT_BITS).numpy()


@dataclass
class MagnitudeSearch:
    """The search for the `k`-th largest magnitude, one level a pass.

    Feed it `counts` of all blocks of values with `add`, then call `next_level`; after `passes(dtype)` levels
    `threshold` is the magnitude.

    Attributes:
        k: Rank sought, 1 for the largest.
        dtype: Dtype of the values.
        prefix: The digits found so far, as one integer.
        level: How many they are.
    """

    k: int
    dtype: torch.dtype
    prefix: int = 0
    level: int = 0
    _counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2**_DIGIT_BITS, dtype=np.int64))

    def add(self, counts: NDArray[np.int64]) -> None:
        """Adds the `digit_counts` of one block."""
        self._counts += counts

    def next_level(self) -> None:
        """Ends a pass: fixes one more digit."""
        from_the_top = np.cumsum(self._counts[::-1])
        position = int(np.searchsorted(from_the_top, self.k))
        if position:
            self.k -= int(from_the_top[position - 1])
        self.prefix = (self.prefix << _DIGIT_BITS) | (len(from_the_top) - 1 - position)
        self.level += 1
        self._counts[:] = 0

    @property
    def threshold(self) -> float:
        """The magnitude found, exactly a value of `dtype`."""
        return float(torch.tensor(self.prefix, dtype=_INTEGERS[self.dtype]).view(self.dtype))
