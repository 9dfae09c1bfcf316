"""The Twin-Merging reproduction on tiny models: all rows and claims, a stopped run resumes, inputs are named."""

import json
from pathlib import Path

import numpy as np
import pytest

from intarsia.data import ClassificationRow, write_jsonl
from intarsia.errors import ConfigError, InputError, UnknownNameError
from intarsia.experiments import Context, registry
from intarsia.experiments._twin_names import EXPERTS, FULL, MAIN, ROUTED, STATIC, STATIC_SYSTEMS, UNTUNED
from intarsia.experiments._twin_recipe import read_recipe
from intarsia.experiments._twin_scores import WRONG, Scores, TaskTarget
from intarsia.experiments._twin_systems import with_routed_heads
from intarsia.metrics import normalized_difference, normalized_interval

WORDS = {"one": ("aaa", "bbb"), "two": ("XXX", "YYY"), "three": ("123", "789")}


def write_tasks(folder):
    records = {"train": [], "dev": [], "test": []}
    for task, words in WORDS.items():
        for split, count in (("train", 60), ("dev", 10), ("test", 20)):
            for index in range(count):
                text = f"{words[index % 2]} {index % 7}"
                records[split].append({"task": task, "text": text, "target": f"{task} {index % 2}", "id": str(index)})
    for split, rows in records.items():
        path = folder / "tasks" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def task(name, **others):
    return {"data": "$DATA/tasks", "where": {"task": [name]}, "fields": {"label": "target"}, "train": 40, **others}


@pytest.fixture
def config(tiny_bert, tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "data"))
    write_tasks(tmp_path / "data")
    training = {"epochs": 2, "learning_rate": 0.005, "head_learning_rate": 0.05, "batch_size": 8, "max_length": 16}
    generative = {name: task(name, dev=6, test=8, train=16) for name in ("one", "two")}
    return {
        "encoders": {
            "model": str(tiny_bert),
            "tasks": {name: task(name) for name in WORDS},
            "expert": training,
            "harder": {**training, "epochs": 3},
            "seeds": [0, 1],
            "test": 12,
            "dev": 6,
            "router_texts": 20,
            "router_epochs": 4,
            "ranks": [0, 2],
            "baselines": {"average": {}, "task_arithmetic": {"weight": [0.3, 0.5]}, "ties": {"density": [0.3]}},
            "adamerging": {"steps": 2},
            "adamerging_batch": 3,
            "fisher_rows": 3,
            "regmean_rows": 4,
            "timed_items": 4,
        },
        "generative": {
            "recipe": {
                "model": str(tiny_llama),
                "tasks": generative,
                "expert": {"rank": 4, "top_layers": 2, "epochs": 12, "batch_size": 4, "learning_rate": 0.02},
                "merge": {
                    "rank": 4,
                    "ranks": [0, 4],
                    "router_texts": 12,
                    "baselines": {"task_arithmetic": {"weight": [0.3]}},
                },
            }
        },
    }


@pytest.fixture
def run(tmp_path):
    experiment = registry.get("twin-merging")
    claims = {claim.id: claim for claim in experiment.claims}

    def start(config):
        lines = []
        context = Context(config, 0, "tiny", tmp_path / "run", progress=lines.append, claims=claims)
        return experiment.run(context), lines

    return start


def test_every_system_is_measured_and_every_claim_judged(config, run, tmp_path):
    outcome, _ = run(config)
    found = {(row.system, row.dataset, row.metric): row for row in outcome.rows}
    assert found[EXPERTS, "average", "normalised score"].measured == pytest.approx(100)
    assert found[MAIN, "average", "normalised score"].paper == 95.83
    for system in (*STATIC_SYSTEMS, MAIN, FULL, ROUTED):
        if system not in (STATIC["dare_linear"], STATIC["dare_ties"]):
            assert {*WORDS, "average"} <= {dataset for name, dataset, _ in found if name == system}
    # Rank 0 is the shared model, which is task arithmetic.
    for name in WORDS:
        assert found["Twin, rank 0", name, "accuracy, %"].measured == found[UNTUNED, name, "accuracy, %"].measured
    assert (MAIN, "first 2 tasks", "normalised score") in found
    assert (f"longer fine-tuning: {MAIN}", "average", "normalised score") in found
    assert (MAIN, "mixed batch", "ms per item") in found
    assert ("Twin rank 4 (LoRA)", "one (generative)", "exact match, %") in found
    experiment = registry.get("twin-merging")
    assert [claim.id for claim in outcome.claims] == [claim.id for claim in experiment.claims]
    assert all(claim.holds is not None for claim in outcome.claims)
    assert len(outcome.figures) == 4
    assert str(tmp_path) not in json.dumps([row.dataset for row in outcome.rows])

    again, lines = run(config)
    assert again.rows == outcome.rows
    assert [line for line in lines if line.endswith(" s")] == []


