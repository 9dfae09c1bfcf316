"""From prompt and target to the tensors of a training step."""

from collections.abc import Sequence
from typing import Any, NotRequired, TypedDict, overload

import torch
from torch import Tensor

from intarsia.data import TextToTextRow
from intarsia.errors import DataError
from intarsia.models.lower_states import LowerStates, pad_left
from intarsia.models.scoring import position_ids

IGNORED = -100
"""Label of a position that carries no loss (the convention of torch and transformers)."""


class Example(TypedDict):
    """One tokenised training row. A dictionary, so that the Trainer's length-grouped sampler can measure it.

    Attributes:
        input_ids: Prompt tokens followed by all answer tokens but the last, which predicts nothing.
        answer: The answer's tokens, end of turn included. The last `len(answer)` inputs predict them.
        states: Stored states of `input_ids` that enter the first trained layer, `[seq, dim]`, if there are any.
    """

    input_ids: list[int]
    answer: list[int]
    states: NotRequired[Tensor]


def encode(tokenizer: Any, rows: Sequence[TextToTextRow]) -> list[Example]:
    """Renders each prompt as a user turn and appends the target as the assistant's answer.

    Raises:
        DataError: If there are no rows or a target is empty.
    """
    if not rows:
        raise DataError("there are no rows to train on")
    prompts = tokenizer.apply_chat_template(
        [[{"role": "user", "content": row.prompt}] for row in rows], add_generation_prompt=True, tokenize=False
    )
    examples = []
    for number, (row, prompt) in enumerate(zip(rows, prompts, strict=True)):
        if not row.target.strip():
            raise DataError("a training row has an empty target", field="target", file=f"row {row.id or number}")
        answer = [*tokenizer(row.target, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        inputs = [*tokenizer(prompt, add_special_tokens=False).input_ids, *answer[:-1]]
        examples.append(Example(input_ids=inputs, answer=answer))
    return examples


class StatesDataset(Sequence[Example]):
    """Examples with their stored states, read from disk when asked for.

    Args:
        examples: The examples the states were computed for, in the same order.
        states: Their states.
    """

    def __init__(self, examples: Sequence[Example], states: LowerStates) -> None:
        self._examples = examples
        self._states = states

    def __len__(self) -> int:
        return len(self._examples)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        return {**self._examples[index], "states": self._states[index]}


class AnswerCollator:
    """Pads examples on the left, so that all answers end at the last position.

    The batch has `input_ids` `[batch, seq]`, or `inputs_embeds` `[batch, seq, dim]` for examples with stored states;
    `attention_mask` and `position_ids` `[batch, seq]`; and `shift_labels` `[batch, answer]`, what the last positions
    are to predict. `labels` is the same: the Trainer counts the loss's tokens in batches that have it.
    """

    def __call__(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        if "states" in examples[0]:
            inputs, mask = pad_left([example["states"] for example in examples])
            batch = {"inputs_embeds": inputs}
        else:
            inputs, mask = pad_left([torch.tensor(example["input_ids"]) for example in examples])
            batch = {"input_ids": inputs}
        labels, _ = pad_left([torch.tensor(example["answer"]) for example in examples], IGNORED)
        return {
            **batch,
            "attention_mask": mask,
            "position_ids": position_ids(mask),
            "labels": labels,
            "shift_labels": labels,
        }
