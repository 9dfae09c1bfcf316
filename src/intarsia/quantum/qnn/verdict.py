"""The verdict on the paper's two claims, in words, with everything it rests on."""

from collections.abc import Sequence
from statistics import median

from intarsia.quantum.qnn.config import CircuitConfig, DataConfig, TrainingConfig
from intarsia.quantum.qnn.criteria import Comparison, compare_with_null
from intarsia.quantum.qnn.trials import REAL, TrackedRun

RECONSTRUCTION = (
    "Reconstruction: only the paper's abstract was available, so definitions, circuit, data and criteria are ours."
)
NEARLY_ALL = 0.8
"""Share of runs with real labels that have to meet a criterion for a claim to be confirmed."""

_MEANINGS = {
    "data": "reference purifies the mean input state",
    "choi": "reference maximally mixed",
}


def verdict_text(runs: Sequence[TrackedRun], data: DataConfig, circuit: CircuitConfig, training: TrainingConfig) -> str:
    """Returns the verdict on both claims under every definition that was tracked.

    Args:
        runs: Runs with real and with shuffled labels.
        data: The samples.
        circuit: The circuit.
        training: The training.

    Raises:
        InputError: If there are no runs of one kind.
    """
    lines = [RECONSTRUCTION, configuration(runs, data, circuit, training)]
    for definition, meaning in _MEANINGS.items():
        if definition not in training.definitions:
            continue
        growth, phases, both = (compare(runs, definition, criterion) for criterion in ("grows", "two_phases", "both"))
        real = [run.judged(definition) for run in runs if run.labels == REAL]
        change, span = (median(getattr(judged, name) for judged in real) for name in ("change", "span"))
        lines += [
            f"Definition {definition} ({meaning}):",
            f"  claim 1, I(Di:Mo) grows: {decide(growth)}: {growth}; median change {change:+.3f} bit.",
            f"  claim 2, I(Mi:Mo) rises, then falls: {decide(phases)}: {phases}; its median range is {span:.3f} bit.",
            f"  both in one run: {both}.",
        ]
    if len(lines) > 2 and not _enough(runs):
        lines.insert(2, "So few seeds cannot be told from a null at p < 0.05, whatever they show: take at least 4.")
    if "holevo" in training.definitions:
        lines.append(f"Information about labels, chi(Y:Mo), median: {_holevo_change(runs)}.")
    return "\n".join(lines)


def _enough(runs: Sequence[TrackedRun]) -> bool:
    """Whether a criterion that all real and no shuffled runs meet would be tied to labels."""
    real = sum(run.labels == REAL for run in runs)
    return compare_with_null([True] * real, [False] * (len(runs) - real)).tied_to_labels


def _holevo_change(runs: Sequence[TrackedRun]) -> str:
    parts = []
    for labels in dict.fromkeys(run.labels for run in runs):
        start, end = (
            median(run.history[point]["chi_labels"] for run in runs if run.labels == labels) for point in (0, -1)
        )
        parts.append(f"{start:.3f} to {end:.3f} bit with {labels} labels")
    return ", ".join(parts)


def decide(comparison: Comparison) -> str:
    """Returns what a criterion's counts say of its claim."""
    if comparison.real < NEARLY_ALL * comparison.real_runs:
        return "not confirmed in this reconstruction"
    if not comparison.tied_to_labels:
        return "seen, but not told from the null"
    return "confirmed in this configuration"


def compare(runs: Sequence[TrackedRun], definition: str, criterion: str) -> Comparison:
    """Counts the runs that meet `grows` (K1), `two_phases` (K2) or `both`, against the null.

    Raises:
        InputError: If there are no runs of one kind.
    """

    def met(run: TrackedRun) -> bool:
        judged = run.judged(definition)
        return judged.grows and judged.two_phases if criterion == "both" else bool(getattr(judged, criterion))

    return compare_with_null(
        [met(run) for run in runs if run.labels == REAL], [met(run) for run in runs if run.labels != REAL]
    )


def configuration(
    runs: Sequence[TrackedRun], data: DataConfig, circuit: CircuitConfig, training: TrainingConfig
) -> str:
    """Returns the configuration and the seeds in one line."""
    first = runs[0]
    seeds = sorted({run.seed for run in runs})
    in_row = len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1
    named = f"{seeds[0]} to {seeds[-1]}" if in_row else ", ".join(map(str, seeds))
    return (
        f"Configuration: {data.data}, classes {', '.join(first.classes)}, {first.train} training and {first.test} test "
        f"samples; {circuit.encoding} encoding{', re-uploaded' if circuit.reupload else ''}, {circuit.family} circuit "
        f"of {circuit.qubits} qubits and {circuit.depth} layers, measured: {', '.join(map(str, circuit.measured))}; "
        f"{training.initialisation} initialisation, {training.loss} loss, {training.epochs} epochs of batches of "
        f"{training.batch_size}, learning rate {training.learning_rate:g}; seeds {named}."
    )