def test_a_part_that_is_left_out_is_not_judged(config, run):
    del config["encoders"]
    outcome, _ = run(config)
    judged = {claim.id for claim in outcome.claims if claim.holds is not None}
    assert judged == {"generative-above-static", "generative-experts"}


def test_scores_agree_with_those_of_the_metrics_room():
    generator = np.random.default_rng(0)
    targets = {name: TaskTarget(generator.integers(2, size=40)) for name in ("a", "b")}
    own, a, b = (
        {name: generator.integers(2, size=40).tolist() for name in targets}
        for _ in range(3)
    )  # fmt: skip
    hits = [{name: np.array(of[name]) == targets[name].values for name in targets} for of in (a, b, own)]
    scores = Scores(targets, [own])
    np.testing.assert_allclose(scores.normalised([a])[1:], normalized_interval(hits[0], hits[2]), rtol=0.05)
    difference = normalized_difference(*hits)
    np.testing.assert_allclose(scores.difference([a], [b]).mean, difference.mean)
    np.testing.assert_allclose(scores.difference([a], [b]), difference, atol=4)
    assert scores.normalised([own]).value == pytest.approx(100)
    assert scores.difference([a], [a]) == (0, 0, 0)


def test_metrics_that_are_no_mean_over_rows():
    target = TaskTarget(np.array([0, 1, 1, 0] * 5), "accuracy_and_f1", positive=1)
    assert target.score([0, 1, 1, 0] * 5) == 100
    assert target.score([WRONG] * 20) == 0
    numbers = TaskTarget(np.linspace(0, 5, 20), "pearson_spearman")
    assert numbers.score(np.linspace(1, 3, 20)) == pytest.approx(100)
    assert numbers.score([1.0] * 20) == 0
    scores = Scores({"a": target, "b": numbers}, [{"a": [0, 1, 1, 0] * 5, "b": np.linspace(1, 3, 20)}])
    worse = scores.normalised([{"a": [0, 1, 0, 0] * 5, "b": np.linspace(1, 3, 20)}])
    assert worse.low < worse.value < 100


def test_a_wrongly_routed_row_is_an_error_under_its_routed_head():
    routing = {"a": [[0.9, 0.1], [0.2, 0.8]], "b": [[0.1, 0.9]]}
    assert with_routed_heads({"a": [5, 5], "b": [7]}, routing) == {"a": [5, WRONG], "b": [7]}


def test_tasks_at_hand_take_the_place_of_those_that_are_not(config, tmp_path, monkeypatch):
    rows = [ClassificationRow("text", "label")]
    write_jsonl(tmp_path / "here.jsonl", rows)
    instead = {name: {"data": str(tmp_path / "here.jsonl")} for name in ("x", "y")}
    config["encoders"]["instead"] = config["generative"]["instead"] = instead
    assert list(read_recipe(config).encoders.tasks) == list(WORDS)
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "nowhere"))
    recipe = read_recipe(config)
    assert list(recipe.encoders.tasks) == list(recipe.generative.recipe.tasks) == ["x", "y"]
    del config["encoders"]["instead"]
    with pytest.raises(ConfigError, match="nowhere"):
        read_recipe(config)


def test_bad_recipes_are_named(config):
    with pytest.raises(UnknownNameError, match="did you mean 'encoders'"):
        read_recipe({"encoder": {}})
    with pytest.raises(InputError, match="encoders"):
        read_recipe({})
    config["encoders"]["baselines"]["tise"] = {}
    with pytest.raises(UnknownNameError, match="did you mean 'ties'"):
        read_recipe(config)


@pytest.mark.parametrize("scale", ["laptop", "paper"])
def test_the_recipes_are_valid(scale, tmp_path, monkeypatch):
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path))
    recipe = read_recipe(registry.recipe("twin-merging", scale))
    assert len(recipe.encoders.tasks) >= 4
    assert len(recipe.generative.recipe.tasks) == 4


def test_the_shared_data_are_used_where_they_are(monkeypatch):
    monkeypatch.delenv("INTARSIA_DATA", raising=False)
    if not (Path(__file__).parents[2] / "../shared/data/merge_tasks").exists():
        pytest.skip("no shared/data/merge_tasks beside the repository")
    recipe = read_recipe(registry.recipe("twin-merging", "laptop"))
    assert list(recipe.encoders.tasks) == ["trec", "banking77", "sst2", "snips", "hwu64"]
