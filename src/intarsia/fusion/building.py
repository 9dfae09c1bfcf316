"""Making a fused model of model arguments."""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from intarsia.errors import ConfigError, InputError, ModelError, RunExistsError
from intarsia.files import atomic_folder
from intarsia.fusion.adapters import build_bank, fill_bank, read_adapter
from intarsia.fusion.config import SolverConfig
from intarsia.fusion.fusion_config import LogitFusionConfig
from intarsia.fusion.modeling import LogitFusionForCausalLM
from intarsia.fusion.vocabulary import shared_vocabulary
from intarsia.models import load_causal_lm, load_tokenizer, local_folder, resolve
from intarsia.models.folders import is_adapter
from intarsia.models.loading import CausalLM, base_of_adapter
from intarsia.models.progress_bars import without_progress_bars

Ref = str | os.PathLike[str]


def fuse_models(
    large: Ref,
    small: Ref,
    experts: Mapping[str, Ref] | Sequence[Ref],
    *,
    solver: SolverConfig | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> CausalLM:
    """Fuses a large model with what experts of a small model learned.

    Adapters of the small model run with it as one batch; experts that are models of their own run beside it. Tensors
    that are equal, as embeddings of a pruned model and its source often are, are kept once.

    Args:
        large: The model to specialise: hub id, folder, GGUF file or `asset:NAME`.
        small: The base of the experts.
        experts: Fine-tuned models or peft adapters of `small`, by name, or a list that is named after its folders.
        solver: How alpha is found; by default the paper's grid.
        device: Where to run; by default the accelerator if there is one.
        dtype: Type of the weights; float32 by default.

    Returns:
        The fused model and the large model's tokenizer.

    Raises:
        ModelError: If a model cannot be loaded, tokenizers differ, or an adapter has another base than `small`.
        InputError: If there is no expert.
        ConfigError: If a static alpha has another length than `experts`.
    """
    named = dict(experts) if isinstance(experts, Mapping) else name_experts(experts)
    if not named:
        raise InputError("there are no experts to fuse", fix="give at least one expert of the small model")
    # Checks the names before anything heavy is done.
    LogitFusionConfig(experts=list(named))
    solver = solver or SolverConfig()
    if isinstance(solver.alpha, Sequence) and len(solver.alpha) != len(named):
        raise ConfigError("alpha", list(solver.alpha), f"one number, or one for each of the {len(named)} experts")
    references = {"large": os.fspath(large), "small": os.fspath(small)}
    references |= {name: os.fspath(ref) for name, ref in named.items()}
    folders = {name: local_folder(ref) for name, ref in references.items()}
    references = {name: resolve(ref).ref for name, ref in references.items()}
    parts = {name: load_causal_lm(references[name], device=device, dtype=dtype) for name in ("large", "small")}
    tokenizers = {name: part.tokenizer for name, part in parts.items()}
    models: dict[str, Any] = {}
    adapters: dict[str, Any] = {}
    for name in named:
        if is_adapter(folders[name]):
            _check_base(folders[name], references["small"], name)
            read = read_adapter(parts["small"].model, folders[name])
            (models if isinstance(read, nn.Module) else adapters)[name] = read
            tokenizers[name] = load_tokenizer(references[name])
        else:
            models[name], tokenizers[name] = load_causal_lm(references[name], device=device, dtype=dtype)
    widths = {name: parts[name].model.get_output_embeddings().out_features for name in parts}
    widths |= {name: model.get_output_embeddings().out_features for name, model in models.items()}
    vocabulary = shared_vocabulary(tokenizers, widths)
    fused = assemble(
        parts["large"].model, parts["small"].model, list(named), models, adapters, solver=solver, vocabulary=vocabulary
    )
    fused._sources = references
    return CausalLM(fused, parts["large"].tokenizer)


def save_fused(
    fused: tuple[Any, Any], output: str | os.PathLike[str], *, references: bool = False, overwrite: bool = False
) -> Path:
    """Saves a fused model and its tokenizer as a folder that everything in Intarsia loads.

    Args:
        fused: What `fuse_models` gave.
        output: Where to; written whole or not at all.
        references: Whether to write only where the parts are, instead of copies of their weights.
        overwrite: Whether a folder that stands there is replaced.

    Raises:
        RunExistsError: If something stands there and is not to be replaced.
    """
    output = Path(output)
    if output.exists() and not overwrite and any(output.iterdir()):
        raise RunExistsError(output, what="a model")
    model, tokenizer = fused
    with atomic_folder(output, overwrite=True) as folder, without_progress_bars():
        model.save_pretrained(folder, references=references)
        tokenizer.save_pretrained(folder)
    return output


def assemble(
    large: PreTrainedModel,
    small: PreTrainedModel,
    names: Sequence[str],
    models: Mapping[str, PreTrainedModel],
    adapters: Mapping[str, Any],
    *,
    solver: SolverConfig,
    vocabulary: int | None = None,
) -> LogitFusionForCausalLM:
    """Fuses loaded models.

    Args:
        large: The large model.
        small: The small base; adapters are built into it.
        names: Of all experts, in the order of columns of alpha.
        models: Experts that are models of their own.
        adapters: Factors of the others, as `read_adapter` gives them.
        solver: How alpha is found.
        vocabulary: Tokens that all share; by default the least number of logits any model gives.
    """
    ordered = [adapters[name] for name in names if name in adapters]
    modules = sorted({module for adapter in ordered for module in adapter})
    rank = max((len(factors.down) for adapter in ordered for factors in adapter.values()), default=0)
    everyone = [large, small, *models.values()]
    build_bank(small, modules, len(ordered), rank)
    fill_bank(small, ordered)
    prefixes = {"large": large, "small": small, **{f"experts.{name}": model for name, model in models.items()}}
    config = LogitFusionConfig(
        large_config=large.config,
        small_config=small.config,
        experts=names,
        expert_configs={name: model.config for name, model in models.items()},
        adapter_rank=rank,
        adapter_modules=modules,
        solver=solver,
        vocabulary=vocabulary or min(model.get_output_embeddings().out_features for model in everyone),
        shared=_equal_tensors(prefixes),
        dtype=large.dtype,
    )
    fused = LogitFusionForCausalLM(config, large=large, small=small, experts=models).tie_shared()
    fused.generation_config = copy.deepcopy(large.generation_config)
    return fused.eval()


def build_from_references(config: LogitFusionConfig, *, dtype: Any = None) -> LogitFusionForCausalLM:
    """Loads the parts a saved config refers to, and fuses them.

    Raises:
        ModelError: If a part is not where it was, or is another than it was.
    """
    assert config.references is not None
    wanted = dtype if isinstance(dtype, torch.dtype) else None
    try:
        fused = fuse_models(
            config.references["large"],
            config.references["small"],
            {name: config.references[name] for name in config.experts},
            solver=config.solver_config,
            device="cpu",
            dtype=wanted,
        ).model
    except KeyError as error:
        raise ModelError(f"the fused model does not say where its part {error.args[0]!r} is") from None
    fused.config.references = dict(config.references)
    fused.config.draft_tokens = config.draft_tokens
    assert isinstance(fused, LogitFusionForCausalLM)
    return fused


def name_experts(refs: Sequence[Ref]) -> dict[str, Ref]:
    """Names experts after the last part of their path; `NAME=REF` says another name.

    Raises:
        InputError: If two get the same name.
    """
    named: dict[str, Ref] = {}
    for ref in refs:
        text = os.fspath(ref)
        name, separator, path = text.partition("=")
        if not separator or "/" in name:
            name, path = Path(text.rstrip("/")).name.partition(":")[2] or Path(text.rstrip("/")).name, text
        name = "".join(char if char.isalnum() or char in "-_" else "-" for char in name)
        if name in named:
            raise InputError(f"two experts are called {name!r}", fix="name them: NAME=PATH")
        named[name] = path
    return named


def _check_base(adapter: Path, small: str, name: str) -> None:
    base = base_of_adapter(adapter)
    if resolve(base).ref != small and local_folder(base) != local_folder(small):
        raise ModelError(
            f"expert {name!r} is an adapter of {base!r}, but the small model is {small!r}",
            where=adapter / "adapter_config.json",
            fix=f"give --small {base}, or experts of one base",
        )


def _equal_tensors(prefixes: Mapping[str, nn.Module]) -> dict[str, str]:
    """Finds large tensors of different models that are equal: name to the name of the first that is."""
    first: dict[tuple[int, ...], list[tuple[str, torch.Tensor]]] = {}
    shared = {}
    for prefix, model in prefixes.items():
        for name, tensor in model.named_parameters():
            known = first.setdefault(tuple(tensor.shape), [])
            same = next((source for source, other in known if _equal(other, tensor)), None)
            if same is None:
                known.append((f"{prefix}.{name}", tensor))
            elif not same.startswith(f"{prefix}."):
                shared[f"{prefix}.{name}"] = same
    return shared


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.device != other.device or one.dim() < 2:
        return False
    # A glance first: comparing all of two different tensors would cost as much as comparing equal ones.
    return torch.equal(one[0], other[0]) and torch.equal(one, other)
