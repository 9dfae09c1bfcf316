"""Checkpoints and experts as merging sees them: tensors by the base model's names, read only when asked for.

An expert is a folder: a full checkpoint fine-tuned from the base, or a PEFT LoRA adapter of it. Either is its *task
vector*, what fine-tuning added to each weight (Ilharco et al., arXiv 2212.04089): `theta_t - theta_0`, or `scale B A`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.errors import InputError, ModelError
from intarsia.files import read_json
from intarsia.merge.safetensors_io import SafetensorsFile, TensorSpec

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
_QUANTISED_SUFFIXES = (".qweight", ".qzeros", ".absmax", ".SCB", ".weight_scale", ".weight_scale_inv", ".quant_map")


class Weights(Protocol):
    """A model's tensors, each read when asked for."""

    specs: Mapping[str, TensorSpec]
    name: str

    def read(self, key: str, rows: slice | None = None) -> Tensor:
        """Returns tensor `key`, or its `rows`."""
        ...


class StateDict:
    """Tensors that are in memory already, as `Weights`.

    Args:
        tensors: By name, as `state_dict()` gives them.
        name: What messages call them.
    """

    def __init__(self, tensors: Mapping[str, Tensor], name: str = "state dict") -> None:
        self.name = name
        self.specs: Mapping[str, TensorSpec] = {
            key: TensorSpec(tensor.dtype, tuple(tensor.shape)) for key, tensor in tensors.items()
        }
        self._tensors = tensors

    def read(self, key: str, rows: slice | None = None) -> Tensor:
        """Returns tensor `key`, or its `rows`, without a copy."""
        tensor = self._tensors[key]
        return tensor if rows is None else tensor[rows]


class Checkpoint:
    """A folder of safetensors, sharded or not, whose tensors are read on demand.

    A second name of a tied weight, such as an output embedding equal to the input embedding, is left out.

    Args:
        ref: A folder, or anything `intarsia.models.local_folder` resolves.

    Raises:
        ModelError: If the folder has no safetensors (a pickle is refused), lacks a shard, or is quantised.
    """

    def __init__(self, ref: str | Path) -> None:
        self.path = local_folder(ref)
        self.name = str(ref)
        config = self.path / "config.json"
        self.config: dict[str, Any] = read_json(config) if config.exists() else {}
        self._file_of: dict[str, SafetensorsFile] = {}
        for file in _weight_files(self.path):
            self._file_of.update(dict.fromkeys(file.specs, file))
        self.specs: Mapping[str, TensorSpec] = {key: self._file_of[key].specs[key] for key in sorted(self._file_of)}
        _refuse_quantised(self.path, self.config, self.specs)
        tied = self._tied_names()
        self.specs = {key: spec for key, spec in self.specs.items() if key not in tied}

    def read(self, key: str, rows: slice | None = None) -> Tensor:
        """Returns tensor `key`, or its `rows`, in the dtype it is stored in.

        Raises:
            ModelError: If there is no such tensor.
        """
        if key not in self.specs:
            raise ModelError(f"there is no tensor {key!r}", where=self.path)
        return self._file_of[key].read(key, rows)

    def _tied_names(self) -> set[str]:
        if not self.config.get("tie_word_embeddings", False):
            return set()
        rows = self.config.get("vocab_size")
        candidates = [key for key, spec in self.specs.items() if len(spec.shape) == 2 and spec.shape[0] == rows]
        # The input embedding is the one transformers keeps when it saves a tied model.
        candidates.sort(key=lambda key: "embed" not in key)
        return {key for key in candidates[1:] if torch.equal(self.read(key), self.read(candidates[0]))}


class LowRank(NamedTuple):
    """A task vector in factored form, `B @ A`, with the adapter's scale folded into `B`."""

    B: Float[Tensor, "rows rank"]
    A: Float[Tensor, "rank columns"]


class Expert(ABC):
    """What fine-tuning on one task made of the base model, by the base model's tensor names.

    Attributes:
        kind: `"full"` for a checkpoint, `"lora"` for an adapter.
        name: What messages call it.
    """

    kind: Literal["full", "lora"]
    name: str
    base: Weights

    @abstractmethod
    def keys(self) -> list[str]:
        """Names of the floating-point tensors it holds a task vector for, sorted."""

    def delta(
        self, key: str, rows: slice | None = None, *, base: Float[Tensor, "*shape"] | None = None
    ) -> Float[Tensor, "*shape"]:
        """Returns the task vector of tensor `key`, or its `rows`: float32, or float64 if the base is.

        Args:
            key: Name of the tensor.
            rows: A slice with start and stop along the first dimension; None for the whole tensor.
            base: The base's values there, if the caller has read them already.

        Raises:
            ModelError: If it has a NaN or an infinity.
        """
        base = self.base.read(key, rows) if base is None else base
        delta = self._delta(key, rows, base)
        if not has_only_numbers(delta):
            # A difference is not a number if either side is not.
            refuse_nan(key, where=self.name if has_only_numbers(base) else self.base.name)
        return delta

    @abstractmethod
    def _delta(self, key: str, rows: slice | None, base: Tensor) -> Float[Tensor, "*shape"]: ...

    def low_rank(self, key: str) -> LowRank | None:
        """Returns the factors of the task vector of `key`; None where it is not known to be of low rank."""
        return None

    def tensor(self, key: str) -> Float[Tensor, "*shape"]:
        """Returns the expert's own weight, `base + delta`, in the dtype of `delta`."""
        return self.base.read(key).to(compute_dtype(self.base.specs[key])) + self.delta(key)


