"""Scoring without generating says what generating would."""

import pytest
import torch

from intarsia.data import TextToTextRow
from intarsia.errors import DataError
from intarsia.finetune.examples import encode
from intarsia.models import load_causal_lm
from intarsia.models.answering import answer_prompts
from intarsia.models.prompts import clip_text, set_instruction
from intarsia.models.scoring import first_tokens, score_answers


@pytest.fixture(scope="module")
def loaded(tiny_llama):
    loaded = load_causal_lm(tiny_llama, device="cpu")
    # Sharper logits, so that a random model writes more than one letter over and over.
    torch.manual_seed(1)
    for parameter in loaded.model.parameters():
        parameter.data.add_(torch.randn_like(parameter), alpha=0.3)
    return loaded


def test_exact_is_what_greedy_generation_writes(loaded):
    model, tokenizer = loaded
    prompts = ["oil", "a longer prompt about wheat", "x"]
    texts = tokenizer.apply_chat_template(
        [[{"role": "user", "content": prompt}] for prompt in prompts], add_generation_prompt=True, tokenize=False
    )
    answers = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        out = model.generate(**ids, max_new_tokens=4, do_sample=False, eos_token_id=None)
        answers.append(out[0, ids["input_ids"].shape[1] :].tolist())
    prompt_ids = [tokenizer(text, add_special_tokens=False).input_ids for text in texts]
    inputs = [ids + answer[:-1] for ids, answer in zip(prompt_ids, answers, strict=True)]
    assert score_answers(model, inputs, answers).exact.tolist() == [True, True, True]
    wrong = [[*answer[:-1], (answer[-1] + 1) % 200] for answer in answers]
    assert score_answers(model, inputs, wrong).exact.tolist() == [False, False, False]


def test_answers_of_different_lengths_do_not_disturb_each_other(loaded):
    rows = [TextToTextRow("oil", "a"), TextToTextRow("wheat prices", "grain"), TextToTextRow("ship", "bc")]
    examples = encode(loaded.tokenizer, rows)
    inputs, answers = [e["input_ids"] for e in examples], [e["answer"] for e in examples]
    candidates = [10, 20, 30]
    together = score_answers(loaded.model, inputs, answers, candidates=candidates)
    for row in range(3):
        alone = score_answers(loaded.model, [inputs[row]], [answers[row]], candidates=candidates)
        assert bool(alone.exact[0]) == bool(together.exact[row])
        torch.testing.assert_close(alone.first_logits[0], together.first_logits[row], atol=1e-4, rtol=1e-4)


def test_no_rows_is_an_error(loaded):
    with pytest.raises(DataError, match="no rows"):
        score_answers(loaded.model, [], [])


def test_labels_with_a_common_first_token_are_not_told_apart_by_it(loaded):
    assert first_tokens(loaded.tokenizer, ["oil", "grain"]) is not None
    assert first_tokens(loaded.tokenizer, ["grain", "gold"]) is None


def test_answers_come_in_the_order_of_the_prompts(loaded):
    prompts = ["a", "a much longer prompt than the first one", "bb"]
    together = answer_prompts(loaded, prompts, max_new_tokens=3, batch_size=2)
    assert together == [answer_prompts(loaded, [prompt], max_new_tokens=3)[0] for prompt in prompts]


def test_the_instruction_is_the_system_message_unless_there_is_one(tiny_llama):
    tokenizer = load_causal_lm(tiny_llama, device="cpu").tokenizer
    set_instruction(tokenizer, 'Answer with "one" label; it\'s easy.\n')
    plain = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert plain.startswith(
        '<|im_start|>system\nAnswer with "one" label; it\'s easy.\n<|im_end|>\n<|im_start|>user\nhi'
    )
    own = [{"role": "system", "content": "other"}, {"role": "user", "content": "hi"}]
    assert "Answer" not in tokenizer.apply_chat_template(own, tokenize=False)


def test_clipping_counts_tokens(loaded):
    assert clip_text(loaded.tokenizer, "abcdef", 3) == "abc"
