"""`intarsia scaling`: sweep LoRA runs, fit the scaling law, recommend the smallest sufficient rank."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from intarsia.cli import console
from intarsia.errors import InputError

if TYPE_CHECKING:
    from intarsia.finetune.scaling import PolicyAnalysis, RunTable, SweepConfig

RUNS, TABLE, FITS = "runs.jsonl", "table", "fits.json"


def scaling(
    model: Annotated[
        str | None, typer.Option(help="Base model, encoder or causal: hub id, folder or asset:NAME.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Rows: a file, a name of `intarsia data`, or a hub id.")] = None,
    table: Annotated[Path | None, typer.Option(help="Fit this table of runs (.csv, .tsv, .json); train none.")] = None,
    ranks: Annotated[str, typer.Option(help="Ranks.")] = "2,8,32,128",
    sizes: Annotated[str, typer.Option(help="Numbers of training rows; empty: all rows.")] = "",
    layers: Annotated[str, typer.Option(help="Layers of the model that are kept, from the input; empty: all.")] = "",
    seeds: Annotated[str, typer.Option(help="Seeds of initialisation, choice and order of data.")] = "0,1,2",
    policy: Annotated[
        str, typer.Option(help="How alpha follows the rank: fixed, proportional or both. It decides the direction.")
    ] = "fixed",
    alpha: Annotated[float, typer.Option(help="Alpha of the fixed policy.")] = 16.0,
    alpha_ratio: Annotated[float, typer.Option(help="Alpha / rank of the proportional policy.")] = 2.0,
    steps: Annotated[int, typer.Option(help="Optimiser steps of every run.")] = 60,
    batch_size: Annotated[int, typer.Option(help="Rows in one step.")] = 16,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate; by default 1e-3, or 2e-4 from 10^9 parameters.")
    ] = None,
    lr_per_rank: Annotated[list[str] | None, typer.Option(help="RANK=RATE, where a rank needs its own rate.")] = None,
    max_length: Annotated[int, typer.Option(help="Texts are cut after so many tokens.")] = 64,
    held_out: Annotated[int, typer.Option(help="Held-out rows that loss and accuracy are measured on.")] = 256,
    schema: Annotated[str, typer.Option(help="classification or text-to-text.")] = "classification",
    field: Annotated[list[str] | None, typer.Option(help="FIELD=COLUMN, where columns are called otherwise.")] = None,
    metric: Annotated[str, typer.Option(help="The metric whose law recommends the rank.")] = "miub",
    tolerance: Annotated[float, typer.Option(help="Share of the possible improvement that may be missing.")] = 0.25,
    exponent: Annotated[
        list[str] | None, typer.Option(help="AXIS=VALUE: give an exponent (axis N, R or D) instead of fitting it.")
    ] = None,
    drop: Annotated[str, typer.Option(help="Axes to leave out of the law, e.g. D.")] = "",
    engine: Annotated[
        str, typer.Option(help="Where runs are trained: serial, local, ray or ray://HOST:PORT.")
    ] = "serial",
    workers: Annotated[int | None, typer.Option(help="Runs at once, except with serial.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder of runs, table, fits and curves.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Drop what the folder holds.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Find the smallest sufficient LoRA rank: train a grid of runs, fit the scaling law of the internal metric.

    Compares the metric with cross-entropy and perplexity, and writes table, fits and curves to the output folder.
    Stopped at any point, the same command goes on from the last finished run.

    [bold]Examples[/bold]: intarsia scaling --model asset:minilm-l6 --data reuters-r8 --ranks 2,4,8,16
    --sizes 200,800 --output runs/scaling

    intarsia scaling --table runs/scaling/table.csv
    """
    from intarsia.finetune.scaling import RunTable, ScalingConfig, SweepConfig, analyse

    config = ScalingConfig(
        fixed_exponents=_exponents(exponent or []),
        drop=tuple(_words(drop)),  # type: ignore[arg-type]
    )
    if table is not None:
        if model or data:
            raise InputError("--table fits runs that were made; --model and --data make new ones", fix="give only one")
        runs = RunTable.read(table)
    else:
        if not (model and data and output):
            raise InputError("a sweep needs --model, --data and --output", fix="or give --table to fit made runs")
        sweep = SweepConfig(
            model=model,
            data=data,
            schema=schema,  # type: ignore[arg-type]
            fields=console.parse_assignments(field or [], "--field") or None,
            ranks=_whole_numbers(ranks, "--ranks"),
            sizes=_whole_numbers(sizes, "--sizes"),
            layers=_whole_numbers(layers, "--layers"),
            seeds=_whole_numbers(seeds, "--seeds"),
            policies=("fixed", "proportional") if policy == "both" else (policy,),  # type: ignore[arg-type]
            alpha=alpha,
            alpha_ratio=alpha_ratio,
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            lr_per_rank=_rates(lr_per_rank or []),
            max_length=max_length,
            held_out=held_out,
        )
        runs = _sweep(sweep, output, engine, workers, overwrite, progress=not json)
    found = analyse(runs, headline=metric, config=config, tolerance=tolerance)
    if output is not None:
        _write(output, runs, found, metric)
    if json:
        console.print_json({"runs": runs.to_records(), **{name: part.to_json() for name, part in found.items()}})
        return
    for part in found.values():
        _print_policy(part, metric)
    if output is not None:
        console.say(f"table, fits and curves: {output}")


