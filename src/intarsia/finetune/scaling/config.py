"""Settings of the scaling-law fit and of the sweep that makes its table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from intarsia.errors import ConfigError

Axis = Literal["N", "R", "D"]
"""What is scaled: `N` parameters of the base model, `R` the rank, `D` training examples."""

AXES: tuple[Axis, ...] = ("N", "R", "D")

AXIS_WORDS: Mapping[Axis, str] = {"N": "model size", "R": "rank", "D": "data size"}

AlphaPolicy = Literal["fixed", "proportional"]
"""How LoRA's alpha follows the rank: `fixed` (the scale alpha/r falls) or `proportional` (the scale is constant)."""

POLICIES: tuple[AlphaPolicy, ...] = get_args(AlphaPolicy)


@dataclass(frozen=True)
class ScalingConfig:
    """How the law A (N0/N)^alpha + B (R0/R)^beta + C (D0/D)^gamma + E is fitted.

    Attributes:
        constant: Whether E is fitted when all three axes vary. An axis with one value always collapses into E.
        exponents: Smallest and largest exponent.
        starts: Starting values per exponent; three for each of three axes make 27 starts.
        fixed_exponents: Exponents that are given instead of fitted, by axis. An axis with two values needs one.
        drop: Axes left out of the law; runs that differ only there count as repetitions.
        weights: `seed-variance` weighs a cell by the inverse variance of its mean over seeds, `equal` does not.
        huber: Residuals beyond this many standard deviations count linearly (Huber's loss); None: least squares.
        log: Metrics whose logarithm is fitted. Log perplexity is the cross-entropy.
        bootstrap: Parametric bootstrap samples for the intervals; 0: no intervals.
        confidence: Probability mass of the intervals.
        seed: Seed of the bootstrap.
    """

    constant: bool = False
    exponents: tuple[float, float] = (0.01, 5.0)
    starts: int = 3
    fixed_exponents: Mapping[Axis, float] = field(default_factory=dict)
    drop: Sequence[Axis] = ()
    weights: Literal["seed-variance", "equal"] = "seed-variance"
    huber: float | None = None
    log: Sequence[str] = ("ppl",)
    bootstrap: int = 200
    confidence: float = 0.95
    seed: int = 0

    def __post_init__(self) -> None:
        low, high = self.exponents
        if not 0 < low < high:
            raise ConfigError("exponents", self.exponents, "two rising positive numbers")
        if self.starts < 1:
            raise ConfigError("starts", self.starts, "at least 1")
        for axis in (*self.fixed_exponents, *self.drop):
            if axis not in AXES:
                raise ConfigError("an axis in fixed_exponents or drop", axis, "one of N, R, D")
        for axis, exponent in self.fixed_exponents.items():
            if not exponent > 0:
                raise ConfigError(f"fixed_exponents[{axis!r}]", exponent, "positive")
        if self.weights not in ("seed-variance", "equal"):
            raise ConfigError("weights", self.weights, "'seed-variance' or 'equal'")
        if self.huber is not None and not self.huber > 0:
            raise ConfigError("huber", self.huber, "positive, or None")
        if self.bootstrap < 0:
            raise ConfigError("bootstrap", self.bootstrap, "at least 0")
        if not 0 < self.confidence < 1:
            raise ConfigError("confidence", self.confidence, "between 0 and 1")


