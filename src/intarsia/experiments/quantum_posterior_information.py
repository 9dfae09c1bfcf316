"""Posterior information of quantum states: how much it comes to, and what holds of the bounds."""

import math
from collections.abc import Sequence
from functools import partial
from statistics import fmean, stdev
from typing import Any

from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Row
from intarsia.experiments.registry import experiment

PAPER = "Information upper bounds in composite quantum systems, arXiv 2411.09150"

_ABOVE = 1e-3
"""A total above the pure-state value by more counts as a violation; less is of the order of eps."""
_LARGEST = "largest I_post (reconstruction; beyond two qubits the paper's value is a hypothesis)"
_MEAN = "mean I_post (reconstruction)"
_WITHOUT = "chains without a total, %"


@experiment(
    "quantum-posterior-information",
    title="Posterior information of quantum states (reconstruction)",
    paper=PAPER,
    claims=[
        Claim(
            "two-qubits",
            "no chain of two qubits has more than 2 (1 - eps)^2 by more than 0.001 (maxent, reconstruction; with these "
            "definitions a conjecture)",
            "abstract (upper bound exactly 2 for two qubits)",
        ),
        Claim(
            "more-qubits",
            "no chain of n > 2 qubits has more than n (1 - eps)^2 by more than 0.001 (maxent, reconstruction; a "
            "conjecture that no number of chains proves)",
            "abstract (hypothesis from numerical experiments)",
        ),
        Claim(
            "bound-is-reached",
            "for every number of qubits swept some chain comes within 0.001 of n (1 - eps)^2",
            "abstract (upper bound exactly 2; hypothesis n)",
        ),
        Claim(
            "climb-finds-no-more",
            "hill climbs over states and orders find no total above n (1 - eps)^2, the conjectured bound, by more than "
            "0.001 (sq)",
            "abstract (upper bound 2; hypothesis n)",
        ),
        Claim("kl-is-bounded", "I_KL is at most n - S(rho) bits on every chain (T2, proved)", "theorem T2"),
        Claim("closed-forms", "totals agree with their closed forms within 0.001", "closed forms of the method's page"),
        Claim(
            "interval-exceeds",
            "the interval estimator, the nearest to the abstract's standard SDP, has totals above 2 at two qubits",
            "reconstruction",
        ),
    ],
)
def run(context: Context) -> Outcome:
    """Runs the studies."""
    from intarsia.experiments import _posterior_studies as studies
    from intarsia.experiments._posterior_recipe import read_recipe

    recipe, seed, backend = read_recipe(context.config), context.seed, context.engine
    sweeps = {
        int(n): context.stage(f"sweep-{n}", partial(studies.sweep_study, int(n), count, recipe.sweep, seed, backend))
        for n, count in recipe.sweep.states.items()
    }
    interval = context.stage("interval", partial(studies.interval_study, recipe.interval, seed, backend))
    closed = context.stage("closed-forms", partial(studies.closed_form_study, recipe.closed_forms))
    climbs = {
        int(n): context.stage(f"climb-{n}", partial(studies.climb_study, int(n), count, recipe.climb, seed, backend))
        for n, count in recipe.climb.restarts.items()
    }
    large: list[dict[str, Any]] = []
    if recipe.large.families:
        large = context.stage("large", partial(studies.large_study, recipe.large, seed, backend))
    verdicts = _judge(recipe, sweeps, interval, closed, large, climbs)
    return Outcome(
        [*_sweep_rows(recipe, sweeps, large), *_interval_rows(interval), *_closed_rows(closed), *_climb_rows(climbs)],
        [context.claim(id, *verdicts[id]) for id in context.claims],
        _figures(sweeps),
        _notes(recipe, sweeps, interval, large, climbs),
    )


# Rows


def _totals(records: Sequence[dict[str, Any]]) -> list[float]:
    return [record["total"] for record in records if record["total"] is not None]


def _qubits(n: int) -> str:
    return f"{n} qubits"


def _mean_row(system: str, data: str, metric: str, values: list[float]) -> Row | None:
    if not values:
        return None
    mean = fmean(values)
    if len(values) < 2:
        return Row(system, data, metric, None, mean, n=1)
    half = 1.96 * stdev(values) / math.sqrt(len(values))
    return Row(system, data, metric, None, mean, mean - half, mean + half, len(values))


def _sweep_rows(recipe: Any, sweeps: dict[int, Any], large: list[dict[str, Any]]) -> list[Row]:
    rows: list[Row | None] = []
    groups = {n: records for n, records in sweeps.items()}
    if large:
        groups = {**groups, 5: [*groups.get(5, []), *large]}
    for n, records in groups.items():
        totals = _totals(records)
        if totals:
            rows.append(Row("maxent", _qubits(n), _LARGEST, float(n), max(totals), n=len(totals)))
        lost = 100 * (len(records) - len(totals)) / len(records)
        rows.append(Row("maxent", _qubits(n), _WITHOUT, None, lost, n=len(records)))
    for n, records in groups.items():
        for family in dict.fromkeys(record["family"] for record in records):
            for order in dict.fromkeys(record["order"] for record in records):
                chosen = [row for row in records if (row["family"], row["order"]) == (family, order)]
                rows.append(_mean_row(f"maxent, {family}", f"{_qubits(n)}, order {order}", _MEAN, _totals(chosen)))
    return [row for row in rows if row is not None]


