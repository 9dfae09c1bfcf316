"""PEFT LoRA adapters as low-rank task vectors: `delta = scale B A`, read without loading a model."""

import re
from collections.abc import Mapping, Sequence
from math import sqrt
from pathlib import Path
from typing import Any

from jaxtyping import Float
from torch import Tensor

from intarsia.errors import InputError, ModelError
from intarsia.files import read_json
from intarsia.merge.checkpoints import (
    Checkpoint,
    Expert,
    LowRank,
    Weights,
    align_keys,
    check_spec,
    compute_dtype,
    has_only_numbers,
    matches,
    mergeable_keys,
    refuse_nan,
    refuse_pickles,
)
from intarsia.merge.safetensors_io import SafetensorsFile, TensorSpec

# Settings under which an adapter is more than `base + scale B A`.
_UNSUPPORTED = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "monteclora_config",
    "velora_config",
)
_PREFIX = "base_model.model."
_FACTORS = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")


class LoraExpert(Expert):
    """A PEFT LoRA adapter folder.

    Plain LoRA (Hu et al., arXiv 2106.09685) and rsLoRA (arXiv 2312.03732, scale alpha / sqrt(rank)), on linear,
    embedding and ungrouped convolution layers, with rank and alpha patterns; tensors the adapter saved whole (biases,
    `modules_to_save`) are taken as fine-tuned weights.

    Args:
        folder: The adapter's folder.
        base: The base model's tensors.
        exclude: Patterns of base tensors that are left alone.
        name: What messages call it.

    Raises:
        ModelError: If the adapter is not plain LoRA, is a pickle, or does not fit the base.
    """

    kind = "lora"

    def __init__(self, folder: Path, base: Weights, exclude: Sequence[str] = (), *, name: str | None = None) -> None:
        self.name = name or str(folder)
        self.base = base
        self.folder = folder
        self.config: dict[str, Any] = read_json(folder / "adapter_config.json")
        _refuse_unsupported(folder, self.config)
        if not (folder / "adapter_model.safetensors").exists():
            refuse_pickles(folder)
            raise ModelError("there is no adapter_model.safetensors in the folder", where=folder)
        self._file = SafetensorsFile(folder / "adapter_model.safetensors")
        self._sources = _sources(self._file)
        self._own_key = align_keys(self._sources, base.specs)
        wanted = set(mergeable_keys(base, exclude))
        unknown = sorted(key for key in self._own_key if key not in base.specs and not matches(key, exclude))
        if unknown:
            raise ModelError(
                f"the adapter changes tensor {unknown[0]!r}, which the base model has not",
                where=self.name,
                fix="use the base the adapter was trained on; leave task heads out with an exclude pattern",
            )
        self._keys = sorted(wanted & set(self._own_key))
        for key in self._keys:
            self._check(key)
        _check_base(self.config.get("base_model_name_or_path"), base, where=self.name)

    @property
    def target_modules(self) -> set[str]:
        """Names of the base tensors that low-rank factors are added to."""
        return {key for key in self._keys if len(self._sources[self._own_key[key]]) == 2}

    def keys(self) -> list[str]:
        """Names of the base tensors the adapter changes."""
        return self._keys

    def low_rank(self, key: str) -> LowRank | None:
        """Returns the factors of a low-rank update; None for a tensor the adapter saved whole."""
        own = self._sources[self._own_key[key]]
        if len(own) == 1:
            return None
        dtype = compute_dtype(self.base.specs[key])
        a, b = (self._file.read(name).to(dtype) for name in own)
        if not (has_only_numbers(a) and has_only_numbers(b)):
            refuse_nan(key, where=self.name)
        b = self._scale(self._own_key[key], a.shape[0]) * b
        if own[0].endswith(".lora_embedding_A") or self.config.get("fan_in_fan_out"):
            return LowRank(B=a.T.contiguous(), A=b.T.contiguous())
        return LowRank(B=b.flatten(1), A=a.flatten(1))

    def _delta(self, key: str, rows: slice | None, base: Tensor) -> Float[Tensor, "*shape"]:
        shape = self.base.specs[key].shape
        factors = self.low_rank(key)
        if factors is None:
            dtype = compute_dtype(self.base.specs[key])
            (own,) = self._sources[self._own_key[key]]
            return self._file.read(own, rows).to(dtype) - base.to(dtype)
        b = factors.B if rows is None else factors.B[rows]
        return (b @ factors.A).reshape(len(b), *shape[1:])

    def _scale(self, own_key: str, rank: int) -> float:
        alpha = float(_by_pattern(self.config.get("alpha_pattern"), own_key, self.config["lora_alpha"]))
        return alpha / sqrt(rank) if self.config.get("use_rslora") else alpha / rank

    def _check(self, key: str) -> None:
        own = self._sources[self._own_key[key]]
        base = self.base.specs[key]
        if len(own) == 1:
            check_spec(key, self._file.specs[own[0]], base, where=self.name)
            return
        a, b = (self._file.specs[name] for name in own)
        rows, columns, rank = b.shape[0], TensorSpec(a.dtype, a.shape[1:]).numel, a.shape[0]
        if own[0].endswith(".lora_embedding_A") or self.config.get("fan_in_fan_out"):
            rows, columns = columns, rows
        shape = (*base.shape[:1], TensorSpec(base.dtype, base.shape[1:]).numel)
        if (rows, columns) != shape or b.shape[1] != rank:
            raise ModelError(
                f"the adapter's update of tensor {key!r} is {rows} x {columns}, the tensor is {shape[0]} x {shape[1]}",
                where=self.name,
                fix="use the base the adapter was trained on",
            )
        expected = _by_pattern(self.config.get("rank_pattern"), self._own_key[key], self.config["r"])
        if rank != expected:
            raise ModelError(
                f"the adapter's update of tensor {key!r} has rank {rank}, adapter_config.json says {expected}",
                where=self.name,
            )


