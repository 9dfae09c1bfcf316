from pathlib import Path

import pytest

from intarsia.errors import ModelError
from intarsia.models import load_tokenizer, render_prompt

MESSAGES = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi"}]


def test_the_template_of_the_tokenizer_is_used(model_folder: Path) -> None:
    tokenizer = load_tokenizer(model_folder)
    expected = "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
    assert render_prompt(tokenizer, MESSAGES, add_generation_prompt=False) == expected
    assert render_prompt(tokenizer, MESSAGES) == expected + "<|im_start|>assistant\n"


def test_without_a_template_messages_are_joined(model_folder: Path) -> None:
    tokenizer = load_tokenizer(model_folder)
    tokenizer.chat_template = None
    assert render_prompt(tokenizer, MESSAGES) == "Be brief.\nhi\n"
    assert render_prompt(tokenizer, MESSAGES, add_generation_prompt=False) == "Be brief.\nhi"


def test_what_the_template_refuses(model_folder: Path) -> None:
    tokenizer = load_tokenizer(model_folder)
    tokenizer.chat_template = "{{ raise_exception('no system role') }}"
    with pytest.raises(ModelError, match="refuses the messages: no system role"):
        render_prompt(tokenizer, MESSAGES)
