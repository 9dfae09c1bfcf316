import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM

from intarsia.errors import ModelError
from intarsia.models import load_causal_lm, load_encoder, load_tokenizer


@pytest.fixture
def adapter(tmp_path: Path, model_folder: Path) -> Path:
    """A LoRA adapter on the tiny model, with weights that do something."""
    base = load_causal_lm(model_folder, device="cpu").model
    model = get_peft_model(base, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    model.save_pretrained(tmp_path / "adapter")
    return tmp_path / "adapter"


def edit_config(adapter: Path, **changes: object) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_model_is_ready_to_generate(model_folder: Path) -> None:
    model, tokenizer = load_causal_lm(model_folder, device="cpu")
    assert not model.training
    assert model.dtype == torch.float32
    assert tokenizer.padding_side == "left"
    batch = tokenizer(["hi", "a longer text"], return_tensors="pt", padding=True)
    assert batch.attention_mask[0].tolist() == sorted(batch.attention_mask[0].tolist())
    generated = model.generate(**batch, max_new_tokens=3, do_sample=False)
    assert generated.shape[0] == 2


def test_dtype_is_respected(model_folder: Path) -> None:
    assert load_causal_lm(model_folder, device="cpu", dtype=torch.bfloat16).model.dtype == torch.bfloat16


def test_a_tokenizer_without_pad_token_pads_with_its_end_token(broken: Path) -> None:
    tokenizer = load_tokenizer(broken)
    tokenizer.pad_token = None
    tokenizer.save_pretrained(broken)
    model, tokenizer = load_causal_lm(broken, device="cpu")
    assert tokenizer.pad_token == tokenizer.eos_token == "<|im_end|>"
    assert model.generation_config.pad_token_id == tokenizer.eos_token_id


def test_a_tokenizer_with_nothing_to_pad_with(broken: Path) -> None:
    tokenizer = load_tokenizer(broken)
    tokenizer.pad_token = tokenizer.eos_token = None
    tokenizer.save_pretrained(broken)
    with pytest.raises(ModelError, match="neither a pad token nor an end token"):
        load_tokenizer(broken)


def test_missing_tokenizer(broken: Path) -> None:
    for file in broken.glob("*token*"):
        file.unlink()
    with pytest.raises(ModelError, match="tokenizer cannot be loaded") as caught:
        load_causal_lm(broken)
    assert caught.value.where == str(broken)


def test_absent_weights_are_not_filled_with_random_ones(broken: Path) -> None:
    file = broken / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, the first model\.layers\.0\.mlp\.up_proj\.weight"):
        load_causal_lm(broken)


def test_weights_of_another_shape_are_named(broken: Path) -> None:
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps(config | {"intermediate_size": 48}))
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_causal_lm(broken)


def test_adapter_is_loaded_on_the_base_it_names(adapter: Path, model_folder: Path) -> None:
    base, tokenizer = load_causal_lm(model_folder, device="cpu")
    adapted = load_causal_lm(adapter, device="cpu")
    assert adapted.model.peft_config["default"].base_model_name_or_path == str(model_folder.resolve())
    assert adapted.tokenizer.get_vocab() == tokenizer.get_vocab()
    batch = tokenizer(["hi there"], return_tensors="pt")
    with adapted.model.disable_adapter():
        torch.testing.assert_close(adapted.model(**batch).logits, base(**batch).logits)
    assert not torch.allclose(adapted.model(**batch).logits, base(**batch).logits)


def test_an_adapter_may_bring_its_own_tokenizer(adapter: Path, model_folder: Path) -> None:
    tokenizer = load_tokenizer(model_folder)
    tokenizer.chat_template = "mine"
    tokenizer.save_pretrained(adapter)
    assert load_tokenizer(adapter).chat_template == "mine"


def test_adapter_whose_base_is_gone(adapter: Path) -> None:
    edit_config(adapter, base_model_name_or_path="/gone/base")
    with pytest.raises(ModelError, match="base model '/gone/base' cannot be loaded") as caught:
        load_causal_lm(adapter)
    assert caught.value.where == str(adapter / "adapter_config.json")


def test_adapter_that_names_no_base(adapter: Path) -> None:
    edit_config(adapter, base_model_name_or_path=None)
    with pytest.raises(ModelError, match="does not name its base model"):
        load_causal_lm(adapter)


def test_adapter_on_itself(adapter: Path) -> None:
    edit_config(adapter, base_model_name_or_path=str(adapter))
    with pytest.raises(ModelError, match="it is an adapter itself"):
        load_causal_lm(adapter)


def test_adapter_with_a_weight_that_is_not_finite(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    name = sorted(weights)[0]
    weights[name][0, 0] = float("nan")
    save_file(weights, file)
    with pytest.raises(ModelError, match=f"weights of {name} are NaN"):
        load_causal_lm(adapter)


def test_adapter_with_pickled_weights(adapter: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(weights, adapter / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"pickle \(adapter_model\.bin\)"):
        load_causal_lm(adapter)


def test_adapter_that_lacks_weights(adapter: Path) -> None:
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file)
    with pytest.raises(ModelError, match="does not fit"):
        load_causal_lm(adapter)


def test_adapter_of_another_shape(adapter: Path) -> None:
    edit_config(adapter, r=3)
    with pytest.raises(ModelError, match="does not fit"):
        load_causal_lm(adapter)


def test_adapter_for_modules_the_base_lacks(adapter: Path) -> None:
    edit_config(adapter, target_modules=["c_attn"])
    with pytest.raises(ModelError, match="does not fit"):
        load_causal_lm(adapter)


@pytest.fixture
def encoder_folder(tmp_path: Path, model_folder: Path) -> Path:
    """A tiny masked-language model: its encoder has no pooler."""
    torch.manual_seed(0)
    tokenizer = load_tokenizer(model_folder)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
    )
    BertForMaskedLM(config).save_pretrained(tmp_path / "encoder")
    tokenizer.save_pretrained(tmp_path / "encoder")
    return tmp_path / "encoder"


def test_encoder_without_pooler_gives_hidden_states(encoder_folder: Path) -> None:
    model, tokenizer = load_encoder(encoder_folder, device="cpu")
    assert tokenizer.padding_side == "right"
    batch = tokenizer(["hi", "longer"], return_tensors="pt", padding=True)
    states = [model(**batch).last_hidden_state, load_encoder(encoder_folder, device="cpu").model(**batch)[0]]
    torch.testing.assert_close(*states)


def test_encoder_with_adapter(encoder_folder: Path, tmp_path: Path) -> None:
    base = load_encoder(encoder_folder, device="cpu").model
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["query"], init_lora_weights=False))
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load_encoder(tmp_path / "adapter", device="cpu")
    batch = loaded.tokenizer(["hi"], return_tensors="pt")
    torch.testing.assert_close(loaded.model(**batch)[0], adapted.eval()(**batch)[0])
