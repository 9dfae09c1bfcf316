"""Spectral facts of a LoRA update `dW = s B A`: what practitioners' tools report, and the baseline of MIUB."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor


class Spectrum(NamedTuple):
    """Facts from the singular values of one update. All 0 while the update is 0.

    Attributes:
        stable_rank: `||dW||_F^2 / ||dW||_2^2`.
        effective_rank: Exponential of the entropy of the normalised singular values.
        k90: Fewest singular values that hold 90 % of the energy `||dW||_F^2`.
        utilization: Stable rank over LoRA rank, in (0, 1].
    """

    stable_rank: float
    effective_rank: float
    k90: float
    utilization: float


def update_singular_values(
    lora_a: Float[Tensor, "rank inputs"], lora_b: Float[Tensor, "outputs rank"], scaling: float
) -> Float[Tensor, "values"]:
    """Singular values of `s B A`, largest first, from the QR factors of `B` and `A'`; the product is never formed."""
    right_b = torch.linalg.qr(lora_b.double(), mode="r").R
    right_a = torch.linalg.qr(lora_a.double().T, mode="r").R
    return abs(scaling) * torch.linalg.svdvals(right_b @ right_a.T)


def spectrum(lora_a: Float[Tensor, "rank inputs"], lora_b: Float[Tensor, "outputs rank"], scaling: float) -> Spectrum:
    """Summarises the singular values of `s B A`."""
    values = update_singular_values(lora_a, lora_b, scaling)
    energy = values.square()
    if not energy[0] > 0:
        return Spectrum(0.0, 0.0, 0.0, 0.0)
    stable_rank = float(energy.sum() / energy[0])
    share = values / values.sum()
    effective_rank = float(torch.special.entr(share).sum().exp())
    # The slack keeps rounding of the cumulative sum from asking for one value more.
    k90 = int((energy.cumsum(0) < (0.9 - 1e-12) * energy.sum()).sum()) + 1
    return Spectrum(stable_rank, effective_rank, float(k90), stable_rank / len(lora_a))
