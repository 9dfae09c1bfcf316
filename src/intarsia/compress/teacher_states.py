"""The original model's hidden states on the training text, computed once and kept on disk for every student."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from intarsia.compress.progress import Progress
from intarsia.files import atomic_file
from intarsia.models.lower_states import weights_digest

# Rows are run together up to so many tokens.
_TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class TeacherStates:
    """States of some layers on rows of text.

    Attributes:
        states: Float32 `[rows, length, layers, dim]`, mapped from disk; the last layer's are what the head reads.
        layers: Which entries of `hidden_states` they are.
    """

    states: npt.NDArray[np.float32]
    layers: tuple[int, ...]

    def __getitem__(self, row: int) -> Float[Tensor, "length layers dim"]:
        return torch.from_numpy(np.array(self.states[row]))


def matched_layers(model: Any, count: int) -> tuple[int, ...]:
    """Returns which entries of a model's `hidden_states` to match: evenly spaced, the last included.

    Args:
        model: A causal language model.
        count: How many; 0 for all but the first, which are the embedding's rows.
    """
    last = int(model.config.get_text_config().num_hidden_layers)
    count = last if count == 0 else min(count, last)
    return tuple(sorted({round(last * (place + 1) / count) for place in range(count)}))


@torch.no_grad()
def store_teacher_states(
    teacher: Any,
    rows: Int[Tensor, "rows length"],
    layers: Sequence[int],
    folder: str | Path,
    *,
    progress: Progress | None = None,
) -> TeacherStates:
    """Computes the states of a model on rows of text, or reads them where `folder` has them.

    The file's name is a hash of a sample of the model's weights, the layers and the tokens.

    Args:
        teacher: The original model.
        rows: Tokens.
        layers: Which entries of `hidden_states` to keep.
        folder: Where the file is. Size: 4 x tokens x layers x dim bytes.
        progress: Called with the number of rows done after each batch.
    """
    digest = hashlib.sha256(f"{weights_digest(teacher)} {tuple(layers)}".encode())
    digest.update(np.ascontiguousarray(rows.cpu().numpy()).tobytes())
    path = Path(folder) / f"{digest.hexdigest()[:24]}.npy"
    if not path.exists():
        shape = (*rows.shape, len(layers), int(teacher.config.get_text_config().hidden_size))
        with atomic_file(path) as temporary:
            out = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
            done = 0
            for batch in torch.split(rows, max(_TOKENS_AT_ONCE // rows.shape[1], 1)):
                states = states_of(teacher, batch.to(teacher.device), layers)
                out[done : done + len(batch)] = torch.stack(states, 2).float().cpu().numpy()
                done += len(batch)
                if progress is not None:
                    progress(len(batch))
            out.flush()
    return TeacherStates(np.load(path, mmap_mode="r", allow_pickle=False), tuple(layers))


def states_of(model: Any, ids: Int[Tensor, "batch length"], layers: Sequence[int]) -> list[Tensor]:
    """Returns some of a model's hidden states on tokens, `[batch, length, dim]` each."""
    body = (model.get_base_model() if hasattr(model, "get_base_model") else model).base_model
    hidden = body(input_ids=ids, use_cache=False, output_hidden_states=True).hidden_states
    return [hidden[layer] for layer in layers]
