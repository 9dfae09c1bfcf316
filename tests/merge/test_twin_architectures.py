"""Twin models of many architectures: full fine-tunes of every tensor, mixed, routed, saved and generated with."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM

from intarsia.errors import ModelError
from intarsia.merge import TwinMergingConfig
from intarsia.merge.router import Router
from intarsia.merge.twin import merge_residuals

SIZES = {
    "vocab_size": 48,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
# What each has beside Llama's parts, and whether its lower layers can be shared by routing and answering.
ARCHITECTURES: dict[str, tuple[dict[str, Any], bool]] = {
    "qwen2": ({}, True),  # biases
    "qwen3": ({}, True),  # norms of heads
    "gemma2": ({"sliding_window": 4}, False),  # layers of two kinds
    "phi3": ({}, True),  # fused projections
    "gpt_neox": ({"tie_word_embeddings": True}, True),  # LayerNorm, parallel residual
    "opt": ({"ffn_dim": 24, "word_embed_proj_dim": 16}, True),  # learned positions
    "gpt2": ({"n_embd": 16, "n_head": 2, "n_layer": 3, "n_positions": 64}, True),  # Conv1D
}


def random_model(kind: str) -> Any:
    own, _ = ARCHITECTURES[kind]
    sizes = {name: size for name, size in SIZES.items() if kind != "gpt2" or "size" not in name or name == "vocab_size"}
    config = AutoConfig.for_model(kind, **({**sizes, **own}))
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config, dtype=torch.float64).eval()


@torch.no_grad()
@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_full_fine_tunes(kind: str, tmp_path: Path) -> None:
    random_model(kind).save_pretrained(tmp_path / "base")
    experts = {}
    for seed, name in enumerate("abc"):
        experts[name] = random_model(kind)
        generator = torch.Generator().manual_seed(seed)
        for key, parameter in experts[name].named_parameters():
            if "embed" not in key and "wte" not in key and "wpe" not in key and "lm_head" not in key:
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        experts[name].save_pretrained(tmp_path / name)
    folders = {name: tmp_path / name for name in experts}
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=torch.float64)
    twin = merge_residuals(base, tmp_path / "base", folders, config=TwinMergingConfig(rank="full"))
    assert twin.config.reuse_lower_layers == ARCHITECTURES[kind][1]
    torch.manual_seed(1)
    twin.attach_router(Router(16, 3).double())
    ids = torch.randint(3, 48, (3, 9))
    mask = torch.ones_like(ids)
    if kind != "gemma2":
        # Its windows leave padded positions nothing to attend to, which is NaN in the plain model too.
        mask[0, :3] = 0
    logits = twin(ids, mask, mixture=twin.mixture(["a", "b", "c"])).logits
    for row, expert in enumerate(experts.values()):
        torch.testing.assert_close(logits[row], expert(ids, attention_mask=mask).logits[row], rtol=0, atol=1e-8)
    outputs = twin(ids, mask)
    plain = twin.materialize(outputs.mixture[0])
    torch.testing.assert_close(plain(ids, attention_mask=mask).logits[0], outputs.logits[0], rtol=0, atol=1e-8)
    # Where layers are shared, routing in a pass of its own gives the same.
    twin.config.reuse_lower_layers = False
    twin._place_fork()
    torch.testing.assert_close(twin.route(ids, mask), outputs.mixture, rtol=0, atol=1e-8)
    twin.save_pretrained(tmp_path / "twin")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "twin")
    torch.testing.assert_close(again(ids, mask).logits, outputs.logits, rtol=0, atol=1e-8)
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": None}
    generated = again.generate(ids, attention_mask=mask, **settings)
    alone = plain.generate(ids[:1], attention_mask=mask[:1], **settings)
    assert torch.equal(generated[:1], alone)


@torch.no_grad()
def test_lora_of_transposed_layers(tmp_path: Path) -> None:
    random_model("gpt2").save_pretrained(tmp_path / "base")
    adapted = {}
    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        settings = LoraConfig(r=2, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True, init_lora_weights=False)
        adapted[name] = get_peft_model(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), settings).eval()
        adapted[name].save_pretrained(tmp_path / name)
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    folders = {name: tmp_path / name for name in adapted}
    twin = merge_residuals(base, tmp_path / "base", folders, config=TwinMergingConfig(rank="full"))
    ids = torch.randint(3, 48, (2, 5))
    logits = twin(ids, mixture=twin.mixture(["a", "b"])).logits
    for row, expert in enumerate(adapted.values()):
        torch.testing.assert_close(logits[row], expert(ids).logits[row], rtol=0, atol=1e-6)


@torch.no_grad()
def test_stacked_expert_weights_are_refused_by_name(tmp_path: Path) -> None:
    config = AutoConfig.for_model("mixtral", **SIZES, num_local_experts=2)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path / "base")
    for parameter in model.parameters():
        parameter += 0.1
    model.save_pretrained(tmp_path / "a")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with pytest.raises(ModelError, match=r"experts|block_sparse_moe"):
        merge_residuals(base, tmp_path / "base", {"a": tmp_path / "a"})
