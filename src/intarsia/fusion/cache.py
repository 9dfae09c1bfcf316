"""The key-value caches of all models of a fused model, as one cache."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, DynamicCache, PretrainedConfig

from intarsia.errors import ModelError


class FusedCache(Cache):
    """Holds one cache per member. A member is a model, or a batch of one model's rows with several adapters.

    Attributes:
        members: By name; the large model's is `large`.
        blocks: For members that hold several blocks of rows for each row of the batch, how many.
        masks: For members whose prompt differs from the large model's, which of their positions are tokens,
            `[batch * blocks, length]`.
    """

    def __init__(self, configs: Mapping[str, PretrainedConfig], blocks: Mapping[str, int]) -> None:
        self.members: dict[str, Cache] = {name: DynamicCache(config=config) for name, config in configs.items()}
        self.blocks = dict(blocks)
        self.masks: dict[str, Int[Tensor, "rows length"]] = {}
        # What `Cache` would set; `layers` is made of the members' layers.
        self.layer_class_to_replicate = None
        self.offloading = False

    @property
    def layers(self) -> list[Any]:
        """All members' layers, the large model's first."""
        return [layer for member in self.members.values() for layer in member.layers]

    def positions(self, name: str, count: int) -> Int[Tensor, "rows count"] | None:
        """Position of each of a member's last `count` tokens, if the member has a prompt of its own."""
        mask = self.masks.get(name)
        return None if mask is None else (mask.cumsum(-1) - 1).clamp(min=0)[:, -count:]

    def extend_mask(self, name: str, count: int) -> Int[Tensor, "rows length"] | None:
        """Adds `count` tokens to a member's own mask, if it has one, and returns it."""
        if name in self.masks:
            mask = self.masks[name]
            self.masks[name] = torch.cat([mask, mask.new_ones(len(mask), count)], -1)
        return self.masks.get(name)

    def length(self, name: str) -> int:
        """How many tokens a model has read, counting padding."""
        member = next(key for key in (name, "adapters", "small") if key in self.members)
        return int(self.members[member].get_seq_length())

    def keep_past(self) -> None:
        """Prepares for `crop`, after the prompt was read: windowed layers keep what it needs.

        Raises:
            ModelError: If a member's cache cannot forget tokens.
        """
        for name, member in self.members.items():
            if not member.is_croppable:
                raise ModelError(
                    f"the cache of {name} cannot forget tokens, which speculation needs",
                    fix="generate with speculative=False",
                )
            member.activate_past_recording()

    def crop(self, tokens_to_remove: int) -> None:
        """Forgets the last tokens of every member, as many as the negative number says.

        Zero is worth saying too: windows that kept their past then move.
        """
        for name, member in self.members.items():
            member.crop(tokens_to_remove)
            if tokens_to_remove and name in self.masks:
                self.masks[name] = self.masks[name][:, :tokens_to_remove]

    def reorder_cache(self, beam_idx: Int[Tensor, "rows"]) -> None:
        """Takes the rows told, in every member."""
        self.batch_select_indices(beam_idx)

    def batch_select_indices(self, indices: Int[Tensor, "rows"]) -> None:
        """Takes the rows told, in every member."""
        for name, member in self.members.items():
            blocks = self.blocks.get(name, 1)
            rows = indices
            if blocks > 1:
                size = _rows(member) // blocks
                rows = torch.cat([indices + block * size for block in range(blocks)])
            member.reorder_cache(rows)
            if name in self.masks:
                self.masks[name] = self.masks[name][rows]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeats every row."""
        size = _rows(self.members["large"])
        self.batch_select_indices(torch.arange(size).repeat_interleave(repeats))


def _rows(cache: Cache) -> int:
    return next(len(layer.keys) for layer in cache.layers if getattr(layer, "keys", None) is not None)
