"""The Dynamic Logit Fusion reproduction on a tiny model: rows, claims, resuming; scores are right."""

import json

import numpy as np
import pytest
import torch

from intarsia.data import TextToTextRow
from intarsia.errors import ConfigError, InputError
from intarsia.experiments import Context, registry
from intarsia.experiments import dynamic_logit_fusion as study
from intarsia.experiments._fusion_recipe import read_recipe
from intarsia.experiments._fusion_scores import AnswerLogits, answer_logits, gather, judge, judge_fused, prior_of
from intarsia.finetune import encode
from intarsia.fusion import SolverConfig
from intarsia.models import load_causal_lm
from intarsia.models.scoring import score_answers

WORDS = {"one": ("aaa", "bbb"), "two": ("XXX", "YYY"), "three": ("123", "789")}


def task(name, **others):
    return {"data": "$DATA/tasks", "where": {"task": [name]}, "fields": {"label": "target"}, "question": "?", **others}


@pytest.fixture
def config(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "tasks").mkdir(parents=True)
    for split, count in (("train", 60), ("dev", 10), ("test", 20)):
        with (tmp_path / "data" / "tasks" / f"{split}.jsonl").open("w") as file:
            for name, words in WORDS.items():
                for index in range(count):
                    text, target = f"{words[index % 2]} {split} {index}", f"{name[0]}{index % 2}"
                    file.write(json.dumps({"task": name, "text": text, "target": target}) + "\n")
    training = {"rank": 4, "alpha": 8, "epochs": 6, "batch_size": 8, "learning_rate": 0.02}
    return {
        "large": str(tiny_llama),
        "sibling": {
            "layers": [0, 1, 3],
            "heal": {"batch_size": 8, "learning_rate": 0.005},
            "heal_texts": 24,
            "align": {"positions": "answer", "batch_size": 8, "learning_rate": 0.005},
            "align_texts": 24,
        },
        "tasks": {name: task(name, train=40, dev=4, test=12) for name in ("one", "two")},
        "unseen": {"three": task("three", train=1, test=6)},
        "expert": training,
        "upper": {**training, "top_layers": 2},
        "fixed": [0.5, 2.0],
    }


def run(config, folder, progress=lambda _: None):
    found = registry.get("dynamic-logit-fusion")
    claims = {claim.id: claim for claim in found.claims}
    return found.run(Context(config, seed=0, scale="tiny", folder=folder, progress=progress, claims=claims))


def test_all_rows_and_claims_are_there_and_a_second_run_only_reads(config, tmp_path):
    outcome = run(config, tmp_path / "work")
    systems = {row.system for row in outcome.rows}
    assert {study.LARGE, study.SMALL, study.EXPERT, study.UPPER, study.PROXY, "fixed alpha = 0.5"} <= systems
    assert {f"dynamic, {solver}" for solver in ("grid", "refine", "bracket", "newton")} <= systems
    several = {study.SEVERAL, study.SEVERAL_MAX, study.SEVERAL_JOINT, study.SEVERAL_PRIOR, study.SEVERAL_MEAN}
    assert several <= {row.system for row in outcome.rows if row.dataset == "three"}
    assert {claim.id for claim in outcome.claims} == {claim.id for claim in registry.get("dynamic-logit-fusion").claims}
    assert all(claim.holds is not None for claim in outcome.claims)
    headline = {(row.system, row.metric): row.paper for row in outcome.rows if row.dataset == "average"}
    assert headline[study.DYNAMIC, "relative score, %"] == 96.4
    assert headline[study.DYNAMIC, "performance gap recovered, %"] == 90.5
    by_metric = {
        row.metric: row.measured for row in outcome.rows if (row.system, row.dataset) == (study.UPPER, "average")
    }
    assert by_metric["relative score, %"] == pytest.approx(100)
    assert len(outcome.figures) == 3

    said = []
    again = run(config, tmp_path / "work", said.append)
    assert again.rows == outcome.rows
    assert said
    assert all("already done" in line for line in said)