def _sweep(
    sweep: "SweepConfig", output: Path, engine: str, workers: int | None, overwrite: bool, *, progress: bool
) -> "RunTable":
    """Runs what the journal in the output folder lacks; refuses a folder with another sweep."""
    import json as json_module
    import shlex
    import shutil
    import sys
    from dataclasses import asdict

    from intarsia.errors import RunExistsError
    from intarsia.experiments import provenance
    from intarsia.files import read_json, write_json
    from intarsia.finetune.scaling import run_sweep

    record = output / "run.json"
    settings = json_module.loads(json_module.dumps(asdict(sweep)))
    if output.exists() and overwrite:
        shutil.rmtree(output)
    if record.exists() and read_json(record)["config"] != settings:
        raise RunExistsError(output, what="a sweep with other settings")
    if output.exists() and not record.exists() and any(output.iterdir()):
        raise RunExistsError(output, what="other files")
    command = shlex.join(["intarsia", *sys.argv[1:]])
    write_json(record, {"config": settings, **provenance.collect(command, sweep.seeds[0])})
    return run_sweep(sweep, output=output / RUNS, backend=engine, workers=workers, progress=progress)


def _write(output: Path, runs: "RunTable", found: "Mapping[str, PolicyAnalysis]", headline: str) -> None:
    from intarsia.files import write_json
    from intarsia.finetune.scaling import draw_curves, save_figure

    runs.write(output / f"{TABLE}.csv")
    runs.write(output / f"{TABLE}.json")
    write_json(output / FITS, {policy: part.to_json() for policy, part in found.items()})
    for policy, part in found.items():
        shown = [name for name in dict.fromkeys([headline, "ce", "ppl", "accuracy"]) if name in runs.metrics]
        for dataset, fits in part.comparison.fits.items():
            figure = draw_curves(part.table.where(dataset=dataset), fits, shown, title=f"{dataset}, {policy} alpha")
            name = "".join(letter if letter.isalnum() else "-" for letter in f"{dataset}-{policy}")
            for suffix in ("svg", "png"):
                save_figure(figure, output / f"curves-{name}.{suffix}")


def _print_policy(part: "PolicyAnalysis", headline: str) -> None:
    from intarsia.finetune.scaling import COMPARED

    policy = part.comparison.policy
    for dataset in part.table.datasets:
        console.print_table(*_means(part.table.where(dataset=dataset)), title=f"{dataset}, {policy} alpha: means")
    rows = [
        {
            "metric": COMPARED.get(score.metric, score.metric),
            "concordance": score.concordance,
            "violations": score.violations,
            "r2": score.r2,
            "adjusted": score.adjusted_r2,
            "loo": score.loo_nrmse,
            "cv": score.seed_cv,
            "use": score.usefulness,
        }
        for score in part.comparison.scores
    ]
    headings = {
        "metric": "metric",
        "concordance": "concordance",
        "violations": "wrong order",
        "r2": "R2",
        "adjusted": "adj. R2",
        "loo": "left-out error",
        "cv": "seed CV",
        "use": "rho with accuracy",
    }
    console.print_table(rows, headings, title=f"{policy} alpha: how well each metric follows rank, data and model size")
    for note in dict.fromkeys(note for score in part.comparison.scores for note in score.notes):
        console.err().print(note, style="dim", markup=False, soft_wrap=True)
    laws = [
        {"dataset": dataset, "law": fit.formula(), "exponents": _exponent_intervals(fit)}
        for dataset, fits in part.comparison.fits.items()
        for fit in [fits[name] for name in dict.fromkeys([headline, "ce"]) if name in fits]
    ]
    if laws:
        heading = {"dataset": "data set", "law": "fitted law", "exponents": "95 % intervals"}
        console.print_table(laws, heading, title=f"{policy} alpha: laws")
    for dataset, fits in part.comparison.fits.items():
        if headline in fits:
            for warning in fits[headline].warnings:
                console.err().print(
                    f"{dataset}, law of {headline}: {warning}", style="dim", markup=False, soft_wrap=True
                )
    for dataset in part.table.datasets:
        for line in _advice(part, dataset):
            console.out().print(line, markup=False, soft_wrap=True)


