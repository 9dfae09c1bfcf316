"""The split of expert knowledge into what is shared and what is each expert's own, and its compression.

With task vectors `tau_t = theta_t - theta_0`, the shared model is `theta_s = theta_0 + gamma sum_t tau_t` and expert
`t` keeps the residual `D_t = theta_t - theta_s`, of which a truncated SVD is stored (Twin-Merging, Eq. 2 and 3).
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.errors import ConfigError, ModelError

# Up to here a full SVD takes under a second; beyond, a randomised one of a small rank is much faster.
_FULL_SVD_UP_TO = 1024
_DEFAULT_LORA_RANK = 8
_DEFAULT_FULL_RANK = 0.1


class Truncated(NamedTuple):
    """A matrix as the leading terms of its singular value decomposition, `u @ diag(s) @ vt`.

    Attributes:
        u: Left singular vectors.
        s: Singular values, falling.
        vt: Right singular vectors.
        energy: Squared Frobenius norm of the whole matrix.
    """

    u: Float[Tensor, "rows rank"]
    s: Float[Tensor, "rank"]
    vt: Float[Tensor, "rank columns"]
    energy: float

    @property
    def energy_kept(self) -> float:
        """Share of the squared Frobenius norm that the kept terms carry; 1 for a zero matrix."""
        return min(1.0, float(self.s.square().sum()) / self.energy) if self.energy > 0 else 1.0

    def dense(self) -> Float[Tensor, "rows columns"]:
        """The matrix the terms add up to."""
        return (self.u * self.s) @ self.vt


def shared_delta(deltas: Sequence[Float[Tensor, "*shape"]], gamma: float) -> Float[Tensor, "*shape"]:
    """Returns `gamma sum_t tau_t`, what the shared model adds to the base (task arithmetic, arXiv 2212.04089)."""
    total = deltas[0].clone()
    for delta in deltas[1:]:
        total += delta
    return total.mul_(gamma)


def resolve_rank(
    rank: int | float | Literal["full"] | None, rows: int, columns: int, *, lora: bool, clip: bool = False
) -> int:
    """Returns the rank to store for a `rows x columns` residual.

    Args:
        rank: The setting; see `TwinMergingConfig.rank`.
        rows: Height of the matrix.
        columns: Width of the matrix.
        lora: Whether the residual comes from LoRA experts, for the default.
        clip: Whether a rank above the smaller side is lowered to it.

    Raises:
        ConfigError: If the rank is above the smaller side and `clip` is off.
    """
    side = min(rows, columns)
    if rank is None:
        # A default should not fail on a small matrix.
        return min(_DEFAULT_LORA_RANK, side) if lora else max(1, int(_DEFAULT_FULL_RANK * side))
    if rank == "full":
        return side
    if isinstance(rank, float):
        return max(1, int(rank * side))
    if rank > side and not clip:
        raise ConfigError("rank", rank, f"at most {side}, the smaller side of a {rows} x {columns} matrix")
    return min(rank, side)


def truncate(
    matrix: Float[Tensor, "rows columns"], rank: int, *, generator: torch.Generator | None = None
) -> Truncated:
    """Returns the best approximation of `matrix` of rank `rank` (Eckart and Young).

    Args:
        matrix: What to approximate.
        rank: Terms to keep, 0 to the smaller side.
        generator: Source of the random projection for large matrices and small ranks, on the CPU.
    """
    energy = float(matrix.double().square().sum())
    side = min(matrix.shape)
    if side > _FULL_SVD_UP_TO and 8 * (rank + 8) < side:
        u, s, vt = _randomised_svd(matrix, rank + 8, generator)
    else:
        u, s, vt = torch.linalg.svd(matrix, full_matrices=False)
    return Truncated(u[:, :rank].contiguous(), s[:rank].contiguous(), vt[:rank].contiguous(), energy)


def _randomised_svd(
    matrix: Tensor, width: int, generator: torch.Generator | None, iterations: int = 4
) -> tuple[Tensor, Tensor, Tensor]:
    """Halko, Martinsson and Tropp, Alg. 4.4 and 5.1; `torch.svd_lowrank` takes no generator."""
    probe = torch.randn(matrix.shape[1], width, generator=generator, dtype=matrix.dtype).to(matrix.device)
    basis = torch.linalg.qr(matrix @ probe).Q
    for _ in range(iterations):
        basis = torch.linalg.qr(matrix.mT @ basis).Q
        basis = torch.linalg.qr(matrix @ basis).Q
    u, s, vt = torch.linalg.svd(basis.mT @ matrix, full_matrices=False)
    return basis @ u, s, vt


def exclusive_residuals(
    deltas: Sequence[Float[Tensor, "rows columns"]],
    shared: Float[Tensor, "rows columns"],
    rank: int,
    *,
    generator: torch.Generator | None = None,
) -> list[Truncated]:
    """Returns each expert's residual to the shared model, truncated.

    Args:
        deltas: Task vectors, one per expert.
        shared: What the shared model adds to the base.
        rank: Terms to keep.
        generator: See `truncate`.
    """
    return [truncate(delta - shared, rank, generator=generator) for delta in deltas]


class LoraFactors(NamedTuple):
    """One LoRA update `b @ a`, with its scale folded into `b`."""

    b: Float[Tensor, "rows rank"]
    a: Float[Tensor, "rank columns"]


def lora_shared_delta(updates: Sequence[LoraFactors], gamma: float) -> Float[Tensor, "rows columns"]:
    """Returns `gamma sum_t b_t a_t` in one product."""
    return gamma * (torch.cat([update.b for update in updates], dim=1) @ torch.cat([update.a for update in updates]))


def lora_residuals(updates: Sequence[LoraFactors], gamma: float, rank: int) -> list[Truncated]:
    """Returns each LoRA expert's residual to the shared model, truncated, without forming a `rows x columns` matrix.

    All residuals `D_t = b_t a_t - gamma sum_i b_i a_i` share the stacked factors: `D_t = B diag(c_t) A` where `c_t`
    is `1 - gamma` at expert `t`'s own columns and `-gamma` elsewhere. With `B = Q_B R_B` and `A^T = Q_A R_A`, the
    SVD of the small `R_B diag(c_t) R_A^T` rotated by `Q_B` and `Q_A` is the exact SVD of `D_t`.

    Args:
        updates: One per expert; their LoRA ranks may differ.
        gamma: Scale of the shared model.
        rank: Terms to keep; those beyond the sum of the LoRA ranks are zero and left out.

    Returns:
        Residuals in the order of the updates, computed in float64 and returned in the updates' dtype.
    """
    dtype = updates[0].b.dtype
    b = torch.cat([update.b for update in updates], dim=1).double()
    a = torch.cat([update.a for update in updates], dim=0).double()
    sizes = torch.tensor([update.a.shape[0] for update in updates], device=a.device)
    own = torch.eye(len(updates), dtype=a.dtype, device=a.device) - gamma
    coefficients = own.repeat_interleave(sizes, dim=1)
    q_b, r_b = torch.linalg.qr(b)
    q_a, r_a = torch.linalg.qr(a.mT)
    cores = (r_b * coefficients[:, None, :]) @ r_a.mT
    u, s, vt = torch.linalg.svd(cores, full_matrices=False)
    energies = cores.square().sum(dim=(1, 2)).tolist()
    return [
        Truncated(
            (q_b @ u[t, :, :rank]).to(dtype), s[t, :rank].to(dtype), (vt[t, :rank] @ q_a.mT).to(dtype), energies[t]
        )
        for t in range(len(updates))
    ]


class FactorSplit(NamedTuple):
    """LoRA factors split one by one, as the published code does: the merged update is
    `(b_shared + sum_t w_t b_t) (a_shared + sum_t w_t a_t)`.
    """

    b_shared: Float[Tensor, "rows rank"]
    a_shared: Float[Tensor, "rank columns"]
    b: Float[Tensor, "experts rows rank"]
    a: Float[Tensor, "experts rank columns"]

    def merged(self, weights: Float[Tensor, "experts"]) -> Float[Tensor, "rows columns"]:
        """The update for one mixture. Its weights enter twice, so it is not a mixture of the experts' updates."""
        b = self.b_shared + torch.einsum("t,tmr->mr", weights, self.b)
        a = self.a_shared + torch.einsum("t,trn->rn", weights, self.a)
        return b @ a


def lora_factor_split(updates: Sequence[LoraFactors], gamma: float, rank: int) -> FactorSplit:
    """Splits and compresses the LoRA factors `A` and `B` apart, to compare with the published code.

    Args:
        updates: One per expert, all of the same LoRA rank.
        gamma: Scale of the shared factors.
        rank: Terms kept of each factor's residual.

    Raises:
        ModelError: If the LoRA ranks differ, so that the factors cannot be added.
    """
    ranks = sorted({update.a.shape[0] for update in updates})
    if len(ranks) > 1:
        raise ModelError(
            f"the adapters have different LoRA ranks ({', '.join(map(str, ranks))}), so their factors cannot be added",
            fix='use lora_mode="product", which adds the updates',
        )
    b_shared = shared_delta([update.b for update in updates], gamma)
    a_shared = shared_delta([update.a for update in updates], gamma)
    b = [truncate(update.b - b_shared, min(rank, ranks[0])).dense() for update in updates]
    a = [truncate(update.a - a_shared, min(rank, ranks[0])).dense() for update in updates]
    return FactorSplit(b_shared, a_shared, torch.stack(b), torch.stack(a))
