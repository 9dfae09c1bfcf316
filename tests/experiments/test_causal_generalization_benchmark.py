"""The causal benchmark's reproduction in small: all rows and claims, exact parts exact, noise as it should be."""

from dataclasses import replace

import numpy as np
import pytest

from intarsia.audit.causal.baselines import treatment_parents
from intarsia.audit.causal.building import generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.models import HAPPENS
from intarsia.audit.causal.scoring import score
from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.experiments import Context, registry
from intarsia.experiments import _causal_studies as studies
from intarsia.experiments._causal_recipe import NamesRecipe, read_recipe

SLUG = "causal-generalization-benchmark"
CONFIG = {
    "solver": {"graphs": 2},
    "scorer": {"levels": [1, 2], "graphs": 8},
    "noise": {"graphs": 6, "replicates": 128, "resamples": 100},
    "names": {"pairs": 300, "replicates": 64},
}


@pytest.fixture
def run(tmp_path):
    claims = {claim.id: claim for claim in registry.get(SLUG).claims}

    def start(config):
        lines = []
        context = Context(config, 0, "tiny", tmp_path / "run", progress=lines.append, claims=claims)
        return registry.get(SLUG).run(context), lines

    return start


def test_every_study_is_there_and_every_claim_judged(run):
    outcome, _ = run(CONFIG)
    found = {(row.system, row.dataset, row.metric): row for row in outcome.rows}
    solved = [row for row in outcome.rows if row.system == "exact solver, reading prompts"]
    assert len(solved) == 6
    assert all(row.measured == 100 for row in solved)
    for nodes in (5, 10):
        published, sound = (
            found["always-right adjustment set", f"graphs of {nodes} nodes", f"{rule}: accepted, %"]
            for rule in ("published scorer", "adjustment criterion")
        )
        assert sound.measured == 100
        assert published.measured < 70
    assert found["20 % mistakes a step", "per unit of steps", "change of accuracy, points"].high < 0
    assert ("baseline: copy the facts", "counterfactuals, 15 nodes, 3 what-ifs", "right answers, %") in found
    assert all(row.paper is None for row in outcome.rows)
    assert [claim.id for claim in outcome.claims] == [claim.id for claim in registry.get(SLUG).claims]
    held = {claim.id: claim.holds for claim in outcome.claims}
    for claim in outcome.claims:
        assert (claim.holds is None) == claim.id.startswith("models-")
        if claim.holds is None:
            assert "no language model was given" in claim.evidence
    assert "No language model is asked here" in outcome.notes[0]
    assert held["keys-are-right"]
    assert held["right-answer-passes"]
    assert held["steps-are-hard"]
    assert len(outcome.figures) == 3

    again, lines = run(CONFIG)
    assert again.rows == outcome.rows
    assert all(line.endswith("already done") for line in lines)


def test_models_that_are_given_are_asked_and_judged(run, monkeypatch):
    monkeypatch.setenv("INTARSIA_MODELS", " baseline:solver, scripted/hasty ")
    pytest.importorskip("inspect_ai", reason="the extra 'eval' is not installed")
    from intarsia.audit.causal.solver import solve
    from intarsia.evals.inspect import add_script

    def hasty(call):
        long = len(call.prompt) > 900 or "acid" in call.prompt
        return "ANSWER: none" if long else solve(call.prompt)

    add_script("hasty", hasty)
    models = {"ask": ["openai/not-asked"], "levels": [1, 3], "graphs": 1, "prompts": ["zero_shot"]}
    outcome, lines = run({**CONFIG, "models": models})
    found = {(row.system, row.dataset, row.metric): row for row in outcome.rows}
    paths = "causal paths, 15 nodes, bio names, zero_shot"
    assert found["baseline:solver", paths, "right answers, %"].measured == 100
    assert found["baseline:solver", paths, "right answers, %"].n == 4
    sets = "adjustment sets, 15 nodes, bio names, zero_shot"
    assert found["baseline:solver", sets, "right answers, %"].measured == 100
    assert ("scripted/hasty", sets, "published scorer: accepted, %") in found
    claims = {claim.id: claim for claim in outcome.claims}
    # The solver does not fall with size, so not all models do.
    assert claims["models-fall-with-size"].holds is False
    assert "baseline:solver, causal paths: 100.0 % and 100.0 %" in claims["models-fall-with-size"].evidence
    assert claims["models-mind-names"].holds is True
    assert "Language models asked: baseline:solver, scripted/hasty" in outcome.notes[0]
    again, lines = run({**CONFIG, "models": models})
    assert again.rows == outcome.rows
    assert all(line.endswith("already done") for line in lines)


