"""Entangling layers: CNOTs permute the amplitudes, CZs change their signs, so each layer is one indexed copy."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor

from intarsia.quantum.qnn.config import CircuitConfig

Pair = tuple[int, int]


class Entangler(NamedTuple):
    """What happens after the one-qubit gates of a layer; one of the two is there, or none.

    Attributes:
        source: The amplitude that goes to each place.
        signs: The factor of each amplitude, 1 or -1.
    """

    source: Int[Tensor, "dim"] | None = None
    signs: Float[Tensor, "dim"] | None = None

    def apply(self, states: Complex[Tensor, "dim batch"]) -> Complex[Tensor, "dim batch"]:
        """Returns the entangled states."""
        if self.source is not None:
            return states.index_select(0, self.source)
        return states if self.signs is None else states * self.signs[:, None]


def entangler(config: CircuitConfig, layer: int) -> Entangler:
    """Returns the entangler of a layer, counted from 0."""
    pairs = entangled_pairs(config, layer)
    if not pairs:
        return Entangler()
    if config.family == "cz-ring":
        real = torch.float64 if config.precision == "double" else torch.float32
        return Entangler(signs=cz_signs(pairs, config.qubits).to(real))
    return Entangler(source=cnot_permutation(pairs, config.qubits))


def entangled_pairs(config: CircuitConfig, layer: int) -> list[Pair]:
    """Returns control and target of each two-qubit gate of a layer, in order."""
    qubits = config.qubits
    if config.family == "tree":
        kept = active_qubits(config, layer)
        return [(away, stay) for stay, away in zip(kept[::2], kept[1::2], strict=False)]
    if config.family == "brick-wall":
        return [(qubit, qubit + 1) for qubit in range(layer % 2, qubits - 1, 2)]
    if config.family == "cz-ring" and qubits == 2:
        return [(0, 1)]  # the second CZ of a ring of two would undo the first
    step = layer % (qubits - 1) + 1 if config.family == "strong" else 1
    return [(qubit, (qubit + step) % qubits) for qubit in range(qubits)]


def active_qubits(config: CircuitConfig, layer: int) -> list[int]:
    """Returns the qubits that a layer turns: all, or those a tree has left."""
    step = 2**layer if config.family == "tree" else 1
    return list(range(0, config.qubits, step))


def cnot_permutation(pairs: Sequence[Pair], qubits: int) -> Int[Tensor, "dim"]:
    """Returns for every place the amplitude that CNOTs, applied in order, bring there."""
    source = torch.arange(2**qubits)
    for control, target in reversed(pairs):
        source = source ^ (_bit(source, control, qubits) << (qubits - 1 - target))
    return source


def cz_signs(pairs: Sequence[Pair], qubits: int) -> Int[Tensor, "dim"]:
    """Returns the sign that CZs give every amplitude."""
    places = torch.arange(2**qubits)
    flips = sum((_bit(places, one, qubits) & _bit(places, other, qubits) for one, other in pairs), torch.zeros(1))
    return 1 - 2 * (flips.long() % 2)


def _bit(places: Int[Tensor, "dim"], qubit: int, qubits: int) -> Int[Tensor, "dim"]:
    return (places >> (qubits - 1 - qubit)) & 1
