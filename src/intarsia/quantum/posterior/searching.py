"""A hill climb over states and orders for the largest posterior information. What it finds is evidence, not proof."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Complex

from intarsia import engine
from intarsia.errors import ConfigError
from intarsia.quantum.paulis import expectations_of
from intarsia.quantum.posterior.chain import posterior_chain
from intarsia.quantum.posterior.config import ChainConfig
from intarsia.quantum.posterior.orders import order_components
from intarsia.quantum.states import draw_state, haar_state

_FIRST_STEP, _LAST_STEP = 0.5, 1e-3
STARTS = (("haar", "random"), ("product", "weight"), ("haar", "desc"), ("ghz", "desc"))
"""Family and order that the restarts begin with, in turn. Products with single qubits first reach the conjectured bound
at once: a climb from there asks whether a neighbour exceeds it."""


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The best of a search.

    Attributes:
        best: The largest total.
        state: The state that has it.
        order: The order it has it in.
        totals: The best total of each restart.
        starts: The total that each restart began with; none if that chain has none.
        evaluations: Chains walked.
        failed: Those of them without a total, which were passed over.
    """

    best: float
    state: Complex[np.ndarray, " dim"]
    order: list[str]
    totals: list[float]
    starts: list[float | None]
    evaluations: int
    failed: int


def worst_case_search(
    n: int,
    *,
    config: ChainConfig | None = None,
    restarts: int = 4,
    steps: int = 100,
    seed: int = 0,
    backend: str = "local",
    workers: int | None = None,
    output: str | Path | None = None,
    progress: bool = True,
) -> SearchResult:
    """Looks for a pure state and an order with as much posterior information as possible.

    Restarts begin in turn at a Haar state in random order, at a product state with single qubits first (which reaches
    the conjectured bound), at a Haar state and at a locally turned GHZ-type state by size of the components. A step
    moves the state a little or one component to another place, and stays if the total grew.

    Args:
        n: Number of qubits.
        config: The settings of the chains.
        restarts: Independent climbs.
        steps: Steps of each.
        seed: Of all of it.
        backend: As in `intarsia.engine.sweep`.
        workers: How many climbs run at once.
        output: JSONL file of the climbs, from which a stopped search continues.
        progress: Whether to show a progress bar.

    Raises:
        ConfigError: If a number is below 1.
        InputError: If `n` is above 5 and the settings do not force it.
    """
    config = config or ChainConfig()
    config.check_size(n)
    for name, value in (("restarts", restarts), ("steps", steps)):
        if value < 1:
            raise ConfigError(name, value, "at least 1")
    trials = [
        {"n": n, "restart": restart, "steps": steps, "seed": seed, "settings": asdict(config)}
        for restart in range(restarts)
    ]
    outcomes = engine.sweep(
        climb,
        trials,
        backend=backend,
        workers=workers,
        output=output,
        progress=progress,
        description="climbs",
        on_error="raise",
    )
    climbs = [outcome.value for outcome in outcomes if outcome.value is not None]
    best = max(climbs, key=lambda climb: climb["total"])
    return SearchResult(
        best["total"],
        np.array(best["re"]) + 1j * np.array(best["im"]),
        best["order"],
        [climb["total"] for climb in climbs],
        [climb["start"] for climb in climbs],
        sum(climb["evaluations"] for climb in climbs),
        sum(climb["failed"] for climb in climbs),
    )


def climb(n: int, restart: int, steps: int, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One restart."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng([seed, n, restart])
    config = ChainConfig(**settings)
    family, first_order = STARTS[restart % len(STARTS)]
    psi = draw_state(family, n, rng)
    order = order_components(expectations_of(psi), first_order, seed=int(rng.integers(2**32)))
    start, total, failed = None, -np.inf, 0
    with threadpool_limits(1):
        for step in range(steps + 1):
            candidate, walk = psi, order
            if step:
                candidate, walk = _moved(psi, order, _FIRST_STEP * (_LAST_STEP / _FIRST_STEP) ** (step / steps), rng)
            found = posterior_chain(candidate, walk, config).total
            start = start if step else found
            failed += found is None
            if found is not None and found > total:
                psi, order, total = candidate, walk, found
    return {
        "total": float(total),
        "start": start,
        "re": psi.real.tolist(),
        "im": psi.imag.tolist(),
        "order": order,
        "evaluations": steps + 1,
        "failed": failed,
    }


def _moved(
    psi: Complex[np.ndarray, " dim"], order: list[str], size: float, rng: np.random.Generator
) -> tuple[Complex[np.ndarray, " dim"], list[str]]:
    """One of: the state moved, a component moved, both."""
    kind = rng.integers(3)
    if kind != 1:
        psi = psi + size * haar_state(len(psi).bit_length() - 1, rng)
        psi = psi / np.linalg.norm(psi)
    if kind != 0:
        order = order.copy()
        order.insert(int(rng.integers(len(order))), order.pop(int(rng.integers(len(order)))))
    return psi, order
