"""Standard errors by leaving out one block of tokens at a time."""

import torch
from jaxtyping import Float
from torch import Tensor

CHUNK = 16
"""Consecutive tokens that share a block: neighbours are alike, and chunks keep them together."""


def block_of_tokens(first: int, count: int, blocks: int) -> Tensor:
    """Returns the block of tokens `first`, `first + 1`, ..., by chunks of 16 dealt out in turn.

    The block depends on a token's place in the whole data only, not on how the data are batched.
    """
    return (torch.arange(first, first + count) // CHUNK) % blocks


def standard_error(
    value: Float[Tensor, "*scores"],
    without_block: Float[Tensor, "blocks *scores"],
    sizes: Float[Tensor, "blocks"],
) -> Float[Tensor, "*scores"]:
    """Delete-a-group jackknife standard error for groups of unequal size (Busing, Meijer and van der Leeden 1999).

    For equal sizes this is `sqrt((g - 1) / g * sum_j (value_j - mean)^2)`.

    Args:
        value: The estimate from all tokens.
        without_block: The estimates from the tokens outside each block.
        sizes: Tokens in each block, all above 0.
    """
    blocks = len(sizes)
    share = (sizes / sizes.sum()).reshape(-1, *[1] * value.dim())
    h = 1 / share
    centre = blocks * value - ((1 - share) * without_block).sum(0)
    pseudo = h * value - (h - 1) * without_block
    return ((pseudo - centre).square() / (h - 1)).mean(0).sqrt()
