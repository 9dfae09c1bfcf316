"""Whether models write with the same tokens: logits of different vocabularies cannot be added."""

from typing import Any

from intarsia.errors import ModelError


def shared_vocabulary(tokenizers: dict[str, Any], widths: dict[str, int]) -> int:
    """Checks that all tokenizers have the same tokens under the same ids, and counts them.

    Embedding matrices may have more rows than there are tokens, and fine-tuned models may have added tokens at the
    end; logits are to be cut to the length all have.

    Args:
        tokenizers: By model, the first being what others are compared with.
        widths: How many logits each model gives a token.

    Returns:
        The number of tokens all models share.

    Raises:
        ModelError: If a token differs, or one model lacks tokens that another did not merely add.
    """
    first, *others = tokenizers
    tokens = {name: _by_id(tokenizer) for name, tokenizer in tokenizers.items()}
    length = min(min(len(table) and max(table) + 1 for table in tokens.values()), *widths.values())
    for name in others:
        for index in range(length):
            mine, theirs = tokens[first].get(index), tokens[name].get(index)
            if mine != theirs:
                raise ModelError(
                    f"the tokenizers of {first} and {name} differ: token {index} is {mine!r} in the one and "
                    f"{theirs!r} in the other",
                    fix="choose models with one tokenizer: their logits are added token by token",
                )
    for name, tokenizer in tokenizers.items():
        added = set(tokenizer.get_added_vocab())
        missing = [token for index, token in sorted(tokens[name].items()) if index >= length and token not in added]
        if missing:
            raise ModelError(
                f"{name} has {len(missing)} tokens that another model lacks, the first {missing[0]!r}",
                fix="choose models with one tokenizer: their logits are added token by token",
            )
    return length


def _by_id(tokenizer: Any) -> dict[int, str]:
    return {index: token for token, index in tokenizer.get_vocab().items()}
