"""Which rows are generated together, and what a batch gives each of them."""

from typing import Any

import pytest
import torch

from intarsia.models import CausalLM
from intarsia.serving.config import ServingConfig
from intarsia.serving.generation import end_tokens, generate_rows, left_padded
from intarsia.serving.rows import Piece, Row
from intarsia.serving.sampling import SamplingSettings
from intarsia.serving.worker import ClosingError, ModelWorker, QueueFullError, take_batch


def make_row(loaded: CausalLM, prompt: int | list[int], pieces: list[Piece] | None = None, **settings: Any) -> Row:
    ids = [5] * prompt if isinstance(prompt, int) else prompt
    options = {"max_tokens": 10, "temperature": 0.0} | settings
    return Row(ids, SamplingSettings(**options), loaded.tokenizer, [].append if pieces is None else pieces.append)


def text_of(pieces: list[Piece]) -> str:
    assert pieces[-1].is_last
    assert not any(piece.is_last for piece in pieces[:-1])
    return "".join(piece.text for piece in pieces)


def test_a_batch_takes_the_longest_waiting_that_fit(loaded: CausalLM) -> None:
    rows = [make_row(loaded, 10), make_row(loaded, 300), make_row(loaded, 20), make_row(loaded, 12)]
    waiting = list(rows)
    assert take_batch(waiting, 8, 100, None) == [rows[0], rows[2], rows[3]]
    assert waiting == [rows[1]]
    # What was passed over comes next, even alone and however large.
    waiting.append(rows[0])
    assert take_batch(waiting, 8, 100, None) == [rows[1]]
    assert waiting == [rows[0]]


def test_a_batch_is_bounded(loaded: CausalLM) -> None:
    rows = [make_row(loaded, 10) for _ in range(5)]
    assert take_batch(list(rows), 3, 1000, None) == rows[:3]
    assert take_batch(list(rows), 8, 40, None) == rows[:2]


def test_padding_never_reaches_past_the_models_context(loaded: CausalLM) -> None:
    long_prompt, long_answer = make_row(loaded, 60, max_tokens=4), make_row(loaded, 4, max_tokens=60)
    assert take_batch([long_prompt, long_answer], 8, 10_000, 64) == [long_prompt]
    assert take_batch([long_prompt, long_answer], 8, 10_000, 120) == [long_prompt, long_answer]


def test_prompts_are_padded_on_the_left() -> None:
    ids, mask = left_padded([[1, 2, 3], [4]], pad=9)
    assert ids.tolist() == [[1, 2, 3], [9, 9, 4]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 1]]


def test_greedy_rows_are_those_of_plain_generation(loaded: CausalLM) -> None:
    prompts = [[5, 6, 7], [40] * 9, [100, 3, 50, 60], [9]]
    heard: list[list[Piece]] = [[] for _ in prompts]
    rows = [make_row(loaded, ids, heard[i], max_tokens=8 + i) for i, ids in enumerate(prompts)]
    rows.insert(2, make_row(loaded, [7] * 20, [], temperature=1.5, seed=4, max_tokens=30))
    generate_rows(loaded, rows, end_tokens(loaded))
    for i, ids in enumerate(prompts):
        plain = loaded.model.generate(torch.tensor([ids]), max_new_tokens=8 + i, do_sample=False)[0, len(ids) :]
        assert text_of(heard[i]) == loaded.tokenizer.decode(plain, skip_special_tokens=True)


def test_rows_end_at_their_own_length_and_the_batch_with_the_last(held: Any) -> None:
    model, gate = held
    gate.go.set()
    heard: list[list[Piece]] = [[], []]
    generate_rows(model, [make_row(model, 3, heard[i], max_tokens=n) for i, n in enumerate((2, 5))], ())
    assert [sum(piece.tokens for piece in pieces) for pieces in heard] == [2, 5]
    assert [pieces[-1].finish_reason for pieces in heard] == ["length", "length"]
    assert gate.passes == 5


def test_a_cancelled_batch_ends_with_the_next_token(held: Any) -> None:
    model, gate = held
    gate.go.set()
    rows = [make_row(model, 3, max_tokens=400) for _ in range(2)]
    rows[0].cancel()
    seen: list[Piece] = []

    def hear(piece: Piece) -> None:
        seen.append(piece)
        if len(seen) == 3:
            rows[1].cancel()

    rows[1]._listener = hear
    generate_rows(model, rows, ())
    assert len(seen) == 3
    assert gate.passes == 3


def test_an_end_token_ends_a_row(loaded: CausalLM) -> None:
    plain = loaded.model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=6, do_sample=False)[0, 3:].tolist()
    pieces: list[Piece] = []
    generate_rows(loaded, [make_row(loaded, [5, 6, 7], pieces)], [plain[3]])
    assert pieces[-1].finish_reason == "stop"
    kept = plain[: plain.index(plain[3])]
    assert text_of(pieces) == loaded.tokenizer.decode(kept, skip_special_tokens=True)


class InLumps:
    """A model whose `generate` adds several tokens before it asks whether to stop, as speculative decoding does."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self.device, self.generation_config = model.device, model.generation_config

    def generate(
        self, input_ids: Any, logits_processor: Any, stopping_criteria: Any, max_new_tokens: int, **_: Any
    ) -> Any:
        start = input_ids.shape[1]
        while input_ids.shape[1] < start + max_new_tokens:
            for _step in range(min(3, start + max_new_tokens - input_ids.shape[1])):
                scores = self._model(input_ids).logits[:, -1]
                logits_processor(input_ids, scores)
                input_ids = torch.cat([input_ids, logits_processor(input_ids, scores).argmax(-1)[:, None]], dim=1)
            if input_ids.shape[1] < start + max_new_tokens and stopping_criteria(input_ids, None).all():
                break
        return input_ids


@torch.no_grad()
def test_a_model_that_generates_in_its_own_way_gives_the_same(loaded: CausalLM) -> None:
    texts = []
    for model in (loaded.model, InLumps(loaded.model)):
        heard: list[list[Piece]] = [[], []]
        rows = [
            make_row(loaded, [5, 6, 7], heard[0], max_tokens=11, logprobs=1),
            make_row(loaded, [8, 9, 10], heard[1], max_tokens=7, temperature=1.0, seed=5),
        ]
        generate_rows(CausalLM(model, loaded.tokenizer), rows, ())
        texts.append([text_of(pieces) for pieces in heard])
        assert sum(len(piece.report) for piece in heard[0]) == 11
    assert texts[0] == texts[1]


def test_the_queue_is_bounded_and_closes(loaded: CausalLM) -> None:
    worker = ModelWorker(loaded, ServingConfig(max_queue=2), None)
    rows = [make_row(loaded, 3) for _ in range(2)]
    worker.submit(rows)
    with pytest.raises(QueueFullError, match="2 requests are waiting"):
        worker.submit([make_row(loaded, 3)])
    worker.cancel(rows[:1])
    assert worker.counts == (0, 1)
    worker.submit([make_row(loaded, 3)])
    worker.close()
    with pytest.raises(ClosingError, match="shutting down"):
        worker.submit([make_row(loaded, 3)])


def test_stopping_fails_what_waits(loaded: CausalLM) -> None:
    worker = ModelWorker(loaded, ServingConfig(), None)
    pieces: list[Piece] = []
    worker.submit([make_row(loaded, 3, pieces)])
    worker.stop()
    worker.start()
    worker.join()
    assert [type(piece.error) for piece in pieces] == [ClosingError]
