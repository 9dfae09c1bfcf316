"""What a model would answer, found without generating.

Greedy decoding writes exactly a given answer if, and only if, every token of it is the most likely one after the
prompt and the tokens before it. One forward pass over prompt and answer checks that for all positions at once.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from intarsia.errors import DataError
from intarsia.models.lower_states import LowerStates, batches_by_length, pad_left


class AnswerScores(NamedTuple):
    """How a model answers each of some prompts.

    Attributes:
        exact: Whether greedy decoding gives the expected answer, end of turn included.
        first_logits: Logits of the candidate tokens at the answer's first position.
    """

    exact: Bool[Tensor, " rows"]
    first_logits: Float[Tensor, "rows candidates"]


@torch.no_grad()
def score_answers(
    model: Any,
    inputs: Sequence[Sequence[int]] | LowerStates,
    answers: Sequence[Sequence[int]],
    *,
    candidates: Sequence[int] = (),
    tokens_per_batch: int = 3072,
    progress: Callable[[int], None] | None = None,
    **row_inputs: Tensor,
) -> AnswerScores:
    """Checks what greedy decoding would answer to each prompt.

    Args:
        model: A causal language model in evaluation mode.
        inputs: Tokens of each prompt followed by all tokens of its answer but the last; or stored states of these,
            for a model within `upper_layers_only`.
        answers: Tokens of each expected answer, end of turn included.
        candidates: Tokens whose logits at the answer's first position are wanted.
        tokens_per_batch: Tokens run at once.
        progress: Called with the number of rows done after each batch.
        **row_inputs: Further inputs of the model with one row a prompt, e.g. `mixture` `[rows, experts]`.

    Raises:
        DataError: If there are no rows.
    """
    if not answers:
        raise DataError("there are no rows to answer")
    stored = isinstance(inputs, LowerStates)
    lengths = inputs.lengths if isinstance(inputs, LowerStates) else [len(row) for row in inputs]
    device = next(model.parameters()).device
    exact = torch.zeros(len(answers), dtype=torch.bool)
    first_logits = torch.zeros(len(answers), len(candidates))
    for batch in batches_by_length(lengths, tokens_per_batch):
        padded, mask = pad_left([torch.as_tensor(inputs[row]) for row in batch])
        expected, is_answer = pad_left([torch.as_tensor(answers[row]) for row in batch])
        logits = model(
            **{"inputs_embeds" if stored else "input_ids": padded.to(device)},
            attention_mask=mask.to(device),
            position_ids=position_ids(mask).to(device),
            logits_to_keep=expected.shape[1],
            use_cache=False,
            **{name: value[batch].to(device) for name, value in row_inputs.items()},
        ).logits.cpu()
        exact[batch] = ((logits.argmax(-1) == expected) | (is_answer == 0)).all(-1)
        first = is_answer.argmax(-1)
        first_logits[batch] = logits[torch.arange(len(batch)), first][:, list(candidates)].float()
        if progress is not None:
            progress(len(batch))
    return AnswerScores(exact, first_logits)


def position_ids(attention_mask: Int[Tensor, "batch seq"]) -> Int[Tensor, "batch seq"]:
    """Positions counted from each row's first real token."""
    return (attention_mask.cumsum(-1) - 1).clamp(min=0)


def first_tokens(tokenizer: Any, labels: Sequence[str]) -> list[int] | None:
    """Returns the first token of each label, or None if two labels share one.

    Where they differ, decoding held to the labels is decided by its first token.
    """
    tokens = [int(tokenizer(label, add_special_tokens=False).input_ids[0]) for label in labels]
    return tokens if len(set(tokens)) == len(tokens) else None
