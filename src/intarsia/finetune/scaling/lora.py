"""A base model cut to some layers, with LoRA on it."""

from collections.abc import Sequence
from typing import Any

from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from torch import nn
from transformers import set_seed

from intarsia.errors import ConfigError, ModelError


def keep_layers(model: Any, layers: int) -> None:
    """Removes all but the first `layers` layers of a transformer, in place.

    Raises:
        ConfigError: If the model has fewer layers.
        ModelError: If its stack of layers is not found.
    """
    total = model.config.num_hidden_layers
    if layers > total:
        raise ConfigError("layers", layers, f"at most {total}, the layers of {model.name_or_path}")
    for module in model.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.ModuleList) and len(child) == total:
                setattr(module, name, child[:layers])
                model.config.num_hidden_layers = layers
                return
    raise ModelError(f"no stack of {total} layers was found to cut", where=model.name_or_path, fix="leave `layers` out")


def without_dropout(model: nn.Module) -> None:
    """Switches dropout off, in place: the runs of a sweep differ in what is swept and in nothing else."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0


def add_lora(model: Any, rank: int, alpha: float, target_modules: Sequence[str], seed: int, task_type: str) -> Any:
    """Wraps a model with LoRA; B is zero, A follows the seed.

    Args:
        model: The base model; its weights are frozen.
        rank: LoRA's rank.
        alpha: LoRA's alpha; the update is scaled by alpha / rank.
        target_modules: Names of linear layers, or `all-linear` alone; empty: peft's choice for the architecture, else
            all linear layers.
        seed: Seed of A.
        task_type: peft's name of the task, e.g. `CAUSAL_LM`.

    Raises:
        ConfigError: If no module has such a name, or the rank is above that of an adapted matrix.
    """
    usual = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model.config.model_type)
    targets: list[str] | str = list(target_modules or usual or ["all-linear"])
    if targets == ["all-linear"]:
        targets = "all-linear"
    set_seed(seed)
    config = LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=targets, task_type=task_type
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ConfigError("target_modules", targets, f"names of modules of the model ({error})") from None
    for name, module in adapted.named_modules():
        if isinstance(module, LoraLayer) and rank > min(module.in_features, module.out_features):
            limit = min(module.in_features, module.out_features)
            raise ConfigError("rank", rank, f"at most {limit}, the smaller side of {name}")
    return adapted
