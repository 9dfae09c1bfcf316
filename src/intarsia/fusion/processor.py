"""Fusion as a logits processor: one more argument to an existing `generate` call of the large model."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache, DynamicCache, LogitsProcessor, PreTrainedModel

from intarsia.errors import InputError
from intarsia.fusion.config import SolverConfig
from intarsia.fusion.kl_solver import AlphaResult, fuse_logits


class LogitFusionProcessor(LogitsProcessor):
    """Shifts the logits of whatever model generates by what experts learned over their small base.

    The small models run inside, with caches of their own. Use one processor per call of `generate`; put it first, so
    that temperature and nucleus apply to fused logits.

    Args:
        small: The small base.
        experts: Its experts, as models.
        solver: How alpha is found; by default the paper's grid.
        attention_mask: That of the prompts, if rows are padded on the left.
        vocabulary: Tokens that all models share; by default the least number of logits any model gives.

    Attributes:
        result: Of the last step.
    """

    def __init__(
        self,
        small: PreTrainedModel,
        experts: Sequence[PreTrainedModel],
        solver: SolverConfig | None = None,
        *,
        attention_mask: Int[Tensor, "batch seq"] | None = None,
        vocabulary: int | None = None,
    ) -> None:
        if not experts:
            raise InputError("there are no experts", fix="pass at least one")
        self.models: list[Any] = [small, *experts]
        self.solver = solver or SolverConfig()
        self.mask = attention_mask
        self.vocabulary = vocabulary
        self.result: AlphaResult | None = None
        self._caches: list[Cache] = [DynamicCache(config=model.config) for model in self.models]
        self._seen: Int[Tensor, "batch seq"] | None = None

    @torch.no_grad()
    def __call__(
        self, input_ids: Int[Tensor, "batch seq"], scores: Float[Tensor, "batch vocab"]
    ) -> Float[Tensor, "batch vocab"]:
        """Returns fused logits, -inf at tokens the models do not share.

        Args:
            input_ids: Prompts and what was generated so far.
            scores: The large model's logits.

        Raises:
            InputError: If the text is not the last call's and one token more (beam search reorders it).
        """
        new = input_ids if self._seen is None else input_ids[:, self._seen.shape[1] :]
        if self._seen is not None and not (new.shape[1] == 1 and torch.equal(input_ids[:, :-1], self._seen)):
            raise InputError(
                "the text is not that of the last step and one token more",
                fix="make a new LogitFusionProcessor for each call; for beam search use LogitFusionForCausalLM",
            )
        self._seen = input_ids
        mask, positions = self.mask, None
        if mask is not None:
            mask = torch.cat([mask, mask.new_ones(len(mask), input_ids.shape[1] - mask.shape[1])], -1)
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -new.shape[1] :]
        logits = [
            model(
                input_ids=new,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            for model, cache in zip(self.models, self._caches, strict=True)
        ]
        width = self.vocabulary or min(scores.shape[-1], *(values.shape[-1] for values in logits))
        small, *experts = (values[:, :width] for values in logits)
        fused, self.result = fuse_logits(scores[:, :width], small, experts, self.solver)
        return torch.nn.functional.pad(fused, (0, scores.shape[-1] - width), value=float("-inf"))
