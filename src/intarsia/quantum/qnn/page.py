"""The report of tracked runs: verdict, information plane, curves, and every run's numbers."""

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.experiments.cells import Cell
from intarsia.experiments.report import Highlight, Report, Section, Table
from intarsia.quantum.qnn.config import CircuitConfig, DataConfig, TrainingConfig
from intarsia.quantum.qnn.figures import qnn_figures
from intarsia.quantum.qnn.trials import REAL, TrackedRun
from intarsia.quantum.qnn.verdict import RECONSTRUCTION, compare, configuration, verdict_text

_MEANING = (
    "Di and Mi are the inputs of the discarded and of the measured qubits, Mo the output of the measured ones. `data` "
    "takes the purified mean input state as the reference of the input, `choi` the maximally mixed state. chi(Y:Mo) is "
    "the Holevo information: no measurement of the measured qubits tells more about the labels.\n\n"
    "K1 asks whether I(Di:Mo) ends more than 0.02 bit above its start; K2 whether I(Mi:Mo) has a maximum inside the "
    "run with a rise and a fall of at least a quarter of its range each. Both were fixed in advance."
)


def summary_rows(runs: Sequence[TrackedRun], definitions: Sequence[str]) -> list[dict[str, Any]]:
    """Returns one row for every run: labels, seed, accuracies, and start, end and criteria of every definition."""
    rows = []
    for run in runs:
        first, last = run.history[0], run.history[-1]
        row: dict[str, Any] = {
            "labels": run.labels,
            "seed": run.seed,
            "loss": last["loss"],
            "test_accuracy": last["test_accuracy"],
            "logistic_regression": run.baseline,
        }
        if "holevo" in definitions:
            row |= {"chi_start": first["chi_labels"], "chi_end": last["chi_labels"]}
        for definition in ("data", "choi"):
            if definition in definitions:
                judged = run.judged(definition)
                row |= {
                    f"{definition}_di_mo_start": first[f"{definition}_di_mo"],
                    f"{definition}_di_mo_end": last[f"{definition}_di_mo"],
                    f"{definition}_mi_mo_range": judged.span,
                    f"{definition}_k1": judged.grows,
                    f"{definition}_k2": judged.two_phases,
                }
        rows.append(row)
    return rows


def qnn_report(
    runs: Sequence[TrackedRun],
    data: DataConfig,
    circuit: CircuitConfig,
    training: TrainingConfig,
    provenance: Mapping[str, Any] | None = None,
) -> Report:
    """Returns the page.

    Args:
        runs: Runs with real and with shuffled labels.
        data: The samples.
        circuit: The circuit.
        training: The training.
        provenance: Where the numbers come from.

    Raises:
        InputError: If there are no runs of one kind.
    """
    rows = summary_rows(runs, training.definitions)
    table = Table(list(rows[0]), [[_cell(value) for value in row.values()] for row in rows], folded=len(rows) > 12)
    sections = [
        Section("Verdict", verdict_text(runs, data, circuit, training).replace("\n", "\n\n")),
        Section("Curves", _MEANING, figures=qnn_figures(runs, training.definitions)),
        Section("Runs", "Start is before training. Information is in bits.", tables=[table, *_intervals(runs)]),
    ]
    return Report(
        f"Information in a quantum neural network: {data.data}",
        f"{RECONSTRUCTION}\n\n{configuration(runs, data, circuit, training)}",
        sections,
        _highlights(runs, training),
        provenance or {},
    )


def _highlights(runs: Sequence[TrackedRun], training: TrainingConfig) -> list[Highlight]:
    real = [run for run in runs if run.labels == REAL]
    accuracy = sum(run.history[-1]["test_accuracy"] for run in real) / len(real)
    found = [Highlight("test accuracy", f"{100 * accuracy:.1f} %", "mean over seeds, real labels")]
    for definition in ("data", "choi"):
        if definition in training.definitions:
            for criterion, label in (("grows", "I(Di:Mo) grows"), ("two_phases", "I(Mi:Mo) in two phases")):
                counts = compare(runs, definition, criterion)
                found.append(
                    Highlight(
                        f"{label}, {definition}",
                        f"{counts.real} of {counts.real_runs}",
                        f"{counts.shuffled} of {counts.shuffled_runs} with shuffled labels",
                    )
                )
    return found


def _intervals(runs: Sequence[TrackedRun]) -> list[Table]:
    names = {"di_mo": "I(Di:Mo)", "mi_mo": "I(Mi:Mo)", "di_mo_change": "its change", "mi_mo_change": "its change "}
    rows: list[list[Cell]] = [
        [run.labels, run.seed, *(_interval(run, name) for name in ("di_mo", "di_mo_change", "mi_mo", "mi_mo_change"))]
        for run in runs
        if run.intervals
    ]
    if not rows:
        return []
    headings = ["labels", "seed", *(names[name] for name in ("di_mo", "di_mo_change", "mi_mo", "mi_mo_change"))]
    return [
        Table(
            headings,
            rows,
            "95 % bootstrap intervals over training samples, definition data, bits",
            f"The estimates are plug-ins from {runs[0].train} samples, biased where samples are few.",
            folded=len(rows) > 12,
        )
    ]


def _interval(run: TrackedRun, name: str) -> tuple[float, float]:
    low, high = run.intervals[name]
    return low, high


def _cell(value: Any) -> Cell:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value
