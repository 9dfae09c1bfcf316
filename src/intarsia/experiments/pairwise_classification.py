"""Two-stage pairwise classification: where it helps and where it cannot, with responders that are fully known."""

from functools import partial
from typing import Any

import numpy as np

from intarsia.experiments.cells import Estimate
from intarsia.experiments.context import Context
from intarsia.experiments.records import Claim, Figure, Outcome, Row
from intarsia.experiments.registry import experiment

PAPER = (
    "Mitigating Boundary Ambiguity and Inherent Bias for Text Classification in the Era of Large Language Models, "
    "Findings of ACL 2024, arXiv 2406.07001"
)

_ACCURACY = "accuracy, %"
_TOP = "label among the candidates, %"
_ONE, _TWO = "one question", "ITR + king"
_NO_GAIN = 0.05
"""A gain the null control may not reach."""


@experiment(
    "pairwise-classification",
    title="Pairwise classification: few candidates, then two at a time",
    paper=PAPER,
    claims=[
        Claim(
            "options-hurt",
            "a responder whose noise grows with the options loses more accuracy from 4 to all options than one whose "
            "noise does not",
            "abstract (more options, lower accuracy)",
        ),
        Claim(
            "two-stages-help",
            "where noise grows with the options, two stages are better than one question over all options",
            "abstract (self-reduction and pairwise comparison)",
        ),
        Claim(
            "null-control",
            "where noise does not grow, two stages gain less than 5 points, whatever the number of options",
            "control of our own",
        ),
        Claim(
            "flips-fall",
            "two stages change fewer answers than one question when all options are shuffled",
            "abstract (inherent bias)",
        ),
        Claim(
            "both-orders-help",
            "duels held in both orders and settled by log-odds change fewer answers with the place of the right label "
            "than duels held in one",
            "abstract (position bias)",
        ),
        Claim(
            "break-even",
            "duels that are right 9 times of 10 beat the sentence encoder's first choice on hard cases of every set",
            "bar of our own",
        ),
        Claim(
            "chat-models-gain",
            "ITR or CBWR with PC-CoT is better than one question on hard cases of the sets together, and flips less",
            "abstract (average gain over four sets)",
        ),
    ],
)
def run(context: Context) -> Outcome:
    """Runs the studies."""
    from intarsia.experiments import _pairwise_studies as studies
    from intarsia.experiments._pairwise_data import embed_sets, read_sets
    from intarsia.experiments._pairwise_recipe import read_recipe

    recipe, seed = read_recipe(context.config), context.seed
    sets = read_sets(recipe)
    encoder = embed_sets(sets, recipe, context.folder, context.progress)
    real = sets[recipe.responder.dataset]
    alone = context.stage("encoder", lambda: studies.encoder_study(sets, encoder, recipe))
    options = context.stage("options", lambda: studies.options_study(real, encoder, recipe.responder, seed))
    places = context.stage(
        "places", lambda: studies.position_study(real, encoder, recipe.position, recipe.responder, seed)
    )
    even = context.stage(
        "break-even", lambda: studies.break_even_study(sets, encoder, recipe.break_even, recipe.shots, seed)
    )
    held = context.stage(
        "duels",
        lambda: [studies.simulated_duels(each, encoder, recipe.break_even, 0.1, seed) for each in sets.values()],
    )
    chats = {
        ref: context.stage(f"chat-{n}", partial(_chat, ref, sets, encoder, recipe.chat, context))
        for n, ref in enumerate(recipe.chat.models)
    }
    rows = [
        *_encoder_rows(alone),
        *_option_rows(options, real.name),
        *_place_rows(places, real.name),
        *_break_even_rows(even, held),
        *_chat_rows(chats),
    ]
    verdicts = {**_judge_options(options), **_judge_places(places), **_judge_break_even(even), **_judge_chats(chats)}
    claims = [context.claim(id, *verdicts[id]) for id in context.claims]
    return Outcome(rows, claims, _figures(options, places, even), _notes(recipe, sets, options))


def _chat(ref: str, sets: Any, encoder: Any, recipe: Any, context: Context) -> list[dict[str, Any]]:
    from intarsia.experiments import _pairwise_models as models

    return models.chat_study(models.open_model(ref, recipe, context.folder), sets, encoder, recipe, context.seed)


# Rows


def _share(system: str, dataset: str, metric: str, right: int, n: int) -> Row:
    from intarsia.metrics.shares import wilson

    value, low, high, _ = wilson(right, n)
    return Row(system, dataset, metric, None, 100 * value, 100 * low, 100 * high, n)


