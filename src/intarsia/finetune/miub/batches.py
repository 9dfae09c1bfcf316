"""From the user's batches to the forward passes of one measurement, and which of their positions count."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool
from torch import Tensor

from intarsia.errors import DataError
from intarsia.finetune.miub.config import FEWEST_TOKENS, MIUBConfig

IGNORED = -100
"""Label of a position without supervision (the convention of torch and transformers)."""

MOST_PADDING = 1.25
"""Positions of a merged pass over those of its parts, where merging saves no memory."""


class Forward(NamedTuple):
    """One forward pass.

    Attributes:
        inputs: Keyword arguments of the model.
        tokens: Positions whose features are measured.
    """

    inputs: dict[str, Tensor]
    tokens: Bool[Tensor, "batch seq"]


def token_mask(batch: Mapping[str, Tensor], config: MIUBConfig, *, causal: bool) -> Bool[Tensor, "batch seq"]:
    """Returns which positions of a batch are measured: no padding, and the supervised ones if so configured.

    A causal language model predicts the label of position `i` at position `i - 1`, so there the mask of the labels is
    shifted by one.

    Raises:
        DataError: If a tensor the mask needs is missing or has another shape than `[batch, seq]`.
    """
    inputs = batch.get("input_ids", batch.get("inputs_embeds"))
    if inputs is None:
        raise DataError(
            "a batch has neither input_ids nor inputs_embeds", fix=f"it has {', '.join(batch) or 'nothing'}"
        )
    shape = inputs.shape[:2]
    mask = torch.ones(shape, dtype=torch.bool, device=inputs.device)
    attention = batch.get("attention_mask")
    if attention is not None:
        mask &= _of_shape(attention, shape, "attention_mask") != 0
    if config.token_mask == "labels":
        labels = batch.get("labels")
        if labels is None:
            raise DataError('token_mask is "labels", but a batch has no labels', field="labels")
        supervised = _of_shape(labels, shape, "labels") != IGNORED
        if causal:
            supervised = torch.cat([supervised[:, 1:], torch.zeros_like(supervised[:, :1])], dim=1)
        mask &= supervised.to(mask.device)
    return mask


def _of_shape(tensor: Tensor, shape: torch.Size, field: str) -> Tensor:
    if tensor.shape != shape:
        raise DataError(f"{field} has shape {list(tensor.shape)}, but the inputs are {list(shape)}", field=field)
    return tensor


def forwards(
    batches: Iterable[Mapping[str, Tensor]], config: MIUBConfig, *, accepted: Collection[str] | None, causal: bool
) -> Iterator[Forward]:
    """Yields forward passes over the first `max_tokens` tokens, merging batches where that pays.

    With standard errors or a permutation null, batches are merged up to `tokens_per_forward` positions: one pass over
    all tokens lets each module be scored and forgotten as it runs, which is worth some padding. Without them they are
    merged only while that adds little padding. Merged batches are padded on the right, whatever side their own padding
    is on: that moves no token, so positions and scores stay what they are.

    Args:
        batches: The user's batches. Read no further than needed.
        config: What to measure.
        accepted: Arguments the model takes; others are left out. None: all tensors but the labels are passed.
        causal: Whether the model predicts each position's successor.

    Raises:
        DataError: If there are no batches, a batch is unusable, or fewer than 50 tokens were found in all.
    """
    remaining = config.max_tokens
    pending: Forward | None = None
    found, seen = 0, 0
    for batch in batches:
        seen += 1
        if not isinstance(batch, Mapping):
            raise DataError(f"a batch is a {type(batch).__name__}, not a mapping of names to tensors")
        tokens = _first(token_mask(batch, config, causal=causal), remaining)
        count = int(tokens.sum())
        if not count:
            continue
        found += count
        remaining = None if remaining is None else remaining - count
        forward = _needed_rows(Forward(_arguments(batch, accepted), tokens))
        merged = None if pending is None else _merge(pending, forward, config)
        if pending is not None and merged is None:
            yield pending
        pending = forward if merged is None else merged
        if remaining == 0:
            break
    if not seen:
        raise DataError("there are no batches to measure on")
    if not found:
        raise DataError("all tokens are masked", fix="check attention_mask and labels of the batches")
    if found < FEWEST_TOKENS:
        raise DataError(f"{found} tokens are too few to measure on; at least {FEWEST_TOKENS} are needed")
    if pending is not None:
        yield pending


def _first(mask: Bool[Tensor, "batch seq"], count: int | None) -> Bool[Tensor, "batch seq"]:
    if count is None:
        return mask
    return mask & (mask.flatten().cumsum(0).reshape(mask.shape) <= count)


def _arguments(batch: Mapping[str, Tensor], accepted: Collection[str] | None) -> dict[str, Tensor]:
    arguments = {
        name: value
        for name, value in batch.items()
        if isinstance(value, Tensor) and name != "labels" and (accepted is None or name in accepted)
    }
    # Merging needs a mask to hide the padding it adds.
    if "attention_mask" not in arguments and accepted is not None and "attention_mask" in accepted:
        inputs = batch["input_ids"] if "input_ids" in batch else batch["inputs_embeds"]
        arguments["attention_mask"] = torch.ones(inputs.shape[:2], dtype=torch.long, device=inputs.device)
    return arguments


def _needed_rows(forward: Forward) -> Forward:
    rows = forward.tokens.any(1)
    if rows.all() or any(len(value) != len(rows) for value in forward.inputs.values()):
        return forward
    return Forward({name: value[rows] for name, value in forward.inputs.items()}, forward.tokens[rows])


def _merge(first: Forward, second: Forward, config: MIUBConfig) -> Forward | None:
    """Returns both passes as one, or None if that is over the limit or not possible."""
    length = max(first.tokens.shape[1], second.tokens.shape[1])
    limit: float = config.tokens_per_forward
    if not config.blocks and not config.permutations:
        limit = min(limit, MOST_PADDING * (first.tokens.numel() + second.tokens.numel()))
    if (len(first.tokens) + len(second.tokens)) * length > limit or first.inputs.keys() != second.inputs.keys():
        return None
    if first.tokens.shape[1] != second.tokens.shape[1] and "attention_mask" not in first.inputs:
        return None
    parts: dict[str, list[Tensor]] = {name: [] for name in first.inputs}
    for inputs, tokens in (first, second):
        for name, value in inputs.items():
            if value.dim() < 2 or value.shape[:2] != tokens.shape:
                return None
            parts[name].append(_padded(value, length))
    if any(a.shape[2:] != b.shape[2:] for a, b in parts.values()):
        return None
    tokens = torch.cat([_padded(first.tokens, length), _padded(second.tokens, length)])
    return Forward({name: torch.cat(values) for name, values in parts.items()}, tokens)


def _padded(tensor: Tensor, length: int) -> Tensor:
    if tensor.shape[1] == length:
        return tensor
    padding = tensor.new_zeros(tensor.shape[0], length - tensor.shape[1], *tensor.shape[2:])
    return torch.cat([tensor, padding], dim=1)
