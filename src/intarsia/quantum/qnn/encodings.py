"""From features to the states that enter the circuit. What is fitted is fitted on the training samples alone."""

from math import pi
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.errors import InputError
from intarsia.quantum.qnn.config import CircuitConfig

Features = npt.NDArray[np.float64]


class Encoder(NamedTuple):
    """Features to inputs of a circuit.

    Attributes:
        config: The circuit.
        mean: Mean of the training features, (features,); empty for amplitudes.
        components: Principal directions, (qubits, features); empty for amplitudes.
        low: Smallest training value of every component, (qubits,); it becomes the angle 0.
        high: Largest, (qubits,); it becomes pi.
    """

    config: CircuitConfig
    mean: Features
    components: Features
    low: Features
    high: Features

    @classmethod
    def fit(cls, features: Features, config: CircuitConfig) -> Self:
        """Learns the encoding from training samples.

        Angles are the features themselves if there is one for each qubit, else their principal components.

        Args:
            features: (samples, features).
            config: The circuit.

        Raises:
            InputError: If the features do not fit the encoding, or one is not finite.
        """
        check_features(features)
        width, empty = features.shape[1], np.zeros(0)
        if config.encoding == "amplitude":
            _check_amplitudes(width, config.qubits)
            return cls(config, empty, empty, empty, empty)
        if width < config.qubits:
            raise InputError(
                f"angle encoding needs a feature for each of {config.qubits} qubits, but the samples have {width}",
                fix=f"use at most {width} qubits, or the encoding 'amplitude'",
            )
        mean, components = np.zeros(width), np.eye(width)
        if width > config.qubits:
            mean, components = features.mean(axis=0), _principal_directions(features, config.qubits)
        values = (features - mean) @ components.T
        return cls(config, mean, components, values.min(axis=0), values.max(axis=0))

    def encode(self, features: Features) -> Tensor:
        """Returns states (samples, 2^n), or angles (samples, n) for a re-uploading circuit.

        Raises:
            InputError: If the features do not fit the encoding, one is not finite, or a sample has no amplitude at all.
        """
        check_features(features)
        if self.config.encoding == "amplitude":
            return amplitude_states(features, self.config.qubits)
        if features.shape[1] != len(self.mean):
            raise InputError(
                f"the encoding was fitted to {len(self.mean)} features, but the samples have {features.shape[1]}"
            )
        values = (features - self.mean) @ self.components.T
        # A constant feature tells nothing; it is encoded as the angle 0. Values outside the training range are clipped.
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        angles = torch.from_numpy(pi * np.clip((values - self.low) / span, 0.0, 1.0))
        return angles if self.config.reupload else angle_states(angles)

    def arrays(self) -> dict[str, Features]:
        """What is fitted, by name."""
        return {name: getattr(self, name) for name in ("mean", "components", "low", "high")}


def angle_states(angles: Float[Tensor, "samples qubits"]) -> Float[Tensor, "samples dim"]:
    """Returns the product states of RY(x_q)|0>, real; angles in radians."""
    factors = torch.stack([torch.cos(angles / 2), torch.sin(angles / 2)], dim=-1)
    states = factors[:, 0]
    for qubit in range(1, angles.shape[1]):
        states = (states[:, :, None] * factors[:, qubit, None]).flatten(1)
    return states


def amplitude_states(features: Features, qubits: int) -> Float[Tensor, "samples dim"]:
    """Returns the features as states of length 1, padded with zeros.

    Raises:
        InputError: If there are more features than amplitudes, or a sample is all zero.
    """
    _check_amplitudes(features.shape[1], qubits)
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not lengths.all():
        raise InputError(
            "amplitude encoding cannot encode a sample whose features are all 0",
            where=f"sample {int(np.argmin(lengths))}",
            fix="leave it out, or use the encoding 'angle'",
        )
    states = torch.zeros(len(features), 2**qubits, dtype=torch.float64)
    states[:, : features.shape[1]] = torch.from_numpy(features / lengths)
    return states


def check_features(features: npt.NDArray[Any]) -> None:
    """Raises InputError unless features are a table of finite numbers."""
    if features.ndim != 2 or 0 in features.shape:
        raise InputError(f"features have the shape {features.shape}, but must be (samples, features)")
    bad = np.argwhere(~np.isfinite(features))
    if len(bad):
        raise InputError(
            f"feature {bad[0][1]} is {features[tuple(bad[0])]}",
            where=f"sample {bad[0][0]}",
            fix="fill in or leave out samples with missing values",
        )


def _check_amplitudes(width: int, qubits: int) -> None:
    if width > 2**qubits:
        needed = (width - 1).bit_length()
        raise InputError(
            f"{qubits} qubits have {2**qubits} amplitudes, but the samples have {width} features",
            fix=f"use {needed} qubits, fewer features, or the encoding 'angle'",
        )


def _principal_directions(features: Features, count: int) -> Features:
    _, _, directions = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    if len(directions) < count:
        raise InputError(
            f"{len(features)} training samples have only {len(directions)} principal components, not {count}"
        )
    # The sign of a direction is arbitrary; this makes it the same everywhere.
    largest = np.abs(directions).argmax(axis=1)
    signs = np.sign(directions[np.arange(len(directions)), largest])
    return np.asarray((directions * signs[:, None])[:count])
