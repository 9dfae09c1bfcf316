"""Twin-Merging beside static merging: encoder experts with heads, LoRA experts of a chat model."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from intarsia.experiments.cells import Estimate
from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Row
from intarsia.experiments.registry import experiment
from intarsia.experiments.runner import command_line

if TYPE_CHECKING:
    from intarsia.experiments._twin_recipe import EncoderRecipe
    from intarsia.experiments._twin_scores import Predictions, Scores
    from intarsia.pipeline.results import RunResult

PAPER = "Twin-Merging: Dynamic Integration of Modular Expertise in Model Merging, NeurIPS 2024, arXiv 2406.15479"

_ALL = "average"
_NORMALISED = "normalised score"
_HARDER = "longer fine-tuning: "

# Normalised averages over eight GLUE tasks. The two static ones are computed from the published raw scores.
_TWIN_ON_GLUE, _TIES_ON_GLUE, _TASK_ARITHMETIC_ON_GLUE = 95.83, 55.72, 67.98
_GAIN_OF_PAPER = 28.34

# A score that stays within this many points is called flat: twice the standard error of one task's accuracy.
_FLAT = 2.0


@experiment(
    "twin-merging",
    title="Twin-Merging: one model for many experts",
    paper=PAPER,
    claims=[
        Claim(
            "keeps-95",
            "with 10 % of the rank Twin-Merging keeps at least 95 % of the experts' scores",
            "results on GLUE",
        ),
        Claim(
            "above-static", "Twin-Merging scores above every static merge (paired interval above 0)", "results on GLUE"
        ),
        Claim(
            "gain-over-task-arithmetic",
            f"Twin-Merging scores {_GAIN_OF_PAPER} normalised points above task arithmetic on discriminative tasks",
            "abstract",
        ),
        Claim(
            "tasks-curve",
            f"as tasks are added every static merge loses, Twin-Merging does not (less than {_FLAT:g} points)",
            "figure over the number of tasks",
        ),
        Claim(
            "rank-curve",
            f"from 10 % of the rank to all of it the score is flat (less than {_FLAT:g} points)",
            "figure over sparsity",
        ),
        Claim(
            "needs-dynamic-experts",
            "without the dynamic experts (the shared model alone) the score falls",
            "ablation study",
        ),
        Claim("needs-shared-expert", "without the shared expert the score falls", "ablation study"),
        Claim(
            "longer-fine-tuning",
            "static merging gets worse with longer fine-tuning, Twin-Merging less",
            "figure over fine-tuning epochs",
        ),
        Claim(
            "generative-above-static",
            "with LoRA experts Twin-Merging scores above every static merge",
            "generative results",
        ),
        Claim(
            "generative-experts",
            "with LoRA experts Twin-Merging reaches the experts' own average",
            "generative results",
        ),
    ],
)
def run(context: Context) -> Outcome:
    """Runs both parts of the recipe; claims of a part that is left out are not judged."""
    from intarsia.experiments._twin_recipe import read_recipe

    recipe = read_recipe(context.config)
    findings = _Findings()
    if recipe.encoders is not None:
        _encoders(recipe.encoders, context, findings)
    if recipe.generative is not None:
        _generative(recipe.generative.recipe, context, findings)
    for id in context.claims:
        if id not in findings.verdicts:
            findings.verdicts[id] = (None, "this recipe leaves out what would decide it")
    claims = [context.claim(id, *findings.verdicts[id]) for id in context.claims]
    return Outcome(findings.rows, claims, findings.figures, findings.notes)


class _Findings:
    """What the parts add to the outcome."""

    def __init__(self) -> None:
        self.rows: list[Row] = []
        self.verdicts: dict[str, tuple[bool | None, str]] = {}
        self.figures: list[Figure] = []
        self.notes: list[str] = []


# The discriminative part


def _encoders(recipe: "EncoderRecipe", context: Context, out: _Findings) -> None:
    from intarsia.experiments import _twin_names as names
    from intarsia.experiments._twin_encoders import EncoderStudy
    from intarsia.experiments._twin_scores import Scores
    from intarsia.experiments._twin_systems import study

    variants = {"": recipe.expert} | ({_HARDER: recipe.harder} if recipe.harder is not None else {})
    found: dict[str, list[dict[str, Any]]] = {}
    targets: dict[str, Any] = {}
    for prefix, config in variants.items():
        found[prefix] = []
        for offset in recipe.seeds:
            seed = context.seed + offset
            name = f"encoders-{'harder' if prefix else 'standard'}-seed{seed}"
            stage = partial(_stage, context, name)
            config_of_seed = _with_seed(config, seed)
            work = EncoderStudy(recipe, config_of_seed, seed, context.folder / name, stage)
            found[prefix].append(study(work, full=not prefix))
            targets = targets or {task: work.texts[task].target(recipe.tasks[task]) for task in work.tasks}
    scores = {
        prefix: Scores(targets, [one["systems"][names.EXPERTS] for one in of_variant])
        for prefix, of_variant in found.items()
    }
    _encoder_rows(recipe, found, scores, out)
    _encoder_claims(recipe, found, scores, out)
    _encoder_figures(recipe, found[""], scores[""], out)
    _encoder_notes(recipe, found, out)


def _stage(context: Context, prefix: str, name: str, compute: Callable[[], Any]) -> Any:
    return context.stage(f"{prefix}-{name}", compute)


def _with_seed(config: Any, seed: int) -> Any:
    from dataclasses import replace

    return replace(config, seed=seed)


def _of(found: Sequence[Mapping[str, Any]], system: str) -> "list[Predictions]":
    return [one["systems"][system] for one in found]


def _encoder_rows(
    recipe: "EncoderRecipe", found: Mapping[str, Any], scores: "Mapping[str, Scores]", out: _Findings
) -> None:
    from intarsia.experiments import _twin_names as names

    paper = {
        names.MAIN: _TWIN_ON_GLUE,
        names.STATIC["ties"]: _TIES_ON_GLUE,
        names.UNTUNED: _TASK_ARITHMETIC_ON_GLUE,
    }
    for prefix, of_variant in found.items():
        own = scores[prefix]
        for system in of_variant[0]["systems"]:
            answers = _of(of_variant, system)
            for task in recipe.tasks:
                metric = recipe.tasks[task].metric.replace("_", " ")
                count = len(own.targets[task].values)
                out.rows.append(Row(prefix + system, task, f"{metric}, %", None, *own.task(answers, task), count))
            value = None if prefix else paper.get(system)
            out.rows.append(Row(prefix + system, _ALL, _NORMALISED, value, *own.normalised(answers), own.rows()))
        for count in of_variant[0]["curve"]:
            if int(count) == len(recipe.tasks):
                continue
            for system in of_variant[0]["curve"][count]:
                answers = [one["curve"][count][system] for one in of_variant]
                rows = own.rows(list(answers[0]))
                dataset = f"first {count} tasks"
                out.rows.append(Row(prefix + system, dataset, _NORMALISED, None, *own.normalised(answers), rows))
        _router_rows(recipe, prefix, of_variant, out)
    standard = found[""]
    for system, share in standard[0]["storage"].items():
        out.rows.append(Row(system, "stored residuals", "% of the bytes of one expert", None, share))
    for system in standard[0]["speed"]:
        speed = float(np.median([one["speed"][system] for one in standard]))
        out.rows.append(Row(system, "mixed batch", "ms per item", None, speed, n=recipe.timed_items))


def _router_rows(recipe: "EncoderRecipe", prefix: str, found: Sequence[Mapping[str, Any]], out: _Findings) -> None:
    confidence = []
    for index, task in enumerate(recipe.tasks):
        weights = np.stack([one["routing"][task] for one in found])
        right = 100 * (weights.argmax(-1) == index).mean(0)
        confidence.append(weights.max(-1).mean())
        out.rows.append(
            Row(f"{prefix}Router", task, "router accuracy, %", None, float(right.mean()), n=weights.shape[1])
        )
    out.rows.append(Row(f"{prefix}Router", _ALL, "mean largest weight", None, float(np.mean(confidence))))


def _encoder_claims(
    recipe: "EncoderRecipe", found: Mapping[str, Any], scores: "Mapping[str, Scores]", out: _Findings
) -> None:
    from intarsia.experiments import _twin_names as names

    standard, own = found[""], scores[""]
    twin = _of(standard, names.MAIN)
    value, low, high = own.normalised(twin)
    out.verdicts["keeps-95"] = (value >= 95, f"{value:.1f} (interval {low:.1f} to {high:.1f}) on average")

    gains = {
        system: own.difference(twin, _of(standard, system))
        for system in standard[0]["systems"]
        if system in names.STATIC_SYSTEMS
    }
    closest = min(gains, key=lambda system: gains[system].low)
    out.verdicts["above-static"] = (
        gains[closest].low > 0,
        f"closest: {closest}, {_interval(gains[closest])} points; over {len(gains)} static merges",
    )

    gain = gains[names.UNTUNED]
    evidence = f"{_interval(gain)} points over task arithmetic with gamma {recipe.gamma:g}"
    if _HARDER in found:
        harder = scores[_HARDER].difference(_of(found[_HARDER], names.MAIN), _of(found[_HARDER], names.UNTUNED))
        evidence += f"; {_interval(harder)} with longer fine-tuning"
    out.verdicts["gain-over-task-arithmetic"] = (gain.high >= _GAIN_OF_PAPER, evidence)

    out.verdicts["tasks-curve"] = _judge_curve(standard, own)

    drop = own.difference(_of(standard, names.FULL), twin)
    out.verdicts["rank-curve"] = (
        drop.high < _FLAT,
        f"full rank is {_interval(drop)} points above 10 % of it",
    )
    alone = own.difference(twin, _of(standard, names.UNTUNED))
    out.verdicts["needs-dynamic-experts"] = (alone.low > 0, f"it falls by {_interval(alone)} points")
    removed = own.difference(twin, _of(standard, names.NO_SHARED))
    of_base = own.difference(twin, _of(standard, names.OF_BASE))
    out.verdicts["needs-shared-expert"] = (
        removed.low > 0,
        f"residuals of the shared model on the base: {_interval(removed)} points lower; residuals of the base in its "
        f"place: {_interval(of_base)} points lower",
    )
    if _HARDER in found:
        out.verdicts["longer-fine-tuning"] = _judge_harder(found, scores)


def _judge_curve(found: Sequence[Mapping[str, Any]], own: "Scores") -> tuple[bool, str]:
    from intarsia.experiments import _twin_names as names

    curve = found[0]["curve"]
    first, last = min(curve, key=int), max(curve, key=int)
    ends = {
        system: [own.normalised([one["curve"][count][system] for one in found]).value for count in (first, last)]
        for system in curve[last]
    }
    static = {system: values for system, values in ends.items() if system != names.MAIN}
    start, end = ends[names.MAIN]
    falls = all(values[1] < values[0] for values in static.values())
    told = ", ".join(f"{system} {values[0]:.1f} to {values[1]:.1f}" for system, values in ends.items())
    return falls and start - end < _FLAT, f"from {first} to {last} tasks: {told}"


def _judge_harder(found: Mapping[str, Any], scores: "Mapping[str, Scores]") -> tuple[bool, str]:
    from intarsia.experiments import _twin_names as names

    common = [name for name in found[_HARDER][0]["systems"] if name in (*names.STATIC_SYSTEMS, names.MAIN)]
    change = {
        name: scores[_HARDER].normalised(_of(found[_HARDER], name)).value
        - scores[""].normalised(_of(found[""], name)).value
        for name in common
    }
    twin = change.pop(names.MAIN)
    worst = max(change, key=lambda name: change[name])
    told = ", ".join(f"{name} {value:+.1f}" for name, value in change.items())
    return change[worst] < min(0.0, twin), f"{told}; Twin-Merging {twin:+.1f} points"


def _interval(difference: Any) -> str:
    mean, low, high = difference
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


def _encoder_figures(
    recipe: "EncoderRecipe", found: Sequence[Mapping[str, Any]], own: "Scores", out: _Findings
) -> None:
    from intarsia.experiments import _twin_names as names
    from intarsia.experiments import plots

    shown = [name for name in found[0]["systems"] if name in (*names.STATIC_SYSTEMS, names.MAIN, names.ROUTED)]
    out.figures.append(
        plots.bar_with_intervals(
            {name: {_NORMALISED: own.normalised(_of(found, name))} for name in shown},
            title="Normalised score of every merge",
            label="normalised score (experts = 100)",
            from_zero=False,
            reference=100,
            caption="Mean over tasks of accuracy as a share of the task's own expert's; 95 % intervals.",
        )
    )
    curve = found[0]["curve"]
    counts = sorted(map(int, curve))
    series = {
        system: [own.normalised([one["curve"][str(count)][system] for one in found]) for count in counts]
        for system in curve[str(counts[-1])]
    }
    out.figures.append(
        plots.lines(
            counts,
            {name: [estimate.value for estimate in values] for name, values in series.items()},
            title="Score as tasks are added",
            xlabel="tasks merged",
            ylabel="normalised score",
            bands={name: _band(values) for name, values in series.items()},
            caption="Tasks in the order of the recipe. Bands: 95 % intervals over rows.",
        )
    )
    ranks = {f"Twin, rank {rank}": rank for rank in recipe.ranks}
    width = found[0]["width"]
    ranks |= {names.MAIN: max(1, int(names.SHARE * width)), names.FULL: width}
    placed = sorted((rank, own.normalised(_of(found, name))) for name, rank in ranks.items())
    out.figures.append(
        plots.lines(
            [rank + 1 for rank, _ in placed],
            {"Twin-Merging": [estimate.value for _, estimate in placed]},
            title="Score by rank of the exclusive residuals",
            xlabel="rank + 1",
            ylabel="normalised score",
            bands={"Twin-Merging": _band([estimate for _, estimate in placed])},
            log_x=True,
            caption="Rank 0 is the shared model alone.",
        )
    )


def _band(values: Sequence[Estimate]) -> tuple[list[float], list[float]]:
    return [value.low or 0.0 for value in values], [value.high or 0.0 for value in values]


def _encoder_notes(recipe: "EncoderRecipe", found: Mapping[str, Any], out: _Findings) -> None:
    from intarsia.experiments._twin_generative import settings_text

    sizes = ", ".join(f"{name} {task.train}" for name, task in recipe.tasks.items())
    config = recipe.expert
    out.notes += [
        f"Encoder experts of {recipe.model}; training rows: {sizes}; {config.epochs:g} epochs at learning rate "
        f"{config.learning_rate:g}"
        + (
            f", for longer fine-tuning {recipe.harder.epochs:g} at {recipe.harder.learning_rate:g}"
            if recipe.harder is not None
            else ""
        )
        + f"; {len(recipe.seeds)} seed(s), up to {recipe.test} test and {recipe.dev} dev rows a task.",
        "Paper values of the encoder part are of RoBERTa-base on eight GLUE tasks: Twin-Merging's normalised average "
        "as published; those of TIES and of task arithmetic are computed here from its raw scores, which it prints "
        "among normalised ones. Its claim of +28.34 points is on that scale.",
        "Unless a row says otherwise each task's own head answers (the paper's protocol). With routed heads the "
        "router's likeliest expert answers, and a wrong pick is an error.",
        "Biases and norms are merged like other tensors; the published evaluation leaves them to the right expert.",
        "The router learns from training rows that no expert saw, as far as the data set has any, and its epoch is "
        "selected on a fifth of them, not on test rows.",
        "Settings of static methods were chosen on dev rows. Chosen: "
        + "; ".join(f"{prefix or 'standard: '}{settings_text(of[0]['settings'])}" for prefix, of in found.items())
        + ".",
        "AdaMerging learns layer-wise coefficients from dev texts without labels in "
        f"{recipe.adamerging.steps} steps at learning rate {recipe.adamerging.learning_rate:g} (published: 500 at "
        "0.001, on test texts).",
    ]


# The generative part


def _generative(recipe: Any, context: Context, out: _Findings) -> None:
    from dataclasses import replace

    from intarsia.experiments import plots
    from intarsia.experiments._twin_generative import (
        AVERAGE,
        generative_rows,
        run_generative,
        settings_of,
        settings_text,
        system_name,
    )

    context.progress("generative experts ...")
    recipe = replace(recipe, seed=context.seed, expert=replace(recipe.expert, seed=context.seed))
    command = command_line("twin-merging", context.scale, context.seed, context.engine)
    result: RunResult = run_generative(recipe, context.folder / "generative", command)
    out.rows += generative_rows(result)
    closest = min(result.margin, key=lambda name: result.margin[name].low)
    out.verdicts["generative-above-static"] = (
        result.margin[closest].low > 0,
        f"closest: {system_name(closest)}, {_interval(result.margin[closest])} points",
    )
    value, low, high = result.system(result.merged).normalised
    out.verdicts["generative-experts"] = (
        (high or value) >= 100,
        f"normalised score {value:.1f} ({low:.1f} to {high:.1f}), the experts being 100",
    )
    out.figures.append(
        plots.bar_with_intervals(
            {
                system_name(system.name): {_NORMALISED: system.normalised}
                for system in result.systems
                if system.kind != "expert"
            },
            title="Normalised score with LoRA experts",
            label="normalised score (experts = 100)",
            from_zero=False,
            reference=100,
            caption=f"Exact match on {len(recipe.tasks)} tasks.",
        )
    )
    sizes = ", ".join(f"{name} {task.train}" for name, task in recipe.tasks.items())
    layers = "all" if recipe.expert.top_layers is None else f"the top {recipe.expert.top_layers}"
    out.notes += [
        f"Generative experts of {recipe.model}: LoRA of rank {recipe.expert.rank} in {layers} layers; training rows: "
        f"{sizes}; {recipe.expert.epochs:g} epochs; exact match of the greedy answer, found without generating.",
        f"Paper values of {AVERAGE} are of Qwen-14B on four HELM tasks: averages read off the paper's first figure "
        "(within 0.1), divided by that of the individual experts, so they are ratios of averages.",
        f"Settings of static methods chosen on dev rows: {settings_text(settings_of(result))}.",
    ]
