"""A trained circuit as a classifier, saved as `config.json` and `model.safetensors`."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import torch
from jaxtyping import Complex, Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from intarsia import files
from intarsia.errors import ModelError
from intarsia.quantum.qnn.circuits import Circuit
from intarsia.quantum.qnn.config import CircuitConfig
from intarsia.quantum.qnn.encodings import Encoder, Features
from intarsia.quantum.qnn.readout import class_probabilities


@dataclass(frozen=True, eq=False)
class QNNModel:
    """A circuit, its angles and the encoding of its data.

    Attributes:
        theta: Angles in radians.
        encoder: Features to inputs; it holds the circuit's settings.
        classes: Names of the classes.
    """

    theta: Float[Tensor, "layers qubits angles"]
    encoder: Encoder
    classes: tuple[str, ...]

    @property
    def circuit(self) -> Circuit:
        """The circuit."""
        return Circuit(self.encoder.config)

    def unitary(self) -> Complex[Tensor, "output input"]:
        """U(theta) in double precision. Raises InputError for a re-uploading circuit."""
        return Circuit(replace(self.encoder.config, precision="double")).unitary(self.theta.double())

    def output_states(self, features: Features) -> Complex[Tensor, "samples dim"]:
        """Returns the states that leave the circuit."""
        return self.circuit.output_states(self.encoder.encode(features), self.theta)

    def probabilities(self, features: Features) -> Float[Tensor, "samples classes"]:
        """Returns the chance that one measurement names each class."""
        return class_probabilities(self.output_states(features), self.encoder.config.measured, len(self.classes))

    def predict(self, features: Features) -> list[str]:
        """Returns the most probable class of each sample (exact probabilities, as from many measurements)."""
        return [self.classes[number] for number in self.probabilities(features).argmax(dim=-1).tolist()]

    def save(self, folder: str | Path) -> None:
        """Writes `config.json` and `model.safetensors`."""
        config = {"model_type": "qnn", "classes": list(self.classes), "circuit": asdict(self.encoder.config)}
        files.write_json(Path(folder) / "config.json", config)
        fitted = {f"encoder.{name}": torch.from_numpy(array) for name, array in self.encoder.arrays().items()}
        with files.atomic_file(Path(folder) / "model.safetensors") as path:
            save_file({"theta": self.theta.detach().contiguous(), **fitted}, path)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Reads what `save` wrote.

        Raises:
            ModelError: If the folder holds no such model.
        """
        folder = Path(folder)
        try:
            config = files.read_json(folder / "config.json")
            circuit = CircuitConfig(**{**config["circuit"], "measured": tuple(config["circuit"]["measured"])})
            tensors = load_file(folder / "model.safetensors")
            fitted = [tensors[f"encoder.{name}"].numpy() for name in Encoder._fields[1:]]
            model = cls(tensors["theta"], Encoder(circuit, *fitted), tuple(config["classes"]))
        except (KeyError, TypeError, FileNotFoundError, SafetensorError) as error:
            raise ModelError(f"not a saved quantum neural network: {error}", where=folder) from None
        model.circuit.check_theta(model.theta)
        return model
