"""Static merging: several experts become one plain checkpoint of the base architecture."""

import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from intarsia.errors import InputError, ModelError, RunExistsError
from intarsia.files import atomic_folder, write_json
from intarsia.merge.checkpoints import (
    Checkpoint,
    Expert,
    FullExpert,
    StateDict,
    Weights,
    has_only_numbers,
    matches,
    open_experts,
    refuse_nan,
)
from intarsia.merge.methods import MergeMethod, find_method
from intarsia.merge.safetensors_io import DEFAULT_SHARD_BYTES, ShardedWriter
from intarsia.merge.task_vectors import Block, TaskVectorBlocks, threaded_map

# What a model folder holds besides weights: config, generation config, tokenizer, chat template.
_COMPANIONS = ("*.json", "*.txt", "*.model", "*.jinja", "chat_templates/*.jinja", "LICENSE*")
_NOT_COMPANIONS = (
    "*.index.json",
    "adapter_config.json",
    "run.json",
    "merge.json",
    "trainer_state.json",
    "requirements*.txt",
)

# By expert, then tensor name; in memory or read on demand.
DataStatistics = Mapping[str, Mapping[str, Tensor] | Weights]


@dataclass(frozen=True)
class MergeResult:
    """What a merge did.

    Attributes:
        output: The merged model's folder.
        method: Name of the method.
        params: Its settings.
        experts: The experts' folders by name.
        merged: Number of tensors that were merged.
        copied: Number of tensors that are the base's own: no expert changes them, or they are not floating point.
        excluded: Names of the tensors an exclude pattern left as they are in the base.
        nbytes: Size of the merged weights in bytes.
        seconds: Wall time.
    """

    output: str
    method: str
    params: dict[str, Any]
    experts: dict[str, str]
    merged: int
    copied: int
    excluded: list[str]
    nbytes: int
    seconds: float


def merge_checkpoints(
    base: str | Path,
    experts: Mapping[str, str | Path],
    method: str,
    output: str | Path,
    *,
    params: Mapping[str, Any] | None = None,
    statistics: DataStatistics | None = None,
    texts: Mapping[str, Sequence[str]] | None = None,
    exclude: Sequence[str] = (),
    overwrite: bool = False,
    progress: bool = True,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    threads: int | None = None,
) -> MergeResult:
    """Merges expert folders into a model folder, streaming: memory does not grow with models or experts.

    Args:
        base: The model the experts were fine-tuned from: a folder or anything the models room resolves.
        experts: Full checkpoints or PEFT LoRA adapters, by name.
        method: Name of a method in `intarsia.merge.methods`.
        output: The folder to make: weights in the base's dtypes, its config, tokenizer and chat template.
        params: The method's settings.
        statistics: By expert and tensor name, for methods that need the experts' data (see
            `intarsia.merge.methods.fisher`, `regmean` and `adamerging`).
        texts: Prompts of each expert's kind, from which statistics of causal language models are computed here.
        exclude: Patterns of tensors that are left as they are in the base, such as `classifier.*`.
        overwrite: Whether a folder that stands at `output` is replaced.
        progress: Whether to show a progress bar on stderr.
        max_shard_bytes: Size above which the weights are split into several files.
        threads: Number of threads; as many as torch uses by default.

    Raises:
        InputError: If there are no experts, a setting is wrong, adapters do not go together, or the output exists.
        ModelError: If a model cannot be read, does not fit the base, or has a NaN.
    """
    start = time.perf_counter()
    chosen = find_method(method)
    settings = chosen.make_params(params or {})
    output = Path(output)
    if output.exists() and not overwrite:
        raise RunExistsError(output, what="a model or run")
    base_weights = Checkpoint(base)
    opened = open_experts(base_weights, experts, exclude=exclude)
    with tempfile.TemporaryDirectory() as scratch, atomic_folder(output, overwrite=overwrite) as folder:
        if chosen.data_statistics is not None and texts is not None:
            from intarsia.merge.text_statistics import text_statistics

            statistics = text_statistics(
                method,
                base,
                experts,
                texts,
                Path(scratch),
                exclude=exclude,
                adamerging=settings if method == "adamerging" else None,
                progress=progress,
            )
        merge = _Merge(base_weights, opened, chosen, settings, statistics, threads)
        copy_companions(base_weights.path, folder)
        writer = ShardedWriter(folder, base_weights.specs, max_shard_bytes)
        console = Console(stderr=True)
        with Progress(console=console, disable=not progress, transient=True) as bars:
            task = bars.add_task(f"merging {len(opened)} experts ({method})", total=None)

            def write(block: Block, tensor: Tensor) -> None:
                writer.write(block.key, tensor, block.rows.start if block.rows else 0)
                bars.update(task, total=merge.numel, advance=tensor.numel())

            merge.run(write)
        excluded = [key for key in base_weights.specs if matches(key, exclude)]
        result = MergeResult(
            output=str(output),
            method=method,
            params=asdict(settings),
            experts={name: str(experts[name]) for name in opened},
            merged=len(merge.stream.keys),
            copied=len(base_weights.specs) - len(merge.stream.keys) - len(excluded),
            excluded=excluded,
            nbytes=writer.nbytes,
            seconds=time.perf_counter() - start,
        )
        write_json(folder / "merge.json", asdict(result))
    return result


