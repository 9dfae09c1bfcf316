"""Loading a model with its tokenizer from any model argument."""

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from intarsia.errors import ModelError
from intarsia.models.folders import check_finite_tensor, is_adapter, read_config
from intarsia.models.sources import local_folder, resolve

Ref = str | os.PathLike[str]


class CausalLM(NamedTuple):
    """A causal language model and its tokenizer, which pads on the left."""

    model: Any
    tokenizer: Any


class Encoder(NamedTuple):
    """A text encoder and its tokenizer."""

    model: Any
    tokenizer: Any


def default_device() -> torch.device:
    """Returns the machine's accelerator, or the CPU."""
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    return torch.device("cpu")


def load_causal_lm(
    ref: Ref, *, device: str | torch.device | None = None, dtype: torch.dtype = torch.float32
) -> CausalLM:
    """Loads a causal language model and its tokenizer.

    If `ref` is a PEFT adapter, the base model it names is loaded (any model argument) and the adapter attached, so
    the model is a `PeftModel`. Its `name_or_path` is `ref`, not the cache folder: adapters trained on it name a base
    that is found on other machines too.

    Args:
        ref: Hub id, local folder, `.gguf` file or `asset:NAME`.
        device: Where to put it; by default the accelerator if there is one.
        dtype: Type of the weights.

    Returns:
        The model in evaluation mode; the tokenizer with a pad token and left padding.

    Raises:
        ModelError: If it cannot be found or loaded, lacks weights, or has weights that are NaN or infinite.
    """
    folder = local_folder(ref)
    if is_adapter(folder):
        return _load_adapted(folder, device, dtype)
    model = _from_pretrained(AutoModelForCausalLM, folder, dtype, optional=())
    model.name_or_path = resolve(ref).ref
    tokenizer = load_tokenizer(ref)
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return CausalLM(model.to(device or default_device()), tokenizer)


def load_encoder(ref: Ref, *, device: str | torch.device | None = None, dtype: torch.dtype = torch.float32) -> Encoder:
    """Loads a text encoder (the model without a task head) and its tokenizer.

    Args:
        ref: Hub id, local folder, `.gguf` file or `asset:NAME`.
        device: Where to put it; by default the accelerator if there is one.
        dtype: Type of the weights.

    Returns:
        The model in evaluation mode and its tokenizer. Read `last_hidden_state`: a pooler that the checkpoint lacks
        is random.

    Raises:
        ModelError: If it cannot be found or loaded, lacks weights, or has weights that are NaN or infinite.
    """
    folder = local_folder(ref)
    if is_adapter(folder):
        raise ModelError("an adapter is no encoder by itself", where=folder, fix="give its base model")
    model = _from_pretrained(AutoModel, folder, dtype, optional=("pooler.",))
    model.name_or_path = resolve(ref).ref
    return Encoder(model.to(device or default_device()), load_tokenizer(ref, padding_side="right"))


def load_tokenizer(ref: Ref, *, padding_side: str = "left") -> Any:
    """Loads the tokenizer of a model; an adapter without one has its base model's.

    Returns:
        The tokenizer with a pad token (the end token where it has none of its own).

    Raises:
        ModelError: If there is none, or it has no token to pad with.
    """
    folder = local_folder(ref)
    if is_adapter(folder) and not (folder / "tokenizer_config.json").is_file():
        return load_tokenizer(base_of_adapter(folder), padding_side=padding_side)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), padding_side=padding_side, local_files_only=True)
    except Exception as error:
        raise ModelError(f"the tokenizer cannot be loaded: {_first_line(error)}", where=folder) from error
    if tokenizer.pad_token is None:
        if tokenizer.eos_token is None:
            raise ModelError("the tokenizer has neither a pad token nor an end token", where=folder)
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def base_of_adapter(folder: Path) -> str:
    """Returns the model argument of the base an adapter folder was trained on.

    Raises:
        ModelError: If the adapter names none.
    """
    base = read_config(folder).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(
            "the adapter does not name its base model",
            where=folder / "adapter_config.json",
            fix="set base_model_name_or_path",
        )
    return base


def _load_adapted(folder: Path, device: str | torch.device | None, dtype: torch.dtype) -> CausalLM:
    from peft import PeftModel

    base_ref = base_of_adapter(folder)
    try:
        base = load_causal_lm(base_ref, device=device, dtype=dtype)
    except ModelError as error:
        raise ModelError(
            f"the adapter's base model {base_ref!r} cannot be loaded: {error.what}",
            where=folder / "adapter_config.json",
            fix=error.fix or "make the base available, or correct base_model_name_or_path",
        ) from error
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="Found missing adapter keys")
            model = PeftModel.from_pretrained(base.model, str(folder))
    except Exception as error:
        raise ModelError(f"the adapter does not fit {base_ref!r}: {_first_line(error)}", where=folder) from error
    for name, parameter in model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            check_finite_tensor(parameter.detach(), name, folder)
    return CausalLM(model.eval(), load_tokenizer(folder))


def _from_pretrained(auto_class: Any, folder: Path, dtype: torch.dtype, *, optional: tuple[str, ...]) -> Any:
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model, loading = auto_class.from_pretrained(
            str(folder), dtype=dtype, local_files_only=True, use_safetensors=True, output_loading_info=True
        )
    except Exception as error:
        raise ModelError(f"the model cannot be loaded: {_first_line(error)}", where=folder) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    # transformers gives absent weights random values and only warns.
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(optional))
    if missing:
        raise ModelError(f"the checkpoint lacks {len(missing)} weights, the first {missing[0]}", where=folder)
    for name, parameter in model.named_parameters():
        check_finite_tensor(parameter.detach(), name, folder)
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
