"""How near two texts are: by a sentence encoder, or by the words they share."""

import hashlib
import re
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from intarsia.errors import DataError

Vectors = npt.NDArray[np.float32]
"""Unit vectors, (texts, dim)."""

DEFAULT_ENCODER = "asset:minilm-l6"
WORDS = "words"

_COMMON = frozenset(
    """a about an and any are as at be been but by can did do does for from had has have he her his how i if in into is
    it its me my no not of on one or our she so that the their them then there they this to was we were what when
    where which who why will with would you your""".split()  # noqa: SIM905
)


class TextEncoder(Protocol):
    """Turns texts into unit vectors."""

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Returns the vectors of texts, (texts, dim), each of length 1."""
        ...


def make_encoder(ref: str) -> TextEncoder:
    """Returns the encoder of a name: `"words"`, or a sentence encoder's hub id, folder or `asset:NAME`."""
    return WordEncoder() if ref == WORDS else SentenceEncoder(ref)


class WordEncoder:
    """Counts words, hashed into a vector: needs no model, and sees no meaning.

    Args:
        dim: Length of the vectors.
    """

    def __init__(self, dim: int = 2048) -> None:
        self._dim = dim

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Returns the vectors of texts, (texts, dim), each of length 1."""
        vectors = np.zeros((len(texts), self._dim), dtype=np.float32)
        for row, text in enumerate(texts):
            words = re.findall(r"\w+", text.lower())
            for word in [word for word in words if word not in _COMMON] or words or [""]:
                digest = hashlib.sha256(word[:7].encode()).digest()
                vectors[row, int.from_bytes(digest[:4], "big") % self._dim] += 1
        unit: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


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
            from intarsia.models import load_encoder

            self._loaded = load_encoder(self.ref)
        model, tokenizer = self._loaded
        batch = tokenizer(list(texts), padding=True, truncation=True, max_length=self._max_length, return_tensors="pt")
        with torch.inference_mode():
            states = model(**batch.to(model.device)).last_hidden_state
        weights = batch.attention_mask.to(states).unsqueeze(-1)
        means = (states * weights).sum(dim=1) / weights.sum(dim=1)
        vectors: Vectors = torch.nn.functional.normalize(means.float(), dim=-1).cpu().numpy()
        return vectors


def nearest(vectors: Vectors, ids: Sequence[str], count: int) -> dict[str, list[str]]:
    """Returns, for each id, the ids of the nearest others; equally near ones come in the order of their ids.

    Args:
        vectors: Unit vectors, (ids, dim).
        ids: Unique names of the rows.
        count: How many others.
    """
    # Rounded, so that equal texts are equally near whatever the order of the sums.
    cosines = np.round(vectors.astype(np.float64) @ vectors.T.astype(np.float64), 6)
    return {
        id: [
            ids[other]
            for other in sorted((o for o in range(len(ids)) if o != row), key=lambda o: (-cosines[row, o], ids[o]))
        ][:count]
        for row, id in enumerate(ids)
    }
