"""Settings of LoRA experts."""

import math
from dataclasses import dataclass

from intarsia.errors import ConfigError


@dataclass(frozen=True)
class ExpertConfig:
    """How one LoRA expert of a causal language model is trained.

    Attributes:
        rank: Rank of every LoRA update.
        alpha: LoRA's alpha; the update is scaled by alpha / rank (alpha / sqrt(rank) with `rslora`).
        rslora: Whether to use the rank-stabilised scale (Kalajdzievski 2023).
        dropout: Dropout on the adapters' input.
        target_modules: Names of the linear modules that get an adapter. Empty: all in the adapted decoder layers.
        top_layers: Number of decoder layers adapted, counted from the top. None: all. The states of the layers below
            are computed once and kept on disk, which is exact.
        epochs: Passes over the training rows.
        batch_size: Rows in one step.
        learning_rate: Peak learning rate of AdamW; linear warm-up over 5 % of the steps, then linear decay.
        seed: Seed of initial weights and row order.
    """

    rank: int = 16
    alpha: float = 16.0
    rslora: bool = False
    dropout: float = 0.0
    target_modules: tuple[str, ...] = ()
    top_layers: int | None = None
    epochs: float = 3.0
    batch_size: int = 16
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("rank", "batch_size"):
            if getattr(self, field) < 1:
                raise ConfigError(field, getattr(self, field), "at least 1")
        for field in ("alpha", "epochs", "learning_rate"):
            if not getattr(self, field) > 0:
                raise ConfigError(field, getattr(self, field), "above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError("dropout", self.dropout, "in [0, 1)")
        if self.top_layers is not None and self.top_layers < 1:
            raise ConfigError("top_layers", self.top_layers, "at least 1, or left out for all layers")

    def steps(self, rows: int) -> int:
        """Optimisation steps of a run on `rows` rows."""
        return math.ceil(math.ceil(rows / self.batch_size) * self.epochs)
