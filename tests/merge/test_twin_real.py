"""Twin-Merging of real weights: SmolLM2 with adapters on its two upper layers, MiniLM with one layer changed."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from intarsia import models
from intarsia.merge import Head, RouterConfig, TwinMergingConfig, twin_merge, twin_merge_classifiers

LM, ENCODER = "asset:smollm2-135m-instruct", "asset:minilm-l6"
TEXTS = {
    "sums": [f"How much is {i} plus {3 * i}, minus {i // 2}, times {i % 7}?" for i in range(11, 23)],
    "cooking": [
        f"How long do I {way} {food}?" for way in ("boil", "fry", "bake") for food in ("rice", "eggs", "fish", "leeks")
    ],
}

pytestmark = pytest.mark.slow


def needs(asset: str) -> None:
    known = {model.name: model for model in models.list_models()}
    if not known[asset.removeprefix("asset:")].ready:
        pytest.skip(f"{asset} is not installed")


@torch.no_grad()
def test_smollm2(tmp_path: Path) -> None:
    needs(LM)
    experts = {}
    for seed, name in enumerate(TEXTS):
        torch.manual_seed(seed)
        settings = LoraConfig(r=4, target_modules=["q_proj", "down_proj"], layers_to_transform=[28, 29])
        adapted = get_peft_model(models.load_causal_lm(LM).model, settings)
        for key, parameter in adapted.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.02)
        adapted.save_pretrained(tmp_path / name)
        experts[name] = tmp_path / name
    config = TwinMergingConfig(rank=8, router=RouterConfig(epochs=20))
    twin = twin_merge(LM, experts, TEXTS, config=config, output=tmp_path / "twin")
    assert twin.statistics["router"]["accuracy"] >= 0.75
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "twin").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "twin")
    tokenizer.padding_side = "left"
    batch = tokenizer([TEXTS["sums"][0], "How do I fry leeks and fish?"], return_tensors="pt", padding=True)
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    outputs = again(**inputs)
    for row, weights in enumerate(outputs.mixture):
        plain = twin.materialize(weights)
        own = {name: x[row : row + 1] for name, x in inputs.items()}
        torch.testing.assert_close(plain(**own).logits[0], outputs.logits[row], rtol=1e-3, atol=1e-3)
        expected = plain.generate(**own, max_new_tokens=8, do_sample=False)
        generated = again.generate(**inputs, max_new_tokens=8, do_sample=False)[row]
        assert torch.equal(generated[: expected.shape[1]], expected[0])


@torch.no_grad()
def test_minilm(tmp_path: Path) -> None:
    needs(ENCODER)
    experts, heads = {}, {}
    for seed, name in enumerate(TEXTS):
        generator = torch.Generator().manual_seed(seed)
        model = models.load_encoder(ENCODER).model
        for parameter in model.encoder.layer[5].parameters():
            parameter += 0.01 * torch.randn(parameter.shape, generator=generator)
        model.save_pretrained(tmp_path / name)
        experts[name] = tmp_path / name
        heads[name] = Head(("no", "yes"), {"weight": torch.randn(2, 384, generator=generator), "bias": torch.zeros(2)})
    twin_merge_classifiers(ENCODER, experts, TEXTS, heads=heads, output=tmp_path / "twin")
    twin = AutoModelForSequenceClassification.from_pretrained(tmp_path / "twin").eval()
    assert set(twin.config.matrices.values()) == {38}
    assert all(name.startswith("encoder.layer.5.") for name in twin.config.matrices)
    texts = TEXTS["sums"] + TEXTS["cooking"]
    batch = AutoTokenizer.from_pretrained(tmp_path / "twin")(texts, return_tensors="pt", padding=True)
    outputs = twin(batch["input_ids"], batch["attention_mask"])
    right = [
        twin.experts[head] == name for head, name in zip(outputs.head, ["sums"] * 12 + ["cooking"] * 12, strict=True)
    ]
    assert sum(right) >= 22
    finite = outputs.logits.isfinite().sum(-1)
    assert (finite == 2).all()
