"""Variational circuits as a statevector simulator: batched, differentiable, one thread is enough for 8 qubits.

The one-qubit gates of a layer are two matrices, the Kronecker products of either half of the qubits, applied by two
matrix products; its entangler is one indexed copy. The batch is the last axis within, so that rows are contiguous.
"""

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from intarsia.errors import InputError
from intarsia.quantum.qnn import gates
from intarsia.quantum.qnn.config import CircuitConfig
from intarsia.quantum.qnn.entanglers import active_qubits, entangler

Theta = Float[Tensor, "layers qubits angles"]


class Circuit:
    """A variational circuit U(theta) on n qubits.

    Args:
        config: Its family and size.

    Attributes:
        config: The settings.
        real: The real dtype of its angles.
    """

    def __init__(self, config: CircuitConfig) -> None:
        self.config = config
        self.real = torch.float64 if config.precision == "double" else torch.float32
        self._entanglers = [entangler(config, layer) for layer in range(config.depth)]
        self._active: Float[Tensor, "layers qubits 1"] | None = None
        if config.family == "tree":
            self._active = torch.zeros(config.depth, config.qubits, 1, dtype=self.real)
            for layer in range(config.depth):
                self._active[layer, active_qubits(config, layer)] = 1

    @property
    def dim(self) -> int:
        """Number of amplitudes, 2^n."""
        return int(2**self.config.qubits)

    @property
    def complex(self) -> torch.dtype:
        """The dtype of its states."""
        return torch.complex128 if self.real is torch.float64 else torch.complex64

    def output_states(self, inputs: Tensor, theta: Theta) -> Complex[Tensor, "batch dim"]:
        """Runs the circuit on encoded samples.

        Args:
            inputs: What the encoding gave: states (batch, dim), or for a re-uploading circuit angles (batch, qubits).
            theta: Angles in radians.

        Raises:
            InputError: If a shape is not the circuit's.
        """
        expected = self.config.qubits if self.config.reupload else self.dim
        if inputs.ndim != 2 or inputs.shape[1] != expected:
            raise InputError(
                f"inputs have the shape {tuple(inputs.shape)}, but the circuit takes (samples, {expected})",
                fix="encode them with the circuit's own encoding and number of qubits",
            )
        if self.config.reupload:
            start = torch.zeros(self.dim, len(inputs), dtype=self.complex)
            start[0] = 1
            return self._run(start, theta, gates.ry(inputs.to(self.real))).T
        return self._run(inputs.to(self.complex).T.contiguous(), theta).T

    def unitary(self, theta: Theta) -> Complex[Tensor, "output input"]:
        """Returns U(theta), rows = output, columns = input.

        Raises:
            InputError: If the circuit encodes data in every layer, so that there is no one U, or
                theta has a wrong shape.
        """
        if self.config.reupload:
            raise InputError(
                "a re-uploading circuit has another unitary for every sample",
                where="reupload",
                fix="ask only for 'holevo', or encode the data once (reupload=False)",
            )
        # The batch stands last within, so the columns are the images of the basis states: U itself.
        return self._run(torch.eye(self.dim, dtype=self.complex), theta)

    def check_theta(self, theta: Theta) -> None:
        """Raises InputError if theta has not the circuit's shape."""
        if tuple(theta.shape) != self.config.parameter_shape:
            raise InputError(
                f"theta has the shape {tuple(theta.shape)}, but the circuit has {self.config.parameter_shape} angles",
                where="theta",
                fix="give (layers, qubits, angles of a qubit)",
            )

    def _run(
        self,
        states: Complex[Tensor, "dim batch"],
        theta: Theta,
        encoding: Float[Tensor, "batch qubits 2 2"] | None = None,
    ) -> Complex[Tensor, "dim batch"]:
        self.check_theta(theta)
        angles = theta if self._active is None else theta * self._active
        turns = gates.rz_ry_rz(angles) if self.config.family == "strong" else gates.ry_rz(angles)
        if encoding is not None:
            turns = turns[:, None] @ encoding.to(turns.dtype)
        first = self.config.qubits // 2
        high, low = gates.kronecker(turns[..., :first, :, :]), gates.kronecker(turns[..., first:, :, :])
        for layer, entangle in enumerate(self._entanglers):
            states = entangle.apply(apply_halves(states, high[layer], low[layer]))
        return states


def apply_halves(
    states: Complex[Tensor, "dim batch"], high: Complex[Tensor, "*batch a a"], low: Complex[Tensor, "*batch b b"]
) -> Complex[Tensor, "dim batch"]:
    """Applies high (x) low, with dim = a b; either one pair of matrices for all states or one for each.

    Args:
        states: Amplitudes, the batch last.
        high: Acts on the first half of the qubits.
        low: Acts on the second half.
    """
    dim, batch = states.shape
    if high.ndim == 3:
        return torch.einsum("sij,skl,jls->iks", high, low, states.reshape(high.shape[-1], -1, batch)).flatten(0, 1)
    states = high @ states.reshape(high.shape[-1], -1)
    return (low @ states.reshape(-1, low.shape[-1], batch)).reshape(dim, batch)
