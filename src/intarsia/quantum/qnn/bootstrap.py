"""How far information under the definition `data` depends on the samples it is estimated from."""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Complex
from torch import Tensor

from intarsia.errors import ConfigError
from intarsia.metrics.intervals import Interval, percentile_interval
from intarsia.quantum.qnn.information import data_information, input_root

_ENTRIES = 2**21
"""Matrix entries of the resamples that are held at a time."""


class BootstrapIntervals(NamedTuple):
    """95 % percentile intervals over resampled samples, in bits.

    The estimate is a plug-in: a resample holds fewer different samples, so the interval lies somewhat low and says how
    much the samples matter, not how far the estimate is from that of endless samples.

    Attributes:
        di_mo: I(D_i:M_o).
        mi_mo: I(M_i:M_o).
        samples: Number of samples.
    """

    di_mo: Interval
    mi_mo: Interval
    samples: int


def bootstrap_information(
    unitary: Complex[Tensor, "output input"],
    states: Tensor,
    measured: tuple[int, ...],
    *,
    before: Complex[Tensor, "output input"] | None = None,
    resamples: int = 200,
    seed: int = 0,
) -> BootstrapIntervals:
    """Resamples the samples behind rho.

    Args:
        unitary: U, rows = output, columns = input.
        states: Encoded samples, (samples, 2^n).
        measured: The measured qubits.
        before: If given, the intervals are of the change since this unitary, on the same resamples.
        resamples: How often the samples are drawn anew.
        seed: Seed of the draws.

    Raises:
        ConfigError: If there are fewer than two resamples.
    """
    if resamples < 2:
        raise ConfigError("resamples", resamples, "at least 2")
    samples = len(states)
    stream = np.random.default_rng(seed)
    counts = stream.multinomial(samples, np.full(samples, 1 / samples), size=resamples)
    drawn = []
    for some in np.array_split(counts, -(-resamples * states.shape[1] ** 2 // _ENTRIES)):
        roots = input_root(states, torch.from_numpy(some / samples))
        values = np.array(data_information(unitary, roots, measured))
        drawn.append(values if before is None else values - np.array(data_information(before, roots, measured)))
    table = np.concatenate(drawn)
    return BootstrapIntervals(percentile_interval(table[:, 0], 0.95), percentile_interval(table[:, 1], 0.95), samples)
