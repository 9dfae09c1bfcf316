"""Text to learn on and to measure with, from a file or a data set, as rows of tokens of one length."""

import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from intarsia.data import read_rows
from intarsia.errors import DataError, InputError
from intarsia.models import CausalLM

_PLAIN = (".txt", ".md", ".text")


def read_texts(ref: str | os.PathLike[str]) -> list[str]:
    """Reads text.

    Args:
        ref: A plain text file (`.txt`, `.md`, also with `.gz`), whose lines are taken one by one; or anything
            `intarsia.data` reads, whose rows' texts, or prompts and targets, are taken.

    Raises:
        DataError: If there is no such file or set, or no text in it.
    """
    path = Path(ref)
    suffix = Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
    if suffix not in _PLAIN:
        return [_text_of(row) for row in read_rows(os.fspath(ref))]
    if not path.is_file():
        raise DataError("file not found", file=path)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (UnicodeDecodeError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"the text cannot be read: {error}", file=path, fix="give UTF-8 text") from None
    texts = [line for line in lines if line]
    if not texts:
        raise DataError("there is no text in the file", file=path)
    return texts


def token_rows(
    tokenizer: Any, texts: Sequence[str], length: int, *, limit: int | None = None, what: str = "the text"
) -> Int[Tensor, "rows length"]:
    """Returns the tokens of texts, one after the other with a space between, cut into rows of one length.

    Args:
        tokenizer: The model's tokenizer.
        texts: In order.
        length: Tokens of a row. What is left at the end is dropped.
        limit: Rows at most.
        what: What messages call the texts.

    Raises:
        DataError: If there is less text than one row.
    """
    wanted = None if limit is None else limit * length
    tokens: list[int] = []
    for ids in _tokenised(tokenizer, texts):
        tokens += ids
        if wanted is not None and len(tokens) >= wanted:
            break
    rows = len(tokens) // length if limit is None else min(len(tokens) // length, limit)
    if rows == 0:
        raise DataError(
            f"{what} has {len(tokens)} tokens, less than one row of {length}", fix="give more text, or shorter rows"
        )
    return torch.tensor(tokens[: rows * length]).reshape(rows, length)


def probe_rows(
    loaded: CausalLM, texts: Sequence[str], length: int, *, limit: int | None = None
) -> Int[Tensor, "rows length"]:
    """Returns the rows of held-out text that a model is measured on.

    Args:
        loaded: The model and its tokenizer.
        texts: In order; `held_out_part` takes them from the end of what is trained on.
        length: Tokens of a row.
        limit: Rows at most.

    Raises:
        DataError: If there is less text than one row.
        InputError: If a row is longer than the model can read.
    """
    check_length(loaded.model, length)
    return token_rows(loaded.tokenizer, texts, length, limit=limit, what="the text to measure on (--held-out)")


def check_length(model: Any, length: int) -> None:
    """Checks that a model has positions for a row.

    Raises:
        InputError: If it has fewer.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if positions and length > positions:
        raise InputError(
            f"rows of {length} tokens are longer than what the model reads, {positions} tokens",
            fix=f"give a length of at most {positions}",
        )


def token_counts(tokenizer: Any, texts: Sequence[str], vocab: int) -> Int[Tensor, "vocab"]:
    """Returns how often each token occurs in texts.

    Args:
        tokenizer: The model's tokenizer.
        texts: The texts, all of which are read.
        vocab: Rows of the embedding.

    Raises:
        DataError: If there is no text.
    """
    counts = torch.zeros(vocab, dtype=torch.long)
    for ids in _tokenised(tokenizer, texts):
        counts += torch.bincount(torch.tensor(ids, dtype=torch.long), minlength=vocab)
    if not counts.any():
        raise DataError("there is no text to count tokens in", fix="give text, or use uniform weighting")
    return counts


def _tokenised(tokenizer: Any, texts: Sequence[str]) -> Iterator[list[int]]:
    # In parts, so that a long file need not be tokenised for its first rows.
    for start in range(0, len(texts), 256):
        part = " ".join(texts[start : start + 256])
        yield tokenizer(f" {part}" if start else part, add_special_tokens=False, verbose=False).input_ids


def _text_of(row: Any) -> str:
    return f"{row.prompt}\n{row.target}" if hasattr(row, "prompt") else str(row.text)
