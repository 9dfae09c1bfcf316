"""The settings of the reproduction of mutual information in quantum neural networks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from intarsia.errors import ConfigError
from intarsia.pipeline.recipe import parse
from intarsia.quantum.qnn.config import CircuitConfig, DataConfig, TrainingConfig


class Cell(NamedTuple):
    """One configuration that is trained over all its seeds.

    Attributes:
        name: Name in tables and figures.
        data: The samples.
        circuit: The circuit.
        training: The training.
        seeds: Number of seeds.
    """

    name: str
    data: DataConfig
    circuit: CircuitConfig
    training: TrainingConfig
    seeds: int


@dataclass(frozen=True)
class StudyRecipe:
    """A set of samples with the circuits that learn it.

    Attributes:
        data: The samples.
        circuit: The circuit.
        training: The training.
        seeds: Seeds, each with real and with shuffled labels.
        layers: Numbers of layers, each a configuration; empty: the circuit's own.
        measured: Numbers of measured qubits, the first ones, each a configuration; empty: the circuit's own.
    """

    data: DataConfig = field(default_factory=DataConfig)
    circuit: CircuitConfig = field(default_factory=CircuitConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seeds: int = 12
    layers: tuple[int, ...] = ()
    measured: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.seeds < 2:
            raise ConfigError("seeds", self.seeds, "at least 2")

    def cells(self, name: str) -> Iterator[Cell]:
        """Yields every configuration."""
        for layers in self.layers or (self.circuit.depth,):
            for count in self.measured or (len(self.circuit.measured),):
                parts = [f"L = {layers}"] * bool(self.layers) + [f"m = {count}"] * bool(self.measured)
                measured = tuple(range(count)) if self.measured else self.circuit.measured
                circuit = replace(self.circuit, layers=layers, measured=measured)
                yield Cell(", ".join([name, *parts]), self.data, circuit, self.training, self.seeds)


@dataclass(frozen=True)
class QNNRecipe:
    """The whole reproduction.

    Attributes:
        studies: What is trained, by name.
        resamples: Bootstrap resamples of the training samples.
    """

    studies: dict[str, StudyRecipe]
    resamples: int = 200

    def cells(self) -> list[Cell]:
        """All configurations."""
        return [cell for name, study in self.studies.items() for cell in study.cells(name)]


def read_recipe(config: Mapping[str, Any]) -> QNNRecipe:
    """Reads and checks the recipe."""
    recipe: QNNRecipe = parse(QNNRecipe, config, where="qnn-mutual-information recipe")
    return recipe
