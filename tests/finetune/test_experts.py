"""Training LoRA experts: shortcuts are exact, a killed run resumes, bad settings are named."""

import json
from dataclasses import replace

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import LlamaForCausalLM

from intarsia.data import TextToTextRow
from intarsia.errors import ConfigError, DataError
from intarsia.finetune import AnswerCollator, ExpertConfig, ExpertTrainer, ExpertTrainingArguments, encode, train_expert
from intarsia.finetune.miub import MIUBConfig
from intarsia.finetune.runs import HISTORY
from intarsia.models import load_causal_lm

ROWS = [TextToTextRow(f"text number {index}", "odd" if index % 2 else "even") for index in range(24)]
CONFIG = ExpertConfig(rank=4, top_layers=2, epochs=2, batch_size=4, learning_rate=1e-2)


@pytest.fixture
def base(tiny_llama):
    return load_causal_lm(tiny_llama, device="cpu")


def weights(folder):
    return load_file(folder / "adapter_model.safetensors")


def test_training_on_stored_states_equals_training_the_whole_model(base, tmp_path, monkeypatch):
    train_expert(base, ROWS, CONFIG, tmp_path / "stored")
    monkeypatch.setattr("intarsia.finetune.experts.is_exact", lambda model, first: False)
    train_expert(base, ROWS, CONFIG, tmp_path / "whole")
    stored, whole = weights(tmp_path / "stored"), weights(tmp_path / "whole")
    assert stored.keys() == whole.keys()
    assert {name.split(".layers.")[1][0] for name in stored} == {"2", "3"}
    for name in stored:
        torch.testing.assert_close(stored[name], whole[name], atol=1e-4, rtol=1e-3)


def test_the_loss_is_that_of_the_answer_tokens_alone(base, tmp_path):
    examples = encode(base.tokenizer, ROWS[:3])
    batch = AnswerCollator()(examples)
    trainer = ExpertTrainer(model=base.model, args=ExpertTrainingArguments(output_dir=str(tmp_path)))
    loss = trainer.compute_loss(base.model, batch)
    total, count = 0.0, 0
    for example in examples:
        ids = torch.tensor([[*example["input_ids"], example["answer"][-1]]])
        labels = torch.full_like(ids, -100)
        labels[0, -len(example["answer"]) :] = torch.tensor(example["answer"])
        total += base.model(input_ids=ids, labels=labels).loss.item() * len(example["answer"])
        count += len(example["answer"])
    assert loss.item() == pytest.approx(total / count, rel=1e-4)


def test_the_adapter_learns_loads_and_leaves_the_base_alone(base, tmp_path):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    folder = train_expert(
        base, ROWS, replace(CONFIG, epochs=8, learning_rate=0.1), tmp_path / "expert", miub=MIUBConfig()
    )
    log = json.loads((folder / HISTORY).read_text())["log"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0] - 1
    assert [entry for entry in log if "miub" in entry]
    assert base.model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    loaded = load_causal_lm(folder, device="cpu")
    assert isinstance(loaded.model, PeftModel)
    assert isinstance(loaded.model.get_base_model(), LlamaForCausalLM)
    assert not list(tmp_path.glob(".*"))


def test_a_killed_run_resumes_and_ends_the_same(base, tmp_path):
    train_expert(base, ROWS, CONFIG, tmp_path / "once")
    steps = 0

    def kill(done):
        nonlocal steps
        steps += done
        if steps == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_expert(base, ROWS, CONFIG, tmp_path / "killed", progress=kill)
    assert not (tmp_path / "killed").exists()
    done = []
    train_expert(base, ROWS, CONFIG, tmp_path / "killed", progress=done.append)
    # The first epoch's six steps are not repeated.
    assert done[0] == 6
    assert sum(done) == 12
    for name, tensor in weights(tmp_path / "once").items():
        torch.testing.assert_close(weights(tmp_path / "killed")[name], tensor, atol=1e-5, rtol=1e-4)


def test_what_another_job_left_is_not_resumed(base, tmp_path):
    def kill(done):
        if done == 0:
            return
        kill.steps += done
        if kill.steps == 9:
            raise KeyboardInterrupt

    kill.steps = 0
    with pytest.raises(KeyboardInterrupt):
        train_expert(base, ROWS, CONFIG, tmp_path / "expert", progress=kill)
    done = []
    train_expert(base, ROWS, replace(CONFIG, rank=2), tmp_path / "expert", progress=done.append)
    assert done[0] == 0
    assert sum(done) == 12


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rank": 33}, "rank is 33.*at most"),
        ({"top_layers": 9}, "top_layers is 9.*at most 4"),
        ({"target_modules": ("q_porj",)}, "q_porj.*q_proj"),
    ],
)
def test_settings_that_do_not_fit_the_model_are_named(base, tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        train_expert(base, ROWS, replace(CONFIG, **change), tmp_path / "expert")
    assert not (tmp_path / "expert").exists()


@pytest.mark.parametrize("change", [{"rank": 0}, {"alpha": 0.0}, {"dropout": 1.0}, {"epochs": -1}, {"top_layers": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        ExpertConfig(**change)


def test_rows_without_answers_are_refused(base):
    with pytest.raises(DataError, match="no rows"):
        encode(base.tokenizer, [])
    with pytest.raises(DataError, match="row 1"):
        encode(base.tokenizer, [ROWS[0], TextToTextRow("text", " ")])
