"""MIUB of LoRA runs along rank, data and model size, and its scaling law beside those of loss and perplexity."""

import gzip
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.experiments import plots
from intarsia.experiments._local_data import data_folder
from intarsia.experiments.cells import Estimate
from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Row
from intarsia.experiments.registry import experiment

if TYPE_CHECKING:
    from intarsia.data import ClassificationRow
    from intarsia.finetune.scaling import Axis, PolicyAnalysis, RunTable, SweepConfig

PAPER = "The Scaling Law for LoRA Base on Mutual Information Upper Bound, arXiv 2501.03152"
OURS = "Intarsia's confirmation on fresh seeds and tasks"

# "Consistently falls": three of four pairs of ranks in the right order.
_CONSISTENT = 0.5
_HEADLINE, _LITERAL = "miub", "miub_paper_softmax"
_POLICY_WORDS = {"fixed": "fixed alpha", "proportional": "alpha proportional to r"}


@experiment(
    "miub-lora-scaling",
    title="MIUB: an internal metric of LoRA and its scaling law",
    paper=PAPER,
    claims=[
        Claim("falls-with-rank", "MIUB (its literal form) falls as the rank grows, whatever LoRA's alpha", PAPER),
        Claim("falls-with-model", "MIUB (its literal form) falls as the base model grows", PAPER),
        Claim("falls-with-data", "MIUB (its literal form) falls as the training data grow", PAPER),
        Claim(
            "law-fits-better",
            "MIUB follows the scaling law more accurately than cross-entropy and perplexity "
            "(higher adjusted R2 and smaller left-out error, whatever LoRA's alpha)",
            PAPER,
        ),
        Claim(
            "fixed-alpha",
            "under a fixed alpha the headline (dpi, z-score) falls with rank: mean concordance at least 0.8 and above "
            "that of cross-entropy",
            OURS,
        ),
        Claim("proportional-alpha", "under alpha = 2r the headline rises with rank: negative concordance", OURS),
        Claim(
            "seed-stability",
            "over seeds the headline varies less than the cross-entropy's excess over its minimum (coefficient of "
            "variation, fixed alpha)",
            OURS,
        ),
        Claim(
            "permutation-null",
            "with tokens shuffled, I falls below 10 % of its value and agrees with the closed form within 20 %",
            OURS,
        ),
    ],
)
def run(context: Context) -> Outcome:
    """Trains the grids of the recipe, fits and compares."""
    from intarsia.finetune.scaling import ScalingConfig, analyse, run_sweep

    config = context.config
    grids, notes = sweeps(context)
    table = run_sweep(
        grids,
        output=context.folder / "runs.jsonl",
        backend=context.engine,
        workers=config.get("workers"),
        gpus_per_worker=config.get("gpus_per_worker", 0.0) if context.engine.startswith("ray") else 0.0,
    )
    table.write(context.folder / "table.csv")
    context.progress(f"{len(table)} runs; fitting the laws ...")
    fit = ScalingConfig(bootstrap=config.get("bootstrap", 200), seed=context.seed)
    found = analyse(table, config=fit, tolerance=config.get("tolerance", 0.25))
    steps = {grid.dataset: grid.steps * grid.batch_size for grid in grids}
    notes += [
        f"{name}: every run sees {seen} training rows, so a larger data size means fewer repetitions of each row"
        for name, seen in steps.items()
    ]
    return Outcome(
        rows=[*cell_rows(table), *score_rows(found), *rank_rows(found)],
        claims=claims(context, table, found),
        figures=figures(table, found),
        notes=[*notes, *_fit_notes(found)],
    )


