"""The main job on a tiny random model: complete, resumable at any point, and clear about bad input."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

import intarsia
from intarsia.cli.app import app
from intarsia.errors import DataError, InputError, RunExistsError
from intarsia.models import load_causal_lm
from intarsia.pipeline import Recipe, run_recipe
from intarsia.pipeline.progress import Stages
from intarsia.pipeline.tasks import load_task

WORDS = {"fruit": ["apple", "pear", "plum", "fig"], "metal": ["iron", "zinc", "tin", "gold"]}
ANIMALS = {"bird": ["crow", "owl", "hen", "gull"], "fish": ["cod", "eel", "carp", "bass"]}


def write_rows(path: Path, words: dict[str, list[str]], count: int) -> None:
    draw = random.Random(path.name)
    with path.open("w") as file:
        for index in range(count):
            label = draw.choice(list(words))
            file.write(json.dumps({"text": f"{draw.choice(words[label])} {index}", "label": label}) + "\n")


@pytest.fixture
def recipe(tmp_path, tiny_llama) -> Path:
    for name, words in (("things", WORDS), ("animals", ANIMALS)):
        write_rows(tmp_path / f"{name}.jsonl", words, 160)
    path = tmp_path / "recipe.yaml"
    task = "max_text_tokens: 16, train: 32, dev: 8, test: 16"
    path.write_text(
        f"""
model: {tiny_llama}
tasks:
  things: {{data: {tmp_path}/things.jsonl, labels: {{fruit: f, metal: m}}, {task}}}
  animals: {{data: {tmp_path}/animals.jsonl, labels: {{bird: b, fish: s}}, {task.replace("train: 32", "train: 48")}}}
expert: {{rank: 4, top_layers: 2, epochs: 8, batch_size: 8, learning_rate: 0.03}}
merge: {{rank: 2, ranks: [0, 2], router_texts: 32, baselines: {{average: {{}}, ties: {{weight: [0.5, 1.0]}}}}}}
"""
    )
    return path


@pytest.fixture(autouse=True)
def one_thread():
    """Sums in another order grow into other weights, and tiny tensors are slower on many threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def quiet() -> Stages:
    return Stages(Console(quiet=True))