def check_adapters_agree(adapters: Mapping[str, LoraExpert]) -> None:
    """Checks that adapters were trained on one base and change the same modules.

    Raises:
        InputError: Naming two adapters that differ, and in what.
    """
    names = list(adapters)
    for name in names[1:]:
        first, other = adapters[names[0]], adapters[name]
        bases = [str(expert.config.get("base_model_name_or_path")) for expert in (first, other)]
        if not _same_base(*bases):
            raise InputError(
                f"adapter {names[0]!r} was trained on {bases[0]!r}, adapter {name!r} on {bases[1]!r}",
                where=other.name,
                fix="merge adapters of one base; if the base only moved, correct base_model_name_or_path in"
                " adapter_config.json",
            )
        for key in sorted(first.target_modules ^ other.target_modules):
            has, lacks = (names[0], name) if key in first.target_modules else (name, names[0])
            raise InputError(
                f"the adapters have different target modules: {has!r} changes {key!r}, {lacks!r} does not",
                where=other.name,
                fix="train all adapters with the same target_modules",
            )


def _sources(file: SafetensorsFile) -> dict[str, tuple[str, ...]]:
    """Maps the model's tensor names to the adapter's: two factors (A, B), or one whole tensor."""
    sources: dict[str, tuple[str, ...]] = {}
    for name in file.specs:
        key = name.removeprefix(_PREFIX).replace(".base_layer.", ".")
        suffix = next((suffix for suffix in _FACTORS if key.endswith(suffix)), None)
        if suffix is None:
            if "lora_" in key:
                raise ModelError(f"the adapter's tensor {name!r} is not plain LoRA", where=file.path)
            # peft also saves the untouched weight of an adapted embedding; its factors are what counts.
            sources.setdefault(key, (name,))
            continue
        module = name.removesuffix(suffix)
        pair = (".lora_A.weight", ".lora_B.weight") if suffix.endswith("weight") else _FACTORS[2:]
        for factor in pair:
            if module + factor not in file.specs:
                raise ModelError(f"the adapter lacks tensor {module + factor!r}", where=file.path)
        sources[key.removesuffix(suffix) + ".weight"] = (module + pair[0], module + pair[1])
    return sources


def _by_pattern(patterns: Mapping[str, int] | None, key: str, default: int) -> int:
    """Returns a module's own setting as peft finds it: by the first pattern its name ends with."""
    module = key.removesuffix(".weight")
    found = (value for pattern, value in (patterns or {}).items() if re.match(rf"(.*\.)?({pattern})$", module))
    return next(found, default)


def _refuse_unsupported(folder: Path, config: Mapping[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise ModelError(f"the adapter is of type {config.get('peft_type')!r}, only LORA can be merged", where=folder)
    for setting in _UNSUPPORTED:
        if config.get(setting):
            raise ModelError(
                f"the adapter was trained with {setting}, so it is more than a low-rank sum",
                where=folder,
                fix="merge it into its base first (peft's merge_and_unload) and give the full checkpoint",
            )


def _same_base(one: str, other: str) -> bool:
    return one == other or (
        Path(one).is_dir() and Path(other).is_dir() and Path(one).resolve() == Path(other).resolve()
    )


def _check_base(ref: str | None, base: Weights, *, where: str) -> None:
    """Refuses a base that is known to be another model; one that has moved cannot be told, and passes."""
    if not isinstance(base, Checkpoint) or not ref or not Path(ref).is_dir():
        return
    trained_on = Path(ref).resolve()
    if trained_on == base.path.resolve():
        return
    if Checkpoint(trained_on).specs != base.specs or read_json(trained_on / "config.json") != base.config:
        raise ModelError(
            f"the adapter was trained on {ref!r}, which is another model than the base {base.name!r}",
            where=where,
            fix="give the base the adapter was trained on",
        )
