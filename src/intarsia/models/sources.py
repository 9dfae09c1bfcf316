"""What a model argument means: a hub id, a local folder or adapter, a GGUF file, an installed asset."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from intarsia.errors import ModelError
from intarsia.models.assets import PREFIX, asset_folder, converted_asset, find_asset
from intarsia.models.folders import check_folder, is_adapter, read_config
from intarsia.models.gguf import converted_gguf, gguf_folder
from intarsia.models.hub import cached_snapshot, download, is_hub_id
from intarsia.models.model_card import read_licence

SourceKind = Literal["hub", "folder", "adapter", "gguf", "asset"]


@dataclass(frozen=True)
class ModelSource:
    """What a model argument was found to mean.

    Attributes:
        ref: The argument. A local path is made absolute, so that it stays true in another working folder.
        kind: Where the model comes from. An adapter is a local PEFT folder; one on the hub is of kind "hub".
        path: The folder that can be loaded, if there is one on this machine already.
        licence: SPDX identifier, where one is stated.
    """

    ref: str
    kind: SourceKind
    path: Path | None
    licence: str | None


def resolve(ref: str | os.PathLike[str]) -> ModelSource:
    """Finds out what a model argument means. Nothing is downloaded or converted.

    A string that looks like a path (starts with `.`, `/` or `~`, ends with `.gguf`, has more than one slash) must
    exist; any other names a local folder if there is one, else a model on the hub.

    Raises:
        UnknownNameError: If it names an asset that does not exist.
        ModelError: If it is a path where nothing is, or no folder that holds a model.
    """
    text = os.fspath(ref)
    if text.startswith(PREFIX):
        asset = find_asset(text)
        return ModelSource(text, "asset", _if_there(converted_asset(asset)), asset.licence)
    path = Path(text).expanduser()
    if text and path.is_dir():
        read_config(path)
        kind: SourceKind = "adapter" if is_adapter(path) else "folder"
        return ModelSource(str(path.resolve()), kind, path.resolve(), read_licence(path))
    if path.is_file():
        if path.suffix != ".gguf":
            raise ModelError("a model is a folder or a .gguf file, but this is another file", where=path)
        folder = _if_there(converted_gguf(path))
        return ModelSource(str(path.resolve()), "gguf", folder, read_licence(folder) if folder else None)
    if not isinstance(ref, str) or _looks_like_path(text):
        raise ModelError("model not found: there is no such file or folder", where=text)
    if not is_hub_id(text):
        raise ModelError(
            f"{text!r} is no model", fix="give a hub id (owner/name), a folder, a .gguf file or asset:NAME"
        )
    snapshot = cached_snapshot(text)
    return ModelSource(text, "hub", snapshot, read_licence(snapshot) if snapshot else None)


def local_folder(ref: str | os.PathLike[str]) -> Path:
    """Returns a folder with config, safetensors and tokenizer (or a PEFT adapter), downloading or converting first.

    Raises:
        UnknownNameError: If it names an asset that does not exist.
        ModelError: If there is no such model, or its folder cannot be loaded.
    """
    source = resolve(ref)
    match source.kind:
        case "asset":
            folder = asset_folder(find_asset(source.ref))
        case "gguf":
            folder = gguf_folder(Path(source.ref))
        case "hub":
            folder = download(source.ref)
        case _:
            folder = Path(source.ref)
    try:
        check_folder(folder)
    except ModelError as error:
        if source.kind in ("asset", "gguf"):
            raise ModelError(error.what, where=error.where, fix=f"delete {folder}: it is made again") from None
        raise
    return folder


def _looks_like_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.endswith((".gguf", "/")) or text.count("/") > 1 or "\\" in text


def _if_there(folder: Path | None) -> Path | None:
    return folder if folder is not None and folder.is_dir() else None
