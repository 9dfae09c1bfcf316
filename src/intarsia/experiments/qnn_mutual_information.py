"""Mutual information in quantum neural networks: both claims, with real labels and against shuffled ones."""

from collections.abc import Sequence
from statistics import median
from typing import TYPE_CHECKING, Any

from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Row
from intarsia.experiments.registry import experiment

if TYPE_CHECKING:
    from intarsia.experiments._qnn_recipe import Cell
    from intarsia.quantum.qnn.criteria import Comparison
    from intarsia.quantum.qnn.trials import TrackedRun

PAPER = "Revealing the working mechanism of quantum neural networks by mutual information, arXiv 2404.19312"

_ABSTRACT = "abstract; criterion and definition are a reconstruction"
_BAR = "in at least 80 % of runs with real labels and more often than with shuffled ones (Fisher p < 0.05)"
_DEFINITIONS = ("data", "choi")
_CRITERIA = {"grows": "K1, I(Di:Mo) grows", "two_phases": "K2, I(Mi:Mo) rises, then falls", "both": "K1 and K2"}


@experiment(
    "qnn-mutual-information",
    title="Mutual information in quantum neural networks (reconstruction)",
    paper=PAPER,
    claims=[
        Claim("labels-move", f"definition data: I(Di:Mo) grows {_BAR}, in every configuration", _ABSTRACT),
        Claim("two-phases", f"definition data: I(Mi:Mo) rises, then falls {_BAR}, in every configuration", _ABSTRACT),
        Claim("labels-move-choi", f"definition choi: I(Di:Mo) grows {_BAR}, in every configuration", _ABSTRACT),
        Claim(
            "two-phases-choi", f"definition choi: I(Mi:Mo) rises, then falls {_BAR}, in every configuration", _ABSTRACT
        ),
        Claim(
            "labels-arrive",
            "chi(Y:Mo) ends higher in every run with real labels than in any run with shuffled ones",
            "abstract (label-related information is pushed to the measured qubits); the measure is a reconstruction",
        ),
        Claim(
            "circuits-learn",
            "test accuracy is on average at most 5 points below logistic regression on the same features",
            "not the paper's: a circuit that learns nothing would say nothing",
        ),
    ],
)
def run(context: Context) -> Outcome:
    """Trains every configuration with all its seeds, with real and with shuffled labels."""
    from intarsia.experiments._qnn_recipe import read_recipe

    recipe = read_recipe(context.config)
    studied = _train(context, recipe.cells(), recipe.resamples)
    rows = [row for cell, runs in studied for row in _rows(cell, runs)]
    verdicts = _judge(studied)
    claims = [context.claim(id, *verdicts[id]) for id in context.claims]
    return Outcome(rows, claims, _figures(studied), _notes(studied))


def _train(context: Context, cells: "list[Cell]", resamples: int) -> "list[tuple[Cell, list[TrackedRun]]]":
    from intarsia import engine
    from intarsia.quantum.qnn.trials import TrackedRun, run_trial, seed_trials

    trials = [
        seed_trials(
            cell.data,
            cell.circuit,
            cell.training,
            range(1000 * context.seed, 1000 * context.seed + cell.seeds),
            resamples=resamples,
        )
        for cell in cells
    ]
    flat = [trial for group in trials for trial in group]
    context.progress(f"{len(flat)} runs of {len(cells)} configurations ...")
    outcomes = engine.sweep(
        run_trial, flat, output=context.folder / "runs.jsonl", backend=context.engine, on_error="raise"
    )
    found = iter([TrackedRun(**outcome.value) for outcome in outcomes if outcome.value is not None])
    return [(cell, [next(found) for _ in group]) for cell, group in zip(cells, trials, strict=True)]


# Rows


def _rows(cell: "Cell", runs: "Sequence[TrackedRun]") -> list[Row]:
    from intarsia.quantum.qnn.trials import REAL, SHUFFLED

    rows = []
    for labels in (REAL, SHUFFLED):
        group = [run for run in runs if run.labels == labels]
        system = f"{labels} labels"
        for definition in _DEFINITIONS:
            rows += _criteria(system, cell.name, group, definition)
            for part, name in (("di_mo", "I(Di:Mo)"), ("mi_mo", "I(Mi:Mo)")):
                key, metric = f"{definition}_{part}", f"{name}, {definition}, bits"
                rows += _start_and_end(system, cell.name, group, key, metric)
        for key, metric in (("chi_labels", "chi(Y:Mo), bits"), ("chi_inputs", "chi(X:Mo), bits")):
            rows += _start_and_end(system, cell.name, group, key, metric)
        rows.append(_mean(system, cell.name, "test accuracy, %", [100 * _last(run, "test_accuracy") for run in group]))
    baselines = [100 * run.baseline for run in runs if run.labels == REAL]
    return [*rows, _mean("logistic regression", cell.name, "test accuracy, %", baselines)]


def _criteria(system: str, dataset: str, group: "Sequence[TrackedRun]", definition: str) -> list[Row]:
    from intarsia.metrics.shares import wilson

    judged = [run.judged(definition) for run in group]
    met = {
        "grows": sum(each.grows for each in judged),
        "two_phases": sum(each.two_phases for each in judged),
        "both": sum(each.grows and each.two_phases for each in judged),
    }
    rows = []
    for criterion, label in _CRITERIA.items():
        share = wilson(met[criterion], len(group))
        metric = f"{label}, {definition}, % of runs"
        rows.append(Row(system, dataset, metric, None, 100 * share.value, 100 * share.low, 100 * share.high, share.n))
    # K2 is scale-free, so the size of what it saw stands beside it.
    spans = [each.span for each in judged]
    return [*rows, _mean(system, dataset, f"range of I(Mi:Mo) over a run, {definition}, bits", spans)]


