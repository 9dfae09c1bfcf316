"""Output heads tied to an embedding of sums of tensor products."""

from typing import Any, Literal, get_args

from jaxtyping import Float
from torch import Tensor, nn

from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.compress.tied_rows import CompressedHead, MatrixCache
from intarsia.errors import UnknownNameError

Form = Literal["cached", "chunked", "contracted"]
FORMS: tuple[str, ...] = get_args(Form)


class SEEHead(CompressedHead):
    """Logits of hidden states for all tokens; it has no weights but a bias, the rows are the embedding's.

    While the embedding is trained, rows are rebuilt in chunks, once more for the gradient, and never all there.

    Args:
        embedding: The embedding it is tied to. It is not a part of this module, so weights are listed once.
        form: What is done where the embedding is not trained. `cached` keeps the whole matrix until a weight changes:
            as fast as a dense head, and as large. `chunked` rebuilds it each time. `contracted` contracts hidden states
            with one vector after the other, also in training; for few terms and few states.
        bias: Added to the logits.

    Raises:
        UnknownNameError: If there is no such form.
    """

    def __init__(self, embedding: SEEEmbedding, *, form: Form = "cached", bias: nn.Parameter | None = None) -> None:
        if form not in FORMS:
            raise UnknownNameError("form of the head", str(form), FORMS)
        super().__init__(MatrixCache(embedding, enabled=form == "cached"), bias)
        self.form = form

    def forward(self, hidden: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch num_embeddings"]:
        """Returns the logits, in the type of the hidden states."""
        if self.form != "contracted":
            return super().forward(hidden)
        embedding: Any = self.cache.embedding
        logits = embedding.contracted_logits(hidden).to(hidden.dtype)
        return logits if self.bias is None else logits + self.bias
