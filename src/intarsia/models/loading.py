"""Loading a model with its tokenizer from any model argument."""

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from intarsia.errors import ModelError
from intarsia.models.folders import check_finite_tensor, is_adapter, read_config, weight_files
from intarsia.models.progress_bars import without_progress_bars
from intarsia.models.sources import local_folder, resolve

if TYPE_CHECKING:
    import torch

# torch and transformers are imported by the functions that load: looking a model up must not wait for them.

Ref = str | os.PathLike[str]


class CausalLM(NamedTuple):
    """A causal language model and its tokenizer, which pads on the left."""

    model: Any
    tokenizer: Any


class Encoder(NamedTuple):
    """A text encoder and its tokenizer."""

    model: Any
    tokenizer: Any


def default_device() -> "torch.device":
    """Returns the machine's accelerator, or the CPU."""
    import torch

    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    return torch.device("cpu")


def load_causal_lm(
    ref: Ref, *, device: "str | torch.device | None" = None, dtype: "torch.dtype | None" = None
) -> CausalLM:
    """Loads a causal language model and its tokenizer.

    If `ref` is a PEFT adapter, the base model it names is loaded (any model argument) and the adapter attached, so
    the model is a `PeftModel`. Its `name_or_path` is `ref`, not the cache folder: adapters trained on it name a base
    that is found on other machines too.

    Args:
        ref: Hub id, local folder, `.gguf` file or `asset:NAME`.
        device: Where to put it; by default the accelerator if there is one.
        dtype: Type of the weights; float32 by default.

    Returns:
        The model in evaluation mode; the tokenizer with a pad token and left padding.

    Raises:
        ModelError: If it cannot be found or loaded, lacks weights, or has weights that are NaN or infinite.
    """
    from transformers import AutoModelForCausalLM

    model = _load(ref, AutoModelForCausalLM, device, dtype)
    tokenizer = load_tokenizer(ref)
    if model.generation_config.pad_token_id is None:
        model.generation_config.pad_token_id = tokenizer.pad_token_id
    return CausalLM(model, tokenizer)


def load_encoder(
    ref: Ref, *, device: "str | torch.device | None" = None, dtype: "torch.dtype | None" = None
) -> Encoder:
    """Loads a text encoder (the model without a task head) and its tokenizer.

    Args:
        ref: Hub id, local folder, `.gguf` file or `asset:NAME`.
        device: Where to put it; by default the accelerator if there is one.
        dtype: Type of the weights; float32 by default.

    Returns:
        The model in evaluation mode and its tokenizer. Read `last_hidden_state`: a pooler that the checkpoint lacks
        is random.

    Raises:
        ModelError: If it cannot be found or loaded, lacks weights, or has weights that are NaN or infinite.
    """
    from transformers import AutoModel

    model = _load(ref, AutoModel, device, dtype, optional=("pooler.",))
    return Encoder(model, load_tokenizer(ref, padding_side="right"))


def load_tokenizer(ref: Ref, *, padding_side: str = "left") -> Any:
    """Loads the tokenizer of a model; an adapter without one has its base model's.

    Returns:
        The tokenizer with a pad token (the end token where it has none of its own).

    Raises:
        ModelError: If there is none, or it has no token to pad with.
    """
    from transformers import AutoTokenizer

    folder = local_folder(ref)
    if is_adapter(folder) and not (folder / "tokenizer_config.json").is_file():
        return load_tokenizer(base_of_adapter(folder), padding_side=padding_side)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder), padding_side=padding_side, local_files_only=True)
    except Exception as error:
        raise ModelError(f"the tokenizer cannot be loaded: {_summary(error)}", where=folder) from error
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


def _load(
    ref: Ref,
    auto_class: Any,
    device: "str | torch.device | None",
    dtype: "torch.dtype | None",
    *,
    optional: tuple[str, ...] = (),
) -> Any:
    """Loads a full model, or an adapter on its base; weights whose names start with `optional` may be absent."""
    from intarsia.models.linear import use_onednn

    folder = local_folder(ref)
    if is_adapter(folder):
        return _attach(_load_base(folder, auto_class, device, dtype, optional=optional), folder).eval()
    model = _from_pretrained(auto_class, folder, dtype, optional)
    # peft writes these names into adapters and their cards.
    model.name_or_path = model.config.name_or_path = resolve(ref).ref
    use_onednn(model)
    return model.to(device or default_device())


def _load_base(
    folder: Path,
    auto_class: Any,
    device: "str | torch.device | None",
    dtype: "torch.dtype | None",
    *,
    optional: tuple[str, ...],
) -> Any:
    ref, where = base_of_adapter(folder), folder / "adapter_config.json"
    try:
        if is_adapter(local_folder(ref)):
            raise ModelError("it is an adapter itself", where=ref)
        return _load(ref, auto_class, device, dtype, optional=optional)
    except ModelError as error:
        raise ModelError(
            f"the adapter's base model {ref!r} cannot be loaded: {error.what}",
            where=where,
            fix=error.fix or "make the base available there, or correct base_model_name_or_path",
        ) from error


def _attach(base: Any, folder: Path) -> Any:
    from peft import PeftModel
    from safetensors.torch import load_file

    for file in weight_files(folder):
        for name, tensor in load_file(file).items():
            check_finite_tensor(tensor, name, file)
    try:
        with warnings.catch_warnings():
            # peft leaves adapter weights it finds no value for at their random start, and only warns.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            # peft looks at an attribute that transformers has renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
            return PeftModel.from_pretrained(base, str(folder))
    except Exception as error:
        raise ModelError(
            f"the adapter does not fit its base model {base.name_or_path!r}: {_summary(error)}", where=folder
        ) from error


def _from_pretrained(auto_class: Any, folder: Path, dtype: "torch.dtype | None", optional: tuple[str, ...]) -> Any:
    import torch

    try:
        with without_progress_bars():
            model, loading = auto_class.from_pretrained(
                str(folder),
                dtype=dtype or torch.float32,
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"the model cannot be loaded: {_summary(error)}", where=folder) from error
    # transformers gives absent weights random values and only warns.
    missing = sorted(key for key in loading["missing_keys"] if not key.startswith(optional))
    if missing:
        raise ModelError(f"the checkpoint lacks {len(missing)} weights, the first {missing[0]}", where=folder)
    for name, parameter in model.named_parameters():
        check_finite_tensor(parameter.detach(), name, folder)
    return model


def _summary(error: Exception) -> str:
    """The error's message on one line: the first two lines of those that put the facts on the second."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:2]) if lines else type(error).__name__
