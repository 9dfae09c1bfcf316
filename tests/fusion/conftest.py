"""Tiny random models, fused."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM, PreTrainedModel

from intarsia.fusion import SolverConfig
from intarsia.fusion.adapters import read_adapter
from intarsia.fusion.building import assemble
from intarsia.fusion.modeling import LogitFusionForCausalLM

VOCABULARY = 41
SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 128,
    # Wide enough that models disagree.
    "initializer_range": 0.35,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}


def llama(seed: int, layers: int = 1, **settings: Any) -> PreTrainedModel:
    """A random Llama; with `sliding_window`, a Mistral."""
    torch.manual_seed(seed)
    kind = (MistralConfig, MistralForCausalLM) if "sliding_window" in settings else (LlamaConfig, LlamaForCausalLM)
    settings = {"vocab_size": VOCABULARY, "num_hidden_layers": layers, "tie_word_embeddings": True} | SIZES | settings
    return kind[1](kind[0](**settings)).eval()


def tuned(model: PreTrainedModel, seed: int, scale: float = 0.08) -> PreTrainedModel:
    """A copy whose layers moved a little, as fine-tuning would move them."""
    torch.manual_seed(seed)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for name, parameter in moved.named_parameters():
            if "layers" in name:
                parameter += scale * torch.randn_like(parameter)
    return moved


def deepened(model: PreTrainedModel, seed: int) -> PreTrainedModel:
    """A model of one layer more that says nearly the same, so that drafts of the smaller one are often right."""
    kept = ("vocab_size", "sliding_window")
    settings = {name: getattr(model.config, name) for name in kept if hasattr(model.config, name)}
    deep = llama(seed, model.config.num_hidden_layers + 1, **settings)
    deep.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        for linear in (deep.model.layers[-1].self_attn.o_proj, deep.model.layers[-1].mlp.down_proj):
            linear.weight *= 0.15
    return deep


def save_adapter(base: PreTrainedModel, seed: int, folder: Path, **settings: Any) -> PreTrainedModel:
    """Saves a random adapter of the base; returns the base with it merged in."""
    torch.manual_seed(seed)
    settings = {"r": 2, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"]} | settings
    adapted = get_peft_model(copy.deepcopy(base), LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.3)
    adapted.save_pretrained(str(folder))
    return copy.deepcopy(adapted).merge_and_unload().eval()


def fuse(
    large: PreTrainedModel, small: PreTrainedModel, experts: dict[str, PreTrainedModel], **solver: Any
) -> LogitFusionForCausalLM:
    """Fuses copies, so that tests may go on using the models."""
    solver = {"solver": "newton", "tolerance": 1e-6} | solver
    return assemble(
        copy.deepcopy(large),
        copy.deepcopy(small),
        list(experts),
        {name: copy.deepcopy(expert) for name, expert in experts.items()},
        {},
        solver=SolverConfig(**solver),
    )


def fuse_adapters(
    large: PreTrainedModel, small: PreTrainedModel, folders: dict[str, Path], models: dict[str, PreTrainedModel] | None
) -> LogitFusionForCausalLM:
    """Fuses adapters from their folders, and models if there are any."""
    models = models or {}
    return assemble(
        copy.deepcopy(large),
        copy.deepcopy(small),
        [*folders, *models],
        {name: copy.deepcopy(model) for name, model in models.items()},
        {name: read_adapter(small, folder) for name, folder in folders.items()},
        solver=SolverConfig(solver="newton", tolerance=1e-6),
    )


def prompts(lengths: Sequence[int], seed: int = 0) -> dict[str, Tensor]:
    """Random prompts of these lengths, padded on the left."""
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    ids = torch.randint(3, VOCABULARY, (len(lengths), width), generator=generator)
    mask = torch.tensor([[0] * (width - length) + [1] * length for length in lengths])
    return {"input_ids": ids * mask, "attention_mask": mask}


@pytest.fixture(scope="session")
def models() -> dict[str, PreTrainedModel]:
    """A large model, a small one that has its embedding, and an expert."""
    small = llama(1)
    return {"large": deepened(small, 0), "small": small, "expert": tuned(small, 2)}


@pytest.fixture(scope="session")
def fused(models: dict[str, PreTrainedModel]) -> LogitFusionForCausalLM:
    return fuse(models["large"], models["small"], {"a": models["expert"]})


@pytest.fixture(scope="session")
def two(models: dict[str, PreTrainedModel]) -> LogitFusionForCausalLM:
    """With two experts."""
    return fuse(models["large"], models["small"], {"a": models["expert"], "b": tuned(models["small"], 3)})


class Bank:
    """Three adapters of different ranks and modules: as one batch, and merged into copies."""

    def __init__(self, models: dict[str, PreTrainedModel], folder: Path) -> None:
        self.folders = {name: folder / name for name in "xyz"}
        settings = ({"r": 2}, {"r": 4, "target_modules": ["v_proj"]}, {"r": 3, "target_modules": ["up_proj", "o_proj"]})
        self.merged = {
            name: save_adapter(models["small"], 10 + index, self.folders[name], **settings[index])
            for index, name in enumerate("xyz")
        }
        self.together = fuse_adapters(models["large"], models["small"], self.folders, None)
        self.copies = fuse(models["large"], models["small"], self.merged)


@pytest.fixture(scope="session")
def bank(models: dict[str, PreTrainedModel], tmp_path_factory: pytest.TempPathFactory) -> Bank:
    return Bank(models, tmp_path_factory.mktemp("bank"))


@pytest.fixture(scope="session")
def windowed() -> LogitFusionForCausalLM:
    """Models that look back eight tokens only."""
    small = llama(5, 1, sliding_window=8)
    return fuse(deepened(small, 4), small, {"a": tuned(small, 6)})


@pytest.fixture
def kit() -> dict[str, Callable[..., Any]]:
    """What makes models and prompts."""
    return {
        "llama": llama,
        "deepened": deepened,
        "tuned": tuned,
        "save_adapter": save_adapter,
        "fuse": fuse,
        "fuse_adapters": fuse_adapters,
        "prompts": prompts,
    }
