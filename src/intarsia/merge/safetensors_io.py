"""Reading and writing safetensors files a few rows at a time, so that memory does not grow with the model.

The safetensors library maps a whole file, or takes all tensors of a file at once. Merging needs neither: it reads the
same rows of every model, mixes them and writes them in place. The format is a length, a JSON header with each tensor's
dtype, shape and byte range, and the bytes.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from intarsia.errors import ModelError
from intarsia.files import write_json

DEFAULT_SHARD_BYTES = 5_000_000_000

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_DTYPE_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class TensorSpec(NamedTuple):
    """What a tensor is, without its values."""

    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes it takes on disk."""
        return self.numel * self.dtype.itemsize

    @property
    def numel(self) -> int:
        """Number of its elements."""
        return torch.Size(self.shape).numel()

    @property
    def row_bytes(self) -> int:
        """Bytes of one slice along its first dimension; of the whole tensor if it is a scalar."""
        return self.nbytes // self.shape[0] if self.shape and self.shape[0] else self.nbytes


class SafetensorsFile:
    """One safetensors file, of which any rows of any tensor can be read.

    Args:
        path: The file.

    Raises:
        ModelError: If it is missing, cut short, or holds a dtype torch has no name for.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)
        try:
            with safe_open(path, framework="pt"):
                pass  # the library checks the header: its size, the byte ranges, that nothing is missing at the end
            with path.open("rb") as file:
                length = int.from_bytes(file.read(8), "little")
                header = json.loads(file.read(length))
        except (SafetensorError, OSError) as error:
            raise ModelError(f"not a readable safetensors file: {error}", where=path) from None
        header.pop("__metadata__", None)
        specs: dict[str, TensorSpec] = {}
        self._begin: dict[str, int] = {}
        for key, entry in header.items():
            if entry["dtype"] not in _DTYPES:
                raise ModelError(f"tensor {key!r} has the unknown dtype {entry['dtype']}", where=path)
            specs[key] = TensorSpec(_DTYPES[entry["dtype"]], tuple(entry["shape"]))
            self._begin[key] = 8 + length + int(entry["data_offsets"][0])
        self.specs: Mapping[str, TensorSpec] = specs

    def read(self, key: str, rows: slice | None = None) -> Tensor:
        """Returns tensor `key`, or its `rows` (a slice with start and stop along the first dimension), freshly read."""
        spec = self.specs[key]
        begin, shape = self._begin[key], spec.shape
        if rows is not None:
            begin += rows.start * spec.row_bytes
            shape = (rows.stop - rows.start, *spec.shape[1:])
        raw = torch.empty(torch.Size(shape).numel() * spec.dtype.itemsize, dtype=torch.uint8)
        view = raw.numpy().data
        with self.path.open("rb", buffering=0) as file:
            while view:
                count = os.preadv(file.fileno(), [view], begin)
                if count == 0:
                    raise ModelError(f"the file ends inside tensor {key!r}", where=self.path)
                view, begin = view[count:], begin + count
        return raw.view(spec.dtype).reshape(shape)


class ShardedWriter:
    """Writes a model's tensors as `model.safetensors`, or as numbered shards with an index, in any order.

    All files get their headers at once, since the shapes are known; rows are then written straight to their place,
    from any thread, and nothing is kept in memory.

    Args:
        folder: An existing folder.
        layout: Every tensor to be written.
        max_shard_bytes: Size above which another shard is begun. A tensor is never split.
    """

    def __init__(self, folder: Path, layout: Mapping[str, TensorSpec], max_shard_bytes: int) -> None:
        shards = _shards(layout, max_shard_bytes)
        self._place: dict[str, tuple[Path, int]] = {}
        self._layout = dict(layout)
        self.nbytes = sum(spec.nbytes for spec in layout.values())
        names = ["model.safetensors"]
        if len(shards) > 1:
            names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
            weight_map = {key: name for name, keys in zip(names, shards, strict=True) for key in keys}
            total = sum(spec.numel for spec in layout.values())
            metadata = {"total_size": self.nbytes, "total_parameters": total}
            write_json(folder / "model.safetensors.index.json", {"metadata": metadata, "weight_map": weight_map})
        for name, keys in zip(names, shards, strict=True):
            self._begin_file(folder / name, keys)

    def write(self, key: str, tensor: Tensor, first_row: int = 0) -> None:
        """Writes `tensor` as tensor `key`, or as its rows from `first_row` on."""
        path, begin = self._place[key]
        begin += first_row * self._layout[key].row_bytes
        flat = tensor.detach().contiguous().flatten()
        view = flat.view(torch.uint8).numpy().data
        with path.open("r+b", buffering=0) as file:
            while view:
                count = os.pwrite(file.fileno(), view, begin)
                view, begin = view[count:], begin + count

    def _begin_file(self, path: Path, keys: list[str]) -> None:
        header: dict[str, object] = {"__metadata__": {"format": "pt"}}
        offset = 0
        for key in keys:
            spec = self._layout[key]
            if spec.dtype not in _DTYPE_NAMES:
                raise ModelError(f"tensor {key!r} has dtype {spec.dtype}, which safetensors cannot store", where=path)
            end = offset + spec.nbytes
            header[key] = {"dtype": _DTYPE_NAMES[spec.dtype], "shape": spec.shape, "data_offsets": [offset, end]}
            self._place[key] = (path, offset)
            offset = end
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with path.open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            file.truncate(8 + len(text) + offset)
        for key in keys:
            self._place[key] = (path, self._place[key][1] + 8 + len(text))


def _shards(layout: Mapping[str, TensorSpec], max_shard_bytes: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    size = 0
    for key, spec in layout.items():
        if shards[-1] and size + spec.nbytes > max_shard_bytes:
            shards.append([])
            size = 0
        shards[-1].append(key)
        size += spec.nbytes
    # Readers view bytes as numbers in place, which needs wide dtypes before narrow ones.
    return [sorted(keys, key=lambda key: -layout[key].dtype.itemsize) for keys in shards]
