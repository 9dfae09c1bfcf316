"""A small sibling: layers kept exactly, and taught what the whole model says."""

import pytest
import torch

from intarsia.errors import ConfigError, DataError
from intarsia.files import read_json
from intarsia.finetune import DistillationConfig, distill, keep_layers
from intarsia.finetune.distillation import distillation_loss
from intarsia.finetune.experts import HISTORY
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


@pytest.mark.parametrize("positions", ["all", "last"])
def test_distilling_brings_the_sibling_closer(tiny_llama, tmp_path, positions):
    large = load_causal_lm(tiny_llama, device="cpu")
    small = keep_layers(large.model, [0, 3])
    inputs = large.tokenizer(TEXTS, return_tensors="pt", padding=True)
    keep = 1 if positions == "last" else 0

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


def test_embeddings_learn_if_told(tiny_llama, tmp_path):
    large = load_causal_lm(tiny_llama, device="cpu")
    small = keep_layers(large.model, [0, 3])
    folder = distill(small, large, TEXTS, DistillationConfig(train_embeddings=True, epochs=2), tmp_path / "small")
    changed = load_causal_lm(folder, device="cpu").model.get_input_embeddings().weight
    assert not torch.equal(changed, large.model.get_input_embeddings().weight)


def test_bad_input(tiny_llama, tmp_path):
    large = load_causal_lm(tiny_llama, device="cpu")
    with pytest.raises(DataError, match="no texts"):
        distill(keep_layers(large.model, [0]), large, [""], DistillationConfig(), tmp_path / "small")
    for field, value in (("positions", "first"), ("batch_size", 0), ("epochs", 0.0), ("learning_rate", -1.0)):
        with pytest.raises(ConfigError, match=field):
            DistillationConfig(**{field: value})