def merge_state(
    base_state: Mapping[str, Tensor],
    expert_states: Mapping[str, Mapping[str, Tensor] | Expert],
    method: str,
    params: Mapping[str, Any] | None = None,
    *,
    statistics: DataStatistics | None = None,
    exclude: Sequence[str] = (),
    threads: int | None = None,
) -> dict[str, Tensor]:
    """Merges experts in memory, by the same code as `merge_checkpoints`.

    Args:
        base_state: The base model's state dict.
        expert_states: State dicts, or experts opened with `open_experts`, by name.
        method: Name of a method in `intarsia.merge.methods`.
        params: The method's settings.
        statistics: By expert and tensor name, for methods that need the experts' data.
        exclude: Patterns of tensors that are left as they are in the base.
        threads: Number of threads; as many as torch uses by default.

    Returns:
        A state dict in the base's dtypes; tensors no expert changes are the base's own, not copies.
    """
    if not expert_states:
        raise InputError("there is no expert to merge", fix="name at least one")
    chosen = find_method(method)
    base = StateDict(base_state, "the base")
    experts = {
        name: state if isinstance(state, Expert) else FullExpert(StateDict(state, f"expert {name!r}"), base, exclude)
        for name, state in expert_states.items()
    }
    merge = _Merge(base, experts, chosen, chosen.make_params(params or {}), statistics, threads)
    merged = dict(base_state)
    for key in merge.stream.keys:
        merged[key] = torch.empty_like(base_state[key], memory_format=torch.contiguous_format)

    def write(block: Block, tensor: Tensor) -> None:
        target = merged[block.key]
        (target if block.rows is None else target[block.rows]).copy_(tensor)

    merge.run(write, keys=merge.stream.keys)
    return merged


class _Merge:
    """One merge: its inputs, its statistics, and the work on a block of rows."""

    def __init__(
        self,
        base: Weights,
        experts: Mapping[str, Expert],
        method: MergeMethod,
        params: Any,
        statistics: DataStatistics | None,
        threads: int | None,
    ) -> None:
        self.base = base
        self.stream = TaskVectorBlocks(base, experts, method, params, threads or torch.get_num_threads())
        self.method = method
        self.params = params
        self.numel = sum(spec.numel for spec in base.specs.values())
        self._merged_keys = frozenset(self.stream.keys)
        self._data = _as_weights(method, self.stream.experts, statistics)
        self._stream_statistics: Any = None

    def run(self, write: Callable[[Block, Tensor], None], keys: Sequence[str] | None = None) -> None:
        """Computes the merged tensors, all or those called `keys`, and hands them to `write` block by block."""
        if self.method.stream_statistics is not None:
            self._stream_statistics = self.method.stream_statistics(self.stream, self.params)

        def work(block: Block) -> None:
            write(block, self._merge_block(block))

        blocks = self.stream.blocks(keys or self.base.specs)
        for _ in threaded_map(work, blocks, self.stream.threads):
            pass

    def _merge_block(self, block: Block) -> Tensor:
        base = self.base.read(block.key, block.rows)
        if block.key not in self._merged_keys:
            if base.is_floating_point() and not has_only_numbers(base):
                refuse_nan(block.key, where=self.base.name)
            return base
        merged = self.method.function(
            self.stream.task_vectors(block, base),
            place=block.place,
            params=self.params,
            statistics=self._statistics(block),
        )
        return merged.add_(base).to(base.dtype)

    def _statistics(self, block: Block) -> Any:
        if self.method.data_statistics is None:
            return self._stream_statistics
        shape = self.base.specs[block.key].shape
        found = {}
        for name, weights in self._data.items():
            if block.key not in weights.specs:
                continue
            # Statistics of single weights come with the weights' rows; others (matrices, scalars) whole.
            rows = block.rows if weights.specs[block.key].shape == shape and not self.method.whole_tensors else None
            found[name] = weights.read(block.key, rows).to(self.stream.dtype)
            if not has_only_numbers(found[name]):
                refuse_nan(block.key, where=f"statistics of expert {name!r}")
        if found and len(found) < len(self._data):
            lacking = next(name for name in self._data if name not in found)
            raise ModelError(f"there are no statistics for tensor {block.key!r}", where=f"expert {lacking!r}")
        return found


def _as_weights(method: MergeMethod, experts: Sequence[str], statistics: DataStatistics | None) -> dict[str, Weights]:
    if method.data_statistics is None:
        return {}
    found: dict[str, Weights] = {}
    for name in experts:
        given = (statistics or {}).get(name)
        if given is None:
            raise InputError(
                f"merge method {method.name!r} needs statistics of expert {name!r}: {method.data_statistics}",
                fix="pass statistics= (Python) or --data (command line)",
            )
        found[name] = StateDict(given, f"statistics of {name!r}") if isinstance(given, Mapping) else given
    return found


def copy_companions(source: Path, target: Path) -> None:
    """Copies a model folder's config, tokenizer and chat template, everything but the weights."""
    for pattern in _COMPANIONS:
        for file in sorted(source.glob(pattern)):
            if file.is_file() and not matches(file.name, _NOT_COMPANIONS):
                (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target / file.relative_to(source))
