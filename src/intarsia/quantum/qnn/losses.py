"""Losses of a circuit's readout."""

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, softplus

from intarsia.quantum.qnn.readout import class_probabilities, expectation_z

_SLOPE = 4.0
_SMALLEST = 1e-12


def readout_loss(
    outputs: Complex[Tensor, "batch dim"],
    labels: Int[Tensor, "batch"],
    *,
    measured: tuple[int, ...],
    classes: int,
    kind: str,
) -> Float[Tensor, ""]:
    """Returns the mean loss.

    With two classes f = <Z> of the first measured qubit is compared with y = 1 for class 0 and -1 for class 1.

    Args:
        outputs: Output states.
        labels: Class numbers.
        measured: The measured qubits.
        classes: Number of classes.
        kind: `squared` or `logistic`.
    """
    if classes == 2:
        value = expectation_z(outputs, measured[0])
        target = (1 - 2 * labels).to(value.dtype)
        return ((value - target) ** 2 if kind == "squared" else softplus(-_SLOPE * value * target)).mean()
    chances = class_probabilities(outputs, measured, classes)
    if kind == "squared":
        return ((chances - one_hot(labels, classes)) ** 2).sum(dim=-1).mean()
    return -torch.log(chances.gather(1, labels[:, None]).clamp(min=_SMALLEST)).mean()