def test_a_wrong_key_would_be_noticed(monkeypatch):
    recipe = read_recipe({"solver": {"graphs": 1, "evidence": ["full"]}}).solver
    monkeypatch.setattr(studies, "solve", lambda prompt: "ANSWER: none")
    found = {row["task"]: row for row in studies.solver_study(recipe, 0)}
    assert found["FI"]["right"] == 0
    assert all(row["right"] < row["n"] for row in found.values())


def test_without_mistakes_every_answer_is_right_and_with_them_as_many_as_there_should_be():
    generator = np.random.default_rng(0)
    questions = list(generate_questions(BenchmarkConfig(levels=(1,), graphs=10, tasks=("FI", "CI"))))
    for question in questions:
        assert studies.noisy_columns(question, 0.0, 64, generator).all()
        if question.complexity.steps == 1:
            assert studies.noisy_columns(question, 0.2, 4000, generator).mean() == pytest.approx(0.8, abs=0.03)


def test_columns_are_replicates_one_by_one():
    question = next(iter(generate_questions(BenchmarkConfig(levels=(3,), graphs=1, tasks=("CI",)))))
    key, replicates = question.problem.key, 200
    columns = studies.noisy_columns(question, 0.2, replicates, np.random.default_rng(5))
    flips = np.random.default_rng(5).random((len(key.model.terms), replicates)) < 0.2
    for place in range(replicates):
        values = dict(key.observed) | dict(key.assigned)
        for node, terms in enumerate(key.model.terms):
            if terms and node not in dict(key.assigned):
                right = any(all(values[p] != negated for p, negated in term) for term in terms)
                values[node] = right != flips[node, place]
        expected = all(values[node] == (state == HAPPENS) for node, state in zip(key.query, key.states, strict=True))
        assert columns[place] == expected


def test_slopes_are_least_squares():
    generator = np.random.default_rng(1)
    x, z = generator.normal(size=(2, 80))
    y = 2 * x - 0.5 * z + 0.01 * generator.normal(size=80)
    weights = generator.multinomial(80, np.full(80, 1 / 80), size=400).astype(float)
    (slope, low, high), (other, *_) = studies.slopes(y, [x, z], weights)
    expected = np.linalg.lstsq(np.stack([np.ones(80), x, z], -1), y, rcond=None)[0]
    assert (slope, other) == pytest.approx(tuple(expected[1:]))
    assert low < 2 < high
    assert high - low < 0.02


def test_the_published_scorer_is_asked_about_the_same_answers():
    recipe = read_recipe({"scorer": {"levels": [1], "graphs": 4}}).scorer
    (row,) = studies.scorer_study(recipe, 0)
    asked = list(generate_questions(BenchmarkConfig(levels=(1,), graphs=4, tasks=("BA",))))
    accepted = [score(question, treatment_parents(question), criterion="released").exact for question in asked]
    assert (row["n"], row["released"], row["sound"]) == (len(asked), sum(accepted), len(asked))


def test_names_that_differ_are_found_and_names_that_do_not_are_not():
    recipe = NamesRecipe(pairs=300, replicates=128, error=0.1, disturbed=(0.2,))
    found = studies.names_study(recipe, 0)
    doubled, equal = found["tests"]
    assert doubled["rejected"] > 120
    assert equal["rejected"] < 16
    assert doubled["difference"] > 0.1 > abs(equal["difference"])


def test_bad_recipes_are_named():
    with pytest.raises(UnknownNameError, match="did you mean 'noise'"):
        read_recipe({"noises": {}})
    with pytest.raises(InputError, match=r"errors is \[0\.7\]"):
        read_recipe({"noise": {"errors": [0.7]}})
    with pytest.raises(ConfigError, match=r"disturbed is[\s\S]*twice error, 0.1"):
        replace(NamesRecipe(), disturbed=(0.2,))


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_recipes_are_valid(scale):
    recipe = read_recipe(registry.recipe(SLUG, scale))
    assert recipe.names.pairs == 600
    assert "00" in recipe.solver.groups