def _mean(system: str, dataset: str, metric: str, values: list[float]) -> Row:
    estimate = _estimate(values)
    return Row(system, dataset, metric, None, estimate.value, estimate.low, estimate.high, len(values))


def _estimate(values: list[float]) -> Estimate:
    from intarsia.metrics.intervals import bootstrap_interval

    low, high = bootstrap_interval(values)
    return Estimate(100 * float(np.mean(values)), 100 * low, 100 * high)


def _encoder_rows(found: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for row in found:
        system = "encoder, nearest label name" if row["prototypes"] == "names" else "encoder, nearest centroid of 5"
        dataset = f"{row['set']}, {row['subset']}"
        rows.append(_share(system, dataset, _ACCURACY, row["first"], row["n"]))
        rows.append(_share(system, dataset, _TOP, row["top"], row["n"]))
        rows.append(Row(system, dataset, "macro-F1, %", None, 100 * row["macro_f1"], n=row["n"]))
    return rows


def _option_rows(found: list[dict[str, Any]], name: str) -> list[Row]:
    rows = []
    for row in found:
        dataset = f"{name}, {row['options']} options, {_setting(row)}"
        rows.append(_mean(row["system"], dataset, f"responder: {_ACCURACY}", row["right"]))
        if row["system"] != _ONE:
            rows.append(_mean(row["system"], dataset, f"responder: {_TOP}", row["top"]))
        rows.append(_mean(row["system"], dataset, "responder: answers changed by a reshuffle, %", row["flips"]))
        if row["all"]:
            rows.append(Row(row["system"], dataset, "responder: calls a text", None, row["calls"], n=len(row["right"])))
    return rows


def _setting(row: dict[str, Any]) -> str:
    return f"g {row['growth']:g}, b {row['bias']:g}"


def _place_rows(found: dict[str, Any], name: str) -> list[Row]:
    rows = []
    for kind, number in (("lists", found["options"]), ("duels", 2)):
        for row in found[kind]:
            dataset = f"{name}, {number} options in the order given, {_setting(found)}"
            system = row["system"] if kind == "lists" else f"duel, {row['system']}"
            for place, (right, n) in row["recall"].items():
                rows.append(_share(system, dataset, f"recall, label at place {int(place) + 1}, %", right, n))
            n = sum(count for _, count in row["recall"].values())
            rows.append(Row(system, dataset, "position bias, total variation", None, row["tv"], n=n))
            rows.append(Row(system, dataset, "deviation of recall, points", None, 100 * row["deviation"], n=n))
            rows.append(_mean(system, dataset, "answers changed by the label's place, %", row["flips"]))
    rows += [
        Row(
            row["system"],
            f"{name}, text N/A, {_setting(found)}",
            "label bias, total variation",
            None,
            row["bias"],
            n=row["n"],
        )
        for row in found["content_free"]
    ]
    return rows


def _break_even_rows(found: list[dict[str, Any]], held: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for row in found:
        system = (
            f"encoder (label {row['prototypes']}) + duels"
            if row["prototypes"] == "names"
            else "encoder (centroids) + duels"
        )
        dataset = f"{row['set']}, hard"
        value, low, high = (100 * row[end] for end in ("break_even", "low", "high"))
        rows.append(
            Row(system, dataset, "right duels needed to beat the encoder alone, %", None, value, low, high, row["n"])
        )
        for error, accuracy in row["curve"]:
            metric = f"expected accuracy, {100 * (1 - error):g} % right duels, %"
            rows.append(Row(system, dataset, metric, None, 100 * accuracy, n=row["n"]))
    for row in held:
        dataset = f"{row['set']}, hard"
        rows.append(
            _mean("encoder (label names) + duels, simulated", dataset, "accuracy, 90 % right duels, %", row["right"])
        )
    return rows


def _chat_rows(found: dict[str, list[dict[str, Any]]]) -> list[Row]:
    # The paper's headline, for its own model; there is no measured value without a chat model.
    rows = [Row("ITR + PC-CoT (paper: gpt-3.5-turbo)", "mean of four sets", "relative gain over one question, %", 54.1)]
    for ref, of_model in found.items():
        for row in of_model:
            system = f"{ref}: {row['system']}"
            dataset = f"{row['set']}, {row['labels']} labels"
            rows.append(_share(system, dataset, _ACCURACY, sum(row["right"]), len(row["right"])))
            rows.append(Row(system, dataset, "macro-F1, %", None, 100 * row["macro_f1"], n=len(row["right"])))
            rows.append(Row(system, dataset, "calls a text", None, row["calls"], n=len(row["right"])))
            rows.append(Row(system, dataset, "answers that name no option, %", None, 100 * row["unmapped"]))
            if row["flips"]:
                metric = "answers changed by a reshuffle, %"
                rows.append(_share(system, dataset, metric, sum(row["flips"]), len(row["flips"])))
        direct = _set_mean(of_model, _ONE)
        if direct > 0:
            for system in ("ITR + PC-CoT", "CBWR + PC-CoT"):
                gain = 100 * (_set_mean(of_model, system) / direct - 1)
                rows.append(
                    Row(f"{ref}: {system}", "mean of four sets", "relative gain over one question, %", None, gain)
                )
    return rows


def _set_mean(found: list[dict[str, Any]], system: str) -> float:
    return float(np.mean([np.mean(row["right"]) for row in found if row["system"] == system]))


# Claims

_Verdicts = dict[str, tuple[bool | None, str]]


def _judge_options(found: list[dict[str, Any]]) -> _Verdicts:
    from intarsia.metrics.intervals import paired_difference

    cells = {(row["growth"], row["bias"], row["options"], row["system"]): row for row in found}
    every = max(row["options"] for row in found)
    grown = sorted({(row["growth"], row["bias"]) for row in found if row["growth"] > 0})
    drops = {
        setting: np.subtract(cells[*setting, 4, _ONE]["right"], cells[*setting, every, _ONE]["right"])
        for setting in [(0.0, 0.0), *grown]
    }
    more = {setting: paired_difference(drops[setting], drops[0.0, 0.0]) for setting in grown}
    gains = {
        setting: paired_difference(cells[*setting, every, _TWO]["right"], cells[*setting, every, _ONE]["right"])
        for setting in grown
    }
    null = {
        count: paired_difference(cells[0.0, 0.0, count, _TWO]["right"], cells[0.0, 0.0, count, _ONE]["right"])
        for count in sorted({row["options"] for row in found})
    }
    flips = {
        setting: paired_difference(cells[*setting, every, _ONE]["flips"], cells[*setting, every, _TWO]["flips"])
        for setting in grown
    }
    return {
        "options-hurt": (
            all(each.low > 0 for each in more.values()),
            "; ".join(
                f"from 4 to {every} options {100 * drops[setting].mean():.1f} points less at g {setting[0]:g}, "
                f"b {setting[1]:g}, {_points(more[setting])} more than without"
                for setting in grown
            ),
        ),
        "two-stages-help": (
            all(each.low > 0 for each in gains.values()),
            f"gain at {every} options: " + _by_setting(gains),
        ),
        "null-control": (
            all(each.high < _NO_GAIN for each in null.values()),
            "gain: " + ", ".join(f"{_points(each)} at {count} options" for count, each in null.items()),
        ),
        "flips-fall": (
            all(each.low > 0 for each in flips.values()),
            f"fewer changed answers at {every} options: " + _by_setting(flips),
        ),
    }


def _by_setting(differences: dict[tuple[float, float], Any]) -> str:
    return ", ".join(f"{_points(each)} at g {growth:g}, b {bias:g}" for (growth, bias), each in differences.items())


def _points(difference: Any) -> str:
    mean, low, high = (100 * value for value in difference)
    return f"{mean:.1f} points ({low:.1f} to {high:.1f})"


def _judge_places(found: dict[str, Any]) -> _Verdicts:
    from intarsia.metrics.intervals import paired_difference

    one, votes, both = found["duels"]
    fewer = paired_difference(one["flips"], both["flips"])
    return {
        "both-orders-help": (
            fewer.low > 0,
            f"{100 * float(np.mean(one['flips'])):.1f} % of duels change in one order, "
            f"{100 * float(np.mean(both['flips'])):.1f} % in both: {_points(fewer)} fewer; position bias "
            f"{one['tv']:.3f} and {both['tv']:.3f}; with votes instead of log-odds "
            f"{100 * float(np.mean(votes['flips'])):.1f} % change, as a draw goes to the label that ranks first",
        )
    }


def _judge_break_even(found: list[dict[str, Any]]) -> _Verdicts:
    names = [row for row in found if row["prototypes"] == "names"]
    told = ", ".join(
        f"{row['set']} {100 * row['break_even']:.1f} % ({100 * row['low']:.1f} to {100 * row['high']:.1f})"
        for row in names
    )
    return {"break-even": (all(row["high"] < 0.9 for row in names), f"right duels needed: {told}")}


def _judge_chats(found: dict[str, list[dict[str, Any]]]) -> _Verdicts:
    from intarsia.metrics.shares import mcnemar

    if not found:
        return {
            "chat-models-gain": (
                None,
                "no chat model was given: name some in the recipe (chat: models: [...]) and run it again",
            )
        }
    told, held = [], []
    for ref, of_model in found.items():
        best = max(("ITR + PC-CoT", "CBWR + PC-CoT"), key=partial(_set_mean, of_model))
        right, flips = (
            {
                system: [hit for row in of_model if row["system"] == system for hit in row[key]]
                for system in (best, _ONE)
            }
            for key in ("right", "flips")
        )
        gain, change = mcnemar(right[best], right[_ONE]), mcnemar(flips[_ONE], flips[best])
        # Two methods were tried, the better one is tested.
        wins = [test.difference > 0 and 2 * test.p_value < 0.05 for test in (gain, change)]
        held.append(all(wins))
        told.append(
            f"{ref}: {best} {100 * gain.difference:+.1f} points (p {gain.p_value:.2g}), "
            f"{100 * change.difference:+.1f} points fewer flips (p {change.p_value:.2g})"
        )
    return {"chat-models-gain": (all(held), "; ".join(told))}


# Figures and notes


def _figures(options: list[dict[str, Any]], places: dict[str, Any], even: list[dict[str, Any]]) -> list[Figure]:
    from intarsia.experiments import plots

    counts = sorted({row["options"] for row in options})
    figures = []
    for growth, bias in dict.fromkeys((row["growth"], row["bias"]) for row in options):
        chosen = [row for row in options if (row["growth"], row["bias"]) == (growth, bias)]
        series = {
            system: [_estimate(row["right"]) for row in chosen if row["system"] == system]
            for system in dict.fromkeys(row["system"] for row in chosen)
        }
        caption = "The null control: nothing to gain." if growth == 0 else "Noise grows with the number of options."
        figures.append(
            plots.lines(
                counts,
                {system: [each.value for each in estimates] for system, estimates in series.items()},
                bands={
                    system: ([each.low or 0 for each in series[system]], [each.high or 0 for each in series[system]])
                    for system in (_ONE, _TWO)
                },
                title=f"Accuracy by number of options, g {growth:g}, b {bias:g}",
                xlabel="options",
                ylabel=_ACCURACY,
                caption=caption,
                log_x=True,
            )
        )
    figures.append(
        plots.lines(
            [int(place) + 1 for place in places["lists"][0]["recall"]],
            {row["system"]: [100 * right / n for right, n in row["recall"].values()] for row in places["lists"]},
            title=f"Recall by the place of the right label, {places['options']} options",
            xlabel="place of the right label",
            ylabel="recall, %",
            caption="The responder prefers the first place; the order is that given, not shuffled.",
        )
    )
    names = [row for row in even if row["prototypes"] == "names"]
    figures.append(
        plots.lines(
            [100 * (1 - error) for error, _ in names[0]["curve"]],
            {row["set"]: [100 * accuracy for _, accuracy in row["curve"]] for row in names},
            title="An encoder's five candidates and duels, on hard cases",
            xlabel="right duels, %",
            ylabel="expected accuracy, %",
            caption="Alone, the encoder's first choice is right in "
            + ", ".join(f"{100 * row['first'] / row['n']:.0f} % ({row['set']})" for row in names)
            + ".",
        )
    )
    return figures


def _notes(recipe: Any, sets: Any, options: list[dict[str, Any]]) -> list[str]:
    responder = recipe.responder
    notes = [
        f"The responder is simulated on real texts: its utilities are {responder.sharpness:g} times the cosine of "
        "sentence embeddings of text and label, its choice among m options is argmax((u + b at the first) / T + "
        "Gumbel noise) with T = 1 + g log2(m / 2). All else, prompts to tournaments, is the library. It shows where "
        "the method can help, and is no evidence about a language model.",
        "Two labels are compared in one question there: chains of thought change nothing for this responder.",
        f"{len(options[0]['right'])} texts, all hard ones of {responder.dataset} and as many easy ones times "
        f"{responder.easy:g}, {responder.replicates} shuffles each; intervals are over texts (bootstrap).",
        "All labels are options, also those that no text of a subset has; the published code offers only those that "
        "occur, which is easier.",
        "SmolLM2-135M is not among the models: at choosing one of a few labels it is no better than chance, so a run "
        "with it checks the plumbing and says nothing about the method.",
    ]
    notes += [f"{each.empty} row of {name} without text is left out." for name, each in sets.items() if each.empty]
    if not recipe.chat.models:
        notes.append("No chat model was given, so the paper's own comparison was not repeated.")
    elif recipe.chat.label_space == "observed":
        notes.append("Chat models chose among the labels that occur in the texts (observed), as published.")
    return notes
