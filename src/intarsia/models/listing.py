"""The models this machine knows: assets, converted GGUF files, and what the hub's cache holds."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.errors import ModelError
from intarsia.models.assets import MODEL_ASSETS, ModelAsset, asset_file, converted_asset, find_asset
from intarsia.models.cache import models_cache
from intarsia.models.folders import count_parameters, is_adapter, read_config
from intarsia.models.hub import cached_snapshot
from intarsia.models.model_card import read_licence, read_model_card
from intarsia.models.sources import SourceKind, resolve


@dataclass(frozen=True)
class KnownModel:
    """One line of `intarsia models`.

    Attributes:
        name: Short name.
        ref: What to write as a model argument.
        kind: Where the model comes from.
        description: What it is: one line for an asset, the model class for a folder.
        parameters: Number of weights, where it can be read.
        bytes: Size of the files on this machine.
        licence: SPDX identifier, where one is stated.
        where: The loadable folder, else the file or package the model comes from.
        ready: Whether it can be loaded without downloading, installing or converting.
    """

    name: str
    ref: str
    kind: SourceKind
    description: str | None
    parameters: int | None
    bytes: int | None
    licence: str | None
    where: str | None
    ready: bool


def list_models() -> list[KnownModel]:
    """Returns assets, GGUF files that were converted, and models in the hub's cache."""
    return [*map(_describe_asset, MODEL_ASSETS.values()), *_converted_files(), *_hub_models()]


def describe_model(ref: str | os.PathLike[str]) -> KnownModel:
    """Returns what is known of one model, without downloading or converting it.

    Raises:
        UnknownNameError: If it names an asset that does not exist.
        ModelError: If it is a path where nothing is.
    """
    source = resolve(ref)
    if source.kind == "asset":
        return _describe_asset(find_asset(source.ref))
    if source.kind == "hub":
        return _describe_hub_model(source.ref, source.path)
    name = Path(source.ref).name
    if source.path is None:
        size = Path(source.ref).stat().st_size
        return KnownModel(name, source.ref, source.kind, None, None, size, source.licence, source.ref, ready=False)
    return _describe_folder(name, source.ref, source.kind, source.path)


def _describe_asset(asset: ModelAsset) -> KnownModel:
    file, folder = asset_file(asset), converted_asset(asset)
    ready = folder is not None and folder.is_dir()
    place = folder if ready else file
    return KnownModel(
        name=asset.name,
        ref=asset.ref,
        kind="asset",
        description=asset.description,
        parameters=asset.parameters,
        bytes=_size(place) if place else None,
        licence=asset.licence,
        where=str(place) if place else f"Python package {asset.distribution}, not installed",
        ready=ready,
    )


def _converted_files() -> list[KnownModel]:
    found = []
    for card in sorted(models_cache().glob("[!.]*/README.md")):
        source = str(read_model_card(card.parent).get("source", ""))
        if source.endswith(".gguf"):
            found.append(_describe_folder(Path(source).name, source, "gguf", card.parent))
    return found


def _hub_models() -> list[KnownModel]:
    from huggingface_hub import CacheNotFound, scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    names = sorted(repository.repo_id for repository in repositories if repository.repo_type == "model")
    # Not by `describe_model`: a folder of the same name in the working folder is not what the cache holds.
    return [_describe_hub_model(name, cached_snapshot(name)) for name in names]


def _describe_hub_model(name: str, snapshot: Path | None) -> KnownModel:
    if snapshot is None:
        return KnownModel(name, name, "hub", None, None, None, None, None, ready=False)
    return _describe_folder(name, name, "hub", snapshot)


def _describe_folder(name: str, ref: str, kind: SourceKind, folder: Path) -> KnownModel:
    try:
        config, parameters = read_config(folder), count_parameters(folder)
    except ModelError as error:
        return KnownModel(name, ref, kind, error.what, None, _size(folder), None, str(folder), ready=False)
    description = f"adapter of {config.get('base_model_name_or_path')}" if is_adapter(folder) else _architecture(config)
    return KnownModel(
        name, ref, kind, description, parameters, _size(folder), read_licence(folder), str(folder), ready=True
    )


def _architecture(config: dict[str, Any]) -> str | None:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else None


def _size(place: Path) -> int:
    if place.is_file():
        return place.stat().st_size
    return sum(file.stat().st_size for file in place.rglob("*") if file.is_file())