def sweeps(context: Context) -> tuple[list["SweepConfig"], list[str]]:
    """The grids of the recipe: per data set and model a rank axis, and data and layer axes at one rank.

    Returns:
        The grids, and a note per data set that says which data it is.
    """
    from intarsia.finetune.scaling import SweepConfig

    config = context.config
    grids, notes = [], []
    for dataset in config["datasets"]:
        source, name, note = _find_data(dataset, context)
        notes.append(note)
        sizes, layers = dataset.get("sizes", []), dataset.get("layers", [])
        for model in config["models"]:
            shared: dict[str, Any] = {
                **config["settings"],
                **dataset.get("settings", {}),
                "model": model["ref"],
                "data": source,
                "name": name,
                "fields": dataset.get("fields") if source == dataset.get("data") else None,
                "test_split": dataset.get("test_split", "test"),
                "seeds": [seed + context.seed for seed in dataset.get("seeds", config["seeds"])],
                "policies": config["policies"],
                "alpha": config["alpha"],
                "alpha_ratio": config["alpha_ratio"],
            }
            place = {"sizes": sizes[-1:], "layers": layers[-1:]}
            grids.append(SweepConfig(**shared, **place, ranks=model.get("ranks", dataset["ranks"])))
            for axis, values in (("sizes", sizes), ("layers", layers)):
                if len(values) > 1:
                    grids.append(SweepConfig(**shared, **{**place, axis: values}, ranks=[dataset["rank"]]))
    return grids, notes


def cell_rows(table: "RunTable") -> list[Row]:
    """Means over seeds with 95 % t-intervals, for every cell and compared metric."""
    from intarsia.finetune.scaling import COMPARED

    cells: dict[tuple[str, str, float, float, float], list[Any]] = {}
    for item in table.runs:
        cells.setdefault(item.cell, []).append(item)
    rows = []
    for (dataset, policy, n, r, d), runs in sorted(cells.items()):
        place = f"{_POLICY_WORDS.get(policy, policy)}, r = {r:g}, D = {d:g}, N = {n / 1e6:.3g}M"
        for metric, label in COMPARED.items():
            mean, low, high = _t_interval([item.metrics[metric] for item in runs])
            rows.append(Row(place, dataset, label, measured=mean, low=low, high=high, n=len(runs)))
    return rows


def score_rows(found: Mapping[str, "PolicyAnalysis"]) -> list[Row]:
    """Concordance along each axis, quality of the law, stability and usefulness of each metric, per policy."""
    from intarsia.finetune.scaling import COMPARED
    from intarsia.finetune.scaling.config import AXIS_WORDS

    rows = []
    for policy, part in found.items():
        for score in part.comparison.scores:
            system = f"{COMPARED[score.metric]}, {_POLICY_WORDS.get(policy, policy)}"
            for place, tau in score.concordance_by.items():
                dataset, _, axis = place.rpartition("/")
                rows.append(Row(system, dataset, f"concordance along {AXIS_WORDS[axis]}", measured=tau))  # type: ignore[index]
            for name, value in (
                ("adjusted R2 of the law", score.adjusted_r2),
                ("left-out error of the law (standard deviations)", score.loo_nrmse),
                ("pairs in the wrong order", score.violations),
                ("coefficient of variation over seeds", score.seed_cv),
                ("Spearman correlation with accuracy", score.usefulness),
            ):
                if value is not None:
                    rows.append(Row(system, "all", name, measured=value, n=len(part.table)))
    return rows


def rank_rows(found: Mapping[str, "PolicyAnalysis"]) -> list[Row]:
    """The recommended ranks, by law and by the rules that need none, and the growth of the stable rank."""
    rows = []
    for policy, part in found.items():
        words = _POLICY_WORDS.get(policy, policy)
        for dataset in part.table.datasets:
            advice = part.recommendations.get(dataset)
            if advice is not None and advice.rank is not None and not advice.beyond_grid:
                rows.append(Row(f"law of MIUB, {words}", dataset, "smallest sufficient rank", measured=advice.rank))
            if advice is not None and advice.spectral_rank is not None:
                name = f"directions of the largest adapter, {words}"
                rows.append(Row(name, dataset, "smallest sufficient rank", measured=advice.spectral_rank))
            name = f"one standard error of the best loss, {words}"
            rows.append(Row(name, dataset, "smallest sufficient rank", measured=part.measured_ranks[dataset]))
            slope = _log_slope(part.table.where(dataset=dataset), "stable_rank")
            if slope is not None:
                rows.append(Row(f"stable rank, {words}", dataset, "exponent in r", measured=slope))
    return rows


