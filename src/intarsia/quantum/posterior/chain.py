"""The chain: components become known one by one; what each adds to what was predicted is its information."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Complex, Float, Int

from intarsia.quantum.paulis import common_length, expectations_of, places
from intarsia.quantum.posterior.bounds import SQ_PER_BIT, Bounds, information_bounds
from intarsia.quantum.posterior.certificates import Certificate
from intarsia.quantum.posterior.config import ChainConfig
from intarsia.quantum.posterior.divergences import information
from intarsia.quantum.posterior.faces import Face
from intarsia.quantum.posterior.interval import feasible_interval
from intarsia.quantum.posterior.orders import order_components
from intarsia.quantum.posterior.spectral import FUNCTIONALS, Completion, Problem, complete, unconstrained
from intarsia.quantum.posterior.structure import GeneratedGroup, odd_in_y
from intarsia.quantum.states import density_matrix, depolarise, von_neumann_entropy

Status = Literal["solved", "failed", "skipped"]
_SAME = 1e-9
"""A value this close to its prediction changes nothing: its multiplier is zero."""
_PURE = 1e-8
_MET = 1e-6


class MixedStateWarning(UserWarning):
    """The bound n is of pure states; the state is mixed."""


@dataclass(frozen=True, slots=True)
class Component:
    """One row of a chain.

    Attributes:
        label: The Pauli string.
        value: Its true expectation value r.
        status: `"solved"`; `"failed"`, then there is no information; `"skipped"` after an early stop.
        prediction: m, from the components before it.
        lower: Rigorous lower end of the feasible interval (interval estimator).
        upper: Rigorous upper end.
        information: What the value adds, by the chain's divergence.
        cumulative: The sum so far; none after a failed row.
        entropy: Entropy of the completion once the value is known, in bits (maxent and least-norm).
        purity: `tr sigma^2` of the completion (maxent and least-norm).
        gap: How far the worst known value was missed (maxent, least-norm), or proof and attained value are apart
            (interval).
        certificate: Proof of the interval.
    """

    label: str
    value: float
    status: Status
    prediction: float | None = None
    lower: float | None = None
    upper: float | None = None
    information: float | None = None
    cumulative: float | None = None
    entropy: float | None = None
    purity: float | None = None
    gap: float | None = None
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class PosteriorChain:
    """A state's account of information. Reconstruction: the paper's own definition is not known.

    Attributes:
        n: Number of qubits.
        config: The settings.
        components: One row a component, in the order they were walked.
        state_entropy: Entropy of the state that was walked, with its share of noise, in bits.
        remainder: Rigorous bound of what the skipped rows could add; zero if none was skipped.
        bounds: Proved and conjectured bounds, for the maximum-entropy estimator.
    """

    n: int
    config: ChainConfig
    components: list[Component] = field(repr=False)
    state_entropy: float
    remainder: float
    bounds: Bounds

    @property
    def failed(self) -> int:
        """Number of failed rows."""
        return sum(row.status == "failed" for row in self.components)

    @property
    def total(self) -> float | None:
        """The posterior information, up to `remainder`; none if a row failed."""
        return self.total_by(self.config.divergence)

    def total_by(self, divergence: str) -> float | None:
        """The total by a divergence, up to what was skipped; none if a row failed.

        Raises:
            UnknownNameError: If there is no such divergence.
        """
        if self.failed:
            return None
        return float(
            sum(
                information(divergence, row.value, row.prediction)
                for row in self.components
                if row.prediction is not None
            )
        )

    def to_json(self) -> dict[str, Any]:
        """The chain as JSON values."""
        return {
            "reconstruction": True,
            "n": self.n,
            **asdict(self.config),
            "total": self.total,
            "remainder": self.remainder,
            "failed": self.failed,
            "state_entropy": self.state_entropy,
            "proved_bound_kl": self.bounds.kl,
            "proved_bound_sq": self.bounds.sq,
            "conjectured_bound": self.bounds.conjecture,
            "components": [asdict(row) for row in self.components],
        }


def posterior_chain(
    state: Any,
    order: str | Sequence[str] = "desc",
    config: ChainConfig | None = None,
    *,
    seed: int = 0,
    normalise: bool = False,
    progress: Callable[[int], None] | None = None,
) -> PosteriorChain:
    """Walks a state's components and counts what each adds to what those before it imply.

    Args:
        state: State vector or density matrix; see `intarsia.quantum.states.state_vector_or_density`.
        order: `"desc"`, `"asc"`, `"weight"`, `"random"`, or all strings in an order of your own.
        config: The settings.
        seed: Of the random order.
        normalise: Whether a state of another norm or trace is divided by it.
        progress: Called with the number of rows that are done.

    Raises:
        InputError: If the state or the order is wrong, or the state too large.
        MissingExtraError: If the interval estimator's solver is not installed.

    Warns:
        MixedStateWarning: If the state is mixed, so that the bounds of pure states are not for it.
    """
    config = config or ChainConfig()
    given = density_matrix(state, normalise=normalise)
    n = len(given).bit_length() - 1
    config.check_size(n)
    pure = 1 - float(np.vdot(given, given).real) < _PURE
    rho = depolarise(given, config.eps)
    values = expectations_of(rho)
    walk = order_components(values, order, seed=seed)
    entropy = von_neumann_entropy(rho)
    if not pure:
        warnings.warn(
            f"the state is mixed (entropy {von_neumann_entropy(given):.4g} bits): "
            f"the bound is n - S(rho) = {n - entropy:.4g} bits for I_KL, not n = {n}",
            MixedStateWarning,
            stacklevel=2,
        )
    rows = (
        _intervals(rho, walk, values, config)
        if config.estimator == "interval"
        else _completions(n, walk, values, config, entropy)
    )
    components: list[Component] = []
    cumulative: float | None = 0.0
    for row in rows:
        if row.status == "skipped":
            components.append(row)
            continue
        told = information(config.divergence, row.value, row.prediction) if row.prediction is not None else None
        cumulative = None if cumulative is None or told is None else cumulative + told
        components.append(replace(row, information=told, cumulative=cumulative))
        if progress is not None:
            progress(len(components))
    return PosteriorChain(
        n,
        config,
        components,
        entropy,
        _remainder(components, entropy, config),
        information_bounds(n, entropy=entropy, eps=config.eps, pure=pure),
    )


def extrapolate(coarse: PosteriorChain, fine: PosteriorChain) -> float | None:
    """The total at eps = 0, on the line through the totals at two values; none if one has no total.

    Args:
        coarse: A chain with the larger eps.
        fine: The same chain with a smaller one.
    """
    if coarse.total is None or fine.total is None:
        return None
    slope = (coarse.total - fine.total) / (coarse.config.eps - fine.config.eps)
    return fine.total - slope * fine.config.eps


def _remainder(components: list[Component], entropy: float, config: ChainConfig) -> float:
    """T1 to T3 for the skipped rows: their I_KL is at most what is left of the entropy."""
    if not components or components[-1].status != "skipped":
        return 0.0
    last = next(row.entropy for row in reversed(components) if row.entropy is not None)
    # The multipliers meet the known values within 1e-9 only; rounding must not turn the bound below zero.
    left = max(last - entropy, 0.0)
    return left if config.divergence == "kl" else SQ_PER_BIT * left


# Maximum entropy and least norm


def _completions(
    n: int, walk: list[str], values: dict[str, float], config: ChainConfig, entropy: float
) -> Iterator[Component]:
    functional = FUNCTIONALS[cast(Literal["maxent", "least-norm"], config.estimator)]
    where = places(walk)
    truths = np.array([values[label] for label in walk])
    relevance = _Relevance(n, where, truths, config.structure)
    sigma = start = unconstrained(functional, 1 << n)
    stopped = False
    for step, (label, place, truth) in enumerate(zip(walk, where, truths, strict=True)):
        if stopped:
            yield Component(label, float(truth), "skipped")
            continue
        before = sigma
        prediction = float(before.expectations.reshape(-1)[place]) + 0.0  # no minus zero
        changed = not before.converged or abs(truth - prediction) > _SAME
        if changed:
            sigma = complete(functional, relevance.problem(step + 1), start)
            # A fit that failed is no place to start from.
            start = sigma if sigma.converged else start
        yield Component(
            label,
            float(truth),
            "solved" if before.converged else "failed",
            prediction=prediction if before.converged else None,
            entropy=sigma.entropy if sigma.converged else None,
            purity=sigma.purity if sigma.converged else None,
            gap=before.miss,
        )
        stopped = config.may_stop and sigma.converged and sigma.entropy - entropy < config.stop_below


class _Relevance:
    """The known strings that matter at each step; see `structure`."""

    def __init__(
        self, n: int, where: Int[np.ndarray, " strings"], truths: Float[np.ndarray, " strings"], structure: bool
    ) -> None:
        self._n, self._where, self._truths, self._structure = n, where, truths, structure
        self._group, self._real, self._seen = GeneratedGroup(n), True, 0
        self._odd = odd_in_y(n)

    def problem(self, count: int) -> Problem:
        """What is known after `count` steps."""
        everything = np.ones(4**self._n, dtype=bool)
        if not self._structure:
            return Problem(self._where[:count], self._truths[:count], everything, False)
        for place, truth in zip(self._where[self._seen : count], self._truths[self._seen : count], strict=True):
            if abs(truth) > 1e-12:
                self._group.add(int(place))
                self._real = self._real and not self._odd[place]
        self._seen = count
        relevant = everything if self._group.is_everything else self._group.members()
        relevant = relevant & ~self._odd if self._real else relevant
        kept = relevant[self._where[:count]]
        return Problem(self._where[:count][kept], self._truths[:count][kept], relevant, self._real)


def maximum_entropy_state(known: dict[str, float]) -> Completion:
    """The state of largest entropy with known values.

    Raises:
        InputError: If a string is wrong.
    """
    return _best("maxent", known)


def least_norm_state(known: dict[str, float]) -> Completion:
    """The state of least purity with known values.

    Raises:
        InputError: If a string is wrong.
    """
    return _best("least-norm", known)


def _best(name: Literal["maxent", "least-norm"], known: dict[str, float]) -> Completion:
    n = common_length(known)
    problem = Problem(places(list(known)), np.array(list(known.values())), np.ones(4**n, dtype=bool), False)
    return complete(FUNCTIONALS[name], problem, unconstrained(FUNCTIONALS[name], 1 << n))


# Feasible intervals


def _intervals(
    rho: Complex[np.ndarray, "dim dim"], walk: list[str], values: dict[str, float], config: ChainConfig
) -> Iterator[Component]:
    face = Face.whole(len(rho))
    known: dict[str, float] = {}
    for label in walk:
        truth = values[label]
        found = feasible_interval(known, label, structure=config.structure, face=None if face.is_whole else face)
        solved = found.solved and found.lower - _MET <= truth <= found.upper + _MET
        gap = max(found.upper - found.attained_upper, found.attained_lower - found.lower)
        yield Component(
            label,
            truth,
            "solved" if solved else "failed",
            prediction=found.midpoint if solved else None,
            lower=found.lower,
            upper=found.upper,
            gap=max(float(gap), 0.0) if np.isfinite(gap) else None,
            certificate=found.certificate,
        )
        known[label] = truth
        for sign, bound, weights in (
            (1.0, found.upper, found.certificate.upper),
            (-1.0, -found.lower, found.certificate.lower),
        ):
            if solved and bound - sign * truth < _MET:
                face = face.cut({label: sign, **weights}, known, rho)