class FullExpert(Expert):
    """A checkpoint fine-tuned from the base.

    Args:
        weights: Its tensors.
        base: The base model's tensors.
        exclude: Patterns of tensors that are left alone, such as `classifier.*`.

    Raises:
        ModelError: If a floating-point tensor is missing on one side, or has another shape or a coarser dtype than
            in the base.
    """

    kind = "full"

    def __init__(self, weights: Weights, base: Weights, exclude: Sequence[str] = ()) -> None:
        self.name = weights.name
        self.base = base
        self._weights = weights
        self._own_key = align_keys(weights.specs, base.specs)
        wanted = set(mergeable_keys(base, exclude))
        held = {
            key
            for key, own in self._own_key.items()
            if weights.specs[own].dtype in _FLOATS and not matches(key, exclude)
        }
        for key in sorted(wanted - held):
            raise ModelError(f"the expert lacks tensor {key!r} of the base model", where=self.name, fix=_EXCLUDE)
        for key in sorted(held - wanted):
            raise ModelError(f"the expert has tensor {key!r}, the base model has not", where=self.name, fix=_EXCLUDE)
        self._keys = sorted(wanted)
        for key in self._keys:
            check_spec(key, weights.specs[self._own_key[key]], base.specs[key], where=self.name)

    def keys(self) -> list[str]:
        """Names of all the floating-point tensors of the base that are not excluded."""
        return self._keys

    def _delta(self, key: str, rows: slice | None, base: Tensor) -> Float[Tensor, "*shape"]:
        dtype = compute_dtype(self.base.specs[key])
        return self._weights.read(self._own_key[key], rows).to(dtype) - base.to(dtype)

    def tensor(self, key: str) -> Float[Tensor, "*shape"]:
        """Returns the expert's own weight as stored, in the dtype of `delta`."""
        return self._weights.read(self._own_key[key]).to(compute_dtype(self.base.specs[key]))


_EXCLUDE = "experts must have the base's architecture; leave task heads out with an exclude pattern like 'classifier.*'"


def local_folder(ref: str | Path) -> Path:
    """Returns the local folder of a model: `ref` itself if it is one, else what the models room makes of it."""
    path = Path(ref).expanduser()
    if path.is_dir():
        return path
    from intarsia import models

    return models.local_folder(ref)


def compute_dtype(spec: TensorSpec) -> torch.dtype:
    """Returns the dtype task vectors are computed in: float64 for a float64 base, else float32."""
    return torch.float64 if spec.dtype == torch.float64 else torch.float32


def mergeable_keys(base: Weights, exclude: Sequence[str] = ()) -> list[str]:
    """Returns the names of the tensors merging may change: floating point and not matching an exclude pattern.

    The others (buffers, integers, excluded ones) are copied from the base.
    """
    return sorted(key for key, spec in base.specs.items() if spec.dtype in _FLOATS and not matches(key, exclude))


def align_keys(keys: Iterable[str], base_keys: Iterable[str]) -> dict[str, str]:
    """Maps the base model's names to an expert's, where one has a prefix (`bert.`) that the other has not.

    transformers loads a bare encoder into a model with a head and the reverse by this prefix; so does this.
    """
    own, theirs = set(keys), set(base_keys)
    if own.isdisjoint(theirs):
        prefixes = {key.split(".", 1)[0] + "." for key in own | theirs}
        for prefix in sorted(prefixes):
            if any(key.removeprefix(prefix) in theirs for key in own):
                return {key.removeprefix(prefix): key for key in own}
            if any(prefix + key in theirs for key in own):
                return {(prefix + key if prefix + key in theirs else key): key for key in own}
    return {key: key for key in own}


def check_spec(key: str, spec: TensorSpec, base: TensorSpec, *, where: str) -> None:
    """Checks that an expert's tensor can be compared with the base's.

    Raises:
        ModelError: If its shape differs, or its dtype is coarser, so that rounding would look like fine-tuning.
    """
    if spec.shape != base.shape:
        raise ModelError(
            f"tensor {key!r} has shape {list(spec.shape)}, in the base model it has {list(base.shape)}",
            where=where,
            fix="merge only experts fine-tuned from this base, without added tokens or layers",
        )
    if torch.finfo(spec.dtype).eps > torch.finfo(base.dtype).eps:
        raise ModelError(
            f"tensor {key!r} is {_dtype(spec)}, coarser than the base model's {_dtype(base)}: its rounding would count"
            " as fine-tuning",
            where=where,
            fix=f"use the base in {_dtype(spec)}, or save the expert in {_dtype(base)}",
        )


