"""Fitting a compressed embedding to a trained matrix: the rows come as near to the original's as they can.

The loop here is no Trainer's: there are no texts, no model and nothing to evaluate, resume or distribute, only a sum
of squares over the rows of one matrix. Training with a model goes through the Trainer.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.progress import Progress
from intarsia.compress.rivals.factorisation import check_matrix
from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.errors import ConfigError, DataError, IntarsiaError, ModelError, UnknownNameError

Weighting = Literal["uniform", "sqrt"]
# Highest learning rate, as a share of the size of the entries it changes.
_RELATIVE_RATE = 0.25
WEIGHTINGS: tuple[str, ...] = get_args(Weighting)


@dataclass(frozen=True)
class FitConfig:
    """Settings of `fit_matrix`.

    Attributes:
        steps: Steps of Adam.
        learning_rate: Highest rate of the one-cycle schedule, for unit vectors. Other weights have the same rate in
            proportion to their size. None: a quarter of the size of the vectors' entries at the start, which on
            SmolLM2 is twice the 0.03 that is usual, and half of where fits of common units begin to diverge.
        batch_size: Tokens in a step.
        warmup: Share of the steps in which the rate rises.
        weighting: Weight of a token's squared error: the same for all, or the root of how often it occurs.
        seed: Of the order of the tokens.
    """

    steps: int = 500
    learning_rate: float | None = None
    batch_size: int = 1024
    warmup: float = 0.1
    weighting: Weighting = "uniform"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("batch_size", 1)):
            if not isinstance(value := getattr(self, name), int) or value < least:
                raise ConfigError(name, value, f"a whole number, {least} or more")
        if self.learning_rate is not None and not 0 < self.learning_rate < float("inf"):
            raise ConfigError("learning_rate", self.learning_rate, "positive, or None for one that fits the vectors")
        if not 0 < self.warmup < 1:
            raise ConfigError("warmup", self.warmup, "between 0 and 1")
        if self.weighting not in WEIGHTINGS:
            raise UnknownNameError("weighting", str(self.weighting), WEIGHTINGS)


class FitReport(NamedTuple):
    """What a fit came to.

    Attributes:
        relative_error: Norm of the difference over that of the matrix.
        centred_error: Norm of the difference over that of the matrix without its mean row, 1 for the mean row alone.
        losses: Mean squared error of each step's batch, over the variance of the matrix.
    """

    relative_error: float
    centred_error: float
    losses: list[float]


def fit_matrix(
    embedding: CompressedEmbedding,
    matrix: Float[Tensor, "vocab dim"],
    config: FitConfig | None = None,
    *,
    counts: Float[Tensor, "vocab"] | None = None,
    progress: Progress | None = None,
) -> FitReport:
    """Minimises `mean_w f_w ||e_w - E0_w||^2` over the weights of an embedding, in place.

    Args:
        embedding: The embedding, best made by `from_matrix`.
        matrix: The trained matrix `E0`.
        config: Settings.
        counts: How often each token occurs, for `sqrt` weighting.
        progress: Called with 1 after each step.

    Raises:
        ModelError: If the matrix has another shape than the embedding, or holds NaN or infinity, or nothing is trained.
        DataError: If counts are asked for but missing, negative, or of another number of tokens.
        IntarsiaError: If the loss becomes NaN or infinite.
    """
    config = config or FitConfig()
    if tuple(matrix.shape) != (embedding.num_embeddings, embedding.embedding_dim):
        raise ModelError(
            f"the matrix is {matrix.shape[0]} x {matrix.shape[1]}, but the embedding "
            f"{embedding.num_embeddings} x {embedding.embedding_dim}",
            fix="make the embedding of this matrix by `SEEEmbedding.from_matrix`",
        )
    check_matrix(matrix)
    matrix = matrix.float()
    weights = _token_weights(config, counts, matrix)
    optimizer = torch.optim.Adam(_groups(embedding, config.learning_rate), fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr"] for group in optimizer.param_groups],
        config.steps,
        # A warm-up of exactly one step would be divided by its length, which torch counts as none.
        pct_start=config.warmup * (1 + 1e-6),
        cycle_momentum=False,
    )
    variance = float((matrix - matrix.mean(0)).square().mean())
    losses = []
    for ids in _batches(len(matrix), config):
        ids = ids.to(matrix.device)
        difference = embedding(ids) - matrix[ids]
        loss = (difference.square().mean(1) * weights[ids]).mean() / variance
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise IntarsiaError("the fit's loss is not a number any more", fix="lower the learning rate")
        if progress is not None:
            progress(1)
    difference = embedding.to_dense() - matrix
    if embedding.padding_idx is not None:
        difference[embedding.padding_idx] = 0
    norm = float(difference.norm())
    return FitReport(norm / float(matrix.norm()), norm / float((matrix - matrix.mean(0)).norm()), losses)


def _groups(embedding: CompressedEmbedding, learning_rate: float | None) -> list[dict[str, Any]]:
    """One group for each weight that is trained, its rate in proportion to the size of its entries."""
    trained = [parameter for parameter in embedding.parameters() if parameter.requires_grad]
    if not trained:
        raise ModelError(f"the {type(embedding).__name__} has no weights that are trained, so it cannot be fitted")
    units = [module.weight for module in embedding.modules() if isinstance(module, SEEEmbedding)]
    unit = _root_mean_square(units[0] if units else trained[0])
    relative = _RELATIVE_RATE if learning_rate is None else learning_rate / unit
    return [{"params": [weight], "lr": relative * (_root_mean_square(weight) or unit)} for weight in trained]


def _root_mean_square(parameter: nn.Parameter) -> float:
    return float(parameter.detach().square().mean().sqrt())


def _token_weights(
    config: FitConfig, counts: Float[Tensor, "vocab"] | None, matrix: Float[Tensor, "vocab dim"]
) -> Float[Tensor, "vocab"]:
    """Weight of each token's error, 1 on average."""
    if config.weighting == "uniform":
        return matrix.new_ones(len(matrix))
    if counts is None or len(counts) != len(matrix) or bool((counts < 0).any()) or not bool(counts.any()):
        has = "missing" if counts is None else f"of {len(counts)} tokens, or negative, or all zero"
        raise DataError(
            f"the counts of tokens are {has}",
            field="counts",
            fix=f"give how often each of the {len(matrix)} tokens occurs, or use uniform weighting",
        )
    roots = counts.to(matrix.device, torch.float32).sqrt()
    return roots / roots.mean()


def _batches(tokens: int, config: FitConfig) -> Iterator[Int[Tensor, "batch"]]:
    """Yields as many batches as there are steps, every token once before any comes again."""
    generator = torch.Generator().manual_seed(config.seed)
    waiting = torch.empty(0, dtype=torch.long)
    for _ in range(config.steps):
        while len(waiting) < min(config.batch_size, tokens):
            waiting = torch.cat([waiting, torch.randperm(tokens, generator=generator)])
        yield waiting[: config.batch_size]
        waiting = waiting[config.batch_size :]
