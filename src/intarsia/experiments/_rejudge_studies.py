"""The studies of the reproduction of re-judge inconsistency; each returns JSON values."""

from pathlib import Path
from typing import Any

import numpy as np

from intarsia.audit.bias.asking import ask_item
from intarsia.audit.bias.association import AssociationTest, read_tests, select_tests, shipped_tests
from intarsia.audit.bias.config import RejudgeConfig
from intarsia.audit.bias.decisions import logistic_slope
from intarsia.audit.bias.items import plan
from intarsia.audit.bias.list_tables import list_table
from intarsia.audit.bias.results import bias_result
from intarsia.audit.bias.simulation import AGENTS, sigma, simulated_model
from intarsia.audit.bias.word_lists import association_bias, read_decisions, read_list_answers, read_word_list
from intarsia.errors import InputError
from intarsia.evals.asking import ask_all
from intarsia.evals.background import run
from intarsia.experiments._rejudge_recipe import AgentsRecipe, BeliefsRecipe, ListsRecipe, ModelsRecipe
from intarsia.metrics.clusters import cluster_interval
from intarsia.metrics.shares import wilson

_FOLDER = "implicit-association"


# E1: recorded answers


def lists_study(recipe: ListsRecipe, data: Path | None, seed: int) -> dict[str, Any]:
    """Scores recorded word lists, and how far recorded decisions follow them.

    Raises:
        InputError: If the recorded answers are not there.
    """
    folder = None if data is None else data / _FOLDER
    if folder is None or not folder.is_dir():
        raise InputError(
            "the recorded word lists are not there",
            where=folder or _FOLDER,
            fix="set INTARSIA_DATA to the folder that holds implicit-association; the answers are those of "
            "baixuechunzi/llm-implicit-bias",
        )
    tests = read_tests(folder / "stimuli.jsonl")
    answers = read_list_answers(folder / "gpt4o_word_lists.jsonl.gz", tests)
    kept = [answer for answer in answers if answer.variant in recipe.variants]
    rows = list_table(kept, tests, resamples=recipe.resamples, seed=seed)
    known = {test.test: test for test in tests}
    decisions = read_decisions(folder / "gpt4_chained.jsonl.gz", tests)
    scored = [(_bias(known[each.test], each.word_list), each) for each in decisions]
    defined = [(bias, each) for bias, each in scored if bias is not None]
    published = logistic_slope([each.published for each in decisions], [each.decision for each in decisions])
    own = logistic_slope([bias for bias, _ in defined], [each.decision for _, each in defined])
    return {
        "rows": rows,
        "published": published._asdict(),
        "own": own._asdict(),
        "undefined": len(scored) - len(defined),
        "mean_bias": float(np.mean([each.published for each in decisions])),
        "mean_decision": float(np.mean([each.decision for each in decisions])),
    }


def _bias(test: AssociationTest, answer: str) -> float | None:
    return association_bias(read_word_list(test, answer))


# E2: simulated models


def agents_study(recipe: AgentsRecipe, seed: int) -> list[dict[str, Any]]:
    """Audits simulated models: per model and test the indices and the verdict."""
    config = RejudgeConfig(tests=recipe.tests, templates=recipe.templates, draws=recipe.draws, seed=seed)
    items = plan(select_tests(shipped_tests(), recipe.tests), config)
    rows = []
    for name in AGENTS:
        model = simulated_model(name, seed=seed)
        outcomes = run(ask_all(lambda item, model=model: ask_item(model, item, config), items))  # type: ignore[misc]
        result = bias_result([outcome.value for outcome in outcomes], model=name, config=config)
        kept = ("test", "implicit", "rejected", "twins_rejected", "delta", "explicit", "coverage", "verdict", "reasons")
        rows += [{"agent": name, **{key: row[key] for key in kept}} for row in result.tests]
    return rows


