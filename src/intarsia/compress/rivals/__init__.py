"""What sums of tensor products are measured against: low rank, tensor trains, Kronecker products, few bits.

All are `CompressedEmbedding`s made of a trained matrix in closed form, the best or nearly the best of their kind.
"""

from intarsia._lazy import lazy_names

_HOMES = {
    "KroneckerEmbedding": "kronecker",
    "QuantizedEmbedding": "quantized",
    "SVDEmbedding": "svd",
    "TTEmbedding": "tensor_train",
}

__all__ = sorted(_HOMES)

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
