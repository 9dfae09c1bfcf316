"""How near two texts are: by a sentence encoder, or by the words they share."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from intarsia.models.sentence_encoder import SentenceEncoder, TextEncoder, Vectors

WORDS = "words"

_COMMON = frozenset(
    """a about an and any are as at be been but by can did do does for from had has have he her his how i if in into is
    it its me my no not of on one or our she so that the their them then there they this to was we were what when
    where which who why will with would you your""".split()  # noqa: SIM905
)


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