def has_only_numbers(tensor: Tensor) -> bool:
    """Returns whether no element is NaN or infinite."""
    # A sum is not finite if an element is not; one pass, and only an overflowing sum needs the look at each element.
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def refuse_nan(key: str, *, where: str) -> NoReturn:
    """Raises a ModelError that says which tensor is broken."""
    raise ModelError(f"tensor {key!r} has a NaN or an infinity", where=where, fix="use a checkpoint from before that")


def _dtype(spec: TensorSpec) -> str:
    return str(spec.dtype).removeprefix("torch.")


def matches(key: str, patterns: Sequence[str]) -> bool:
    """Returns whether a tensor's name matches one of the patterns (`*` stands for anything)."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _weight_files(folder: Path) -> list[SafetensorsFile]:
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").exists():
        return [SafetensorsFile(folder / "model.safetensors")]
    if index.exists():
        return _indexed_files(index)
    refuse_pickles(folder)
    raise ModelError("there is no model.safetensors in the folder", where=folder, fix="give a saved model's folder")


def _indexed_files(index: Path) -> list[SafetensorsFile]:
    weight_map: dict[str, str] = read_json(index).get("weight_map", {})
    files = {}
    for name in sorted(set(weight_map.values())):
        if Path(name).name != name or not (index.parent / name).exists():
            raise ModelError(f"shard {name!r} is not in the folder", where=index, fix="fetch the model again")
        files[name] = SafetensorsFile(index.parent / name)
    for key, name in weight_map.items():
        if key not in files[name].specs:
            raise ModelError(f"tensor {key!r} is not in shard {name!r}, where the index says it is", where=index)
    return list(files.values())


def refuse_pickles(folder: Path) -> None:
    """Checks that the folder's weights are not a pickle, which can run code when it is read.

    Raises:
        ModelError: If they are.
    """
    found = sorted(
        file.name for pattern in _PICKLES for file in folder.glob(pattern) if file.name != "training_args.bin"
    )
    if found:
        raise ModelError(
            f"the weights are a pickle ({found[0]}), which can run code when it is read",
            where=folder,
            fix="save the model with safetensors: model.save_pretrained(folder)",
        )


def _refuse_quantised(folder: Path, config: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> None:
    signs = ["quantization_config in config.json"] if config.get("quantization_config") else []
    signs += [f"tensor {key!r}" for key in specs if key.endswith(_QUANTISED_SUFFIXES)]
    signs += [f"tensor {key!r} of {_dtype(spec)}" for key, spec in specs.items() if "float8" in _dtype(spec)]
    signs += [
        f"tensor {key!r} of {_dtype(spec)}"
        for key, spec in specs.items()
        if key.endswith(".weight") and not spec.dtype.is_floating_point
    ]
    if signs:
        raise ModelError(
            f"the weights are quantised ({signs[0]}), so they cannot be added up",
            where=folder,
            fix="use the unquantised model",
        )


def open_expert(ref: str | Path, base: Weights | str | Path, *, exclude: Sequence[str] = ()) -> Expert:
    """Opens one expert, a full checkpoint or a PEFT LoRA adapter, without reading its tensors.

    Args:
        ref: Its folder, or anything `intarsia.models.local_folder` resolves.
        base: The base model it was fine-tuned from.
        exclude: Patterns of base tensors that are left alone.

    Raises:
        ModelError: If it cannot be read or does not fit the base.
    """
    from intarsia.merge.adapters import LoraExpert

    weights = Checkpoint(base) if isinstance(base, str | Path) else base
    folder = local_folder(ref)
    if (folder / "adapter_config.json").exists():
        return LoraExpert(folder, weights, exclude, name=str(ref))
    return FullExpert(Checkpoint(ref), weights, exclude)


def open_experts(
    base: Weights | str | Path, experts: Mapping[str, str | Path], *, exclude: Sequence[str] = ()
) -> dict[str, Expert]:
    """Opens all experts and checks that they fit the base and each other.

    Returns:
        Experts by name, sorted, so that the order they were given in cannot matter.

    Raises:
        InputError: If there are none.
        ModelError: If one cannot be read or does not fit the base, or adapters differ in base or target modules.
    """
    from intarsia.merge.adapters import LoraExpert, check_adapters_agree

    if not experts:
        raise InputError("there is no expert to merge", fix="name at least one")
    weights = Checkpoint(base) if isinstance(base, str | Path) else base
    opened = {name: open_expert(experts[name], weights, exclude=exclude) for name in sorted(experts)}
    check_adapters_agree({name: expert for name, expert in opened.items() if isinstance(expert, LoraExpert)})
    return opened
