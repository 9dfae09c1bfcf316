"""Asking one system all test rows of all tasks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.data import TextToTextRow
from intarsia.files import read_json, write_json
from intarsia.finetune.examples import encode
from intarsia.models.lower_states import LowerStates, batches_by_length, pad_left, store_lower_states
from intarsia.models.scoring import first_tokens, position_ids, score_answers


@dataclass(frozen=True)
class TestSet:
    """The rows of every task, tokenised, one task after the other.

    Attributes:
        rows: Rows of each task, in the order they are stacked in.
        inputs: Tokens of each prompt and its answer but the last token; or the stored states of these.
        prompt_lengths: How many of the inputs are the prompt's.
        answers: Tokens of each expected answer.
        labels: First token of each label a task allows; tasks with free text or clashing labels have none.
    """

    rows: dict[str, int]
    inputs: Sequence[Sequence[int]] | LowerStates
    prompt_lengths: list[int]
    answers: list[list[int]]
    labels: dict[str, list[int]]

    @classmethod
    def build(
        cls, tokenizer: Any, rows: Mapping[str, Sequence[TextToTextRow]], labels: Mapping[str, list[str]]
    ) -> "TestSet":
        """Tokenises rows of each task; `labels` are the tasks' closed answer sets, empty for free text."""
        examples = [example for task in rows.values() for example in encode(tokenizer, task)]
        closed = {task: first_tokens(tokenizer, names) for task, names in labels.items() if names}
        return cls(
            rows={task: len(of_task) for task, of_task in rows.items()},
            inputs=[example["input_ids"] for example in examples],
            prompt_lengths=[len(example["input_ids"]) - len(example["answer"]) + 1 for example in examples],
            answers=[example["answer"] for example in examples],
            labels={task: tokens for task, tokens in closed.items() if tokens},
        )

    def with_states(self, model: Any, first: int, folder: Path, progress: Callable[[int], None] | None) -> "TestSet":
        """Replaces the tokens by the states that enter layer `first`; layer 0 changes nothing."""
        if first == 0 or isinstance(self.inputs, LowerStates):
            return self
        states = store_lower_states(model, first, self.inputs, folder, progress=progress)
        return TestSet(self.rows, states, self.prompt_lengths, self.answers, self.labels)

    def first(self, count: int) -> "TestSet":
        """The first rows of a set of one task."""
        inputs = self.inputs
        if isinstance(inputs, LowerStates):
            inputs = LowerStates(inputs.states, inputs.offsets[: count + 1], inputs.first)
        else:
            inputs = inputs[:count]
        answers = self.answers[:count]
        rows = {task: len(answers) for task in self.rows}
        return TestSet(rows, inputs, self.prompt_lengths[:count], answers, self.labels)

    def prompts(self) -> list[Tensor]:
        """The inputs without the answers."""
        return [torch.as_tensor(self.inputs[row])[:length] for row, length in enumerate(self.prompt_lengths)]

    def tasks(self) -> Iterator[tuple[str, slice]]:
        """Each task's name and place in the stack."""
        start = 0
        for task, count in self.rows.items():
            yield task, slice(start, start + count)
            start += count

    def __len__(self) -> int:
        return len(self.answers)


@dataclass(frozen=True)
class Answers:
    """How one system answered.

    Attributes:
        exact: By task, whether greedy decoding gives each row's answer exactly.
        choice: By task with a closed answer set, whether the likeliest of the task's labels is each row's.
    """

    exact: dict[str, npt.NDArray[np.bool_]]
    choice: dict[str, npt.NDArray[np.bool_]]

    def accuracy(self) -> dict[str, float]:
        """Exact match by task, in percent."""
        return {task: 100 * float(hits.mean()) for task, hits in self.exact.items()}

    def save(self, path: str | Path) -> None:
        write_json(
            path,
            {
                name: {task: hits.astype(int).tolist() for task, hits in part.items()}
                for name, part in vars(self).items()
            },
        )

    @classmethod
    def load(cls, path: str | Path) -> "Answers":
        parts = read_json(path)
        return cls(
            **{
                name: {task: np.array(hits, dtype=bool) for task, hits in parts[name].items()}
                for name in ("exact", "choice")
            }
        )


def ask(
    model: Any,
    test: TestSet,
    *,
    mixture: Float[Tensor, "rows experts"] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Asks `model` every row.

    Args:
        model: A causal language model; within `upper_layers_only` if the test set holds states.
        test: What to ask.
        mixture: Weights of the experts for each row, for a twin-merged model.
        progress: Called with the number of rows done after each batch.
    """
    candidates = sorted({token for tokens in test.labels.values() for token in tokens})
    row_inputs: Any = {} if mixture is None else {"mixture": mixture}
    scores = score_answers(model, test.inputs, test.answers, candidates=candidates, progress=progress, **row_inputs)
    exact, choice = {}, {}
    for task, part in test.tasks():
        exact[task] = scores.exact[part].numpy()
        if task in test.labels:
            columns = [candidates.index(token) for token in test.labels[task]]
            likeliest = scores.first_logits[part][:, columns].argmax(-1)
            wanted = [answer[0] for answer in test.answers[part]]
            choice[task] = np.array(
                [test.labels[task][pick] == token for pick, token in zip(likeliest, wanted, strict=True)]
            )
    return Answers(exact, choice)


@contextmanager
def weights_replaced(model: torch.nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Within the context, parameters of `model` named in `weights` have these values."""
    parameters = {name: model.get_parameter(name) for name in weights}
    originals = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = weights[name].to(parameter.device, parameter.dtype)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = originals[name]


@torch.no_grad()
def over_prompts(
    rows: TestSet, function: Callable[..., Tensor], progress: Callable[[int], None] | None = None
) -> Float[Tensor, "rows out"]:
    """Applies a twin-merged model's `route` or `pooled_states` to each row's prompt; the answer is not shown to it.

    Args:
        rows: The rows; with stored states for a model within `upper_layers_only`.
        function: Takes `input_ids` or `inputs_embeds`, `attention_mask` and `position_ids`; returns `[batch, out]`.
        progress: Called with the number of rows done after each batch.
    """
    prompts = rows.prompts()
    results: dict[int, Tensor] = {}
    for batch in batches_by_length([len(prompt) for prompt in prompts], 3072):
        padded, mask = pad_left([prompts[row] for row in batch])
        inputs = {"inputs_embeds" if isinstance(rows.inputs, LowerStates) else "input_ids": padded}
        found = function(**inputs, attention_mask=mask, position_ids=position_ids(mask)).float().cpu()
        results.update(zip(batch, found, strict=True))
        if progress is not None:
            progress(len(batch))
    return torch.stack([results[row] for row in range(len(rows))])


def one_hot_of_largest(mixture: Float[Tensor, "rows experts"]) -> Float[Tensor, "rows experts"]:
    """Puts all weight of each row on its likeliest expert."""
    return torch.nn.functional.one_hot(mixture.argmax(-1), mixture.shape[-1]).float()
