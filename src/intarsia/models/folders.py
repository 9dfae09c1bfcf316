"""Checks that a folder holds a model that can be loaded, before anything heavy is tried."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

from intarsia.errors import ModelError

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


def is_adapter(folder: Path) -> bool:
    """Whether the folder holds a PEFT adapter."""
    return (folder / "adapter_config.json").is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Returns the folder's `adapter_config.json` if it is an adapter, else its `config.json`.

    Raises:
        ModelError: If there is none, or it is not a JSON object.
    """
    name = "adapter_config.json" if is_adapter(folder) else "config.json"
    file = folder / name
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        empty = not any(folder.iterdir())
        what = "the model folder is empty" if empty else "the folder has no config.json, so it is not a model"
        raise ModelError(what, where=folder, fix="give the folder that `save_pretrained` wrote") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelError(f"{name} is not valid JSON: {error}", where=file) from None
    except OSError as error:
        raise ModelError(f"{name} cannot be read: {error.strerror}", where=file) from None
    if not isinstance(config, dict):
        raise ModelError(f"{name} is not a JSON object", where=file)
    return config


def weight_files(folder: Path) -> list[Path]:
    """Returns the safetensors files of a model or adapter folder, sorted by name.

    A fused model's folder may have none: its config then says where its parts are.

    Raises:
        ModelError: If there are none, a shard of the index is missing, or there are only pickled weights.
    """
    index = folder / "model.safetensors.index.json"
    if is_adapter(folder):
        files = [folder / "adapter_model.safetensors"]
    elif index.is_file():
        files = _shards(index)
    else:
        files = [folder / "model.safetensors"]
    missing = [file for file in files if not file.is_file()]
    if not missing:
        return files
    if missing == files and not is_adapter(folder) and read_config(folder).get("references"):
        return []
    pickles = sorted(file.name for pattern in _PICKLES for file in folder.glob(pattern))
    if pickles and missing == files:
        raise ModelError(
            f"the weights are a pickle ({pickles[0]}), which can run code when it is opened",
            where=folder,
            fix="convert them to safetensors where you trust them: load the model with transformers and call "
            "save_pretrained",
        )
    raise ModelError(f"the weight file {missing[0].name} is missing", where=folder)


def _shards(index: Path) -> list[Path]:
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ModelError(f"the index of the weights cannot be read: {error}", where=index) from None
    # A name with a path could lead out of the folder.
    return [index.parent / Path(str(name)).name for name in sorted(names)]


def check_folder(folder: Path) -> None:
    """Checks that a model or adapter folder has a config and safetensors files whose headers are whole.

    Reads headers only; a truncated file is noticed, because a header tells how long its file is.

    Raises:
        ModelError: Naming the file, if not.
    """
    read_config(folder)
    for file in weight_files(folder):
        with _opened(file, "np"):
            pass


def count_parameters(folder: Path) -> int:
    """Counts the weights of a model or adapter folder, reading headers only.

    Raises:
        ModelError: If a file is missing or damaged.
    """
    total = 0
    for file in weight_files(folder):
        with _opened(file, "np") as weights:
            total += sum(prod(weights.get_slice(name).get_shape()) for name in weights.keys())  # noqa: SIM118
    return total


def check_finite(folder: Path) -> None:
    """Checks that no weight of a model or adapter folder is NaN or infinite, one tensor at a time.

    Raises:
        ModelError: Naming the first tensor that has one.
    """
    check_folder(folder)
    for file in weight_files(folder):
        with _opened(file, "pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (it is no mapping)
                check_finite_tensor(weights.get_tensor(name), name, file)


@contextmanager
def _opened(file: Path, framework: str) -> Iterator[Any]:
    from safetensors import SafetensorError, safe_open

    try:
        weights = safe_open(file, framework=framework)
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"the weight file is damaged: {error}", where=file, fix="copy or download the model again"
        ) from None
    with weights:
        yield weights


def check_finite_tensor(tensor: Any, name: str, where: str | Path) -> None:
    """Checks that a tensor holds neither NaN nor infinity.

    Raises:
        ModelError: Naming the tensor, if it does.
    """
    if not tensor.is_floating_point():
        return
    # A sum is cheap and carries every NaN and infinity with it. It may overflow by itself, so look closer only then.
    if not tensor.sum().isfinite() and not tensor.isfinite().all():
        bad = int((~tensor.isfinite()).sum())
        raise ModelError(
            f"{bad} of {tensor.numel()} weights of {name} are NaN or infinite",
            where=where,
            fix="the training that wrote them diverged: train again with a lower learning rate",
        )
