"""How far a vector is from being one tensor product: the spectrum of its reshape into a matrix.

A row of SEE, less its mean, is read as a state of several parts. Cut into two, with `q_1 ... q_s` numbers on one side
and the rest on the other, it is a matrix whose singular values are the Schmidt coefficients. One term has one of them,
and a sum of R terms at most R.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from intarsia.errors import ConfigError, InputError


def schmidt_coefficients(
    vectors: Float[Tensor, "*batch product"], sizes: Sequence[int], cut: int = 1
) -> Float[Tensor, "*batch coefficients"]:
    """Returns the singular values, largest first.

    Args:
        vectors: Sums of products, not cut to the length of a row.
        sizes: Length of the vector in each slot.
        cut: How many slots are on the first side.

    Raises:
        ConfigError: If the cut leaves one side empty.
        InputError: If the vectors have another length than the sizes multiply to.
    """
    if not 1 <= cut < len(sizes):
        raise ConfigError("cut", cut, f"between 1 and {len(sizes) - 1}, so that both sides have a slot")
    if vectors.shape[-1] != math.prod(sizes):
        raise InputError(
            f"the vectors have {vectors.shape[-1]} numbers, but the slots {' x '.join(map(str, sizes))}",
            fix="give sums of products before they are cut to the length of a row",
        )
    matrices = vectors.reshape(*vectors.shape[:-1], math.prod(sizes[:cut]), -1)
    singular_values: Tensor = torch.linalg.svdvals(matrices)
    return singular_values


def schmidt_rank(
    coefficients: Float[Tensor, "*batch coefficients"], *, tolerance: float = 1e-5
) -> Int[Tensor, "*batch"]:
    """Returns how many coefficients are more than `tolerance` times the largest."""
    return (coefficients > tolerance * coefficients[..., :1]).sum(-1)


def entanglement_entropy(coefficients: Float[Tensor, "*batch coefficients"]) -> Float[Tensor, "*batch"]:
    """Returns the entropy, in nats, of the squared coefficients as shares of their sum.

    0 for a single product; log R for R products of equal norm that are orthogonal on both sides; 0 for a zero vector.
    """
    squares = coefficients.square()
    shares = squares / squares.sum(-1, keepdim=True).clamp(min=torch.finfo(squares.dtype).tiny)
    return torch.special.entr(shares).sum(-1)
