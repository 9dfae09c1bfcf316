"""The settings of a chain."""

from dataclasses import dataclass

from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.quantum.posterior.divergences import DIVERGENCES

ESTIMATORS = ("maxent", "interval", "least-norm")
MOST_QUBITS = 5
_COSTS = {
    "maxent": "half a minute at 5 qubits and some 60 times as long for each more",
    "least-norm": "minutes at 5 qubits and some 60 times as long for each more",
    "interval": "half a minute at 4 qubits, more than an hour at 5 and some 150 times as long for each more",
}


@dataclass(frozen=True)
class ChainConfig:
    """How a state's components are walked. Reconstruction: the paper's own estimator is not known.

    Attributes:
        estimator: What predicts the next component: `"maxent"` (maximum entropy), `"interval"` (middle of the
            feasible interval) or `"least-norm"` (smallest purity).
        divergence: What a residual counts: `"sq"`, `"chi2"` or `"kl"`.
        eps: Share of the maximally mixed state that is mixed in; 0 leaves pure states on the border.
        stop_below: The chain ends when the completion's entropy is this close to the state's, in bits; the rest is
            bounded. 0 walks all components. Only with maxent, and not with chi2, which the rest's bound is not for.
        structure: Whether symmetries of the known values shrink the problems; the answers are the same.
        force: Whether more than 5 qubits are let through.

    Raises:
        UnknownNameError: If an estimator or divergence does not exist.
        ConfigError: If a number is out of range.
    """

    estimator: str = "maxent"
    divergence: str = "sq"
    eps: float = 1e-3
    stop_below: float = 1e-6
    structure: bool = True
    force: bool = False

    def __post_init__(self) -> None:
        if self.estimator not in ESTIMATORS:
            raise UnknownNameError("estimator", self.estimator, ESTIMATORS)
        if self.divergence not in DIVERGENCES:
            raise UnknownNameError("divergence", self.divergence, DIVERGENCES)
        if not 0 <= self.eps < 1:
            raise ConfigError("eps", self.eps, "at least 0 and below 1")
        if self.stop_below < 0:
            raise ConfigError("stop_below", self.stop_below, "at least 0")

    @property
    def may_stop(self) -> bool:
        """Whether the rest of a chain can be bounded and so left out."""
        return self.estimator == "maxent" and self.divergence != "chi2" and self.stop_below > 0

    def check_size(self, n: int) -> None:
        """Refuses states that take longer than one would expect.

        Raises:
            InputError: If there are more than 5 qubits and `force` is not set.
        """
        if n > MOST_QUBITS and not self.force:
            raise InputError(
                f"a chain of {n} qubits with {self.estimator} has {4**n - 1} components and takes very long: "
                f"{_COSTS[self.estimator]}",
                fix="pass force=True (--force) if you mean it",
            )
