"""Compressing a model's token embedding: sums of tensor products of sememe and morpheme vectors, and their rivals.

Names are imported when they are first used.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "CompressedEmbedding": "compressed_embedding",
    "StoredBytes": "compressed_embedding",
    "TermTable": "term_table",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