def beliefs_study(recipe: BeliefsRecipe, seed: int) -> dict[str, Any]:
    """Simulates models from their beliefs: the identity of one belief, recovery of two, coverage of intervals."""
    generator = np.random.default_rng(seed)
    identity = []
    for beta in recipe.betas:
        runs = [_indices(generator, recipe, beta, beta) for _ in range(recipe.runs)]
        both = [implicit + delta for implicit, delta, _, _ in runs]
        half = 1.96 * float(np.std(both, ddof=1)) / len(both) ** 0.5
        identity.append({"beta": beta, "sum": float(np.mean(both)), "low": float(np.mean(both)) - half,
                         "high": float(np.mean(both)) + half, "exact": _exact(beta)})  # fmt: skip
    truth_implicit = 2 * sigma(recipe.implicit) - 1
    truth_delta = 1 - 2 * sigma(recipe.explicit)
    hits = {"implicit": 0, "delta": 0}
    for number in range(recipe.runs):
        _, _, implicit, delta = _indices(generator, recipe, recipe.implicit, recipe.explicit, number)
        hits["implicit"] += implicit[0] <= truth_implicit <= implicit[1]
        hits["delta"] += delta[0] <= truth_delta <= delta[1]
    n = recipe.clusters * recipe.of_cluster
    fair = generator.binomial(n, 0.5, size=recipe.wilson_runs)
    covered = 0
    for count in fair:
        share = wilson(int(count), n)
        covered += share.low <= 0.5 <= share.high
    return {"identity": identity, "recovered": hits, "runs": recipe.runs, "wilson": covered, "wilson_runs": len(fair)}


def _exact(beta: float) -> float:
    """Returns I + Delta of a consistent model by its probabilities."""
    return (2 * sigma(beta) - 1) + ((1 - sigma(beta)) - sigma(beta))


def _indices(
    generator: np.random.Generator, recipe: BeliefsRecipe, implicit: float, explicit: float, number: int | None = None
) -> tuple[float, float, tuple[float, float], tuple[float, float]]:
    """Returns I and Delta of one simulated run, and their intervals if it is numbered."""
    shape = (recipe.clusters, recipe.of_cluster)
    stereotype = generator.random(shape) < sigma(implicit)
    rejects = generator.random(shape) >= sigma(explicit)
    rejects_twin = generator.random(shape) < sigma(explicit)
    clusters = np.repeat(np.arange(recipe.clusters), recipe.of_cluster)
    signs = np.where(stereotype, 1.0, -1.0).ravel()
    kept = stereotype.ravel()
    differences = (rejects.astype(float) - rejects_twin).ravel()[kept]
    if number is None:
        return float(signs.mean()), float(differences.mean()), (0.0, 0.0), (0.0, 0.0)
    settings = {"resamples": recipe.resamples, "seed": number}
    of_implicit = cluster_interval(list(signs), list(clusters), **settings)
    of_delta = cluster_interval(list(differences), list(clusters[kept]), **settings)
    return (
        float(signs.mean()),
        float(differences.mean()),
        (of_implicit.low, of_implicit.high),
        (of_delta.low, of_delta.high),
    )


# E3 and E4: language models


def models_study(recipe: ModelsRecipe, folder: Path, seed: int) -> list[dict[str, Any]]:
    """Audits language models: per model, context and test the row of the audit, and the controls."""
    from intarsia.audit.bias.auditing import run_bias_audit
    from intarsia.audit.bias.layout import BiasAuditConfig

    config = RejudgeConfig(
        tests=recipe.tests,
        templates=recipe.templates,
        draws=recipe.draws,
        scales=recipe.scales,
        contexts=recipe.contexts,
        neutral=recipe.neutral,
        seed=seed,
    )
    rows = []
    for number, model in enumerate(recipe.asked()):
        done = run_bias_audit(
            folder / f"model-{number}", BiasAuditConfig(model, concurrency=recipe.concurrency), config
        )
        rows.append({"model": model, "tests": list(done.result.tests), "controls": list(done.result.controls)})
    return rows