def claims(context: Context, table: "RunTable", found: Mapping[str, "PolicyAnalysis"]) -> list[Claim]:
    """Judges every claim from the runs."""
    fixed, proportional = table.where(policy="fixed"), table.where(policy="proportional")
    return [
        context.claim("falls-with-rank", *_falls(table, "R")),
        context.claim("falls-with-model", *_falls(table, "N")),
        context.claim("falls-with-data", *_falls(table, "D")),
        context.claim("law-fits-better", *_fits_better(found)),
        context.claim("fixed-alpha", *_fixed_alpha(fixed)),
        context.claim("proportional-alpha", *_proportional_alpha(proportional)),
        context.claim("seed-stability", *_seed_stability(fixed)),
        context.claim("permutation-null", *_permutation_null(table)),
    ]


Verdict = tuple[bool | None, str]


def _falls(table: "RunTable", axis: "Axis") -> Verdict:
    """Holds if the literal score falls consistently under every policy, fails if under none, else is open."""
    taus = {policy: _mean_tau(table.where(policy=policy), _LITERAL, axis) for policy in table.policies}
    known = {policy: tau for policy, tau in taus.items() if tau is not None}
    if not known:
        return None, "this run does not vary it"
    falls = [tau >= _CONSISTENT for tau in known.values()]
    words = []
    for policy in known:
        numbers = ", ".join(
            f"{name} {_number(_mean_tau(table.where(policy=policy), metric, axis))}"
            for metric, name in ((_LITERAL, "literal"), ("miub_paper", "literal on z-scores"), (_HEADLINE, "headline"))
        )
        words.append(f"{_POLICY_WORDS.get(policy, policy)}: {numbers}")
    verdict = True if all(falls) else None if any(falls) else False
    open_end = " It depends on alpha, and the paper's alpha is not known." if verdict is None else ""
    return (
        verdict,
        f"Concordance with falling (1 always, -1 never; {_CONSISTENT} needed). {'; '.join(words)}.{open_end}",
    )


def _fits_better(found: Mapping[str, "PolicyAnalysis"]) -> Verdict:
    verdicts, words = [], []
    for policy, part in found.items():
        scores = {name: part.comparison[name] for name in (_LITERAL, _HEADLINE, "ce", "ppl")}
        for name, label in (
            (_LITERAL, "literal"),
            (_HEADLINE, "headline"),
            ("ce", "cross-entropy"),
            ("ppl", "log perplexity"),
        ):
            score = scores[name]
            words.append(
                f"{_POLICY_WORDS.get(policy, policy)}, {label}: adjusted R2 {_number(score.adjusted_r2)}, "
                f"left-out error {_number(score.loo_nrmse)}"
            )
        literal = scores[_LITERAL]
        for rival in ("ce", "ppl"):
            more = _compare(literal.adjusted_r2, scores[rival].adjusted_r2)
            less = _compare(scores[rival].loo_nrmse, literal.loo_nrmse)
            verdicts.append(None if more is None or less is None else more and less)
    known = [verdict for verdict in verdicts if verdict is not None]
    if not known:
        return None, f"No law could be fitted and cross-validated. {'; '.join(words)}."
    return all(known), f"{'; '.join(words)}."


def _fixed_alpha(fixed: "RunTable") -> Verdict:
    own, loss = _taus(fixed, _HEADLINE, "R"), _taus(fixed, "ce", "R")
    mean, rival = _mean(own.values()), _mean(loss.values())
    if mean is None or rival is None:
        return None, "no rank axis"
    each = "; ".join(f"{name}: {own[name]:.2f} against {loss[name]:.2f}" for name in own)
    missed = [name for name, tau in own.items() if tau < 0.8]
    end = f" Below 0.8 on {', '.join(missed)}." if missed else ""
    return mean >= 0.8 and mean > rival, f"Mean {mean:.2f}, cross-entropy {rival:.2f} ({each}).{end}"


def _proportional_alpha(proportional: "RunTable") -> Verdict:
    taus = _taus(proportional, _HEADLINE, "R")
    mean = _mean(taus.values())
    if mean is None:
        return None, "no rank axis"
    return mean < 0, f"Mean {mean:.2f} ({'; '.join(f'{name}: {tau:.2f}' for name, tau in taus.items())})."


