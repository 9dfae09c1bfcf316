"""Sentence embeddings: how near two texts are."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from intarsia.errors import DataError

Vectors = npt.NDArray[np.float32]
"""Unit vectors, (texts, dim)."""

DEFAULT_ENCODER = "asset:minilm-l6"


class TextEncoder(Protocol):
    """Turns texts into unit vectors."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Returns the vectors of texts, (texts, dim), each of length 1."""
        ...


class SentenceEncoder:
    """Mean of a transformer's last states over the tokens, as sentence-transformers models are trained to be read.

    Args:
        ref: Hub id, local folder or `asset:NAME`.
        batch_size: Texts encoded at once.
        max_length: Texts are cut after so many tokens.
    """

    def __init__(self, ref: str = DEFAULT_ENCODER, *, batch_size: int = 64, max_length: int = 128) -> None:
        self.ref = ref
        self._batch_size = batch_size
        self._max_length = max_length
        self._loaded: Any = None
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Returns the vectors of texts, (texts, dim), each of length 1; a text is encoded once.

        Raises:
            ModelError: If the encoder cannot be loaded.
            DataError: If there are no texts.
        """
        if not texts:
            raise DataError("there are no texts to encode")
        # Sorted by length: a batch is as long as its longest text.
        new = sorted({text for text in texts if text not in self._known}, key=lambda text: (len(text), text))
        for start in range(0, len(new), self._batch_size):
            batch = new[start : start + self._batch_size]
            self._known.update(zip(batch, self._encode(batch), strict=True))
        return np.stack([self._known[text] for text in texts])

    def _encode(self, texts: Sequence[str]) -> Vectors:
        import torch

        if self._loaded is None:
            from intarsia.models.loading import load_encoder

            self._loaded = load_encoder(self.ref)
        model, tokenizer = self._loaded
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=self._max_length, return_tensors="pt")
        with torch.inference_mode():
            states = model(**batch.to(model.device)).last_hidden_state
        weights = batch.attention_mask.to(states).unsqueeze(-1)
        means = (states * weights).sum(dim=1) / weights.sum(dim=1)
        vectors: Vectors = torch.nn.functional.normalize(means.float(), dim=-1).cpu().numpy()
        return vectors
