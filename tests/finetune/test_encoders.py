"""Fine-tuning encoders: the expert learns, resumes, loads, and merges with its head; bad rows are named."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from intarsia.data import ClassificationRow, ScoredTextRow
from intarsia.errors import ConfigError, DataError, ModelError
from intarsia.finetune.encoders import (
    HEAD,
    EncoderConfig,
    EncoderTrainer,
    EncoderTrainingArguments,
    EncoderWithHead,
    TextCollator,
    encode_texts,
    mean_states,
    train_encoder_expert,
)
from intarsia.merge import TwinMergingConfig, twin_merge_classifiers
from intarsia.merge.heads import read_linear_head
from intarsia.models import load_encoder

ROWS = [ClassificationRow("xyz " * (index % 3 + 1) if index % 2 else "abc", "odd" if index % 2 else "even")
        for index in range(24)]  # fmt: skip
CONFIG = EncoderConfig(epochs=2, batch_size=4, learning_rate=1e-2, head_learning_rate=1e-1)


@pytest.fixture
def base(tiny_bert):
    return load_encoder(tiny_bert, device="cpu")


def answers(folder, texts):
    model, tokenizer = load_encoder(folder, device="cpu")
    head = read_linear_head(folder)
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).last_hidden_state
    return mean_states(states, batch.attention_mask) @ head.state["weight"].T + head.state["bias"]


def test_the_expert_learns_and_loads_and_leaves_the_base_alone(base, tmp_path):
    before = {name: tensor.clone() for name, tensor in base.model.state_dict().items()}
    done = []
    folder = train_encoder_expert(base, ROWS, replace(CONFIG, epochs=6), tmp_path / "expert", progress=done.append)
    assert sum(done) == CONFIG.steps(24) * 3
    assert all(torch.equal(tensor, before[name]) for name, tensor in base.model.state_dict().items())
    assert read_linear_head(folder).labels == ("even", "odd")
    assert answers(folder, [row.text for row in ROWS]).argmax(-1).tolist() == [index % 2 for index in range(24)]
    log = json.loads((folder / "history.json").read_text())["log"]
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert losses[-1] < losses[0]
    assert not list(tmp_path.glob(".*"))


def test_only_the_layers_and_the_head_are_trained(base, tmp_path):
    folder = train_encoder_expert(base, ROWS, CONFIG, tmp_path / "expert")
    trained, state = load_file(folder / "model.safetensors"), base.model.state_dict()
    changed = {name.split(".")[0] for name, tensor in trained.items() if not torch.equal(tensor, state[name])}
    assert changed == {"encoder"}
    folder = train_encoder_expert(base, ROWS, replace(CONFIG, freeze_embeddings=False), tmp_path / "all")
    trained = load_file(folder / "model.safetensors")
    assert not torch.equal(trained["embeddings.LayerNorm.weight"], state["embeddings.LayerNorm.weight"])


def test_the_head_has_its_own_learning_rate(base, tmp_path):
    arguments = EncoderTrainingArguments(output_dir=str(tmp_path), learning_rate=1e-4, head_learning_rate=1e-2)
    trainer = EncoderTrainer(model=EncoderWithHead(base.model, 2), args=arguments)
    trainer.create_optimizer_and_scheduler(10)
    rates = {len(group["params"]): group["lr"] for group in trainer.optimizer.param_groups}
    assert rates[2] == pytest.approx(1e-2)
    assert sorted(rates.values()) == pytest.approx([1e-4, 1e-2])


def test_padding_changes_nothing(base, tmp_path):
    examples = encode_texts(base.tokenizer, ROWS[:2], ("even", "odd"), max_length=16)
    model = EncoderWithHead(base.model, 2).eval()
    both = TextCollator(0)(examples)
    labels = both.pop("labels")
    alone = torch.cat([model(**{k: v for k, v in TextCollator(0)([e]).items() if k != "labels"}) for e in examples])
    torch.testing.assert_close(model(**both), alone)
    trainer = EncoderTrainer(model=model, args=EncoderTrainingArguments(output_dir=str(tmp_path)))
    loss = trainer.compute_loss(model, {**both, "labels": labels})
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(alone, labels))


def test_numbers_are_learned_with_squared_error(base, tmp_path):
    rows = [ScoredTextRow("abc", 1.0) if index % 2 else ScoredTextRow("xyz xyz", 4.0) for index in range(24)]
    folder = train_encoder_expert(base, rows, replace(CONFIG, epochs=20), tmp_path / "expert")
    assert read_linear_head(folder).labels == ("score",)
    low, high = answers(folder, ["abc", "xyz xyz"])[:, 0].tolist()
    assert low == pytest.approx(1, abs=0.7)
    assert high == pytest.approx(4, abs=0.7)


def test_a_killed_run_resumes_and_ends_the_same(base, tmp_path):
    train_encoder_expert(base, ROWS, CONFIG, tmp_path / "once")
    steps = 0

    def kill(done):
        nonlocal steps
        steps += done
        if steps == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_encoder_expert(base, ROWS, CONFIG, tmp_path / "killed", progress=kill)
    assert not (tmp_path / "killed").exists()
    done = []
    train_encoder_expert(base, ROWS, CONFIG, tmp_path / "killed", progress=done.append)
    assert done[0] == 6
    once, killed = (load_file(tmp_path / name / "model.safetensors") for name in ("once", "killed"))
    for name, tensor in once.items():
        torch.testing.assert_close(killed[name], tensor, atol=1e-5, rtol=1e-4)


def test_experts_merge_with_their_heads(tiny_bert, base, tmp_path):
    other = [ClassificationRow(row.text.upper(), row.label.upper()) for row in ROWS]
    config = replace(CONFIG, epochs=6)
    experts = {
        name: train_encoder_expert(base, rows, config, tmp_path / name)
        for name, rows in (("small", ROWS), ("large", other))
    }
    texts = {"small": [row.text for row in ROWS], "large": [row.text for row in other]}
    model = twin_merge_classifiers(tiny_bert, experts, texts, config=TwinMergingConfig(rank="full"))
    assert set(model.config.id2label.values()) == {"small/even", "small/odd", "large/EVEN", "large/ODD"}
    tokens = base.tokenizer(["abc"], return_tensors="pt")
    logits = model(tokens.input_ids, tokens.attention_mask, mixture=model.mixture(["small"])).logits[0]
    own = logits[[index for index, label in model.config.id2label.items() if label.startswith("small/")]]
    torch.testing.assert_close(own, answers(experts["small"], ["abc"])[0], atol=1e-4, rtol=1e-3)


def test_a_damaged_head_is_named(base, tmp_path):
    folder = train_encoder_expert(base, ROWS, replace(CONFIG, epochs=1), tmp_path / "expert")
    with safe_open(folder / HEAD, framework="pt") as file:
        metadata = file.metadata()
    state = load_file(folder / HEAD)
    save_file({"weight": state["weight"][:1].clone(), "bias": state["bias"]}, folder / HEAD, metadata=metadata)
    with pytest.raises(ModelError, match=r"do not fit its 2 labels"):
        read_linear_head(folder)
    save_file(state, folder / HEAD)
    with pytest.raises(ModelError, match="labels"):
        read_linear_head(folder)
    (folder / HEAD).write_bytes(b"nothing")
    with pytest.raises(ModelError, match="cannot be read"):
        read_linear_head(folder)


def test_bad_rows_are_named(base):
    with pytest.raises(DataError, match="no rows"):
        encode_texts(base.tokenizer, [], ("a",), max_length=8)
    with pytest.raises(DataError, match=r"'evem' was not seen in training(.|\n)*did you mean 'even'"):
        encode_texts(base.tokenizer, [ClassificationRow("text", "evem")], ("even", "odd"), max_length=8)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": -1.0}, {"max_length": 0}])
def test_impossible_settings_are_refused(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        EncoderConfig(**change)