def _interval_rows(records: list[dict[str, Any]]) -> list[Row]:
    totals = _totals(records)
    lost = 100 * (len(records) - len(totals)) / len(records)
    rows = [Row("interval", _qubits(2), _WITHOUT, None, lost, n=len(records))]
    if totals:
        above = 100 * sum(total > 2 for total in totals) / len(totals)
        rows.append(Row("interval", _qubits(2), _LARGEST, 2.0, max(totals), n=len(totals)))
        rows.append(Row("interval", _qubits(2), "chains above 2, %", None, above, n=len(totals)))
    return rows


def _closed_rows(found: list[dict[str, Any]]) -> list[Row]:
    return [
        Row(
            row["estimator"],
            f"{row['what']}; exactly {row['exact']:.6g}",
            "I_post of a closed form",
            None,
            row["total"],
        )
        for row in found
        if row["total"] is not None
    ]


def _free_and_risen(row: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Ends of the climbs that began anywhere, and rises of those that began at the conjectured bound."""
    from intarsia.quantum.posterior.searching import STARTS

    kinds = [STARTS[climb % len(STARTS)][0] for climb in range(len(row["totals"]))]
    climbs = list(zip(kinds, row["starts"], row["totals"], strict=True))
    free = [end for kind, _, end in climbs if kind != "product"]
    return free, [end - start for kind, start, end in climbs if kind == "product" and start is not None]


def _climb_rows(climbs: dict[int, Any]) -> list[Row]:
    rows = []
    for n, found in climbs.items():
        for row in found:
            system, data = f"hill climb, {row['divergence']}", _qubits(n)
            rows.append(Row(system, data, "best of the climbs", None, row["best"], n=row["evaluations"]))
            free, risen = _free_and_risen(row)
            if free:
                rows.append(Row(system, data, "best of the climbs from Haar and GHZ-type states", None, max(free)))
            if risen:
                rows.append(Row(system, data, "rise from a product, at the conjectured bound", None, max(risen)))
            rows.append(
                Row(system, data, "chains of the climbs without a total", None, row["failed"], n=row["evaluations"])
            )
            if row["finer"] is not None:
                rows.append(Row(system, data, f"the same state at eps = {row['finer_eps']:g}", None, row["finer"]))
    return rows


# Claims


def _judge(
    recipe: Any, sweeps: dict[int, Any], interval: Any, closed: Any, large: Any, climbs: dict[int, Any]
) -> dict[str, tuple[bool | None, str]]:
    eps = recipe.sweep.eps
    groups = {n: (_totals(records), n * (1 - eps) ** 2) for n, records in sweeps.items()}
    told = {n: f"n = {n}: largest of {len(t)} {max(t):.5f}, value {v:.5f}" for n, (t, v) in groups.items() if t}
    beyond = [n for n in groups if n > 2]
    five, five_value = _totals(large), 5 * (1 - recipe.large.eps) ** 2
    if five:
        told[-5] = f"n = 5: largest of {len(five)} {max(five):.5f}, value {five_value:.5f}"

    def below(ns: list[int]) -> bool:
        return all(total <= value + _ABOVE for n in ns for totals, value in [groups[n]] for total in totals)

    every = [record for records in [*sweeps.values(), large] for record in records]
    checked = [record for record in every if record.get("kl") is not None]
    exceeding = [record for record in checked if record["kl"] > record["bound_kl"] + 1e-6]
    best = [(n, row["best"], n * (1 - recipe.climb.eps) ** 2) for n, rows in climbs.items() for row in rows[:1]]
    errors = [abs(row["total"] - row["exact"]) if row["total"] is not None else math.inf for row in closed]
    above = [total for total in _totals(interval) if total > 2]
    two = 2 in groups and bool(groups[2][0])
    return {
        "two-qubits": (below([2]) if two else None, told.get(2, "no chain of two qubits")),
        "more-qubits": (
            below(beyond) and all(total <= five_value + _ABOVE for total in five) if beyond or five else None,
            "; ".join(told[n] for n in told if n != 2) or "no chain of more qubits",
        ),
        "bound-is-reached": (
            all(totals and max(totals) >= value - _ABOVE for totals, value in groups.values()),
            "; ".join(told[n] for n in groups if n in told),
        ),
        "climb-finds-no-more": (
            all(found <= value + _ABOVE for _, found, value in best) if best else None,
            "; ".join(f"n = {n}: {found:.5f}, value {value:.5f}" for n, found, value in best) or "no climb",
        ),
        "kl-is-bounded": (
            not exceeding and bool(checked),
            f"{len(checked) - len(exceeding)} of {len(checked)} chains below, largest I_KL minus bound "
            f"{max((record['kl'] - record['bound_kl'] for record in checked), default=math.nan):.2g} bits",
        ),
        "closed-forms": (max(errors) <= 1e-3, f"{len(errors)} forms, largest difference {max(errors):.2g}"),
        "interval-exceeds": (
            bool(above),
            f"{len(above)} of {len(_totals(interval))} chains above 2, the largest {max(_totals(interval)):.4f}",
        ),
    }


# Figures and notes


def _figures(sweeps: dict[int, list[dict[str, Any]]]) -> list[Figure]:
    found = []
    for n, records in sweeps.items():
        orders = list(dict.fromkeys(record["order"] for record in records))
        by_order = {order: [row for row in records if row["order"] == order] for order in orders}
        if _totals(records):
            found += [_histogram(n, by_order), _curves(n, by_order), _kl_against_sq(n, by_order)]
    return found


def _histogram(n: int, by_order: dict[str, list[dict[str, Any]]]) -> Figure:
    from intarsia.experiments import plots

    bins = 20
    width = n / bins
    centres = [width * (index + 0.5) for index in range(bins + 1)]

    def counts(records: list[dict[str, Any]]) -> list[float]:
        placed = [min(int(total / width), bins) for total in _totals(records)]
        return [float(placed.count(index)) for index in range(bins + 1)]

    return plots.lines(
        centres,
        {order: counts(records) for order, records in by_order.items()},
        title=f"Totals of {n} qubits",
        xlabel="I_post (reconstruction)",
        ylabel="chains",
        caption=f"Chains of all families, counted in steps of n / {bins}. The conjectured bound is {n}.",
    )


def _curves(n: int, by_order: dict[str, list[dict[str, Any]]]) -> Figure:
    from intarsia.experiments import plots

    curves = {}
    for order, records in by_order.items():
        rows = [record["curve"] for record in records if record.get("curve")]
        curves[order] = [fmean(values) for values in zip(*rows, strict=False)]
    steps = range(1, max(map(len, curves.values())) + 1)
    return plots.lines(
        list(steps),
        {order: [*values, *[None] * (len(steps) - len(values))] for order, values in curves.items()},
        title=f"Information as components become known, {n} qubits",
        xlabel="components known",
        ylabel="mean I_post so far",
        caption="Means over states of all families.",
        markers=False,
    )


def _kl_against_sq(n: int, by_order: dict[str, list[dict[str, Any]]]) -> Figure:
    from intarsia.experiments import plots

    most = 60
    points = [
        (record["total"], record["kl"], order)
        for order, records in by_order.items()
        for record in [row for row in records if row["total"] is not None][:: max(1, len(records) // most)]
    ]
    # A gap after each point keeps lines from being drawn between them.
    x = [total for total, _, _ in points for _ in range(2)]
    series = {
        order: [value for _, kl, own in points for value in (kl if own == order else None, None)] for order in by_order
    }
    return plots.lines(
        x,
        series,
        title=f"I_KL against I_post, {n} qubits",
        xlabel="I_post (reconstruction)",
        ylabel="I_KL, bits",
        caption=f"Proved for both: I_KL is at most {n} less the entropy, so I_post at most {2 * math.log(2) * n:.3f}.",
    )


def _notes(
    recipe: Any, sweeps: dict[int, Any], interval: Any, large: list[dict[str, Any]], climbs: dict[int, Any]
) -> list[str]:
    every = [record for records in [*sweeps.values(), large] for record in records]
    lost = sum(record["total"] is None for record in every)
    notes = [
        "Reconstruction: only the paper's abstracts were at hand. Definition, estimators and orders are ours and fit "
        "them; no table of the paper is reproduced.",
        f"{lost} of {len(every)} maxent chains and {sum(row['total'] is None for row in interval)} of {len(interval)} "
        "interval chains have no total because a row failed.",
        f"eps = {recipe.sweep.eps:g} of the maximally mixed state is in every state, so the pure-state value n "
        "corresponds to n (1 - eps)^2. Chains and climbs support the conjecture; they do not prove it.",
    ]
    if large:
        notes.append(
            f"Five qubits: {len(_totals(large))} of {len(large)} chains of 1,023 components have a total, the largest "
            f"{max(_totals(large), default=math.nan):.5f}."
        )
    for n, rows in climbs.items():
        rises = [rise for row in rows for rise in _free_and_risen(row)[1]]
        if rises:
            notes.append(
                f"Climbs that begin at a product of {n} qubits, hence at the conjectured bound, rise by at most "
                f"{max(rises):.1g} in {recipe.climb.steps} steps. What is of the order of eps is the noise's."
            )
    return notes