def _means(table: "RunTable") -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Means over seeds, one column per cell of the grid."""
    from intarsia.finetune.scaling import AXES, COMPARED

    varying = [axis for axis in AXES if len(table.axis_values(axis)) > 1]
    shown = [name for name in COMPARED if name in table.metrics] or table.metrics
    cells: dict[str, list[Any]] = {}
    for run in sorted(table.runs, key=lambda run: (run.N, run.D, run.R)):
        cells.setdefault(" ".join(f"{axis}={run.axis(axis):g}" for axis in varying), []).append(run)
    rows = [
        {"metric": COMPARED.get(name, name)}
        | {cell: sum(run.metrics[name] for run in runs) / len(runs) for cell, runs in cells.items()}
        for name in shown
    ]
    return rows, {"metric": "metric", **{cell: cell.replace(" ", "\n") for cell in cells}}


def _exponent_intervals(fit: Any) -> str:
    from intarsia.finetune.scaling.law import EXPONENTS

    parts = []
    for axis in fit.axes:
        value = fit.parameters[EXPONENTS[axis]]
        interval = "no interval" if value.low is None else f"{value.low:.2g} to {value.high:.2g}"
        parts.append(f"{axis}: {interval}")
    return "; ".join(parts)


def _advice(part: "PolicyAnalysis", dataset: str) -> list[str]:
    """The recommendation in words: the law's rank or why there is none, and the two rules that need no law."""
    found = part.recommendations.get(dataset)
    name = f"{dataset}, {part.comparison.policy} alpha"
    lines = []
    if found is None:
        lines.append(f"{name}: no law was fitted, so it recommends no rank")
    elif found.rank is None:
        lines.append(f"{name}: the law recommends no rank: {'; '.join(found.refused)}")
    elif found.beyond_grid:
        lines.append(
            f"{name}: by the law of {found.metric} no measured rank is sufficient; it extrapolates to {found.rank:,}"
        )
    else:
        ends = "" if found.low is None else f" ({found.low:.0f} to {found.high:.0f})"
        lines.append(f"{name}: recommended smallest sufficient rank {found.rank}{ends}, by the law of {found.metric}")
    if found is not None and found.spectral_rank is not None:
        lines.append(f"  directions the largest adapter used: rank {found.spectral_rank} (90 % of its energy)")
    if dataset in part.measured_ranks:
        rank = part.measured_ranks[dataset]
        lines.append(f"  smallest measured rank within one standard error of the best held-out loss: {rank}")
    return lines


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _whole_numbers(text: str, option: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in _words(text))
    except ValueError:
        raise InputError(f"{option} {text!r} is not a list of whole numbers", fix=f"write {option} 2,4,8") from None


def _rates(pairs: list[str]) -> dict[int, float]:
    try:
        return {int(rank): float(rate) for rank, rate in console.parse_assignments(pairs, "--lr-per-rank").items()}
    except ValueError:
        raise InputError("--lr-per-rank takes RANK=RATE", fix="write --lr-per-rank 128=2e-4") from None


def _exponents(pairs: list[str]) -> dict[Any, float]:
    try:
        return {axis: float(value) for axis, value in console.parse_assignments(pairs, "--exponent").items()}
    except ValueError:
        raise InputError("--exponent takes AXIS=VALUE", fix="write --exponent D=0.5") from None
