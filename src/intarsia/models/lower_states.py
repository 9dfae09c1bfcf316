"""Running only the upper layers of a causal language model on stored states of its frozen lower layers.

When adapters sit in the top layers only, every layer below them gives the same states in every epoch and for every
expert trained on the same texts. Computing them once and keeping them on disk is exact, and makes training and
evaluation about as many times cheaper as there are layers left out.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from intarsia.errors import ModelError
from intarsia.files import atomic_file


def decoder_layers(model: Any) -> nn.ModuleList:
    """Returns the list of decoder layers of a causal language model, adapted by peft or not.

    Raises:
        ModelError: If the model has no list of as many modules as its config has hidden layers.
    """
    count = getattr(getattr(model, "config", None), "num_hidden_layers", None)
    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(f"no list of decoder layers found in {type(model).__name__}")


class _PassThrough(nn.Module):
    """Stands in for a decoder layer and returns the hidden states it is given."""

    def forward(self, hidden_states: Tensor, *args: object, **kwargs: object) -> Tensor:
        return hidden_states


@contextmanager
def _layers_replaced(model: Any, indices: Iterable[int]) -> Iterator[nn.ModuleList]:
    # Indices, names and cache slots of the layers that stay are unchanged, so adapters trained and checkpoints
    # written inside the context carry the names they have outside.
    layers = decoder_layers(model)
    originals = {index: layers[index] for index in indices}
    try:
        for index in originals:
            layers[index] = _PassThrough()
        yield layers
    finally:
        for index, layer in originals.items():
            layers[index] = layer


@contextmanager
def upper_layers_only(model: Any, first: int) -> Iterator[None]:
    """Within the context, `model(inputs_embeds=states)` expects the states that enter layer `first`.

    Args:
        model: A causal language model (peft-wrapped or plain).
        first: Index of the lowest layer that still runs. 0 changes nothing.
    """
    with _layers_replaced(model, range(first)):
        yield


@torch.no_grad()
def states_entering(
    model: Any, first: int, input_ids: Int[Tensor, "batch seq"], attention_mask: Int[Tensor, "batch seq"]
) -> Float[Tensor, "batch seq dim"]:
    """Returns the hidden states that enter decoder layer `first`, running only the layers below it."""
    captured: list[Tensor] = []

    def capture(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        captured.append(args[0] if args else kwargs["hidden_states"])

    with _layers_replaced(model, range(first, len(decoder_layers(model)))) as layers:
        handle = layers[first].register_forward_pre_hook(capture, with_kwargs=True)
        try:
            _body(model)(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
        finally:
            handle.remove()
    return captured[0]


def _body(model: Any) -> Any:
    """The model without its language-model head."""
    return (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model


@torch.no_grad()
def is_exact(model: Any, first: int, *, tolerance: float = 1e-4) -> bool:
    """Checks on one random sequence that the upper layers on stored states give the whole model's logits.

    Architectures that transform `inputs_embeds` before the first layer, or whose layers return more than hidden
    states, fail the check; callers then train the whole model.
    """
    ids = torch.randint(5, model.config.vocab_size, (1, 8), generator=torch.Generator().manual_seed(0))
    ids = ids.to(next(model.parameters()).device)
    mask = torch.ones_like(ids)
    try:
        whole = model(input_ids=ids, attention_mask=mask).logits
        states = states_entering(model, first, ids, mask)
        with upper_layers_only(model, first):
            upper = model(inputs_embeds=states, attention_mask=mask).logits
    except (TypeError, AttributeError, KeyError, IndexError, ValueError, ModelError):
        return False
    return bool((whole - upper).abs().max() <= tolerance * whole.abs().max())


@dataclass(frozen=True)
class LowerStates:
    """Stored states of a list of token sequences.

    Attributes:
        states: All tokens' states one after the other, float32 `[tokens, dim]`, mapped from disk.
        offsets: Where each sequence starts, `[sequences + 1]`.
        first: The layer the states enter.
    """

    states: npt.NDArray[np.float32]
    offsets: npt.NDArray[np.int64]
    first: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [int(length) for length in np.diff(self.offsets)]

    def __getitem__(self, index: int) -> Float[Tensor, "seq dim"]:
        start, end = self.offsets[index], self.offsets[index + 1]
        return torch.from_numpy(np.array(self.states[start:end]))


def pad_left(sequences: Sequence[Tensor], value: float = 0) -> tuple[Tensor, Int[Tensor, "batch seq"]]:
    """Stacks sequences of different lengths with the padding on the left.

    Returns:
        The stacked tensor `[batch, seq, ...]` and its attention mask `[batch, seq]`.
    """
    length = max(len(sequence) for sequence in sequences)
    out = sequences[0].new_full((len(sequences), length, *sequences[0].shape[1:]), value)
    mask = torch.zeros(len(sequences), length, dtype=torch.long, device=out.device)
    for row, sequence in enumerate(sequences):
        out[row, length - len(sequence) :] = sequence
        mask[row, length - len(sequence) :] = 1
    return out, mask


def store_lower_states(
    model: Any,
    first: int,
    sequences: Sequence[Sequence[int]],
    folder: str | Path,
    *,
    tokens_per_batch: int = 2048,
    progress: Any = None,
) -> LowerStates:
    """Computes the states that enter layer `first` for every sequence, or reads them where `folder` has them.

    The file's name is a hash of the frozen layers' weights (a sample of them), `first` and the tokens, so a changed
    model or text never meets stale states.

    Args:
        model: The causal language model. Layers below `first` must carry no adapter.
        first: The layer the states are to enter.
        sequences: Token ids, one list a sequence.
        folder: Where the file is kept. Size: 4 x tokens x dim bytes.
        tokens_per_batch: Tokens run at once.
        progress: Called with the number of sequences done after each batch.
    """
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    path = Path(folder) / f"{_fingerprint(model, first, sequences)}.npy"
    if not path.exists():
        with atomic_file(path) as temporary:
            _compute(model, first, sequences, offsets, temporary, tokens_per_batch, progress)
    return LowerStates(np.load(path, mmap_mode="r", allow_pickle=False), offsets, first)


def _compute(
    model: Any,
    first: int,
    sequences: Sequence[Sequence[int]],
    offsets: npt.NDArray[np.int64],
    path: Path,
    tokens_per_batch: int,
    progress: Any,
) -> None:
    dim = model.config.hidden_size
    device = next(model.parameters()).device
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(int(offsets[-1]), int(dim)))
    for batch in batches_by_length([len(sequence) for sequence in sequences], tokens_per_batch):
        longest = max(len(sequences[index]) for index in batch)
        # Padding on the right: causal attention keeps it away from the tokens before it.
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, index in enumerate(batch):
            ids[row, : len(sequences[index])] = torch.as_tensor(sequences[index])
            mask[row, : len(sequences[index])] = 1
        states = states_entering(model, first, ids.to(device), mask.to(device)).float().cpu().numpy()
        for row, index in enumerate(batch):
            out[offsets[index] : offsets[index + 1]] = states[row, : len(sequences[index])]
        if progress is not None:
            progress(len(batch))
    out.flush()


def batches_by_length(lengths: Sequence[int], tokens_per_batch: int) -> list[list[int]]:
    """Groups indices of similar length so that each padded batch holds at most `tokens_per_batch` tokens."""
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if not batches or (len(batches[-1]) + 1) * lengths[batches[-1][0]] > tokens_per_batch:
            batches.append([])
        batches[-1].append(index)
    return batches


def weights_digest(*modules: Any) -> str:
    """Returns a hash of every 997th weight: tells models apart at the price of a glance."""
    digest = hashlib.sha256()
    for module in modules:
        for parameter in module.parameters():
            digest.update(parameter.detach().flatten()[::997].float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _fingerprint(model: Any, first: int, sequences: Sequence[Sequence[int]]) -> str:
    lower = weights_digest(model.get_input_embeddings(), *list(decoder_layers(model))[:first])
    digest = hashlib.sha256(f"{type(model).__name__} {first} {lower}".encode())
    for sequence in sequences:
        digest.update(np.asarray(sequence, dtype=np.int32).tobytes())
        digest.update(b"|")
    return digest.hexdigest()[:24]