@dataclass(frozen=True)
class SweepConfig:
    """One grid of LoRA runs: rank x data size x model size x alpha policy x seed, all else equal.

    Attributes:
        model: Base model: hub id, folder or `asset:NAME`; an encoder gets mean pooling and a linear head, a causal
            language model learns to answer with the label.
        data: Rows with splits `train` and `test`: a file (then cut by the hash of the text), a folder, a name of the
            catalogue, `asset:NAME` or a hub id.
        schema: `classification`, or `text-to-text` for causal language models.
        fields: Row field -> column of the data, where they are not called the same.
        test_split: Split the held-out rows come from.
        name: Name of the data set in the table; None: `data` itself.
        ranks: Ranks.
        sizes: Numbers of training rows; an empty sequence means all rows. The smaller sets are parts of the larger.
        layers: Numbers of layers kept, counted from the input; an empty sequence means the whole model.
        seeds: Seeds of initialisation, data choice and data order.
        policies: Policies of LoRA's alpha.
        alpha: Alpha under the `fixed` policy.
        alpha_ratio: Alpha divided by the rank under the `proportional` policy.
        steps: Optimiser steps, the same in every run.
        batch_size: Rows per step.
        learning_rate: Peak learning rate (AdamW, linear decay, no weight decay); None: 1e-3 for base models below
            10^9 parameters, else 2e-4.
        head_learning_rate: Peak learning rate of an encoder's head, which starts from random weights.
        lr_per_rank: Learning rates of single ranks, because the best one moves with the rank.
        max_length: Tokens of a text that are kept.
        held_out: Held-out rows on which loss and accuracy are measured.
        tokens: Real tokens of the held-out rows on which the internal metric is measured.
        target_modules: Names of the adapted linear layers, or `all-linear` alone; empty: peft's choice for the
            architecture (query and value), or all linear layers where it has none.
        shuffles: Random pairings of tokens for the permutation null of the internal metric.
        dtype: Type of the base model's weights; the adapter's are float32.
    """

    model: str
    data: str
    schema: Literal["classification", "text-to-text"] = "classification"
    fields: Mapping[str, str | Sequence[str]] | None = None
    test_split: str = "test"
    name: str | None = None
    ranks: Sequence[int] = (2, 8, 32, 128)
    sizes: Sequence[int] = ()
    layers: Sequence[int] = ()
    seeds: Sequence[int] = (0, 1, 2)
    policies: Sequence[AlphaPolicy] = POLICIES
    alpha: float = 16.0
    alpha_ratio: float = 2.0
    steps: int = 60
    batch_size: int = 16
    learning_rate: float | None = None
    head_learning_rate: float = 1e-2
    lr_per_rank: Mapping[int, float] = field(default_factory=dict)
    max_length: int = 64
    held_out: int = 256
    tokens: int = 2000
    target_modules: Sequence[str] = ()
    shuffles: int = 5
    dtype: Literal["float32", "bfloat16"] = "float32"

    def __post_init__(self) -> None:
        for name in ("ranks", "seeds", "policies"):
            if not getattr(self, name):
                raise ConfigError(name, getattr(self, name), "at least one value")
        for name in ("ranks", "sizes", "layers", "seeds", "policies"):
            values = list(getattr(self, name))
            if len(set(values)) < len(values):
                raise ConfigError(name, values, "distinct values")
            if name in ("ranks", "sizes", "layers") and any(value < 1 for value in values):
                raise ConfigError(name, values, "positive whole numbers")
        for policy in self.policies:
            if policy not in POLICIES:
                raise ConfigError("policies", policy, "among " + ", ".join(POLICIES))
        for name in (
            "alpha",
            "alpha_ratio",
            "head_learning_rate",
            "steps",
            "batch_size",
            "max_length",
            "held_out",
            "tokens",
        ):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "positive")
        for rate in (*self.lr_per_rank.values(), *([] if self.learning_rate is None else [self.learning_rate])):
            if not rate > 0:
                raise ConfigError("learning_rate", rate, "positive")
        if self.shuffles < 0:
            raise ConfigError("shuffles", self.shuffles, "at least 0")
        if self.schema not in ("classification", "text-to-text"):
            raise ConfigError("schema", self.schema, "'classification' or 'text-to-text'")
        if self.dtype not in ("float32", "bfloat16"):
            raise ConfigError("dtype", self.dtype, "'float32' or 'bfloat16'")

    @property
    def dataset(self) -> str:
        """Name of the data set in the table."""
        return self.name or self.data