def _seed_stability(fixed: "RunTable") -> Verdict:
    from intarsia.finetune.scaling import seed_cv

    own, rival = seed_cv(fixed, _HEADLINE), seed_cv(fixed, "ce", above_minimum=True)
    if own is None or rival is None:
        return None, "one seed only"
    return own < rival, f"{own:.3f} against {rival:.3f} (cross-entropy itself: {_number(seed_cv(fixed, 'ce'))})."


def _permutation_null(table: "RunTable") -> Verdict:
    if not {"miub_null", "miub_bias"} <= set(table.metrics):
        return None, "the runs were measured without shuffling"
    shares = [item.metrics["miub_null"] / item.metrics["miub_mutual_information"] for item in table.runs]
    errors = [abs(item.metrics["miub_bias"] / item.metrics["miub_null"] - 1) for item in table.runs]
    evidence = (
        f"Null / I: mean {_mean(shares):.3f}, worst run {max(shares):.3f}. Closed form: off by {_mean(errors):.1%} on "
        f"average, {max(errors):.1%} at worst. {len(shares)} runs."
    )
    return max(shares) < 0.1 and max(errors) < 0.2, evidence


def figures(table: "RunTable", found: Mapping[str, "PolicyAnalysis"]) -> list[Figure]:
    """Headline and loss along rank for each data set, and the concordances of all metrics."""
    from intarsia.finetune.scaling import COMPARED

    drawn = []
    for dataset in table.datasets:
        for metric, label in ((_HEADLINE, COMPARED[_HEADLINE]), ("ce", "held-out cross-entropy")):
            drawn.append(_along_rank(table.where(dataset=dataset), dataset, metric, label))
    groups = {
        COMPARED[score.metric]: {
            _POLICY_WORDS.get(policy, policy): Estimate(tau)
            for policy, part in found.items()
            if (tau := _mean_tau(part.table, score.metric, "R")) is not None
        }
        for score in next(iter(found.values())).comparison.scores
    }
    drawn.append(
        plots.bar_with_intervals(
            groups,
            title="Concordance with falling along rank",
            label="mean Kendall tau over data sets and seeds (1: always falls, -1: always rises)",
            caption="One bar per policy for LoRA's alpha.",
        )
    )
    return drawn


def _along_rank(table: "RunTable", dataset: str, metric: str, label: str) -> Figure:
    from intarsia.finetune.scaling.analysis import rank_axis

    series: dict[str, list[float | None]] = {}
    bands: dict[str, tuple[list[float], list[float]]] = {}
    parts = {policy: rank_axis(table.where(policy=policy)) for policy in table.policies}
    ranks = sorted({value for part in parts.values() for value in part.axis_values("R")})
    for policy, part in parts.items():
        values = [[item.metrics[metric] for item in part.runs if item.axis("R") == rank] for rank in ranks]
        name = _POLICY_WORDS.get(policy, policy)
        series[name] = [_mean(found) for found in values]
        if all(values):
            bands[name] = ([min(found) for found in values], [max(found) for found in values])
    return plots.lines(
        ranks,
        series,
        title=f"{dataset}: {label} along rank",
        xlabel="rank r",
        ylabel=label,
        bands=bands,
        caption="Mean over seeds; the band spans them.",
        log_x=True,
    )


def _fit_notes(found: Mapping[str, "PolicyAnalysis"]) -> list[str]:
    notes = []
    for policy, part in found.items():
        for dataset, fits in part.comparison.fits.items():
            name = f"{dataset}, {_POLICY_WORDS.get(policy, policy)}"
            if _HEADLINE in fits:
                notes.append(f"{name}: law {fits[_HEADLINE].formula()}; R2 {fits[_HEADLINE].r2:.3f}")
            advice = part.recommendations.get(dataset)
            if advice is not None and advice.refused:
                notes.append(f"{name}: no rank recommended: {'; '.join(advice.refused)}")
            elif advice is not None and advice.beyond_grid:
                notes.append(f"{name}: no measured rank is sufficient; the law extrapolates to {advice.rank:,}")
    notes.append(
        "Published for comparison: the stable rank of trained adapters grows as r^0.23 to r^0.30 "
        "(Rank Utilization in Low-Rank Adaptation, SSRN 6580122, on models of 1.2 to 2.7 billion parameters)."
    )
    return notes


