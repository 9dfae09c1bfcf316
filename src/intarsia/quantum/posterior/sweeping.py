"""Chains of many random states, on as many workers as there are; the numbers do not depend on how many."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intarsia import engine
from intarsia.errors import ConfigError, UnknownNameError
from intarsia.quantum.posterior.bounds import information_bounds
from intarsia.quantum.posterior.chain import posterior_chain
from intarsia.quantum.posterior.config import ChainConfig
from intarsia.quantum.posterior.orders import ORDERS
from intarsia.quantum.states import FAMILIES, draw_state

_CURVES = 10
"""So many states of each family and order keep their cumulative curve."""


@dataclass(frozen=True, slots=True)
class SweepSummary:
    """What became of many chains.

    Attributes:
        records: One mapping a chain: family, order, index of the state, total (none if a row failed), kl, failed rows,
            the bounds, perhaps the curve.
        chains: Number of chains.
        failed: Number of chains without a total, among them those that raised an error.
        largest: The largest total, by the configured divergence.
        kl_violations: Chains whose I_KL is above its proved bound by more than 1e-6; there must be none with maxent.
    """

    records: list[dict[str, Any]]
    chains: int
    failed: int
    largest: float | None
    kl_violations: int


def sweep(
    n: int,
    families: Sequence[str] = ("haar", "ghz", "w", "product", "ghz-noise"),
    orders: Sequence[str] = ("desc", "weight", "random"),
    n_states: int = 10,
    *,
    config: ChainConfig | None = None,
    seed: int = 0,
    backend: str = "local",
    workers: int | None = None,
    output: str | Path | None = None,
    progress: bool = True,
) -> SweepSummary:
    """Walks the chains of random states of some families in some orders.

    Args:
        n: Number of qubits.
        families: Names of `intarsia.quantum.states.FAMILIES`.
        orders: Names of orders.
        n_states: States of each family; all orders walk the same ones.
        config: The settings of the chains.
        seed: Each state has a seed of its own that follows from this one, its family and its index.
        backend: As in `intarsia.engine.sweep`; Ray works too.
        workers: How many chains run at once, each on one thread.
        output: JSONL file of the records, from which a stopped sweep continues.
        progress: Whether to show a progress bar.

    Raises:
        UnknownNameError: If there is no such family or order.
        ConfigError: If `n_states` is below 1.
        InputError: If `n` is above 5 and the settings do not force it.
    """
    config = config or ChainConfig()
    config.check_size(n)
    if n_states < 1:
        raise ConfigError("n_states", n_states, "at least 1")
    for kind, names, known in (("family of states", families, FAMILIES), ("order", orders, ORDERS)):
        for name in names:
            if name not in known:
                raise UnknownNameError(kind, name, known)
    trials = [
        {"n": n, "family": family, "order": order, "index": index, "seed": seed, "settings": asdict(config)}
        for family in families
        for order in orders
        for index in range(n_states)
    ]
    outcomes = engine.sweep(
        run_trial, trials, backend=backend, workers=workers, output=output, progress=progress, description="chains"
    )
    records = [
        outcome.value if outcome.value is not None else {**trial, "total": None, "error": outcome.error}
        for trial, outcome in zip(trials, outcomes, strict=True)
    ]
    return summarise(records)


def summarise(records: list[dict[str, Any]]) -> SweepSummary:
    """Counts chains, failures and violations."""
    totals = [record["total"] for record in records if record["total"] is not None]
    violations = sum(record.get("kl") is not None and record["kl"] > record["bound_kl"] + 1e-6 for record in records)
    return SweepSummary(records, len(records), len(records) - len(totals), max(totals, default=None), violations)


def run_trial(n: int, family: str, order: str, index: int, seed: int, settings: Mapping[str, Any]) -> dict[str, Any]:
    """One chain of a sweep."""
    from threadpoolctl import threadpool_limits

    state_seed = np.random.SeedSequence([seed, n, zlib.crc32(family.encode()), index])
    psi = draw_state(family, n, np.random.default_rng(state_seed))
    # One thread: sums in another order would end in other last digits.
    with threadpool_limits(1):
        chain = posterior_chain(psi, order, ChainConfig(**settings), seed=int(state_seed.generate_state(1)[0]))
    record: dict[str, Any] = {
        "n": n,
        "family": family,
        "order": order,
        "index": index,
        "total": chain.total,
        "kl": chain.total_by("kl"),
        "remainder": chain.remainder,
        "failed": chain.failed,
        "bound_kl": information_bounds(n, entropy=chain.state_entropy).kl,
    }
    if index < _CURVES and chain.total is not None:
        record["curve"] = [row.cumulative for row in chain.components if row.cumulative is not None]
    return record
