"""The causal benchmark judged by itself: true keys, a faulty scorer, misleading complexity, a test of names."""

from functools import partial
from typing import Any

from intarsia.experiments.cells import Estimate
from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Row
from intarsia.experiments.registry import experiment

PAPER = "Do LLMs Have the Generalization Ability in Conducting Causal Inference?, arXiv 2410.11385"

_ACCURACY = "right answers, %"
_ACCEPTED = "accepted, %"
_SLOPE = "change of accuracy, points"
_ALWAYS_RIGHT = "always-right adjustment set"
_TASKS = {"CP": "causal paths", "BA": "adjustment sets", "FI": "facts", "CI": "counterfactuals"}


@experiment(
    "causal-generalization-benchmark",
    title="Causal generalization benchmark: what its scores can and cannot say",
    paper=PAPER,
    claims=[
        Claim(
            "keys-are-right",
            "an exact solver that reads nothing but the prompts is right on every question",
            "the benchmark's ground truth",
        ),
        Claim(
            "right-answer-fails",
            "the published scorer takes an always-right adjustment set for wrong on most graphs",
            "abstract (models have difficulty with backdoor adjustment) and published code",
        ),
        Claim(
            "right-answer-passes",
            "the adjustment criterion accepts the same answer on every graph",
            "adjustment criterion for sets (Shpitser et al. 2010)",
        ),
        Claim(
            "steps-are-hard",
            "with the same chance of a mistake in every step, accuracy falls with the steps of the derivation",
            "abstract (accuracy depends on complexity)",
        ),
        Claim(
            "what-ifs-are-easy",
            "with the same chance of a mistake in every step, accuracy rises with the number of what-ifs",
            "abstract (models do well on complex counterfactuals)",
        ),
        Claim(
            "names-are-detected",
            "the paired test finds in at least 95 % of repetitions that real words in names double the mistakes",
            "abstract (names with familiar terms interfere)",
        ),
        Claim(
            "no-false-alarm",
            "where names make no difference the paired test finds one in at most 5 % of repetitions",
            "abstract (names with familiar terms interfere)",
        ),
        Claim(
            "models-fall-with-size",
            "language models have fewer causal paths and facts right in the largest graphs than in the smallest",
            "abstract (accuracy depends on complexity)",
        ),
        Claim(
            "models-mind-names",
            "language models are right no more often where names hold real words",
            "abstract (names with familiar terms interfere)",
        ),
        Claim(
            "models-are-underrated",
            "of language models' adjustment sets, more are accepted by the adjustment criterion than by the published "
            "scorer",
            "abstract (models have difficulty with backdoor adjustment) and published code",
        ),
    ],
)
def run(context: Context) -> Outcome:
    """Runs the studies of the benchmark itself, and asks the models that are given."""
    from intarsia.experiments import _causal_models
    from intarsia.experiments import _causal_studies as studies
    from intarsia.experiments._causal_recipe import read_recipe

    recipe, seed = read_recipe(context.config), context.seed
    truth = context.stage("solver", lambda: studies.solver_study(recipe.solver, seed))
    scorers = context.stage("scorers", lambda: studies.scorer_study(recipe.scorer, seed))
    noise = context.stage("noise", lambda: studies.noise_study(recipe.noise, seed))
    names = context.stage("names", lambda: studies.names_study(recipe.names, seed))
    baselines = context.stage("baselines", lambda: studies.baseline_study(recipe.noise, seed))
    models: dict[str, dict[str, Any]] = {}
    for ref in recipe.models.asked():
        name = _causal_models.stage_name(ref)
        models[ref] = context.stage(
            name, partial(_causal_models.model_study, ref, recipe.models, seed, context.folder / "models" / name)
        )
    rows = [
        *_solver_rows(truth),
        *_scorer_rows(scorers),
        *_noise_rows(noise),
        *_names_rows(names),
        *_baseline_rows(baselines),
        *[row for ref, found in models.items() for row in _model_rows(ref, found)],
    ]
    verdicts = {**_judge_truth(truth, scorers), **_judge_noise(noise), **_judge_names(names), **_judge_models(models)}
    claims = [context.claim(id, *verdicts[id]) for id in context.claims]
    return Outcome(rows, claims, _figures(scorers, noise), _notes(recipe, models))


# Rows


def _share(system: str, dataset: str, metric: str, right: int, n: int) -> Row:
    from intarsia.metrics.shares import wilson

    value, low, high, _ = wilson(right, n)
    return Row(system, dataset, metric, None, 100 * value, 100 * low, 100 * high, n)


def _solver_rows(found: list[dict[str, Any]]) -> list[Row]:
    return [
        _share(
            "exact solver, reading prompts",
            f"{_TASKS[row['task']]}, group {row['group']}, {row['evidence']} evidence",
            _ACCURACY,
            row["right"],
            row["n"],
        )
        for row in found
    ]


