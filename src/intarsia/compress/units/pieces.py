"""Splitting words into pieces that many words share."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from intarsia.compress.units.lexicon import read_rows
from intarsia.compress.units.token_strings import (
    TokenString,
    TokenStyle,
    decode_bytes,
    find_style,
    read_token,
    write_token,
)
from intarsia.errors import DataError, ModelError

Segmenter = Callable[[TokenString], Sequence[str]]
"""Splits a token into pieces: parts of its `core`, in order."""


def limit_pieces(pieces: Sequence[str], most: int) -> list[str]:
    """Joins the pieces beyond the last but one into one, so that there are at most so many."""
    if len(pieces) <= most:
        return list(pieces)
    return [*pieces[: most - 1], "".join(pieces[most - 1 :])]


def segmenter_of(tokenizer: Any, merges: int) -> Segmenter:
    """Returns the segmenter of a tokenizer: its first merges, or the longest match over its most frequent pieces.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        merges: How many merges, or pieces.

    Raises:
        ModelError: If the tokenizer has no vocabulary of pieces to split by.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"{type(tokenizer).__name__} is no fast tokenizer, so its merges cannot be read",
            where="tokenizer",
            fix="load it with use_fast=True, or give a segmenter",
        )
    model = json.loads(backend.to_str())["model"]
    special = set(tokenizer.all_special_tokens)
    vocabulary = model.get("vocab") or {}
    match model.get("type", "BPE"):
        case "BPE":
            pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in model["merges"][:merges]]
            return merge_segmenter(pairs, find_style(vocabulary))
        case "Unigram":
            scored = sorted(vocabulary, key=lambda item: -item[1])
            tokens = [token for token, _ in scored if token not in special]
        case "WordPiece" | "WordLevel":
            tokens = [token for token in sorted(vocabulary, key=vocabulary.__getitem__) if token not in special]
            tokens = [token for token in tokens if not (token.startswith("[") and token.endswith("]"))]
        case other:
            raise ModelError(f"a tokenizer of type {other} has no pieces", where="tokenizer", fix="give a segmenter")
    return longest_match_segmenter(tokens[:merges], find_style(tokens))


def word_segmenter(tokenizer: Any, merges: int) -> Segmenter:
    """Returns a segmenter of whole words by a tokenizer's first merges, or most frequent pieces.

    Args:
        tokenizer: A fast Hugging Face tokenizer.
        merges: How many.
    """
    segment = segmenter_of(tokenizer, merges)
    style = find_style(tokenizer.get_vocab())

    def segment_word(token: TokenString) -> Sequence[str]:
        return segment(read_token(write_token(token.core, style), style))

    return segment_word


def merge_segmenter(merges: Sequence[tuple[str, str]], style: TokenStyle) -> Segmenter:
    """Returns a segmenter that applies byte-pair merges, the first ones first."""
    ranks = {pair: rank for rank, pair in enumerate(merges)}

    @cache  # the same letters come in capitals too
    def merged(surface: str) -> Sequence[str]:
        parts = list(surface)
        while len(parts) > 1:
            rank, place = min((ranks.get(pair, len(ranks)), place) for place, pair in enumerate(pairwise(parts)))
            if rank == len(ranks):
                break
            parts[place : place + 2] = [parts[place] + parts[place + 1]]
        return _without_marker(parts, style)

    def segment(token: TokenString) -> Sequence[str]:
        is_byte = token.core.startswith("<0x") and token.surface == token.core
        return [token.core] if is_byte else merged(token.surface)

    return segment


def longest_match_segmenter(pieces: Iterable[str], style: TokenStyle) -> Segmenter:
    """Returns a segmenter that takes the longest known piece at each place; unknown characters stand alone.

    Args:
        pieces: Known pieces as the vocabulary writes them, with markers.
        style: How it writes them.
    """
    beginning: set[str] = set()
    inside: set[str] = set()
    for piece in pieces:
        token = read_token(piece, style)
        (beginning if token.starts_word else inside).add(token.core)
    known = {True: beginning, False: inside}
    longest = max((len(piece) for piece in beginning | inside), default=1)

    def segment(token: TokenString) -> Sequence[str]:
        core, found, start = token.core, [], 0
        while start < len(core):
            pieces = known[token.starts_word and start == 0]
            ends = range(min(len(core), start + longest), start + 1, -1)
            end = next((end for end in ends if core[start:end] in pieces), start + 1)
            found.append(core[start:end])
            start = end
        return found

    return segment


def table_segmenter(table: Mapping[str, Sequence[str]], otherwise: Segmenter) -> Segmenter:
    """Returns a segmenter that looks words up, and splits those that are not there by another one.

    Args:
        table: Pieces of words in lower case.
        otherwise: For other words.
    """

    def segment(token: TokenString) -> Sequence[str]:
        return table.get(token.core) or otherwise(token)

    return segment


def read_morphemes(path: str | Path) -> dict[str, tuple[str, ...]]:
    """Reads a table of morphemes: word, tab, its morphemes; `@@` after what goes on is dropped. A header is skipped.

    Raises:
        DataError: If there is no such file, or a row is malformed; the message names its line.
    """
    if not Path(path).is_file():
        raise DataError("file not found", file=path)
    found = {}
    for line, cells in read_rows(Path(path)):
        if len(cells) != 2 or not cells[1].split():
            raise DataError(
                "a row needs a word and its morphemes", file=path, line=line, fix="separate the two by one tab"
            )
        if line == 1 and cells[1] == "morphemes":
            continue
        found[cells[0].removesuffix("@@").lower()] = tuple(
            part.removesuffix("@@").lower() for part in cells[1].split() if part != "@@"
        )
    return found


def _without_marker(parts: Sequence[str], style: TokenStyle) -> list[str]:
    """Pieces as text: without the marker of a word's start, and bytes decoded where they are text."""
    if style is TokenStyle.BYTE_LEVEL:
        texts = [decode_bytes(part) for part in parts]
        texts[0] = texts[0].removeprefix(" ")
    else:
        texts = list(parts)
        texts[0] = texts[0].removeprefix("▁")
    return [text for text in texts if text]
