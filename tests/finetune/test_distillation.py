"""A small sibling: layers kept exactly, and taught what the whole model says."""

from types import SimpleNamespace

import pytest
import torch

from intarsia.errors import ConfigError, DataError
from intarsia.files import read_json
from intarsia.finetune import DistillationConfig, DistillationTrainer, distill, keep_layers
from intarsia.finetune.distillation import (
    DistillationArguments,
    _pad_rows,
    _rows,
    distillation_loss,
    with_teacher_states,
)
from intarsia.finetune.runs import HISTORY
from intarsia.models import load_causal_lm

TEXTS = [
    f"the price of {thing} rose in {month}" for thing in ("oil", "tin", "tea") for month in ("march", "june", "may")
]


def test_all_layers_are_the_model_itself(tiny_llama):
    model = load_causal_lm(tiny_llama, device="cpu").model
    ids = torch.tensor([[5, 9, 13, 40]])
    copy = keep_layers(model, range(4))
    assert torch.equal(copy(ids).logits, model(ids).logits)
    assert copy.get_input_embeddings().weight.data_ptr() != model.get_input_embeddings().weight.data_ptr()


def test_layers_run_in_the_order_given_and_cache_works(tiny_llama):
    model = load_causal_lm(tiny_llama, device="cpu").model
    ids = torch.tensor([[5, 9, 13, 40]])
    small = keep_layers(model, [2, 0])
    assert small.config.num_hidden_layers == 2
    stack = model.model
    states = stack.embed_tokens(ids)
    positions = torch.arange(4)[None]
    rotary = stack.rotary_emb(states, positions)
    mask = torch.full((4, 4), float("-inf")).triu(1)[None, None]
    for index in (2, 0):
        states = stack.layers[index](states, attention_mask=mask, position_embeddings=rotary)
    torch.testing.assert_close(small(ids).logits, model.lm_head(stack.norm(states)), rtol=1e-4, atol=1e-4)
    with_cache = small.generate(ids, max_new_tokens=6, do_sample=False)
    assert torch.equal(with_cache, small.generate(ids, max_new_tokens=6, do_sample=False, use_cache=False))


@pytest.mark.parametrize("layers", [[], [4], [-1]])
def test_layers_that_do_not_exist(tiny_llama, layers):
    with pytest.raises(ConfigError, match="layers"):
        keep_layers(load_causal_lm(tiny_llama, device="cpu").model, layers)


def test_the_loss_is_the_divergence_over_the_tokens_of_the_mask():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    mask = torch.tensor([[0, 1, 1], [1, 1, 1]])
    p, q = teacher.softmax(-1), student.softmax(-1)
    expected = ((p * (p / q).log()).sum(-1) * mask).sum() / mask.sum()
    torch.testing.assert_close(distillation_loss(student, teacher, mask), expected)
    assert distillation_loss(teacher, teacher, mask).abs() < 1e-6


@pytest.mark.parametrize("positions", ["all", "answer"])
def test_distilling_brings_the_sibling_closer(tiny_llama, tmp_path, positions):
    large = load_causal_lm(tiny_llama, device="cpu")
    small = keep_layers(large.model, [0, 3])
    inputs = large.tokenizer(TEXTS, return_tensors="pt", padding=True)
    keep = 1 if positions == "answer" else 0

    def divergence(model):
        with torch.no_grad():
            mine, theirs = (part(**inputs, logits_to_keep=keep).logits for part in (model, large.model))
        return float(distillation_loss(mine, theirs, inputs["attention_mask"][:, -mine.shape[1] :]))

    before = divergence(small)
    embedding = small.get_input_embeddings().weight.clone()
    config = DistillationConfig(positions=positions, epochs=15, batch_size=3, learning_rate=5e-3)
    steps = []
    folder = distill(small, large, TEXTS, config, tmp_path / "small", progress=steps.append)
    loaded = load_causal_lm(folder, device="cpu").model
    assert divergence(loaded) < before / 2
    assert torch.equal(loaded.get_input_embeddings().weight, embedding), "the embedding stays the teacher's"
    assert loaded.get_input_embeddings().weight.requires_grad
    assert sum(steps) == 45
    log = read_json(folder / HISTORY)["log"]
    assert log[0]["loss"] > [entry for entry in log if "loss" in entry][-1]["loss"]
    assert not list(tmp_path.glob(".small*")), "nothing is left beside the result"


