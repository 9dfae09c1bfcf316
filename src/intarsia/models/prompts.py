"""The prompt an expert is trained on and asked with: a chat turn under a fixed instruction."""

from typing import Any

# Put before a chat template, it supplies a system message where the conversation has none. An assignment inside a
# Jinja `if` at top level is seen by the rest of the template.
_DEFAULT_SYSTEM = (
    "{%- if messages[0]['role'] != 'system' -%}"
    "{%- set messages = [{'role': 'system', 'content': INSTRUCTION}] + messages -%}"
    "{%- endif -%}"
)


def set_instruction(tokenizer: Any, instruction: str) -> None:
    """Makes `instruction` the system message of every conversation that has none.

    It is written into the tokenizer's chat template, so every tool that applies the template of a saved model
    (chat, evaluation harnesses, servers) asks the model the way it was trained.

    Args:
        tokenizer: A tokenizer with a chat template; changed in place.
        instruction: The system message.
    """
    # A Jinja string literal knows the same escapes as a Python one.
    tokenizer.chat_template = _DEFAULT_SYSTEM.replace("INSTRUCTION", repr(instruction)) + tokenizer.chat_template


def clip_text(tokenizer: Any, text: str, max_tokens: int) -> str:
    """Cuts `text` after its first `max_tokens` tokens."""
    ids = tokenizer(text, add_special_tokens=False, truncation=True, max_length=max_tokens).input_ids
    return str(tokenizer.decode(ids)).strip()