def test_a_run_makes_model_report_and_figures_that_hang_together(recipe, tmp_path):
    folder = tmp_path / "run"
    result = run_recipe(Recipe.from_file(recipe), folder, command="intarsia run recipe.yaml", stages=quiet())
    names = [system.name for system in result.systems]
    assert names[:5] == ["base", "expert things", "expert animals", "average", "ties"]
    assert result.merged == "twin rank 2"
    # Rank 0 is the shared model, whatever the router says.
    assert result.system("twin rank 0").kind == "twin"
    for task in ("things", "animals"):
        assert result.own[task] == result.system(f"expert {task}").accuracy[task]
    page = result.report.read_text()
    assert "twin rank 2" in page
    assert "recipe.yaml" in page
    # The saved model answers as the evaluation said.
    loaded = load_causal_lm(result.model, device="cpu")
    answers = json.loads((folder / "evaluation" / "test" / "twin rank 2.json").read_text())["exact"]["things"]
    rows = json.loads((folder / "data" / "things.json").read_text())["test"]
    tokenizer = loaded.tokenizer
    for row, right in list(zip(rows, answers, strict=True))[:6]:
        inputs = tokenizer.apply_chat_template(
            [{"role": "user", "content": row["prompt"]}],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        out = loaded.model.generate(**inputs, max_new_tokens=12, do_sample=False)
        said = tokenizer.decode(out[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        assert (said == row["target"]) == bool(right)
    assert not list(folder.glob("**/.*"))


def test_a_finished_run_is_only_read(recipe, tmp_path):
    first = run_recipe(Recipe.from_file(recipe), tmp_path / "run", stages=quiet())
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()}
    again = run_recipe(Recipe.from_file(recipe), tmp_path / "run", stages=quiet())
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if path.is_file()} == times
    assert [system.normalised for system in again.systems] == [system.normalised for system in first.systems]


def test_a_folder_with_something_else_is_left_alone(recipe, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(RunExistsError, match="not a run"):
            run_recipe(Recipe.from_file(recipe), folder, overwrite=overwrite, stages=quiet())
    assert (folder / "thesis.txt").read_text() == "precious"


def test_another_recipe_in_the_same_folder_is_refused(recipe, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(recipe, folder.parent / "other.yaml")
    (folder / "run.json").write_text(json.dumps({"recipe": {"model": "another"}}))
    with pytest.raises(RunExistsError, match="another recipe"):
        run_recipe(Recipe.from_file(recipe), folder, stages=quiet())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_points_it_ends_as_if_it_had_not_been(recipe, tmp_path, seed):
    once = tmp_path / "once"
    run_recipe(Recipe.from_file(recipe), once, stages=quiet())
    folder = tmp_path / "killed"
    draw = random.Random(seed)
    command = [sys.executable, "-m", "intarsia.cli.app", "run", str(recipe), "--output", str(folder), "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    finished: dict[Path, bytes] = {}
    for _ in range(4):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_new_file(folder, process)
        time.sleep(draw.uniform(0, 1.5))
        process.send_signal(draw.choice([signal.SIGKILL, signal.SIGINT]))
        process.wait()
        # No finished stage is lost or done again, and every file is whole.
        for path, content in finished.items():
            assert path.read_bytes() == content
        finished = {
            path: path.read_bytes()
            for path in folder.rglob("*.json")
            if not _is_hidden(path, folder) and path.name != "run.json"
        }
        for path in finished:
            json.loads(path.read_text())
    result = run_recipe(Recipe.from_file(recipe), folder, stages=quiet())
    assert result.report.exists()
    for path in sorted((once / "evaluation").rglob("*.json")):
        ours = json.loads((folder / path.relative_to(once)).read_text())
        _same(ours, json.loads(path.read_text()))


def _wait_for_new_file(folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Waits until the run has begun to write; a kill while Python is importing would test nothing."""
    before = len(list(folder.rglob("*"))) if folder.exists() else 0
    while process.poll() is None and (len(list(folder.rglob("*"))) if folder.exists() else 0) <= before:
        time.sleep(0.05)


def _is_hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _same(ours: object, theirs: object) -> None:
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            _same(ours[key], value)
    else:
        assert np.allclose(np.array(ours, dtype=float), np.array(theirs, dtype=float), atol=1e-3)


def test_labels_unseen_in_training_are_named(tmp_path, tiny_llama):
    from intarsia.pipeline.recipe import TaskRecipe

    folder = tmp_path / "data"
    folder.mkdir()
    write_rows(folder / "train.jsonl", WORDS, 20)
    write_rows(folder / "dev.jsonl", WORDS, 20)
    write_rows(folder / "test.jsonl", {**WORDS, "gas": ["neon"] * 4}, 40)
    tokenizer = load_causal_lm(tiny_llama, device="cpu").tokenizer
    with pytest.raises(DataError, match=r"'gas' is not in the training rows(.|\n)*fruit, metal"):
        load_task(TaskRecipe(data=str(folder), train=20, dev=4, test=40), tokenizer, 0)


def test_training_rows_are_balanced_and_never_tested_on(tmp_path, tiny_llama):
    from intarsia.pipeline.recipe import TaskRecipe
    from intarsia.pipeline.tasks import draw_rows

    path = tmp_path / "rows.jsonl"
    with path.open("w") as file:
        for index in range(300):
            label = "rare" if index % 10 == 0 else "common"
            file.write(json.dumps({"text": f"{label} {index}", "label": label}) + "\n")
    tokenizer = load_causal_lm(tiny_llama, device="cpu").tokenizer
    rows = load_task(TaskRecipe(data=str(path), train=30, dev=8, test=20), tokenizer, 0)
    assert sum(row.target == "rare" for row in rows.train) == 15
    parts = [{row.prompt for row in part} for part in (rows.train, rows.dev, rows.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))
    again = load_task(TaskRecipe(data=str(path), train=30, dev=8, test=20), tokenizer, 0)
    assert again == rows
    # The question stands after each text, which is cut without it.
    asked = TaskRecipe(data=str(path), question="Is it rare?", max_text_tokens=4)
    prompts = {row.prompt for row in draw_rows(asked, "train", 30, tokenizer, 0)}
    assert prompts == {"rare\nIs it rare?", "comm\nIs it rare?"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nowhere.yaml"], "no such recipe"),
        (["generate", "asset:smolm2"], "either a prompt or --data"),
        (["generate", "asset:smolm2-135m-instruct", "hi"], "smollm2-135m-instruct"),
        (["evaluate", "./nowhere", "--data", "reuters-r8"], "nowhere"),
        (["finetune", "asset:smollm2-135m-instruct", "--data", "reuters-r88", "--output", "x"], "reuters-r8"),
    ],
)
def test_commands_explain_bad_input_and_exit_2(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_merged_model_folders_load_with_plain_transformers(recipe, tmp_path):
    result = run_recipe(Recipe.from_file(recipe), tmp_path / "run", stages=quiet())
    assert intarsia.__version__
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(result.model)
    assert model.config.model_type == "twin_merged"
    assert torch.isfinite(model(torch.tensor([[5, 6, 7]])).logits).all()


def test_an_empty_data_file_is_named(recipe, tmp_path):
    (tmp_path / "things.jsonl").write_text("")
    with pytest.raises(InputError, match=r"things\.jsonl"):
        run_recipe(Recipe.from_file(recipe), tmp_path / "run", stages=quiet())
