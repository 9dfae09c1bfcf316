"""The studies of the reproduction of posterior information; each returns JSON values."""

from dataclasses import asdict
from typing import Any

import numpy as np

from intarsia.experiments._posterior_recipe import ClimbRecipe, ClosedFormRecipe, IntervalRecipe, LargeRecipe
from intarsia.quantum.paulis import labels
from intarsia.quantum.posterior.chain import posterior_chain
from intarsia.quantum.posterior.config import ChainConfig
from intarsia.quantum.posterior.searching import worst_case_search
from intarsia.quantum.posterior.sweeping import SweepSummary, sweep
from intarsia.quantum.states import ghz_state

_ANGLE_OF_HALF = float(np.arccos(0.5) / 2)


def sweep_study(n: int, states: int, recipe: Any, seed: int, backend: str) -> list[dict[str, Any]]:
    """A and C: records of all chains of `n` qubits."""
    # All components are walked, so that totals and curves are complete.
    config = ChainConfig(eps=recipe.eps, stop_below=0.0)
    found = sweep(n, recipe.families, recipe.orders, states, config=config, seed=seed, backend=backend, progress=False)
    return found.records


def interval_study(recipe: IntervalRecipe, seed: int, backend: str) -> list[dict[str, Any]]:
    """B: records of the interval estimator at two qubits."""
    config = ChainConfig(estimator="interval", eps=recipe.eps)
    found: SweepSummary = sweep(
        2, ("haar",), (recipe.order,), recipe.states, config=config, seed=seed, backend=backend, progress=False
    )
    return found.records


def closed_form_study(recipe: ClosedFormRecipe) -> list[dict[str, Any]]:
    """D: totals of `cos t |00> + sin t |11>` beside their closed forms, and of one qubit."""
    rows = []

    def add(what: str, state: Any, first: list[str], estimator: str, exact: float) -> None:
        n = len(state).bit_length() - 1
        order = first + [label for label in labels(n) if label not in first]
        chain = posterior_chain(state, order, ChainConfig(estimator=estimator, eps=recipe.eps, stop_below=0.0))
        rows.append({"what": what, "estimator": estimator, "exact": exact, "total": chain.total})

    for t in recipe.angles:
        c, s = float(np.cos(2 * t)), float(np.sin(2 * t))
        state = ghz_state(2, angle=t)
        add(f"t = {t:g}, ZZ ZI IZ XX YY", state, ["ZZ", "ZI", "IZ", "XX", "YY"], "maxent", 2.0)
        add(f"t = {t:g}, ZI IZ ZZ XX YY", state, ["ZI", "IZ", "ZZ", "XX", "YY"], "maxent", 2 - s**2 + s**4)
        add(f"t = {t:g}, XX YY ZZ ZI IZ", state, ["XX", "YY", "ZZ", "ZI", "IZ"], "maxent", 2 - c**2 + c**4)
        add(f"t = {t:g}, ZI IZ ZZ XX YY", state, ["ZI", "IZ", "ZZ", "XX", "YY"], "interval", 2 - 2 * c + 2 * c**2)
    state = ghz_state(2, angle=_ANGLE_OF_HALF)
    add("cos 2t = 1/2, ZI IZ ZZ XX YY", state, ["ZI", "IZ", "ZZ", "XX", "YY"], "least-norm", 2.25)
    return rows


def large_study(recipe: LargeRecipe, seed: int, backend: str) -> list[dict[str, Any]]:
    """E: records of one state of each family of five qubits; the early stop is used and its rest bounded."""
    config = ChainConfig(eps=recipe.eps)
    return sweep(
        5, recipe.families, recipe.orders, 1, config=config, seed=seed, backend=backend, progress=False
    ).records


def climb_study(n: int, restarts: int, recipe: ClimbRecipe, seed: int, backend: str) -> list[dict[str, Any]]:
    """F: the best totals of climbs, and of the best state again with a twentieth of the noise."""
    rows = []
    for divergence in ("sq", "chi2"):
        config = ChainConfig(divergence=divergence, eps=recipe.eps)
        found = worst_case_search(
            n, config=config, restarts=restarts, steps=recipe.steps, seed=seed, backend=backend, progress=False
        )
        finer = ChainConfig(**{**asdict(config), "eps": recipe.eps / 20})
        rows.append(
            {
                "divergence": divergence,
                "best": found.best,
                "totals": found.totals,
                "starts": found.starts,
                "evaluations": found.evaluations,
                "failed": found.failed,
                "finer_eps": finer.eps,
                "finer": posterior_chain(found.state, found.order, finer).total,
            }
        )
    return rows
