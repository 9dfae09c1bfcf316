"""Bounds of the posterior information: two that are proved and one that is a conjecture."""

from dataclasses import dataclass

import numpy as np

from intarsia.errors import ConfigError

SQ_PER_BIT = 2 * float(np.log(2))
"""Pinsker's inequality on a bit: `delta^2 <= 2 ln 2 D`, D in bits."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is known about the largest posterior information with the maximum-entropy estimator.

    Attributes:
        kl: Proved (T2): I_KL is at most the number of qubits less the state's entropy, in bits, for every order.
        sq: Proved (T3): I_post is at most 2 ln 2 times as much.
        conjecture: Conjectured (C1), not proved: I_post is at most n for pure states, to which `n (1 - eps)^2`
            corresponds with noise, up to terms of order eps; None for mixed states, which can have more than `kl`. In
            this reconstruction n is the bound of the paper, which proves it for two qubits with a definition that is
            not known here.
    """

    kl: float
    sq: float
    conjecture: float | None


def information_bounds(n: int, *, entropy: float = 0.0, eps: float = 0.0, pure: bool = True) -> Bounds:
    """The bounds for `n` qubits.

    Args:
        n: Number of qubits.
        entropy: Von Neumann entropy of the state that is walked, in bits.
        eps: Share of the maximally mixed state in it; the pure-state value n corresponds to `n (1 - eps)^2`.
        pure: Whether the state is pure but for that share.

    Raises:
        ConfigError: If `n` is below 1.
    """
    if n < 1:
        raise ConfigError("qubits", n, "at least 1")
    return Bounds(n - entropy, SQ_PER_BIT * (n - entropy), n * (1 - eps) ** 2 if pure else None)
