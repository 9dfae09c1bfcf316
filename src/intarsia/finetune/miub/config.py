"""What the MIUB estimator can be told."""

from dataclasses import dataclass, replace
from typing import Literal

from intarsia.errors import ConfigError
from intarsia.finetune.miub.assignments import NORMALIZATIONS, Normalization

AUTO_BINS_ABOVE = 1024
"""Modules with more output features than this are binned when `bins` is "auto"."""

AUTO_BINS = 256
"""Classes of a module that is binned automatically."""

FEWEST_TOKENS = 50
"""Below this the plug-in estimates say nothing."""


@dataclass(frozen=True, kw_only=True)
class MIUBConfig:
    """Settings of a MIUB measurement.

    The normalisation, the bins and the aggregation are Intarsia's choices: the paper ("The Scaling Law for LoRA Base on
    Mutual Information Upper Bound", arXiv 2501.03152) does not give its own in a form known to us.

    Attributes:
        normalizations: How features become class probabilities; the first gives the headline `miub`, the standard
            errors and the permutation null. `"zscore"` standardises every token's features before the softmax, so that
            the very different scales of the base and the LoRA branch do not matter; `"softmax"` is the literal reading.
        tau: Temperature of the softmax, above 0. Larger values flatten the classes until every score is 0.
        bins: Classes a module's features are summed into before the joint distribution is formed. `"auto"`: 256 where
            a module has more than 1024 output features, none elsewhere. `None`: never. Binning can only lower a score.
        token_mask: `"all"` real tokens, or those at `"labels"`: positions that predict a label other than -100. For a
            causal language model that is the position *before* the label, whose features make the prediction; for an
            encoder it is the label's own position.
        max_tokens: Measurement stops after this many tokens, the first ones. `None` uses all. Scores of different runs
            are comparable on the same tokens only.
        tokens_per_forward: Positions, padding included, that run through the model at once. If all tokens fit, each
            module is scored while the forward pass runs and memory stays flat; if not, every module keeps its joint
            distribution (8 x classes^2 bytes, times `1 + blocks + permutations`) until the last batch.
        blocks: Blocks of the delete-one-block jackknife behind the standard errors. 0 leaves them out.
        permutations: Shuffles of the LoRA side behind the null value of the mutual information. 0 leaves it out.
        debias: Whether the mean null is subtracted from the mutual information (needs `permutations`).
        seed: Seed of the bins and the shuffles. The global random state is never touched.
    """

    normalizations: tuple[Normalization, ...] = ("zscore", "softmax")
    tau: float = 1.0
    bins: int | Literal["auto"] | None = "auto"
    token_mask: Literal["all", "labels"] = "all"
    max_tokens: int | None = 2000
    tokens_per_forward: int = 8192
    blocks: int = 10
    permutations: int = 5
    debias: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        unknown = [name for name in self.normalizations if name not in NORMALIZATIONS]
        if unknown or not self.normalizations or len(set(self.normalizations)) < len(self.normalizations):
            raise ConfigError("normalizations", self.normalizations, f"different ones of {', '.join(NORMALIZATIONS)}")
        if not self.tau > 0:
            raise ConfigError("tau", self.tau, "above 0")
        if self.bins != "auto" and self.bins is not None and (isinstance(self.bins, str) or self.bins < 1):
            raise ConfigError(
                "bins", self.bins, 'a whole number from 1 to the module\'s output features, "auto" or None'
            )
        if self.token_mask not in ("all", "labels"):
            raise ConfigError("token_mask", self.token_mask, '"all" or "labels"')
        if self.max_tokens is not None and self.max_tokens < FEWEST_TOKENS:
            raise ConfigError("max_tokens", self.max_tokens, f"at least {FEWEST_TOKENS}, or None for all")
        if self.tokens_per_forward < 1:
            raise ConfigError("tokens_per_forward", self.tokens_per_forward, "at least 1")
        if self.blocks < 0 or self.blocks == 1:
            raise ConfigError("blocks", self.blocks, "0 (no standard errors) or at least 2")
        if self.permutations < 0:
            raise ConfigError("permutations", self.permutations, "0 (no null value) or more")
        if self.debias and not self.permutations:
            raise ConfigError(
                "debias", self.debias, "False when permutations is 0: the null value is what it subtracts"
            )

    def light(self) -> "MIUBConfig":
        """The same measurement without standard errors and permutation null, which cost more than the scores."""
        return replace(self, blocks=0, permutations=0, debias=False)

    def classes(self, features: int, module: str) -> int:
        """Returns the number of classes of a module with `features` output features.

        Raises:
            ConfigError: If `bins` is above `features`.
        """
        if self.bins is None:
            return features
        if self.bins == "auto":
            return AUTO_BINS if features > AUTO_BINS_ABOVE else features
        if self.bins > features:
            raise ConfigError("bins", self.bins, f"at most {features}, the module's output features", where=module)
        return self.bins
