"""What solvers are given and what they give."""

from typing import NamedTuple, Self

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from intarsia.fusion.tilting import Tilt


class Goal(NamedTuple):
    """The two divergences to reach, in nats, for every row.

    Attributes:
        forward: Of `KL(P_alpha || P)`, `[rows, 1]`.
        backward: Of `KL(P || P_alpha)`, `[rows, 1]`.
    """

    forward: Float[Tensor, "rows 1"]
    backward: Float[Tensor, "rows 1"]

    def miss(self, forward: Float[Tensor, "rows n"], backward: Float[Tensor, "rows n"]) -> Float[Tensor, "rows n"]:
        """Squared distance of a pair of divergences from the goal."""
        return (forward - self.forward) ** 2 + (backward - self.backward) ** 2

    def slope(self, alpha: Float[Tensor, "rows n"], tilt: Tilt) -> Float[Tensor, "rows n"]:
        """Half the derivative of `miss` with respect to alpha."""
        return (tilt.forward - self.forward) * alpha * tilt.variance + (tilt.backward - self.backward) * tilt.mean


class Solution(NamedTuple):
    """The best alpha found for each row and expert, if that expert alone were active.

    Attributes:
        alpha: `[rows, experts]`.
        forward: `KL(P_alpha || P)` there.
        backward: `KL(P || P_alpha)` there.
        miss: Squared distance from the goal there.
    """

    alpha: Float[Tensor, "rows experts"]
    forward: Float[Tensor, "rows experts"]
    backward: Float[Tensor, "rows experts"]
    miss: Float[Tensor, "rows experts"]

    def or_better(self, other: "Solution") -> Self:
        """Takes `other` where it misses by less."""
        return self.replaced(other, other.miss < self.miss)

    def replaced(self, other: "Solution", where: Bool[Tensor, "rows experts"]) -> Self:
        """Takes `other` where told."""
        return type(self)(*(torch.where(where, new, old) for new, old in zip(other, self, strict=True)))


def evaluate(goal: Goal, alpha: Tensor, tilt: Tilt) -> Solution:
    """Returns the solution that an evaluated alpha would be."""
    return Solution(alpha, tilt.forward, tilt.backward, goal.miss(tilt.forward, tilt.backward))