def test_logits_judge_answers_as_decoding_would(tiny_llama):
    model, tokenizer = load_causal_lm(tiny_llama, device="cpu")
    rows = encode(tokenizer, [TextToTextRow(f"what is {index}?", "x" * (1 + index % 3)) for index in range(7)])
    found = gather(rows, {"large": answer_logits(model, rows)})
    own = [[int(token) for token in _greedy(model, row, len(row["answer"]))] for row in rows]
    # Half of the rows expect what the model says.
    expected = [own[index] if index % 2 else row["answer"] for index, row in enumerate(rows)]
    asked = [
        {**row, "input_ids": [*row["input_ids"][: -len(row["answer"]) + 1 or None], *answer[:-1]], "answer": answer}
        for row, answer in zip(rows, expected, strict=True)
    ]
    found = gather(asked, {"large": answer_logits(model, asked)})
    judged = judge(found, found.logits["large"])
    reference = score_answers(model, [row["input_ids"] for row in asked], expected)
    assert judged["exact"] == reference.exact.double().tolist()
    assert judged["exact"][1::2] == [1.0] * 3
    assert all(value < 0 for value in judged["log_prob"])


def _greedy(model, row, count):
    prompt = row["input_ids"][: len(row["input_ids"]) - len(row["answer"]) + 1]
    ids = torch.tensor([prompt])
    return model.generate(ids, max_new_tokens=count, min_new_tokens=count, do_sample=False)[0, len(prompt) :]


def test_fused_answers_by_hand():
    torch.manual_seed(0)
    logits = {name: torch.randn(5, 9) for name in ("large", "small", "one", "two")}
    answers = AnswerLogits(torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 0, 1, 2, 2]), logits)
    fused = logits["large"] + 0.5 * (logits["one"] - logits["small"])
    judged = judge_fused(answers, ["one"], SolverConfig(solver="static", alpha=0.5))
    right = fused.argmax(-1) == answers.expected
    assert judged["exact"] == [float(right[:2].all()), float(right[2]), float(right[3:].all())]
    mean = fused.log_softmax(-1)[torch.arange(5), answers.expected]
    np.testing.assert_allclose(judged["log_prob"], [mean[:2].mean(), mean[2], mean[3:].mean()], rtol=1e-5)
    prior = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    with_prior = judge_fused(answers, ["one", "two"], SolverConfig(), prior=prior)
    alone = judge_fused(answers, ["one"], SolverConfig())
    assert with_prior["log_prob"][0] == pytest.approx(alone["log_prob"][0])
    assert with_prior["log_prob"][1] != pytest.approx(alone["log_prob"][1])


def test_the_router_of_the_prior_knows_the_tasks():
    prior = prior_of({"a": ["red fish", "blue fish"], "b": ["big dog", "small dog"]}, ["green fish", "old dog"])
    torch.testing.assert_close(prior.sum(-1), torch.ones(2))
    assert prior.argmax(-1).tolist() == [0, 1]


def test_recipes(config):
    assert list(read_recipe(config).unseen) == ["three"]
    with pytest.raises(InputError, match="small"):
        read_recipe({**config, "small": "somewhere"})
    with pytest.raises(InputError, match="two tasks"):
        read_recipe({**config, "tasks": {"one": config["tasks"]["one"]}})
    with pytest.raises(ConfigError, match="positions"):
        read_recipe({**config, "sibling": {"heal": {"positions": "first"}}})


def test_other_tasks_where_the_data_are_absent(config, monkeypatch, tmp_path):
    monkeypatch.setenv("INTARSIA_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="data_folder"):
        read_recipe(config)
    instead = {name: {"data": name} for name in ("reuters-r8", "election-tweets", "20newsgroups")}
    recipe = read_recipe({**config, "instead": instead})
    assert (list(recipe.tasks), list(recipe.unseen)) == (["reuters-r8", "election-tweets"], ["20newsgroups"])


@pytest.mark.parametrize("scale", registry.scales("dynamic-logit-fusion"))
def test_shipped_recipes_are_read(scale):
    config = registry.recipe("dynamic-logit-fusion", scale)
    recipe = read_recipe(config)
    assert len(recipe.tasks) >= 2
    assert recipe.unseen
    assert (recipe.small is None) == (scale == "laptop")
