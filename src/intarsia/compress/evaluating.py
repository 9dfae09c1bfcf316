"""How much a compressed embedding lost, by its matrix and by what the model says, and what it takes."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.compress.compressed_embedding import CompressedEmbedding

# Bytes of a number of the original: ratios in bytes are against float32, which the models here are loaded in.
DENSE_BYTES = 4


class MatrixQuality(NamedTuple):
    """How near a matrix comes to the original.

    Attributes:
        relative_error: Norm of the difference over the norm of the original. It flatters: a pretrained matrix has much
            of its norm in its mean row.
        centred_error: Norm of the difference over the norm of the original without its mean row.
        cosine: Mean cosine of a row and its original.
        neighbour_overlap: Share of a token's ten nearest tokens, by cosine, that are still among them.
    """

    relative_error: float
    centred_error: float
    cosine: float
    neighbour_overlap: float


class TextQuality(NamedTuple):
    """How well a model predicts text.

    Attributes:
        cross_entropy: In nats a token.
        perplexity: Its exponential.
        tokens: How many were predicted.
    """

    cross_entropy: float
    perplexity: float
    tokens: int


class Size(NamedTuple):
    """What an embedding and its model take.

    Attributes:
        parameters: Numbers of the embedding that are trained (with few bits: that are stored).
        dense_parameters: Of the original embedding.
        bytes: Of the embedding on disk, when tables that can be computed again are not stored.
        bytes_with_table: With these tables.
        dense_bytes: Of the original in float32.
        model_bytes: Of the whole model on disk.
        dense_model_bytes: Of the whole original in float32.
    """

    parameters: int
    dense_parameters: int
    bytes: int
    bytes_with_table: int
    dense_bytes: int
    model_bytes: int
    dense_model_bytes: int

    @property
    def parameter_ratio(self) -> float:
        """How many times fewer parameters."""
        return self.dense_parameters / self.parameters

    @property
    def byte_ratio(self) -> float:
        """How many times fewer bytes."""
        return self.dense_bytes / self.bytes

    @property
    def byte_ratio_with_table(self) -> float:
        """How many times fewer bytes with all tables stored."""
        return self.dense_bytes / self.bytes_with_table

    @property
    def model_byte_ratio(self) -> float:
        """How many times fewer bytes the whole model has."""
        return self.dense_model_bytes / self.model_bytes

    def to_dict(self) -> dict[str, float]:
        """Returns sizes and ratios as JSON values."""
        return {
            **self._asdict(),
            "parameter_ratio": self.parameter_ratio,
            "byte_ratio": self.byte_ratio,
            "byte_ratio_with_table": self.byte_ratio_with_table,
            "model_byte_ratio": self.model_byte_ratio,
        }


@torch.no_grad()
def matrix_quality(
    original: Float[Tensor, "vocab dim"], compressed: Float[Tensor, "vocab dim"], *, sample: int = 1000, seed: int = 0
) -> MatrixQuality:
    """Compares two matrices.

    Args:
        original: The matrix that was compressed.
        compressed: What became of it.
        sample: Tokens whose neighbours are compared.
        seed: Of the sample.
    """
    original, compressed = original.float(), compressed.float()
    difference = (compressed - original).norm()
    centred = (original - original.mean(0)).norm()
    chosen = torch.randperm(len(original), generator=torch.Generator().manual_seed(seed))[:sample].to(original.device)
    return MatrixQuality(
        relative_error=float(difference / original.norm()),
        centred_error=float(difference / centred),
        cosine=float(nn.functional.cosine_similarity(original, compressed).mean()),
        neighbour_overlap=_neighbour_overlap(original, compressed, chosen),
    )


def _neighbour_overlap(original: Tensor, compressed: Tensor, chosen: Tensor, *, count: int = 10) -> float:
    count = min(count, len(original) - 1)
    nearest = []
    for matrix in (original, compressed):
        directions = nn.functional.normalize(matrix, dim=-1)
        found = []
        for tokens in torch.split(chosen, 256):
            cosines = directions[tokens] @ directions.T
            cosines[torch.arange(len(tokens)), tokens] = -2.0
            found.append(cosines.topk(count).indices)
        nearest.append(torch.cat(found))
    both = (nearest[0][:, :, None] == nearest[1][:, None, :]).any(-1)
    return float(both.float().mean())


def text_quality(model: Any, rows: Int[Tensor, "rows length"], *, batch_size: int = 4) -> TextQuality:
    """Measures how well a model predicts every token of rows but their first.

    Args:
        model: A causal language model.
        rows: Tokens, as `token_rows` gives them.
        batch_size: Rows run at once.
    """
    losses = token_losses(model, rows, batch_size=batch_size)
    cross_entropy = float(losses.double().mean())
    # Above that a perplexity says no more than "hopeless", and JSON knows no infinity.
    return TextQuality(cross_entropy, math.exp(min(cross_entropy, 100.0)), losses.numel())


@torch.no_grad()
def token_losses(
    model: Any, rows: Int[Tensor, "rows length"], *, batch_size: int = 4
) -> Float[Tensor, "rows length-1"]:
    """Returns the loss of every token of rows but their first, in nats.

    Two models are compared best on the same tokens, one by one: most of what a loss depends on is the token.

    Args:
        model: A causal language model.
        rows: Tokens, as `token_rows` gives them.
        batch_size: Rows run at once.
    """
    training = model.training
    model.eval()
    found = []
    for batch in torch.split(rows.to(model.device), batch_size):
        logits = model(input_ids=batch, use_cache=False).logits[:, :-1].float()
        found.append(nn.functional.cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").cpu())
    model.train(training)
    return torch.cat(found)


def size_of(embedding: CompressedEmbedding, model: nn.Module) -> Size:
    """Returns what an embedding takes, and the model around it.

    Args:
        embedding: The compressed embedding.
        model: The model that holds it.
    """
    dense = embedding.num_embeddings * embedding.embedding_dim
    own = {id(parameter) for parameter in embedding.parameters()}
    rest = sum(parameter.numel() for parameter in model.parameters() if id(parameter) not in own)
    stored = embedding.stored_bytes()
    parameters = embedding.parameter_count() or dense
    return Size(
        parameters=parameters,
        dense_parameters=dense,
        bytes=stored.weights,
        bytes_with_table=stored.with_table,
        dense_bytes=DENSE_BYTES * dense,
        model_bytes=stored.weights + DENSE_BYTES * rest,
        dense_model_bytes=DENSE_BYTES * (dense + rest),
    )
