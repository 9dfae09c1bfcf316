"""Whether a tokenizer is the one a model was compressed for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from intarsia.compress.units.unit_map import hash_vocabulary
from intarsia.errors import ModelError


def vocabulary_digest(tokens: Mapping[str, int], size: int) -> str:
    """Returns the SHA-256 of the tokens whose ids are below `size`, in the order of their ids.

    Args:
        tokens: Token to id, as a tokenizer's `get_vocab()` gives them.
        size: Tokens added later, at the end, do not change the hash.
    """
    by_id: list[str | None] = [None] * size
    for token, index in tokens.items():
        if index < size:
            by_id[index] = token
    return hash_vocabulary(by_id)


def check_vocabulary(folder: Path, size: int, digest: str) -> None:
    """Checks that the tokenizer in a model's folder, if there is one, has the tokens the model was compressed for.

    Args:
        folder: The model's folder.
        size: How many tokens the digest covers.
        digest: The hash that is expected.

    Raises:
        ModelError: If it has others.
    """
    tokens = _stored_tokens(folder) if digest else None
    if tokens is None or vocabulary_digest(tokens, size) == digest:
        return
    raise ModelError(
        "the tokenizer is not the one the embedding was compressed for: its tokens differ",
        where=folder,
        fix="put back the tokenizer files that were saved with the model, or compress again",
    )


def _stored_tokens(folder: Path) -> Mapping[str, int] | None:
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        # As a whole tokenizer of transformers it would take several times as long.
        fast: dict[str, int] = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab(with_added_tokens=True)
        return fast
    if (folder / "tokenizer_config.json").is_file():
        from transformers import AutoTokenizer

        slow: Any = AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
        return slow.get_vocab()
    return None
