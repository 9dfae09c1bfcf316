"""The two claims of the paper as criteria that were fixed before looking, and their null control.

What counts as growth and as two phases is a reconstruction's choice; the paper's abstract gives no numbers.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from intarsia.errors import InputError

GROWTH_BITS = 0.02
"""K1: I(D_i:M_o) ends more than this above its start."""
PHASE_SHARE = 0.25
"""K2: I(M_i:M_o) rises and falls by at least this share of its range."""


class Judgement(NamedTuple):
    """Both criteria on the curves of one run.

    Attributes:
        change: I(D_i:M_o) at the end minus at the start, in bits.
        grows: K1.
        rise: I(M_i:M_o) at its maximum minus at the start, in bits.
        fall: At its maximum minus at the end, in bits.
        span: Its range over the run, in bits. K2 is scale-free, so this is always told beside it.
        peak: Place of the maximum in the curve.
        two_phases: K2: the maximum is neither the first nor the last point, and rise and fall are large enough.
    """

    change: float
    grows: bool
    rise: float
    fall: float
    span: float
    peak: int
    two_phases: bool


def judge(di_mo: Sequence[float], mi_mo: Sequence[float]) -> Judgement:
    """Applies both criteria.

    Args:
        di_mo: I(D_i:M_o) in bits at each measured epoch, the first before training.
        mi_mo: I(M_i:M_o) at the same epochs.

    Raises:
        InputError: If the curves differ in length or have fewer than two points.
    """
    if len(di_mo) != len(mi_mo) or len(di_mo) < 2:
        raise InputError(f"the curves have {len(di_mo)} and {len(mi_mo)} points, but need the same number, at least 2")
    peak = max(range(len(mi_mo)), key=mi_mo.__getitem__)
    span = mi_mo[peak] - min(mi_mo)
    rise, fall = mi_mo[peak] - mi_mo[0], mi_mo[peak] - mi_mo[-1]
    interior = 0 < peak < len(mi_mo) - 1
    return Judgement(
        di_mo[-1] - di_mo[0],
        di_mo[-1] - di_mo[0] > GROWTH_BITS,
        rise,
        fall,
        span,
        peak,
        interior and min(rise, fall) >= PHASE_SHARE * span > 0,
    )


def judge_history(history: Sequence[dict[str, Any]], definition: str) -> Judgement:
    """Applies both criteria to a tracked run under `choi` or `data`.

    Raises:
        InputError: If the run did not track this definition.
    """
    if not history or f"{definition}_di_mo" not in history[0]:
        raise InputError(f"the run did not track the definition {definition!r}")
    return judge(*([record[f"{definition}_{part}"] for record in history] for part in ("di_mo", "mi_mo")))


class Comparison(NamedTuple):
    """How often runs met a criterion, with real and with shuffled labels.

    Attributes:
        real: Runs with real labels that met it.
        real_runs: Runs with real labels.
        shuffled: Runs with shuffled labels that met it.
        shuffled_runs: Runs with shuffled labels.
        p_value: Fisher's exact test of both shares, two-sided.
    """

    real: int
    real_runs: int
    shuffled: int
    shuffled_runs: int
    p_value: float

    @property
    def tied_to_labels(self) -> bool:
        """Whether the criterion is met more often with real labels, at the 5 % level."""
        return self.p_value < 0.05 and self.real * self.shuffled_runs > self.shuffled * self.real_runs

    def __str__(self) -> str:
        shuffled = f"{self.shuffled} of {self.shuffled_runs} with shuffled labels"
        return f"{self.real} of {self.real_runs} with real labels, {shuffled} (Fisher p = {self.p_value:.2g})"


def compare_with_null(real: Sequence[bool], shuffled: Sequence[bool]) -> Comparison:
    """Compares how often a criterion was met.

    Args:
        real: Whether each run with real labels met it.
        shuffled: The same with shuffled labels.

    Raises:
        InputError: If there are no runs of one kind.
    """
    from scipy.stats import fisher_exact

    if not real or not shuffled:
        raise InputError("a criterion is judged against a null: give runs with real and with shuffled labels")
    met, null = sum(real), sum(shuffled)
    table = np.array([[met, len(real) - met], [null, len(shuffled) - null]])
    return Comparison(met, len(real), null, len(shuffled), float(fisher_exact(table).pvalue))
