"""How a compressed model learns from the original one."""

from dataclasses import dataclass

from intarsia.errors import ConfigError


@dataclass(frozen=True)
class StagesConfig:
    """Settings of the two stages of training after the fit.

    The paper names the stages; their weights, temperature and steps are not published and are ours. Of few steps most
    belong to stage 2: in 40 steps of low rank at 10x on SmolLM2-135M, 40 of stage 2 came further than 20 of each.

    Attributes:
        state_steps: Steps of stage 1, which matches embeddings and hidden states. Only the embedding learns.
        distil_steps: Steps of stage 2, which matches the original's output distribution and predicts the text.
        batch_size: Rows of text in one step.
        length: Tokens of a row.
        state_learning_rate: Peak learning rate of Adam in stage 1, relative to the root mean square of each weight
            tensor; warm-up over a tenth of the steps, then linear decay.
        distil_learning_rate: Likewise in stage 2.
        state_weight: Weight of the hidden states' error in stage 1, beside 1 for the embedding's.
        matched_layers: How many layers' states are matched, evenly spaced and with the last; 0 for all. Each takes
            4 bytes a token and dimension on disk.
        row_sample: Tokens drawn in each step of stage 1 whose rows are compared; 0 for the whole vocabulary.
        temperature: Of both distributions in stage 2.
        distil_weight: Weight of the divergence from the original in stage 2; the rest is for the text's cross-entropy.
        head_positions: Positions at which stage 2 computes logits, drawn anew each step; 0 for all.
        lora_rank: Rank of LoRA updates of the layers in stage 2, merged into them at the end; 0 for none, which
            leaves every weight but the embedding's as it is.
        lora_learning_rate: Peak learning rate of these.
        seed: Of the order of rows and what is drawn.
    """

    state_steps: int = 20
    distil_steps: int = 80
    batch_size: int = 4
    length: int = 128
    state_learning_rate: float = 0.005
    distil_learning_rate: float = 0.04
    state_weight: float = 1.0
    matched_layers: int = 4
    row_sample: int = 1024
    temperature: float = 2.0
    distil_weight: float = 0.5
    head_positions: int = 0
    lora_rank: int = 0
    lora_learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("state_steps", 0), ("distil_steps", 0), ("batch_size", 1), ("length", 2)):
            if getattr(self, name) < least:
                raise ConfigError(name, getattr(self, name), f"at least {least}")
        for name in ("matched_layers", "row_sample", "head_positions", "lora_rank", "state_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(name, getattr(self, name), "0 or more")
        for name in ("state_learning_rate", "distil_learning_rate", "lora_learning_rate", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(name, getattr(self, name), "above 0")
        if not 0 <= self.seed < 2**31:
            raise ConfigError("seed", self.seed, "between 0 and 2147483647")
        if not 0 <= self.distil_weight <= 1:
            raise ConfigError("distil_weight", self.distil_weight, "between 0 and 1")

    @property
    def steps(self) -> int:
        """Steps of both stages."""
        return self.state_steps + self.distil_steps

    @property
    def rows(self) -> int:
        """Rows of text that the longer stage reads, each once; both stages read the same."""
        return max(self.state_steps, self.distil_steps) * self.batch_size