def _start_and_end(system: str, dataset: str, group: "Sequence[TrackedRun]", key: str, metric: str) -> list[Row]:
    return [
        _mean(f"{system}, {when}", dataset, metric, [run.history[point][key] for run in group])
        for when, point in (("before training", 0), ("after training", -1))
    ]


def _mean(system: str, dataset: str, metric: str, values: Sequence[float]) -> Row:
    from intarsia.metrics.intervals import bootstrap_interval

    interval = bootstrap_interval(values)
    return Row(system, dataset, metric, None, sum(values) / len(values), interval.low, interval.high, len(values))


def _last(run: "TrackedRun", key: str) -> float:
    return float(run.history[-1][key])


# Claims

_Studied = Sequence[tuple[Any, Any]]
_Verdicts = dict[str, tuple[bool, str]]


def _judge(studied: _Studied) -> _Verdicts:
    return {
        "labels-move": _criterion(studied, "data", "grows"),
        "two-phases": _criterion(studied, "data", "two_phases"),
        "labels-move-choi": _criterion(studied, "choi", "grows"),
        "two-phases-choi": _criterion(studied, "choi", "two_phases"),
        "labels-arrive": _labels_arrive(studied),
        "circuits-learn": _learned(studied),
    }


def _criterion(studied: _Studied, definition: str, criterion: str) -> tuple[bool, str]:
    from intarsia.quantum.qnn.trials import REAL
    from intarsia.quantum.qnn.verdict import NEARLY_ALL, compare

    def holds(found: "Comparison") -> bool:
        return found.real >= NEARLY_ALL * found.real_runs and found.tied_to_labels

    found, told = [], []
    for cell, runs in studied:
        counts = compare(runs, definition, criterion)
        judged = [run.judged(definition) for run in runs if run.labels == REAL]
        size = (
            f"median change {median(each.change for each in judged):+.3f} bit"
            if criterion == "grows"
            else f"median range {median(each.span for each in judged):.3f} bit"
        )
        found.append(holds(counts))
        told.append(f"{cell.name}: {counts}, {size}")
    return all(found), "; ".join(told)


def _labels_arrive(studied: _Studied) -> tuple[bool, str]:
    from intarsia.quantum.qnn.trials import REAL

    found, told = [], []
    for cell, runs in studied:
        real = [_last(run, "chi_labels") for run in runs if run.labels == REAL]
        null = [_last(run, "chi_labels") for run in runs if run.labels != REAL]
        found.append(min(real) > max(null))
        told.append(f"{cell.name}: {min(real):.3f} to {max(real):.3f} bit, shuffled {min(null):.3f} to {max(null):.3f}")
    return all(found), "; ".join(told)


def _learned(studied: _Studied) -> tuple[bool, str]:
    from intarsia.quantum.qnn.trials import REAL

    found, told = [], []
    for cell, runs in studied:
        real = [run for run in runs if run.labels == REAL]
        ours = 100 * sum(_last(run, "test_accuracy") for run in real) / len(real)
        baseline = 100 * sum(run.baseline for run in real) / len(real)
        found.append(ours >= baseline - 5)
        told.append(f"{cell.name}: {ours:.1f} %, logistic regression {baseline:.1f} %")
    return all(found), "; ".join(told)


# Figures and notes


def _figures(studied: _Studied) -> list[Figure]:
    from intarsia.quantum.qnn.figures import qnn_figures

    if len(studied) <= 4:
        return [figure for cell, runs in studied for figure in qnn_figures(runs, cell.training.definitions, cell.name)]
    return [_map(studied, criterion) for criterion in ("grows", "two_phases")]


def _map(studied: _Studied, criterion: str) -> Figure:
    """Shares of runs by configuration, over depths and measured qubits too many for curves."""
    from intarsia.experiments import plots
    from intarsia.quantum.qnn.verdict import compare

    matrix: list[list[float | None]] = []
    for _, runs in studied:
        counts = [compare(runs, definition, criterion) for definition in _DEFINITIONS]
        pairs = [(each.real / each.real_runs, each.shuffled / each.shuffled_runs) for each in counts]
        matrix.append([100 * share for pair in pairs for share in pair])
    columns = [f"{definition}, {labels}" for definition in _DEFINITIONS for labels in ("real", "shuffled")]
    title = f"{_CRITERIA[criterion]}: % of runs"
    return plots.heatmap(matrix, [cell.name for cell, _ in studied], columns, title=title)


def _notes(studied: _Studied) -> list[str]:
    from intarsia.quantum.qnn.verdict import RECONSTRUCTION, configuration

    return [
        RECONSTRUCTION + " So nothing here can refute the paper, and no value stands in its column.",
        "data: the reference of the input purifies the mean input state; choi: it is maximally mixed.",
        *(configuration(runs, cell.data, cell.circuit, cell.training) for cell, runs in studied),
        *(_interval_note(cell.name, runs) for cell, runs in studied if runs[0].intervals),
        "Every seed has its own split, initialisation, order and shuffling. K2 is scale-free: see the range beside it.",
    ]


def _interval_note(name: str, runs: "Sequence[TrackedRun]") -> str:
    first = runs[0]
    low, high = first.intervals["di_mo_change"]
    return (
        f"{name}, definition data: an estimate from {first.train} samples. Resampling them, the change of I(Di:Mo) in "
        f"seed {first.seed} is {low:.3f} to {high:.3f} bit (95 %)."
    )