def test_continuations_are_learnt_token_by_token_and_the_teacher_runs_once(tiny_llama):
    large = load_causal_lm(tiny_llama, device="cpu")
    rows = _rows(large.tokenizer, ["ab", "c"], ["xyz", ""], "answer")
    end = large.tokenizer.eos_token_id
    text = large.tokenizer("abxyz", add_special_tokens=False).input_ids
    assert [row["input_ids"] for row in rows] == [text, large.tokenizer("c").input_ids]
    assert [row["learnt"] for row in rows] == [4, 1], "x, y, z and the end; the end at once"
    assert end not in rows[0]["input_ids"]
    known = with_teacher_states(large.model, rows)
    logits = large.model(torch.tensor([text])).logits[0, -4:]
    torch.testing.assert_close(large.model.lm_head(known[0]["teacher_states"]), logits, rtol=1e-4, atol=1e-4)

    student = keep_layers(large.model, [0, 3])
    arguments = DistillationArguments(output_dir="unused")
    trainer = DistillationTrainer(large.model, model=student, args=arguments, train_dataset=rows)
    with_states, without = _pad_rows(known), _pad_rows(rows)
    assert "teacher_states" in with_states
    torch.testing.assert_close(
        trainer.compute_loss(student, with_states), trainer.compute_loss(student, without), rtol=1e-4, atol=1e-5
    )


def test_a_teacher_with_more_than_a_head_runs_at_each_step(tiny_llama):
    model = load_causal_lm(tiny_llama, device="cpu").model
    forward = model.forward
    model.forward = lambda *args, **kwargs: SimpleNamespace(logits=forward(*args, **kwargs).logits.tanh())
    rows = [{"input_ids": [5, 6, 7], "learnt": 3}]
    assert with_teacher_states(model, rows) == rows


def test_embeddings_learn_if_told(tiny_llama, tmp_path):
    large = load_causal_lm(tiny_llama, device="cpu")
    small = keep_layers(large.model, [0, 3])
    folder = distill(small, large, TEXTS, DistillationConfig(train_embeddings=True, epochs=2), tmp_path / "small")
    changed = load_causal_lm(folder, device="cpu").model.get_input_embeddings().weight
    assert not torch.equal(changed, large.model.get_input_embeddings().weight)


def test_a_stopped_run_goes_on_but_not_with_another_student(tiny_llama, tmp_path):
    large = load_causal_lm(tiny_llama, device="cpu")
    config = DistillationConfig(epochs=3, batch_size=3)

    def run(layers, steps, stop_after=None):
        def progress(done):
            steps.append(done)
            if sum(steps) == stop_after:
                raise KeyboardInterrupt

        return distill(keep_layers(large.model, layers), large, TEXTS, config, tmp_path / "small", progress=progress)

    with pytest.raises(KeyboardInterrupt):
        run([0, 3], [], stop_after=5)
    assert list(tmp_path.glob(".small.training/checkpoint-*"))
    assert not (tmp_path / "small").exists()
    # Same texts and settings, same shapes: only the weights tell that it is another job.
    other, again = [], []
    with pytest.raises(KeyboardInterrupt):
        run([1, 3], other, stop_after=4)
    assert other[0] == 0, "begun anew"
    run([1, 3], again)
    assert again[0] == 3, "went on after the first epoch"
    assert sum(again) == 9


def test_bad_input(tiny_llama, tmp_path):
    large = load_causal_lm(tiny_llama, device="cpu")
    with pytest.raises(DataError, match="no texts"):
        distill(keep_layers(large.model, [0]), large, [""], DistillationConfig(), tmp_path / "small")
    with pytest.raises(DataError, match="1 texts, but 2 continuations"):
        distill(
            keep_layers(large.model, [0]), large, ["a"], DistillationConfig(), tmp_path / "s", continuations=["b", "c"]
        )
    for field, value in (("positions", "first"), ("batch_size", 0), ("epochs", 0.0), ("learning_rate", -1.0)):
        with pytest.raises(ConfigError, match=field):
            DistillationConfig(**{field: value})
