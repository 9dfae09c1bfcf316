"""First values of unit vectors, such that rows come out as large as they should be."""

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.errors import ConfigError


def unit_deviation(deviation: float, terms: float, order: int) -> float:
    """Returns the standard deviation of unit entries that gives entries of rows the one asked for.

    A product of `order` independent entries has variance `sigma ** (2 order)`, and `terms` of them add up, so
    `sigma = (deviation ** 2 / terms) ** (1 / (2 order))`.

    Args:
        deviation: Of the entries of rows.
        terms: Terms of a token, on average.
        order: Vectors in a product.

    Raises:
        ConfigError: If one of them is not positive.
    """
    for name, value in (("deviation", deviation), ("terms", terms), ("order", order)):
        if not value > 0:
            raise ConfigError(name, value, "positive")
    return float((deviation**2 / terms) ** (1 / (2 * order)))


def draw(into: Float[Tensor, "*shape"], deviation: float, seed: int) -> None:
    """Fills a tensor with normal numbers that the seed alone determines, on every device."""
    numbers = torch.randn(into.shape, generator=torch.Generator().manual_seed(seed), device="cpu", dtype=torch.float32)
    with torch.no_grad():
        into.copy_(numbers * deviation)
