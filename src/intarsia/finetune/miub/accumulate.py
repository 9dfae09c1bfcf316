"""Running sums of one module, from which its scores follow: tokens come in batches and are not kept."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from intarsia.errors import ModelError
from intarsia.finetune.miub.assignments import Normalization, partition, soft_assignments
from intarsia.finetune.miub.config import MIUBConfig
from intarsia.finetune.miub.divergences import (
    dpi_bound,
    entropy,
    joint_scores,
    mutual_information,
    token_information,
)
from intarsia.finetune.miub.jackknife import standard_error


class Scores(NamedTuple):
    """The MIUB scores of one module under one normalisation, in nats.

    Attributes:
        mutual_information: `I(O; L)`, the plug-in information between base and LoRA classes.
        jensen_shannon: Jensen-Shannon divergence of the joint from the product of its marginals.
        paper: `log 2 * JS`, the paper's quantity; a score that grows with dependence, not a bound.
        jeffreys: Upper bound of the information: both Kullback-Leibler divergences together.
        chi2: Upper bound of the information: `log(1 + chi2)`.
        dpi: Upper bound of the information: `min(I(t; O), I(t; L))`. Under the first normalisation this is `miub`.
        js_ratio: Upper bound of the information: JS times the largest possible ratio of the two.
        base_information: `I(t; O)`, what the base class says about the token.
        lora_information: `I(t; L)`, what the LoRA class says about the token.
    """

    mutual_information: float
    jensen_shannon: float
    paper: float
    jeffreys: float
    chi2: float
    dpi: float
    js_ratio: float
    base_information: float
    lora_information: float


class Statistics(NamedTuple):
    """What one normalisation of one module comes to.

    Attributes:
        scores: Scores from all tokens.
        bias: Expected upward bias of `mutual_information` where base and LoRA are independent,
            `chi2(t; O) chi2(t; L) / (2 T)`; too large for peaked assignments.
        null: Mean mutual information after shuffling the LoRA side's tokens; None without permutations.
        errors: Jackknife standard errors; None without blocks, or where fewer than two blocks hold tokens.
        without_block: Scores from the tokens outside each block, `[blocks, scores]`.
        block_sizes: Tokens of each block that holds any.
    """

    scores: Scores
    bias: float
    null: float | None
    errors: Scores | None
    without_block: Float[Tensor, "blocks scores"]
    block_sizes: Float[Tensor, "blocks"]


class SoftJoint:
    """Sums of one module's soft assignments, block by block: joint, masses, entropies, squares.

    Everything is float64 except the matrix product of a batch's float32 features, which runs in float32 (its relative
    error of about 1e-7 meets marginals computed from the same matrix, so scores feel its square).

    Args:
        blocks: Blocks kept apart for the jackknife; 1 if there is none.
        permutations: Shuffled joints kept for the null value.
        seed: Seed of the shuffles.
    """

    def __init__(self, *, blocks: int = 1, permutations: int = 0, seed: int = 0) -> None:
        self._blocks = blocks
        self._permutations = permutations
        self._generator = torch.Generator().manual_seed(seed)
        self._sums: _Sums | None = None

    def update(
        self,
        base: Float[Tensor, "tokens base"],
        lora: Float[Tensor, "tokens lora"],
        sizes: list[int],
        *,
        precision: torch.dtype = torch.float64,
    ) -> None:
        """Adds tokens.

        Args:
            base: Distributions over base classes, ordered by block.
            lora: Distributions over LoRA classes of the same tokens.
            sizes: Tokens of each block.
            precision: Type the matrix products run in.
        """
        if self._sums is None:
            self._sums = _Sums.zeros(self._blocks, self._permutations, base.shape[1], lora.shape[1], base.device)
        sums = self._sums
        base_low, lora_low = base.to(precision), lora.to(precision)
        start = 0
        for block, size in enumerate(sizes):
            rows = slice(start, start := start + size)
            if size:
                sums.joint[block] += base_low[rows].T @ lora_low[rows]
                sums.base_mass[block] += base[rows].sum(0)
                sums.lora_mass[block] += lora[rows].sum(0)
                sums.base_entropy[block] += entropy(base[rows]).sum()
                sums.lora_entropy[block] += entropy(lora[rows]).sum()
                sums.tokens[block] += size
        sums.base_square.add_(base.square().sum(0))
        sums.lora_square.add_(lora.square().sum(0))
        for null in sums.null:
            order = torch.randperm(len(lora), generator=self._generator).to(lora.device)
            null += base_low.T @ lora_low[order]

    def statistics(self, *, debias: bool = False) -> Statistics:
        """Computes scores, bias, null and standard errors from the sums.

        Args:
            debias: Whether the null is subtracted from the mutual information.
        """
        sums = self._sums
        if sums is None:
            raise ValueError("no tokens were added")
        null = sum(map(mutual_information, sums.null)) / len(sums.null) if len(sums.null) else None
        shift = null if debias and null is not None else 0.0
        scores = sums.scores(shift)
        used = [block for block in range(self._blocks) if sums.tokens[block] > 0]
        sizes = sums.tokens[used].cpu()
        if len(used) < 2:
            return Statistics(scores, sums.independence_bias(), null, None, torch.zeros(0, len(scores)), sizes)
        joint = sums.joint.sum(0)
        without = torch.tensor([sums.without(block, joint).scores(shift) for block in used], dtype=torch.float64)
        errors = standard_error(torch.tensor(scores, dtype=torch.float64), without, sizes)
        return Statistics(scores, sums.independence_bias(), null, Scores(*errors.tolist()), without, sizes)


class _Sums(NamedTuple):
    joint: Float[Tensor, "blocks base lora"]
    null: Float[Tensor, "permutations base lora"]
    base_mass: Float[Tensor, "blocks base"]
    lora_mass: Float[Tensor, "blocks lora"]
    base_entropy: Float[Tensor, "blocks"]
    lora_entropy: Float[Tensor, "blocks"]
    tokens: Float[Tensor, "blocks"]
    base_square: Float[Tensor, "base"]
    lora_square: Float[Tensor, "lora"]

    @classmethod
    def zeros(cls, blocks: int, permutations: int, base: int, lora: int, device: torch.device) -> "_Sums":
        shapes = [(blocks, base, lora), (permutations, base, lora), (blocks, base), (blocks, lora)]
        shapes += [(blocks,), (blocks,), (blocks,), (base,), (lora,)]
        return cls(*(torch.zeros(shape, dtype=torch.float64, device=device) for shape in shapes))

    def without(self, block: int, joint: Float[Tensor, "base lora"]) -> "_Sums":
        """The sums less one block; `joint` is the sum of the blocks' joints."""
        keep = torch.ones(len(self.tokens), dtype=torch.bool, device=self.tokens.device)
        keep[block] = False
        # Squares and null belong to the whole and are not left out.
        return self._replace(
            joint=(joint - self.joint[block])[None],
            base_mass=self.base_mass[keep],
            lora_mass=self.lora_mass[keep],
            base_entropy=self.base_entropy[keep],
            lora_entropy=self.lora_entropy[keep],
            tokens=self.tokens[keep],
        )

    def scores(self, shift: float) -> Scores:
        tokens = float(self.tokens.sum())
        joint = joint_scores(self.joint.sum(0).clamp_min(0))
        base = token_information(self.base_mass.sum(0) / tokens, float(self.base_entropy.sum()) / tokens)
        lora = token_information(self.lora_mass.sum(0) / tokens, float(self.lora_entropy.sum()) / tokens)
        return Scores(
            mutual_information=joint.mutual_information - shift,
            jensen_shannon=joint.jensen_shannon,
            paper=joint.paper,
            jeffreys=joint.jeffreys,
            chi2=joint.chi2,
            dpi=dpi_bound(base, lora),
            js_ratio=joint.js_ratio,
            base_information=base,
            lora_information=lora,
        )

    def independence_bias(self) -> float:
        tokens = float(self.tokens.sum())
        base = _chi2_of_token(self.base_square / tokens, self.base_mass.sum(0) / tokens)
        lora = _chi2_of_token(self.lora_square / tokens, self.lora_mass.sum(0) / tokens)
        return base * lora / (2 * tokens)


