"""The four studies of the causal benchmark's reproduction; each returns JSON values."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from intarsia.audit.causal.answers import path_answer
from intarsia.audit.causal.baselines import Responder, copy_factual, empty_set, majority, random_set, treatment_parents
from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.models import HAPPENS, evaluate
from intarsia.audit.causal.problems import StateKey
from intarsia.audit.causal.questions import Question
from intarsia.audit.causal.scoring import score
from intarsia.audit.causal.solver import solve
from intarsia.audit.causal.streams import Stream
from intarsia.experiments._causal_recipe import NamesRecipe, NoiseRecipe, ScorerRecipe, SolverRecipe
from intarsia.metrics.shares import mcnemar

Columns = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


# E1: the ground truth


def solver_study(recipe: SolverRecipe, seed: int) -> list[dict[str, Any]]:
    """Lets the exact solver answer prompts: per group, evidence and task the right answers and those it should give."""
    rows = []
    for group in recipe.groups:
        for evidence in recipe.evidence:
            config = BenchmarkConfig(
                group=group,
                graphs=recipe.graphs,
                names=recipe.names,
                prompts=recipe.prompts,
                evidence=evidence,
                # The keys of BA are the graphs; the minimal sets would only be listed.
                minimal_sets=False,
                tasks=("CP", "BA", "FI", "CI") if evidence == "full" else ("FI", "CI"),
                seed=seed,
            )
            counts: dict[str, list[int]] = {}
            for question in generate_questions(config):
                count = counts.setdefault(question.task, [0, 0])
                count[0] += score(question, solve(question.prompt)).exact
                count[1] += 1
            rows += [
                {"group": group, "evidence": evidence, "task": task, "right": right, "n": n}
                for task, (right, n) in counts.items()
            ]
    return rows


# Answers that need no reasoning


def baseline_study(recipe: NoiseRecipe, seed: int) -> list[dict[str, Any]]:
    """Scores the baselines: per level (and number of what-ifs) the right answers."""
    asked = list(generate_questions(BenchmarkConfig(graphs=recipe.graphs, seed=seed)))
    states = [question for question in asked if question.task in ("FI", "CI")]
    most_frequent = majority(states)
    counts: dict[tuple[str, str, int, int], list[int]] = {}
    for question in asked:
        answers: dict[str, Responder] = {
            "CP": {"no path": lambda _: path_answer([])},
            "BA": {"empty set": empty_set, "random set": random_set},
            "FI": {"majority": most_frequent},
            "CI": {"majority": most_frequent, "copy the facts": copy_factual},
        }[question.task]
        for name, respond in answers.items():
            count = counts.setdefault((name, question.task, question.level, question.what_ifs), [0, 0])
            count[0] += score(question, respond(question)).exact
            count[1] += 1
    return [
        {"system": name, "task": task, "level": level, "what_ifs": what_ifs, "right": right, "n": n}
        for (name, task, level, what_ifs), (right, n) in counts.items()
    ]


# E2: the published scorer


def scorer_study(recipe: ScorerRecipe, seed: int) -> list[dict[str, Any]]:
    """Scores the always-right answer by both rules, and counts which wrong answers the published rule takes."""
    rows = []
    for level in recipe.levels:
        config = BenchmarkConfig(levels=(level,), graphs=recipe.graphs, tasks=("BA",), seed=seed)
        row = {"level": level, "n": 0, "sound": 0, "released": 0, "wrong": 0, "wrong_released": 0}
        for question in generate_questions(config):
            right, guess = treatment_parents(question), random_set(question, seed)
            row["n"] += 1
            row["sound"] += score(question, right).exact
            row["released"] += score(question, right, criterion="released").exact
            if not score(question, guess).exact:
                row["wrong"] += 1
                row["wrong_released"] += score(question, guess, criterion="released").exact
        rows.append(row)
    return rows


# E3: mistakes and derivation steps


class NoisyAnswers(NamedTuple):
    """How often a responder with mistakes is right.

    Attributes:
        accuracy: Share of right answers of every question, (questions,).
        steps: Derivation steps, (questions,).
        what_ifs: Numbers of what-ifs, (questions,).
        graphs: Number of the graph, (questions,).
    """

    accuracy: Numbers
    steps: Numbers
    what_ifs: Numbers
    graphs: npt.NDArray[np.int64]


def noisy_columns(question: Question, error: float, replicates: int, generator: np.random.Generator) -> Columns:
    """Answers a FI or CI question many times, flipping each evaluated event with probability `error`.

    Args:
        question: The question, with full evidence.
        error: Probability of a mistake in one step.
        replicates: How often it is answered.
        generator: Source of the mistakes.

    Returns:
        Whether each answer is right, (replicates,).
    """
    key = question.problem.key
    assert isinstance(key, StateKey)
    always = (1 << replicates) - 1
    flips = generator.random((len(key.model.terms), replicates)) < error
    noise = [int.from_bytes(row.tobytes(), "little") for row in np.packbits(flips, axis=-1, bitorder="little")]
    roots = {node: always if state else 0 for node, state in key.observed}
    assigned = {node: always if state else 0 for node, state in key.assigned}
    values = evaluate(key.model, roots, assigned, always=always, noise=noise)
    right = always
    for node, state in zip(key.query, key.states, strict=True):
        right &= values[node] if state == HAPPENS else ~values[node]
    packed = np.frombuffer(right.to_bytes((replicates + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(packed, count=replicates, bitorder="little").astype(bool)


def noise_study(recipe: NoiseRecipe, seed: int) -> list[dict[str, Any]]:
    """Regresses the accuracy of a responder with mistakes on derivation steps and what-ifs, for every error rate."""
    asked = list(generate_questions(BenchmarkConfig(graphs=recipe.graphs, tasks=("CI",), seed=seed)))
    generator = np.random.default_rng([seed, 3])
    numbers = {graph: place for place, graph in enumerate(dict.fromkeys(question.graph_id for question in asked))}
    rows = []
    for error in recipe.errors:
        answers = NoisyAnswers(
            np.array([noisy_columns(question, error, recipe.replicates, generator).mean() for question in asked]),
            np.array([float(question.complexity.steps or 0) for question in asked]),
            np.array([float(question.what_ifs) for question in asked]),
            np.array([numbers[question.graph_id] for question in asked]),
        )
        rows.append({"error": error, "n": len(asked), **_described(answers, recipe.resamples, generator)})
    return rows


def _described(answers: NoisyAnswers, resamples: int, generator: np.random.Generator) -> dict[str, Any]:
    counts = generator.multinomial(
        answers.graphs.max() + 1, np.full(answers.graphs.max() + 1, 1 / (answers.graphs.max() + 1)), size=resamples
    )
    weights = counts[:, answers.graphs].astype(float)
    steps_alone = slopes(answers.accuracy, [answers.steps], weights)
    what_ifs_alone = slopes(answers.accuracy, [answers.what_ifs], weights)
    both = slopes(answers.accuracy, [answers.steps, answers.what_ifs], weights)
    return {
        "slopes": {
            "steps": steps_alone[0],
            "what-ifs": what_ifs_alone[0],
            "steps, what-ifs held fixed": both[0],
            "what-ifs, steps held fixed": both[1],
        },
        "by_steps": _means(answers.accuracy, answers.steps),
        "by_what_ifs": _means(answers.accuracy, answers.what_ifs),
        "steps_by_what_ifs": _means(answers.steps, answers.what_ifs),
    }


def slopes(outcome: Numbers, predictors: Sequence[Numbers], weights: Numbers) -> list[list[float]]:
    """Returns the least-squares slope of each predictor with the 95 % interval over weighted resamples.

    Args:
        outcome: (rows,).
        predictors: Each (rows,).
        weights: How often each row counts in each resample, (resamples, rows).

    Returns:
        For every predictor its slope and the ends of the interval.
    """
    design = np.stack([np.ones_like(outcome), *predictors], axis=-1)
    products = np.einsum("ri,rj->rij", design, design).reshape(len(outcome), -1)
    targets = design * outcome[:, None]
    # The plain fit is one more resample, in which every row counts once.
    all_weights = np.concatenate([np.ones((1, len(outcome))), weights])
    size = design.shape[1]
    left = (all_weights @ products).reshape(-1, size, size)
    right = (all_weights @ targets)[..., None]
    fitted = np.linalg.solve(left, right)[..., 0]
    low, high = np.quantile(fitted[1:], [0.025, 0.975], axis=0)
    return [[float(fitted[0, place]), float(low[place]), float(high[place])] for place in range(1, size)]


def _means(values: Numbers, groups: Numbers) -> dict[str, list[float]]:
    """Returns for every group the mean and the number of values."""
    return {
        f"{group:g}": [float(values[groups == group].mean()), int((groups == group).sum())]
        for group in np.unique(groups)
    }


# E4: names


def names_study(recipe: NamesRecipe, seed: int) -> dict[str, Any]:
    """Repeats the paired test of name styles, with responders that real words disturb and last one that they do not."""
    plain, real = recipe.styles
    graphs = -(-recipe.pairs // len(BenchmarkConfig().shapes()))
    asked = list(generate_questions(BenchmarkConfig(graphs=graphs, tasks=("FI",), names=recipe.styles, seed=seed)))
    in_style = {style: [question for question in asked if question.names == style] for style in recipe.styles}
    # Any 600 of the problems, the same ones in both styles.
    chosen = sorted(Stream(seed, "pairs").sample(range(len(in_style[plain])), recipe.pairs))
    generator = np.random.default_rng([seed, 4])

    def right(style: str, error: float) -> Columns:
        picked = [in_style[style][place] for place in chosen]
        return np.stack([noisy_columns(question, error, recipe.replicates, generator) for question in picked])

    undisturbed = right(plain, recipe.error)
    return {
        "pairs": len(chosen),
        "replicates": recipe.replicates,
        "error": recipe.error,
        "tests": [
            {"error": error, **_rejections(undisturbed, right(real, error))}
            for error in (*recipe.disturbed, recipe.error)
        ],
    }


def _rejections(first: Columns, second: Columns) -> dict[str, Any]:
    """Tests every replicate at the 5 % level; the columns are (pairs, replicates)."""
    tests = [mcnemar(first[:, place].tolist(), second[:, place].tolist()) for place in range(first.shape[1])]
    return {
        "rejected": sum(test.p_value < 0.05 for test in tests),
        "difference": float(first.mean() - second.mean()),
        "median_p": float(np.median([test.p_value for test in tests])),
    }