def _scorer_rows(found: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for row in found:
        graphs = f"graphs of {5 * row['level']} nodes"
        rows.append(_share(_ALWAYS_RIGHT, graphs, f"published scorer: {_ACCEPTED}", row["released"], row["n"]))
        rows.append(_share(_ALWAYS_RIGHT, graphs, f"adjustment criterion: {_ACCEPTED}", row["sound"], row["n"]))
        if row["wrong"]:
            accepted = f"published scorer: {_ACCEPTED}"
            rows.append(_share("random sets that are wrong", graphs, accepted, row["wrong_released"], row["wrong"]))
    return rows


def _noise_rows(found: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for row in found:
        system = f"{100 * row['error']:g} % mistakes a step"
        for what, (slope, low, high) in row["slopes"].items():
            rows.append(Row(system, f"per unit of {what}", _SLOPE, None, 100 * slope, 100 * low, 100 * high, row["n"]))
        for count, (accuracy, n) in row["by_what_ifs"].items():
            rows.append(Row(system, _what_ifs(int(count)), _ACCURACY, None, 100 * accuracy, n=n))
    for count, (steps, n) in found[0]["steps_by_what_ifs"].items():
        rows.append(Row("questions", _what_ifs(int(count)), "mean derivation steps", None, steps, n=n))
    return rows


def _what_ifs(count: int) -> str:
    return f"{count} what-if{'s' if count > 1 else ''}"


def _names_rows(found: dict[str, Any]) -> list[Row]:
    return [
        _share(
            f"{100 * test['error']:g} % mistakes a step at real words, {100 * found['error']:g} % elsewhere",
            f"{found['pairs']} problems in two name styles",
            "repetitions with p < 0.05, %",
            test["rejected"],
            found["replicates"],
        )
        for test in found["tests"]
    ]


def _baseline_rows(found: list[dict[str, Any]]) -> list[Row]:
    return [
        _share(
            f"baseline: {row['system']}",
            f"{_TASKS[row['task']]}, {5 * row['level']} nodes"
            + (f", {_what_ifs(row['what_ifs'])}" if row["what_ifs"] else ""),
            _ACCURACY,
            row["right"],
            row["n"],
        )
        for row in found
    ]


def _model_rows(ref: str, found: dict[str, Any]) -> list[Row]:
    """Accuracy by task, level, names and prompt; adjustment sets by the published scorer too."""
    tables = {_ACCURACY: found["table"], f"published scorer: {_ACCEPTED}": _of_task(found["released"], "BA")}
    return [
        Row(
            ref,
            f"{_TASKS[row['task']]}, {5 * row['level']} nodes, {row['names']} names, {row['prompt']}",
            metric,
            None,
            100 * row["accuracy"],
            100 * row["low"],
            100 * row["high"],
            row["n"],
        )
        for metric, table in tables.items()
        for row in table
    ]


def _of_task(rows: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    return [row for row in rows if row["task"] == task]


# Claims

_Verdicts = dict[str, tuple[bool, str]]


def _judge_truth(truth: list[dict[str, Any]], scorers: list[dict[str, Any]]) -> _Verdicts:
    right, n = sum(row["right"] for row in truth), sum(row["n"] for row in truth)
    told = {
        rule: ", ".join(f"{row[rule]} of {row['n']} accepted at {5 * row['level']} nodes" for row in scorers)
        for rule in ("released", "sound")
    }
    return {
        "keys-are-right": (right == n, f"{right} of {n} right"),
        "right-answer-fails": (all(2 * row["released"] < row["n"] for row in scorers), told["released"]),
        "right-answer-passes": (all(row["sound"] == row["n"] for row in scorers), told["sound"]),
    }


def _judge_noise(found: list[dict[str, Any]]) -> _Verdicts:
    def told(what: str) -> str:
        parts = []
        for row in found:
            slope, low, high = (100 * number for number in row["slopes"][what])
            parts.append(f"{slope:.2f} ({low:.2f} to {high:.2f}) with {100 * row['error']:g} % mistakes")
        return "points for each more: " + ", ".join(parts)

    steps, what_ifs = ([row["slopes"][what] for row in found] for what in ("steps", "what-ifs"))
    return {
        "steps-are-hard": (all(high < 0 for _, _, high in steps), told("steps")),
        "what-ifs-are-easy": (all(low > 0 for _, low, _ in what_ifs), told("what-ifs")),
    }


def _judge_names(found: dict[str, Any]) -> _Verdicts:
    def told(test: dict[str, Any]) -> str:
        return (
            f"{test['rejected']} of {found['replicates']} repetitions with {found['pairs']} pairs; "
            f"difference {100 * test['difference']:.1f} points, median p {test['median_p']:.2g}"
        )

    doubled, equal = found["tests"][0], found["tests"][-1]
    return {
        "names-are-detected": (doubled["rejected"] >= 0.95 * found["replicates"], told(doubled)),
        "no-false-alarm": (equal["rejected"] <= 0.05 * found["replicates"], told(equal)),
    }


def _judge_models(found: dict[str, dict[str, Any]]) -> _Verdicts | dict[str, tuple[None, str]]:
    ids = ("models-fall-with-size", "models-mind-names", "models-are-underrated")
    if not found:
        return dict.fromkeys(
            ids, (None, "no language model was given: name some in the recipe's models or in INTARSIA_MODELS")
        )
    falls, minds, underrated = [], [], []
    for ref, result in found.items():
        for task in ("CP", "FI"):
            of_task = _of_task(result["table"], task)
            small, large = (
                _pooled([row for row in of_task if row["level"] == level])
                for level in (min(row["level"] for row in of_task), max(row["level"] for row in of_task))
            )
            falls.append((large < small, f"{ref}, {_TASKS[task]}: {100 * small:.1f} % and {100 * large:.1f} %"))
        (test,) = [row for row in result["names"] if row["task"] == "all"]
        minds.append(
            (
                test["difference"] >= 0,
                f"{ref}: {100 * test['difference']:.1f} points more with {test['first']} than with {test['second']} "
                f"names, p = {test['p_value']:.2g}, {test['n']} pairs",
            )
        )
        sound, released = (_pooled(_of_task(result[name], "BA")) for name in ("table", "released"))
        underrated.append((sound > released, f"{ref}: {100 * sound:.1f} % and {100 * released:.1f} %"))
    return {
        id: (all(holds for holds, _ in judged), "; ".join(told for _, told in judged))
        for id, judged in zip(ids, (falls, minds, underrated), strict=True)
    }


def _pooled(rows: list[dict[str, Any]]) -> float:
    return sum(row["accuracy"] * row["n"] for row in rows) / sum(row["n"] for row in rows)


# Figures and notes


def _figures(scorers: list[dict[str, Any]], noise: list[dict[str, Any]]) -> list[Figure]:
    from intarsia.experiments import plots
    from intarsia.metrics.shares import wilson

    def estimate(right: int, n: int) -> Estimate:
        value, low, high, _ = wilson(right, n)
        return Estimate(100 * value, 100 * low, 100 * high)

    rules = {"adjustment criterion": "sound", "published scorer": "released"}
    steps = sorted({int(count) for row in noise for count in row["by_steps"]})
    return [
        plots.bar_with_intervals(
            {
                f"{5 * row['level']} nodes": {rule: estimate(row[key], row["n"]) for rule, key in rules.items()}
                for row in scorers
            },
            title="The same right answer under two rules",
            label="accepted, %",
            caption="The answer is always the causes of the treatments, which identifies the effect in every graph.",
        ),
        plots.lines(
            steps,
            {
                f"{100 * row['error']:g} % mistakes": [100 * row["by_steps"][str(count)][0] for count in steps]
                for row in noise
            },
            title="Accuracy by derivation steps",
            xlabel="derivation steps",
            ylabel="right answers, %",
            caption="A responder that evaluates every event rightly but for a fixed chance of a mistake.",
        ),
        plots.lines(
            [1, 2, 3],
            {
                f"{100 * row['error']:g} % mistakes": [100 * row["by_what_ifs"][str(count)][0] for count in (1, 2, 3)]
                for row in noise
            },
            title="Accuracy by the number of what-ifs",
            xlabel="what-ifs",
            ylabel="right answers, %",
            caption="The same responder. Every what-if cuts work off, so more of them look like more skill.",
        ),
    ]


def _notes(recipe: Any, models: dict[str, dict[str, Any]]) -> list[str]:
    names = recipe.names
    unanswered = [
        f"{result['unanswered']} of {result['questions']} questions to {ref} got no reply and are in no share."
        for ref, result in models.items()
        if result["unanswered"]
    ]
    if models:
        asked = f"Language models asked: {', '.join(models)}. They are not the paper's."
    else:
        asked = "No language model is asked here: the runs judge the benchmark itself."
    return [
        f"{asked} The paper's table of models is not reproduced; its values were not at hand, so none stand in the "
        "column of the paper.",
        *unanswered,
        "The responder with mistakes evaluates every event of a derivation and gets each wrong with a fixed chance.",
        f"Names: {names.pairs} factual questions in the styles {names.styles[0]} and {names.styles[1]}, answered "
        f"{names.replicates} times.",
        "Intervals of slopes are over graphs (bootstrap), all others are Wilson's.",
    ]
