"""Requests as tokens, and whether they fit the model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from intarsia.errors import ModelError
from intarsia.models import CausalLM, render_prompt
from intarsia.serving.api_errors import ApiError
from intarsia.serving.config import ServingConfig
from intarsia.serving.middleware import ChatMessages

# What the API gives a completion that does not say how long it may be.
COMPLETION_TOKENS = 16


def context_length(model: Any, config: ServingConfig) -> int:
    """Returns the most positions of one row: what the model was made for, and what a batch may hold."""
    # A fused model says what all of its models can read.
    made_for = getattr(model, "context_length", None) or getattr(
        model.config.get_text_config(), "max_position_embeddings", None
    )
    return min(made_for, config.max_batch_tokens) if isinstance(made_for, int) else config.max_batch_tokens


def served_name(ref: str) -> str:
    """Returns what requests call a model that was loaded from `ref`: of a local path only the last part."""
    return Path(ref).name if Path(ref).is_absolute() else ref


class PromptEncoder:
    """Turns prompts into tokens and refuses those that do not fit.

    Args:
        loaded: Model and tokenizer.
        config: Limits.
    """

    def __init__(self, loaded: CausalLM, config: ServingConfig) -> None:
        self._tokenizer = loaded.tokenizer
        self._config = config
        self._vocabulary = loaded.model.config.get_text_config().vocab_size
        self.context = context_length(loaded.model, config)
        # The first call puts settings of the tokenizer's file right; later ones only read, from any thread.
        self._tokenizer("", verbose=False)

    def chat(self, messages: ChatMessages) -> list[int]:
        """Returns the tokens of a conversation, ready for the reply.

        Raises:
            ApiError: If the model's chat template refuses the messages.
        """
        try:
            text = render_prompt(self._tokenizer, messages)
        except ModelError as error:
            raise ApiError(400, error.what, param="messages", code="invalid_value") from None
        # A template writes the special tokens itself.
        return self._ids(text, add_special_tokens=self._tokenizer.chat_template is None)

    def completion(self, prompt: str | Sequence[int]) -> list[int]:
        """Returns the tokens of a prompt, which may be given as such.

        Raises:
            ApiError: If the model has no such token.
        """
        if isinstance(prompt, str):
            return self._ids(prompt, add_special_tokens=True)
        for token in prompt:
            if not 0 <= token < self._vocabulary:
                message = f"prompt has the token {token}, but the model's are 0 to {self._vocabulary - 1}"
                raise ApiError(400, message, param="prompt", code="invalid_value")
        return list(prompt)

    def answer_length(self, prompt: Sequence[int], wanted: int | None, default: int, *, param: str) -> int:
        """Returns how many tokens the answer to a prompt may have.

        Args:
            prompt: Its tokens.
            wanted: What the request asks for.
            default: For a request that asks for nothing; less if the context has no room for it.
            param: Where the request gives its prompt.

        Raises:
            ApiError: If the prompt is empty or too long, or the answer does not fit behind it.
        """
        limits, size = self._config, len(prompt)
        if not size:
            raise ApiError(400, f"{param} has no tokens", param=param, code="invalid_value")
        if wanted is not None and wanted > limits.max_new_tokens:
            message = f"max_tokens is {wanted}, but this server allows {limits.max_new_tokens}"
            raise ApiError(400, message, param="max_tokens", code="invalid_value")
        if limits.max_prompt_tokens is not None and size > limits.max_prompt_tokens:
            raise _too_long(f"{param} has {size} tokens, but this server allows {limits.max_prompt_tokens}", param)
        room = self.context - size
        if room < (wanted or 1):
            raise _too_long(
                f"{param} has {size} tokens and the answer may have {wanted or 1}, but the context is {self.context}; "
                "shorten the prompt" + (" or lower max_tokens" if wanted else ""),
                param,
            )
        return wanted or min(default, room, limits.max_new_tokens)

    def _ids(self, text: str, *, add_special_tokens: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=add_special_tokens, verbose=False).input_ids)


def _too_long(message: str, param: str) -> ApiError:
    return ApiError(400, message, param=param, code="context_length_exceeded")
