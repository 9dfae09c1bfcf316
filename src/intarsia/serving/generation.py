"""Generating one batch of rows with a single call of the model's `generate`."""

from collections.abc import Collection, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers import LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from intarsia.models import CausalLM
from intarsia.serving.rows import Row
from intarsia.serving.sampling import BatchSampler


def end_tokens(loaded: CausalLM) -> list[int]:
    """Returns the tokens that end an answer: the model's and the tokenizer's, which chat templates may differ in."""
    model = loaded.model.generation_config.eos_token_id
    found = {loaded.tokenizer.eos_token_id, *(model if isinstance(model, list | tuple) else (model,))}
    return sorted(found - {None})


def left_padded(
    prompts: Sequence[Sequence[int]], pad: int
) -> tuple[Int[Tensor, "batch seq"], Int[Tensor, "batch seq"]]:
    """Returns the prompts as one tensor, padded on the left, and the mask of what is no padding."""
    width = max(map(len, prompts))
    ids = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return torch.tensor(ids), torch.tensor(mask)


class Delivery(StoppingCriteria):
    """Hands every row its new tokens and tells `generate` which rows are done.

    It goes by the length of the sequences and not by its calls, so a step may add several tokens.

    Args:
        rows: The rows of the batch, in its order.
        ends: Tokens that end an answer.
        sampler: Knows the probabilities the tokens were chosen from.
        width: Length of the padded prompts.
    """

    def __init__(self, rows: Sequence[Row], ends: Collection[int], sampler: BatchSampler, width: int) -> None:
        self._rows = rows
        self._ends = ends
        self._sampler = sampler
        self._seen = width

    def __call__(self, input_ids: Int[Tensor, "batch seq"], scores: Any, **kwargs: Any) -> Bool[Tensor, " batch"]:
        """Delivers what is new and returns which rows are done."""
        for tokens in input_ids[:, self._seen :].T.tolist():
            for index, (row, token) in enumerate(zip(self._rows, tokens, strict=True)):
                if not row.done:
                    logprobs = self._sampler.logprobs(index, self._seen)
                    row.accept(token, is_end=token in self._ends, logprobs=logprobs)
            self._sampler.forget(self._seen)
            self._seen += 1
        return torch.tensor([row.done for row in self._rows], device=input_ids.device)


def generate_rows(loaded: CausalLM, rows: Sequence[Row], ends: Sequence[int]) -> None:
    """Generates the answers of all rows; each hears of its tokens as they come.

    Args:
        loaded: Model and tokenizer.
        rows: The rows of the batch.
        ends: Tokens that end an answer.
    """
    model, tokenizer = loaded
    ids, mask = left_padded([row.prompt for row in rows], tokenizer.pad_token_id)
    width = ids.shape[1]
    sampler = BatchSampler([row.settings for row in rows], width)
    delivery = Delivery(rows, ends, sampler, width)
    output = model.generate(
        input_ids=ids.to(model.device),
        attention_mask=mask.to(model.device),
        max_new_tokens=max(row.settings.max_tokens for row in rows),
        # The sampler has made the choice already; these undo what a model's own settings would do on top.
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=list(ends) or None,
        logits_processor=LogitsProcessorList([sampler]),
        stopping_criteria=StoppingCriteriaList([delivery]),
    )
    # A `generate` of the model's own may have added tokens after it asked for the last time.
    delivery(output, None)
    for row in rows:
        row.end()
