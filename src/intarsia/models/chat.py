"""Chat messages as the one text a model reads."""

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from intarsia.errors import ModelError


def render_prompt(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, add_generation_prompt: bool = True) -> str:
    """Renders messages with the tokenizer's chat template.

    Without a template the messages' contents are joined by line breaks, and a line break is what asks for the answer.

    Args:
        tokenizer: The model's tokenizer.
        messages: Each with `role` ("system", "user", "assistant") and `content`.
        add_generation_prompt: Whether to end with what the model's answer follows on.

    Raises:
        ModelError: If the template refuses the messages (some allow no system role, for example).
    """
    if tokenizer.chat_template is None:
        text = "\n".join(message["content"] for message in messages)
        return text + "\n" if add_generation_prompt else text
    try:
        return tokenizer.apply_chat_template(
            [dict(message) for message in messages], tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except TemplateError as error:
        raise ModelError(f"the model's chat template refuses the messages: {error}") from error
