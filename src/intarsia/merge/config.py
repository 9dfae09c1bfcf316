"""Settings of Twin-Merging, with the values of the paper and its code as defaults."""

import math
from dataclasses import dataclass, field
from typing import Literal

from intarsia.errors import ConfigError

Routing = Literal["soft", "hard", "grouped"]
ROUTINGS: tuple[Routing, ...] = ("soft", "hard", "grouped")


@dataclass(frozen=True, kw_only=True)
class RouterConfig:
    """The router: a small network from a prompt's representation to one logit per expert.

    The training defaults are those of the published code (GLUE script), which trains with AdamW and linear decay.

    Attributes:
        pool: How the last hidden states of a prompt become one vector: their mean over the prompt, or the last one.
            The published code generates up to 16 tokens with sampling and takes the last state; that is slow and
            different at each call.
        layer: How many decoder layers the prompt passes before it is read; None reads it after the last one and its
            norm, as the paper does. Up to the first adapted layer, reading it costs nothing at inference.
        hidden: Width of the two hidden layers; None for twice the model's width.
        dropout: Share of hidden units dropped in training.
        learning_rate: Of AdamW, falling linearly to 0.
        epochs: Passes over the training sample; the epoch with the best validation accuracy is kept.
        batch_size: Rows of a step. A sample of fewer than eight batches is cut into eight.
        validation: Share of the sample that only selects the epoch.
        standardise: Whether the representations are scaled to mean 0 and deviation 1 of the sample. Not in the paper.
        max_length: Tokens of a text the router is trained on.
    """

    pool: Literal["mean", "last"] = "mean"
    layer: int | None = None
    hidden: int | None = None
    dropout: float = 0.5
    learning_rate: float = 5e-4
    epochs: int = 50
    batch_size: int = 256
    validation: float = 0.2
    standardise: bool = True
    max_length: int = 512

    def __post_init__(self) -> None:
        _one_of("pool", self.pool, ("mean", "last"))
        _at_least("layer", self.layer, 0)
        _at_least("hidden", self.hidden, 1)
        _within("dropout", self.dropout, 0, 1, open_right=True)
        _within("learning_rate", self.learning_rate, 0, math.inf, open_left=True, open_right=True)
        _at_least("epochs", self.epochs, 1)
        _at_least("batch_size", self.batch_size, 2)
        _within("validation", self.validation, 0, 1, open_left=True, open_right=True)
        _at_least("max_length", self.max_length, 1)


@dataclass(frozen=True, kw_only=True)
class TwinMergingConfig:
    """Twin-Merging (arXiv 2406.15479): a shared model, one low-rank residual per expert, and a router.

    Attributes:
        gamma: Scale of the summed task vectors in the shared model (Eq. of task arithmetic). 0.29 for the paper's
            eight RoBERTa experts, 0.3 for its four LoRA experts.
        rank: Rank of each residual. A whole number is the rank, a fraction is a share of the smaller side of each
            matrix (at least 1), `"full"` keeps everything. None: 8 for LoRA experts, 0.1 for full fine-tunes.
        clip_rank: Whether a rank above a matrix's smaller side is lowered to it (with a warning) or refused.
        lora_mode: `"product"` splits and compresses the updates `B A`; `"factor"` treats `A` and `B` apart, as the
            published code does, which mixes in products of different experts. For comparison.
        embeddings: Whether embeddings and the output head get residuals. If not they take part in the shared model
            only.
        exclude: Patterns of tensor names that are not merged at all, such as `classifier.*`.
        routing: How mixture weights follow from the router's probabilities: `"soft"` takes them, `"hard"` puts all
            weight on the likeliest expert, `"grouped"` gives rows of a batch with the same likeliest expert their
            mean weights (the paper's group-wise variant; the result then depends on the batch).
        unknown_threshold: If the largest probability of a prompt is below it, the prompt gets the shared model
            alone. None never does that.
        allow_any_weights: Whether mixture weights given by hand may be negative or sum to something other than 1.
        router: The router.
        seed: Of router training and randomised decompositions.
    """

    gamma: float = 0.3
    rank: int | float | Literal["full"] | None = None
    clip_rank: bool = False
    lora_mode: Literal["product", "factor"] = "product"
    embeddings: bool = False
    exclude: tuple[str, ...] = ()
    routing: Routing = "soft"
    unknown_threshold: float | None = None
    allow_any_weights: bool = False
    router: RouterConfig = field(default_factory=RouterConfig)
    seed: int = 0

    def __post_init__(self) -> None:
        if not math.isfinite(self.gamma):
            raise ConfigError("gamma", self.gamma, "a finite number")
        check_rank(self.rank)
        _one_of("lora_mode", self.lora_mode, ("product", "factor"))
        _one_of("routing", self.routing, ROUTINGS)
        if self.unknown_threshold is not None:
            _within("unknown_threshold", self.unknown_threshold, 0, 1)


def check_rank(rank: object) -> None:
    """Checks a rank setting.

    Raises:
        ConfigError: If it is not a whole number from 0, a fraction between 0 and 1, `"full"` or None.
    """
    allowed = 'a whole number from 0, a fraction between 0 and 1, or "full"'
    if rank is None or rank == "full":
        return
    if isinstance(rank, bool) or not isinstance(rank, int | float):
        raise ConfigError("rank", rank, allowed)
    if isinstance(rank, int):
        if rank < 0:
            raise ConfigError("rank", rank, allowed)
    elif not 0 < rank < 1:
        raise ConfigError("rank", rank, allowed)


def _one_of(field: str, value: object, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ConfigError(field, value, " or ".join(map(repr, options)))


def _at_least(field: str, value: int | None, low: int) -> None:
    if value is not None and value < low:
        raise ConfigError(field, value, f"{low} or more")


def _within(
    field: str, value: float, low: float, high: float, *, open_left: bool = False, open_right: bool = False
) -> None:
    # Written so that NaN fails too.
    if not ((low < value if open_left else low <= value) and (value < high if open_right else value <= high)):
        raise ConfigError(field, value, f"between {low:g} and {high:g}")
