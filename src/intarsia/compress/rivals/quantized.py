"""Few bits: every number is rounded to a small whole number times the scale of its group.

The practical anchor: no training, nothing but arithmetic, and what every inference engine does to embeddings.
"""

from typing import Any, Self

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from intarsia.compress.compressed_embedding import CompressedEmbedding, StoredBytes
from intarsia.compress.rivals.factorisation import check_matrix
from intarsia.errors import ConfigError

GROUP = 32

_BITS = (3, 4, 8)


class QuantizedEmbedding(CompressedEmbedding):
    """Whole numbers of `bits` bits, packed, and a float16 scale for every 32 numbers of a row. Nothing is trained.

    Codes are symmetric: of 4 bits, -7 to 7 times the largest magnitude of the group over 7.

    Args:
        num_embeddings: Number of tokens V.
        embedding_dim: Length of a row d.
        bits: 3, 4 or 8.
        padding_idx: Token whose row is zero, if any.

    Raises:
        ConfigError: If the number of bits is another.
    """

    codes: UInt8[Tensor, "vocab packed"]
    scale_bits: Int[Tensor, "vocab groups"]

    def __init__(self, num_embeddings: int, embedding_dim: int, bits: int, padding_idx: int | None = None) -> None:
        super().__init__(num_embeddings, embedding_dim, padding_idx)
        if bits not in _BITS:
            raise ConfigError("bits", bits, " or ".join(map(str, _BITS)))
        self.bits = bits
        groups = -(-embedding_dim // GROUP)
        self.register_buffer("codes", torch.zeros(num_embeddings, groups * GROUP * bits // 8, dtype=torch.uint8))
        # Bit patterns of float16: as floats they would be widened when a model is loaded in another type.
        self.register_buffer("scale_bits", torch.zeros(num_embeddings, groups, dtype=torch.int16))

    @classmethod
    def from_matrix(cls, matrix: Float[Tensor, "vocab dim"], *, bits: int, padding_idx: int | None = None) -> Self:
        """Returns a matrix rounded to `bits` bits.

        Raises:
            ConfigError: If the number of bits is none of 3, 4 and 8.
            ModelError: If the matrix holds NaN or infinity.
        """
        check_matrix(matrix)
        vocab, dim = matrix.shape
        made = cls(vocab, dim, bits, padding_idx)
        made.to(matrix.device)
        groups = torch.nn.functional.pad(matrix.float(), (0, -dim % GROUP)).reshape(vocab, -1, GROUP)
        largest = 2 ** (bits - 1) - 1
        scales = (groups.abs().amax(-1) / largest).half()
        # The scales that will be read: of tiny numbers they have few digits, and may be 0, as all codes are then.
        steps = scales.float()[..., None]
        codes = (groups / steps).nan_to_num(0.0, 0.0, 0.0).round().clamp(-largest, largest) + largest
        made.codes.copy_(pack(codes.to(torch.uint8).reshape(vocab, -1), bits))
        made.scale_bits.copy_(scales.view(torch.int16))
        return made

    @property
    def settings(self) -> dict[str, Any]:
        """What makes an empty one of the same shape, as JSON values."""
        return {**super().settings, "bits": self.bits}

    def rows(self, ids: Int[Tensor, "tokens"]) -> Float[Tensor, "tokens dim"]:
        """Returns rows, unpacked and scaled."""
        largest = 2 ** (self.bits - 1) - 1
        codes = unpack(self.codes[ids], self.bits).reshape(len(ids), -1, GROUP).float() - largest
        scales = self.scale_bits[ids].view(torch.float16).float()
        return (codes * scales[..., None]).flatten(1)[:, : self.embedding_dim]

    def stored_bytes(self) -> StoredBytes:
        """Returns what codes and scales take on disk."""
        total = self.codes.numel() + 2 * self.scale_bits.numel()
        return StoredBytes(total, total)


def pack(codes: UInt8[Tensor, "rows columns"], bits: int) -> UInt8[Tensor, "rows packed"]:
    """Packs numbers below 2^bits without gaps, eight of them into `bits` bytes, the lowest bits first.

    Args:
        codes: The number of columns is divisible by 8.
        bits: Bits of each.
    """
    rows, columns = codes.shape
    places = torch.arange(bits, dtype=torch.uint8, device=codes.device)
    stream = (codes[..., None] >> places & 1).reshape(rows, columns * bits // 8, 8)
    weights = 2 ** torch.arange(8, dtype=torch.uint8, device=codes.device)
    return (stream * weights).sum(-1, dtype=torch.uint8)


def unpack(packed: UInt8[Tensor, "rows packed"], bits: int) -> UInt8[Tensor, "rows columns"]:
    """Undoes `pack`."""
    rows, width = packed.shape
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    stream = (packed[..., None] >> places & 1).reshape(rows, width * 8 // bits, bits)
    weights = 2 ** torch.arange(bits, dtype=torch.uint8, device=packed.device)
    return (stream * weights).sum(-1, dtype=torch.uint8)
