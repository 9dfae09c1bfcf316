"""Pictures of tracked runs: curves over epochs, the information plane, accuracies."""

from collections.abc import Callable, Iterable, Sequence
from statistics import mean

import numpy as np

from intarsia.experiments import plots
from intarsia.experiments.records import Figure
from intarsia.quantum.qnn.trials import REAL, SHUFFLED, TrackedRun

_NAMES = {REAL: "real labels", SHUFFLED: "shuffled labels"}
_POINTS = 14


def qnn_figures(runs: Sequence[TrackedRun], definitions: Sequence[str], name: str = "") -> list[Figure]:
    """Returns all pictures of runs of one configuration.

    Args:
        runs: The runs, with the same measured epochs.
        definitions: What they tracked.
        name: Name of the configuration, for the headings.
    """
    head = f"{name}: " if name else ""
    figures = []
    for definition in ("data", "choi"):
        if definition in definitions:
            figures += [
                _curves(runs, f"{definition}_di_mo", f"{head}I(Di:Mo), {definition}", "I(Di:Mo), bits"),
                _curves(runs, f"{definition}_mi_mo", f"{head}I(Mi:Mo), {definition}", "I(Mi:Mo), bits"),
                information_plane(runs, definition, f"{head}information plane, {definition}"),
            ]
    if "holevo" in definitions:
        figures.append(_curves(runs, "chi_labels", f"{head}information about labels", "chi(Y:Mo), bits"))
    accuracies = _curves(runs, "test_accuracy", f"{head}accuracy", "test accuracy")
    return [*figures, accuracies]


def information_plane(runs: Sequence[TrackedRun], definition: str, title: str) -> Figure:
    """Draws the mean path of the runs through I(M_i:M_o) and I(D_i:M_o), from before training on.

    Args:
        runs: The runs.
        definition: `choi` or `data`.
        title: Heading.
    """
    paths: dict[str, list[tuple[float, float]]] = {}
    for labels, group in _groups(runs).items():
        points = list(zip(_means(group, f"{definition}_mi_mo"), _means(group, f"{definition}_di_mo"), strict=True))
        # Most happens in the first epochs, so they are marked more densely.
        marked = {round(place) for place in np.geomspace(1, len(points), _POINTS)}
        paths[_NAMES[labels]] = [points[place - 1] for place in sorted(marked)]
    paths["before training"] = [path[0] for path in paths.values()]
    # The paths share one list of x positions; each has gaps where another one has its points.
    series: dict[str, list[float | None]] = {
        name: [y if owner == name else None for owner, path in paths.items() for _, y in path] for name in paths
    }
    return plots.lines(
        [x for path in paths.values() for x, _ in path],
        series,
        title=title,
        xlabel="I(Mi:Mo), bits",
        ylabel="I(Di:Mo), bits",
        caption="Mean over seeds; paths begin at the triangle, early epochs are marked more densely. "
        "Reconstruction: the paper's own definitions are not known.",
    )


def _curves(runs: Sequence[TrackedRun], key: str, title: str, ylabel: str) -> Figure:
    groups = _groups(runs)
    epochs = [record["epoch"] for record in runs[0].history]
    bands = {
        _NAMES[labels]: (_over_runs(group, key, min), _over_runs(group, key, max))
        for labels, group in groups.items()
        if len(group) > 1
    }
    return plots.lines(
        epochs,
        {_NAMES[labels]: _means(group, key) for labels, group in groups.items()},
        title=title,
        xlabel="epoch",
        ylabel=ylabel,
        bands=bands,
        markers=False,
        caption="Lines: mean over seeds; bands: smallest to largest." if bands else "",
    )


def _groups(runs: Sequence[TrackedRun]) -> dict[str, list[TrackedRun]]:
    groups = {labels: [run for run in runs if run.labels == labels] for labels in _NAMES}
    return {labels: group for labels, group in groups.items() if group}


def _means(runs: Sequence[TrackedRun], key: str) -> list[float]:
    return _over_runs(runs, key, mean)


def _over_runs(runs: Sequence[TrackedRun], key: str, fold: Callable[[Iterable[float]], float]) -> list[float]:
    points = range(min(len(run.history) for run in runs))
    return [float(fold([run.history[point][key] for run in runs])) for point in points]
