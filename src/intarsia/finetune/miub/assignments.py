"""From features to soft classes: every token is spread over the features of a module.

The mutual information between continuous base and LoRA features is infinite (one is a function of the other), so each
token's feature vector is read as a distribution over `dim` classes, and information is measured between classes.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

Normalization = Literal["zscore", "softmax"]
"""`zscore`: standardise a token's features, then softmax. `softmax`: softmax alone."""

NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)


def standardized(features: Float[Tensor, "tokens dim"]) -> Float[Tensor, "tokens dim"]:
    """Subtracts each token's mean over its features and divides by their standard deviation.

    A token whose features are all equal, up to rounding, becomes all zeros.
    """
    centred = features - features.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True).sqrt()
    # Rounding leaves a constant vector a deviation of some eps; dividing by it would blow noise up to size 1.
    noise = 4 * torch.finfo(features.dtype).eps * features.abs().amax(-1, keepdim=True)
    constant = deviation <= noise
    return torch.where(constant, 0.0, centred / torch.where(constant, 1.0, deviation))


def partition(features: int, bins: int, *, seed: int = 0) -> Int[Tensor, "features"]:
    """Assigns every feature to one of `bins` bins whose sizes differ by one at most; the same for the same seed."""
    order = torch.randperm(features, generator=torch.Generator().manual_seed(seed))
    bin_of = torch.empty(features, dtype=torch.long)
    bin_of[order] = torch.arange(features) % bins
    return bin_of


def soft_assignments(
    features: Float[Tensor, "tokens dim"],
    normalization: Normalization,
    *,
    tau: float = 1.0,
    bin_of: Int[Tensor, "dim"] | None = None,
) -> Float[Tensor, "tokens classes"]:
    """Returns each token's distribution over classes, `softmax(phi(x) / tau)`, in float64.

    The softmax runs in the features' own precision (float32 at least). Rows are then normalised again in float64: they
    are exact distributions a rounding away from the true ones, so that entropies and divergences of nearly uniform
    rows, which float32 would lose to cancellation, keep their digits.

    Args:
        features: Output of one branch of one module.
        normalization: The map phi.
        tau: Temperature.
        bin_of: Bin of every feature, from `partition`; without it every feature is a class.
    """
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    scores = standardized(features) if normalization == "zscore" else features
    probabilities = torch.softmax(scores if tau == 1 else scores / tau, dim=-1)
    if bin_of is not None:
        empty = probabilities.new_zeros(len(probabilities), int(bin_of.max()) + 1)
        probabilities = empty.scatter_add_(1, bin_of.expand_as(probabilities), probabilities)
    probabilities = probabilities.double()
    return probabilities / probabilities.sum(-1, keepdim=True)


def joint_distribution(
    base: Float[Tensor, "tokens base"], lora: Float[Tensor, "tokens lora"]
) -> Float[Tensor, "base lora"]:
    """Returns `P[i, j] = mean_t p_t[i] q_t[j]`: given the token, the two classes are drawn independently."""
    return base.T @ lora / len(base)
