"""`twin_merge`: from expert folders and texts to a saved model, and what it says about wrong input."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from intarsia.errors import ConfigError, DataError, InputError, IntarsiaError, ModelError, RunExistsError
from intarsia.merge import RouterConfig, TwinMergedForCausalLM, TwinMergingConfig, merge_checkpoints, twin_merge

TEXTS = {
    "letters": [f"dear {name}, with kind regards" for name in ("ann", "bob", "cid", "dot", "eve", "fay", "gus", "hal")],
    "numbers": [f"{i} {i * 7} {i * i} 000" for i in range(10, 18)],
}


def adapter(base: Path, folder: Path, seed: int, **settings: Any) -> Path:
    torch.manual_seed(seed)
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj", "up_proj"], "init_lora_weights": False, **settings})
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def experts(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("adapters")
    return {name: adapter(tiny_llama, root / name, seed) for seed, name in enumerate(TEXTS)}


def test_five_lines_give_a_folder_that_loads_and_routes(
    tiny_llama: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    model = twin_merge(tiny_llama, experts, TEXTS, output=tmp_path / "merged")
    assert isinstance(model, TwinMergedForCausalLM)
    assert model.statistics["router"]["texts"] == {"letters": 8, "numbers": 8}
    assert set(model.statistics["energy_kept"]) == set(TEXTS)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    for name, texts in TEXTS.items():
        prompts = [
            tokenizer.apply_chat_template(
                [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
            )
            for text in texts
        ]
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        weights = again.route(**inputs)
        torch.testing.assert_close(weights, model.route(**inputs))
        right = weights.argmax(-1) == again.experts.index(name)
        assert right.float().mean() > 0.7
        assert again.generate(**inputs, max_new_tokens=2).shape[0] == 8


def test_import_intarsia_is_enough_for_the_auto_classes(
    tiny_llama: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    twin_merge(tiny_llama, experts, TEXTS, output=tmp_path / "merged", config=TwinMergingConfig(rank=1))
    code = (
        "import intarsia, sys; assert 'torch' not in sys.modules;"
        "from transformers import AutoModelForCausalLM;"
        f"print(type(AutoModelForCausalLM.from_pretrained({str(tmp_path / 'merged')!r})).__name__)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "TwinMergedForCausalLM"


def test_any_static_merge_may_be_the_shared_model(tiny_llama: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    merge_checkpoints(tiny_llama, experts, "average", tmp_path / "average")
    config = TwinMergingConfig(rank="full")
    model = twin_merge(tiny_llama, experts, TEXTS, config=config, shared=tmp_path / "average")
    average = AutoModelForCausalLM.from_pretrained(tmp_path / "average").state_dict()
    usual = twin_merge(tiny_llama, experts, TEXTS, config=config)
    for key, tensor in model.merged_state({}).items():
        torch.testing.assert_close(tensor, average[key], rtol=0, atol=1e-6)
    # At full rank a mixture of experts does not depend on what is shared.
    for key, tensor in model.merged_state({"letters": 0.4, "numbers": 0.6}).items():
        torch.testing.assert_close(tensor, usual.merged_state({"letters": 0.4, "numbers": 0.6})[key], rtol=0, atol=1e-5)


def test_router_settings_and_rendering_are_used(tiny_llama: Path, experts: dict[str, Path]) -> None:
    seen: list[str] = []
    router = RouterConfig(pool="last", layer=2, hidden=8, epochs=2)
    config = TwinMergingConfig(rank=2, routing="hard", unknown_threshold=0.1, router=router)
    model = twin_merge(tiny_llama, experts, TEXTS, config=config, render=lambda text: seen.append(text) or f"> {text}")
    assert sorted(seen) == sorted(TEXTS["letters"] + TEXTS["numbers"])
    assert (model.config.pool, model.config.router_layer, model.config.router["hidden"]) == ("last", 2, 8)
    assert (model.config.routing, model.config.unknown_threshold) == ("hard", 0.1)


def merged(base: Path, experts: dict[str, Path], **settings: Any) -> TwinMergedForCausalLM:
    texts = {name: ["a text", "another"] for name in experts}
    config = TwinMergingConfig(router=RouterConfig(epochs=1), **settings)
    return twin_merge(base, experts, texts, config=config)


def changed_copy(folder: Path, target: Path, name: str, change: Any) -> Path:
    """A copy of a saved model or adapter with one of its tensors changed."""
    target.mkdir()
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    (weights,) = target.glob("*.safetensors")
    tensors = load_file(weights)
    key = next(key for key in tensors if name in key)
    tensor = change(tensors.pop(key))
    save_file(tensors if tensor is None else {**tensors, key: tensor}, weights, metadata={"format": "pt"})
    return target


def test_other_target_modules_are_refused(tiny_llama: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    other = adapter(tiny_llama, tmp_path / "other", 3, target_modules=["q_proj"])
    with pytest.raises(InputError, match="different target modules"):
        merged(tiny_llama, {"letters": experts["letters"], "other": other})


def test_another_base_is_refused(tiny_llama: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    other = adapter(tiny_llama, tmp_path / "other", 3)
    settings = json.loads((other / "adapter_config.json").read_text())
    (other / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "another/base"}))
    with pytest.raises(InputError, match="was trained on"):
        merged(tiny_llama, {"letters": experts["letters"], "other": other})


def test_broken_tensors_are_named(tiny_llama: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    letters = experts["letters"]
    broken = changed_copy(letters, tmp_path / "nan", "layers.1.self_attn.q_proj.lora_B", lambda t: t * float("nan"))
    with pytest.raises(ModelError, match=r"layers.1.self_attn.q_proj.weight.*NaN"):
        merged(tiny_llama, {"numbers": experts["numbers"], "nan": broken})
    full = tmp_path / "full"
    AutoModelForCausalLM.from_pretrained(tiny_llama).save_pretrained(full)
    short = changed_copy(full, tmp_path / "short", "layers.0.mlp.up_proj", lambda t: t[:-1].contiguous())
    with pytest.raises(ModelError, match=r"layers.0.mlp.up_proj.weight' has shape \[63, 32\]"):
        merged(tiny_llama, {"short": short})
    missing = changed_copy(full, tmp_path / "missing", "layers.3.mlp.up_proj", lambda t: None)
    with pytest.raises(ModelError, match=r"lacks tensor 'model.layers.3.mlp.up_proj.weight'"):
        merged(tiny_llama, {"missing": missing})


def test_a_rank_above_a_matrix_names_it_or_is_clipped(tiny_llama: Path, experts: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="rank is 33, but it must be at most 32") as caught:
        merged(tiny_llama, experts, rank=33)
    assert "up_proj.weight" in str(caught.value)
    with pytest.warns(UserWarning, match="rank 33 is clipped to 32"):
        model = merged(tiny_llama, experts, rank=33, clip_rank=True)
    # More terms than the adapters' ranks add up to would be zeros.
    assert set(model.config.matrices.values()) == {4}


def test_no_experts_no_texts_and_existing_output_are_explained(
    tiny_llama: Path, experts: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no experts"):
        twin_merge(tiny_llama, {}, {})
    with pytest.raises(DataError, match="no router texts for expert 'numbers'"):
        twin_merge(tiny_llama, experts, {"letters": ["a"]})
    (tmp_path / "kept").write_text("mine")
    with pytest.raises(RunExistsError):
        twin_merge(tiny_llama, experts, TEXTS, output=tmp_path)
    assert (tmp_path / "kept").read_text() == "mine"


def test_missing_and_quantised_models_are_explained(tiny_llama: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(IntarsiaError, match="nowhere"):
        merged(tiny_llama, {"letters": tmp_path / "nowhere"})
    quantised = tmp_path / "quantised"
    AutoModelForCausalLM.from_pretrained(tiny_llama).save_pretrained(quantised)
    config = json.loads((quantised / "config.json").read_text())
    (quantised / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(IntarsiaError, match="quantised"):
        merged(tiny_llama, {"letters": quantised})


def test_what_no_layer_can_mix_is_named(tiny_llama: Path, experts: dict[str, Path]) -> None:
    from intarsia.merge.twin import merge_residuals

    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model.model.layers[0].self_attn.q_proj = torch.nn.Identity()
    with pytest.raises(ModelError, match=r"model.layers.0.self_attn.q_proj.weight"):
        merge_residuals(model, tiny_llama, experts)


def test_excluded_tensors_stay_the_bases(tiny_llama: Path, experts: dict[str, Path]) -> None:
    model = merged(tiny_llama, experts, exclude=("*.up_proj.*",))
    assert not any("up_proj" in name for name in model.config.matrices)
    base = AutoModelForCausalLM.from_pretrained(tiny_llama).state_dict()
    assert torch.equal(
        model.merged_state({"letters": 1.0})["model.layers.0.mlp.up_proj.weight"],
        base["model.layers.0.mlp.up_proj.weight"],
    )
    assert model.statistics["excluded"] == ["*.up_proj.*"]


def test_factor_mode_needs_adapters(tiny_llama: Path, experts: dict[str, Path], tmp_path: Path) -> None:
    AutoModelForCausalLM.from_pretrained(tiny_llama).save_pretrained(tmp_path / "full")
    with pytest.raises(ModelError, match="expert 'full' is a full checkpoint"):
        merged(tiny_llama, {"full": tmp_path / "full"}, lora_mode="factor")
    config = TwinMergingConfig(lora_mode="factor")
    with pytest.raises(ModelError, match="a shared model was given"):
        twin_merge(tiny_llama, experts, TEXTS, config=config, shared=tmp_path / "full")