def _chi2_of_token(mean_square: Float[Tensor, "classes"], marginal: Float[Tensor, "classes"]) -> float:
    """`mean_t sum_i (p_t[i] - a_i)^2 / a_i`."""
    return max(0.0, float((mean_square / marginal.clamp_min(1e-300)).sum()) - 1)


class ModuleAccumulator:
    """Everything MIUB measures of one module, from batches of its base and LoRA features.

    Args:
        name: The module's name, for messages.
        config: What to measure. The first normalisation gets blocks and permutations, the others plain scores.

    Examples:
        >>> accumulator = ModuleAccumulator("layers.0.q_proj", MIUBConfig())
        >>> accumulator.update(base_output, lora_output)  # both [tokens, features]
        >>> accumulator.statistics()["zscore"].scores.dpi
    """

    def __init__(self, name: str, config: MIUBConfig) -> None:
        self.name = name
        self.tokens = 0
        self.features = 0
        self.classes = 0
        self._config = config
        self._bin_of: Tensor | None = None
        self._base_energy = 0.0
        self._lora_energy = 0.0
        self._joints: dict[Normalization, SoftJoint] = {}
        for position, normalization in enumerate(config.normalizations):
            first = position == 0
            self._joints[normalization] = SoftJoint(
                blocks=max(1, config.blocks) if first else 1,
                permutations=config.permutations if first else 0,
                seed=config.seed,
            )

    def update(
        self,
        base: Float[Tensor, "tokens features"],
        lora: Float[Tensor, "tokens features"],
        blocks: Int[Tensor, "tokens"] | None = None,
    ) -> None:
        """Adds the features of some tokens.

        Args:
            base: Output of the frozen layer.
            lora: Output of the LoRA branch for the same input, scaling included.
            blocks: Jackknife block of each token; all in the first if left out.

        Raises:
            ModelError: If the two differ in shape or hold NaN or infinity.
        """
        if base.shape != lora.shape:
            raise ModelError(
                f"base and LoRA features have different shapes: {list(base.shape)} and {list(lora.shape)}",
                where=self.name,
            )
        if base.device.type == "mps":
            # Apple's GPU has no float64.
            base, lora = base.cpu(), lora.cpu()
        base_energy, lora_energy = (float(features.double().square().sum()) for features in (base, lora))
        for side, energy in (("base", base_energy), ("LoRA", lora_energy)):
            if not math.isfinite(energy):
                raise ModelError(
                    f"the {side} features hold NaN or infinity",
                    where=self.name,
                    fix="the weights have diverged: train with a smaller learning rate, or in a wider type",
                )
        if self.tokens == 0:
            self._prepare(base)
        order, sizes = self._order(blocks, len(base))
        if order is not None:
            base, lora = base[order], lora[order]
        base, lora = _at_least_float32(base), _at_least_float32(lora)
        self._base_energy += base_energy
        self._lora_energy += lora_energy
        for normalization, joint in self._joints.items():
            p = soft_assignments(base, normalization, tau=self._config.tau, bin_of=self._bin_of)
            q = soft_assignments(lora, normalization, tau=self._config.tau, bin_of=self._bin_of)
            first = normalization == self._config.normalizations[0]
            joint.update(p, q, sizes if first else [len(p)], precision=base.dtype)
        self.tokens += len(base)

    @property
    def lora_to_base(self) -> float:
        """`||L|| / ||O||` over all tokens."""
        return float((self._lora_energy / self._base_energy) ** 0.5) if self._base_energy else 0.0

    def statistics(self) -> dict[Normalization, Statistics]:
        """Returns the scores of each normalisation."""
        first = self._config.normalizations[0]
        return {
            name: joint.statistics(debias=self._config.debias and name == first) for name, joint in self._joints.items()
        }

    def release(self) -> None:
        """Frees the sums; the scores must have been taken."""
        self._joints.clear()

    def _prepare(self, base: Tensor) -> None:
        self.features = base.shape[1]
        self.classes = self._config.classes(self.features, self.name)
        if self.classes < self.features:
            self._bin_of = partition(self.features, self.classes, seed=self._config.seed).to(base.device)

    def _order(self, blocks: Tensor | None, tokens: int) -> tuple[Tensor | None, list[int]]:
        count = max(1, self._config.blocks)
        if blocks is None or count == 1:
            return None, [tokens] + [0] * (count - 1)
        blocks = blocks.cpu()
        return torch.argsort(blocks, stable=True), torch.bincount(blocks, minlength=count).tolist()


def _at_least_float32(features: Tensor) -> Tensor:
    return features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