def _find_data(dataset: Mapping[str, Any], context: Context) -> tuple[str, str, str]:
    """Where the rows of a recipe's entry are read from, what they are called, and a sentence saying so."""
    name = dataset["name"]
    if "data" in dataset:
        return dataset["data"], name, f"{name}: {dataset['data']}"
    folder = data_folder(context.config.get("data_folder", ""))
    if folder is not None:
        rows = {"sst_polarity": _sst_polarity, "glue8": _glue8}[dataset["reader"]](folder, dataset)
        if rows is not None:
            return str(_store(context.folder / "data" / name, rows)), name, f"{name}: from the local data folder"
    instead = dataset["instead"]
    return instead, Path(instead).name, f"{Path(instead).name} in place of {name}, whose files are not here"


Rows = Mapping[str, Sequence["ClassificationRow"]]


def _sst_polarity(folder: Path, _: Mapping[str, Any]) -> Rows | None:
    """Stanford Sentiment Treebank sentences: `label<TAB>text` without a header."""
    from intarsia.data import ClassificationRow

    files = {"train": folder / "sst_polarity/judge_train.tsv.gz", "test": folder / "sst_polarity/dev.tsv.gz"}
    if not all(path.is_file() for path in files.values()):
        return None
    words = {"0": "negative", "1": "positive"}
    cells = {split: [line.split("\t", 1) for line in _lines(path)] for split, path in files.items()}
    return {split: [ClassificationRow(text, words[label]) for label, text in rows] for split, rows in cells.items()}


def _glue8(folder: Path, dataset: Mapping[str, Any]) -> Rows | None:
    """One GLUE task; a third of its rows is held out, chosen by the text."""
    from intarsia.data import ClassificationRow, split_of

    path = folder / "glue8/glue8.jsonl.gz"
    if not path.is_file():
        return None
    rows: dict[str, list[ClassificationRow]] = {"train": [], "test": []}
    for line in _lines(path):
        record = json.loads(line)
        if record["task"] == dataset["task"]:
            text = "\n".join(part for part in (record["text_a"], record["text_b"]) if part)
            rows[split_of(text, {"test": 1 / 3})].append(ClassificationRow(text, str(record["label"])))
    return rows


def _lines(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            yield line.rstrip("\n")


def _store(folder: Path, rows: Rows) -> Path:
    from intarsia.data import write_jsonl

    for split, part in rows.items():
        if not (folder / f"{split}.jsonl").is_file():
            write_jsonl(folder / f"{split}.jsonl", part)
    return folder


def _taus(table: "RunTable", metric: str, axis: "Axis") -> dict[str, float]:
    from intarsia.finetune.scaling import trend

    found = {name: trend(table.where(dataset=name), metric, axis) for name in table.datasets}
    return {name: value.tau for name, value in found.items() if value is not None}


def _mean_tau(table: "RunTable", metric: str, axis: "Axis") -> float | None:
    return _mean(_taus(table, metric, axis).values())


def _log_slope(table: "RunTable", metric: str) -> float | None:
    """Exponent of a metric in the rank, by least squares on the logarithms."""
    import numpy as np

    from intarsia.finetune.scaling.analysis import rank_axis

    if metric not in table.metrics:
        return None
    line = rank_axis(table)
    ranks, values = [item.R for item in line.runs], line.values(metric)
    if len(set(ranks)) < 2 or min(values) <= 0:
        return None
    return float(np.polyfit(np.log(ranks), np.log(values), 1)[0])


def _t_interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    import numpy as np
    from scipy.stats import t

    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    half = float(t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))
    return mean, mean - half, mean + half


def _mean(values: Any) -> float | None:
    found = list(values)
    return sum(found) / len(found) if found else None


def _compare(larger: float | None, smaller: float | None) -> bool | None:
    return None if larger is None or smaller is None else larger > smaller


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.3g}"
