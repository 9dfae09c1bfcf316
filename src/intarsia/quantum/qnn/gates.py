"""One-qubit gates as tensors, fused where several follow each other."""

import torch
from jaxtyping import Complex, Float
from torch import Tensor


def ry_rz(angles: Float[Tensor, "*shape 2"]) -> Complex[Tensor, "*shape 2 2"]:
    """Returns RZ(b) RY(a), one gate for each pair (a, b) in radians."""
    half = angles / 2
    return _su2(half[..., 0], half[..., 1], half[..., 1])


def rz_ry_rz(angles: Float[Tensor, "*shape 3"]) -> Complex[Tensor, "*shape 2 2"]:
    """Returns RZ(c) RY(b) RZ(a), one gate for each triple (a, b, c) in radians."""
    first, middle, last = (angles / 2).unbind(-1)
    return _su2(middle, first + last, last - first)


def ry(angles: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 2 2"]:
    """Returns RY(a), real."""
    cosine, sine = torch.cos(angles / 2), torch.sin(angles / 2)
    return torch.stack([cosine, -sine, sine, cosine], dim=-1).reshape(*angles.shape, 2, 2)


def _su2(
    turn: Float[Tensor, "*shape"], phase: Float[Tensor, "*shape"], off_phase: Float[Tensor, "*shape"]
) -> Complex[Tensor, "*shape 2 2"]:
    """[[cos t e^-ip, -sin t e^-iq], [sin t e^iq, cos t e^ip]] for the half angles t, p, q."""
    cosine, sine = torch.cos(turn), torch.sin(turn)
    real_0, imaginary_0 = cosine * torch.cos(phase), cosine * torch.sin(phase)
    real_1, imaginary_1 = sine * torch.cos(off_phase), sine * torch.sin(off_phase)
    real = torch.stack([real_0, -real_1, real_1, real_0], dim=-1)
    imaginary = torch.stack([-imaginary_0, imaginary_1, imaginary_1, imaginary_0], dim=-1)
    return torch.complex(real, imaginary).reshape(*turn.shape, 2, 2)


def kronecker(gates: Complex[Tensor, "*batch qubits 2 2"]) -> Complex[Tensor, "*batch dim dim"]:
    """Returns the product g_0 (x) g_1 (x) ... of the gates of several qubits; dim = 2^qubits."""
    product = gates[..., 0, :, :]
    for qubit in range(1, gates.shape[-3]):
        joined = product[..., :, None, :, None] * gates[..., qubit, :, :][..., None, :, None, :]
        product = joined.flatten(-4, -3).flatten(-2, -1)
    return product
