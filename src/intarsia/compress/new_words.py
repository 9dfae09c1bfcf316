"""Words a model's vocabulary never had, compressed or not: nothing is trained, their rows follow from their units."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from tokenizers import AddedToken
from torch import Tensor, nn

from intarsia.compress.added_rows import AddedRowsEmbedding
from intarsia.compress.adding_tokens import NewWord, predict_rows, word_terms
from intarsia.compress.modeling import CompressedForCausalLM
from intarsia.compress.units import Lexicon, UnitConfig, UnitMap, segmenter_of
from intarsia.errors import InputError, ModelError
from intarsia.models import CausalLM


class AddedWord(NamedTuple):
    """What became of a word.

    Attributes:
        word: The word.
        token_id: Its token.
        terms: The units of its terms, by their names.
        nearest: The words of the vocabulary whose rows are nearest to its own, by the cosine of what the mean row
            leaves; with a lexicon, those that it has.
    """

    word: str
    token_id: int
    terms: list[list[str]]
    nearest: list[str]


def add_words_to_model(
    loaded: CausalLM, words: Sequence[NewWord], *, lexicon: Lexicon | None = None, config: UnitConfig | None = None
) -> list[AddedWord]:
    """Gives a model and its tokenizer new words, in place.

    What the units of a word (shape, pieces, sememes) add to a row is found by regression on the rows there are, and
    the word's row is their sum; likewise in a head of its own. A compressed embedding keeps the row beside what it is
    made of.

    Args:
        loaded: Any causal language model and its tokenizer.
        words: The words.
        lexicon: Where the vocabulary's words are looked up, and new ones without given senses. None knows no senses.
        config: How the vocabulary is split into units.

    Raises:
        ModelError: If the model's embedding is no table of rows, or the tokenizer has more tokens than it.
        InputError: If there is no word, the tokenizer has one, or one has nothing in common with the vocabulary.
        UnknownNameError: If a given sememe or piece is none of the units.
    """
    if not words:
        raise InputError("there is no word to add", where="words", fix="give at least one")
    model, tokenizer = loaded
    matrices = _matrices(model)
    matrix = matrices[0]
    units = UnitMap.from_tokenizer(tokenizer, lexicon, config or UnitConfig(), rows=len(matrix))
    segmenter = segmenter_of(tokenizer, units.config.merges)
    rows = [predict_rows(units, part, words, lexicon=lexicon, segmenter=segmenter) for part in matrices]
    new = _tokens(tokenizer, words)
    # On a copy first: a word that cannot be added must leave nothing behind.
    longer = copy.deepcopy(tokenizer)
    longer.add_tokens(new)
    ids = [int(longer.convert_tokens_to_ids(token.content)) for token in new]
    _set_rows(model, {token_id: [part[place] for part in rows] for place, token_id in enumerate(ids)})
    tokenizer.add_tokens(new)
    grown = _matrices(model)[0]
    # Fragments of words are near to anything that is rare; a vocabulary of bytes has nothing else.
    words_of = next(kind for kind in (units.found, units.words, units.mask.any(1)) if bool(kind.any()))
    return [
        AddedWord(
            word.word,
            token_id,
            [list(term) for term in word_terms(units, word, lexicon=lexicon, segmenter=segmenter, whole=False)],
            _nearest(grown, token_id, words_of, tokenizer),
        )
        for word, token_id in zip(words, ids, strict=True)
    ]


def _tokens(tokenizer: Any, words: Sequence[NewWord]) -> list[AddedToken]:
    """The words as tokens, with the space before them, which is part of them as it is of the vocabulary's words."""
    texts = [f" {word.word}" if word.starts_word else word.word for word in words]
    for text, word in zip(texts, words, strict=True):
        if len(tokenizer(text, add_special_tokens=False).input_ids) == 1 or texts.count(text) > 1:
            raise InputError(f"the tokenizer has {word.word!r} already", where="word", fix="there is nothing to add")
    return [AddedToken(text, normalized=False, special=False) for text in texts]


def _matrices(model: Any) -> list[Float[Tensor, "vocab dim"]]:
    """The rows tokens enter by and, if it is another matrix, those of the head."""
    if isinstance(model, CompressedForCausalLM):
        matrices = [model.compressed.to_dense()]
    elif isinstance(model.get_input_embeddings(), nn.Embedding):
        matrices = [model.get_input_embeddings().weight.detach()]
    else:
        raise ModelError(
            f"the input embedding is a {type(model.get_input_embeddings()).__name__}, not a table of rows",
            fix="give a plain or a compressed model; merge adapters into it first",
        )
    head = model.get_output_embeddings()
    if isinstance(head, nn.Linear) and head.weight is not getattr(model.get_input_embeddings(), "weight", None):
        matrices.append(head.weight.detach())
    return [matrix.float().cpu() for matrix in matrices]


def _set_rows(model: Any, rows: Mapping[int, Sequence[Tensor]]) -> None:
    """Gives tokens their rows, in the embedding and in a head of its own."""
    if isinstance(model, CompressedForCausalLM):
        entering = {token: parts[0] for token, parts in rows.items()}
        model.replace_embedding(AddedRowsEmbedding.with_rows(model.compressed, entering))
    else:
        needed = max(rows) + 1
        if needed > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(needed, mean_resizing=False)
        _write(model.get_input_embeddings().weight, {token: parts[0] for token, parts in rows.items()})
    _write(
        getattr(model.get_output_embeddings(), "weight", torch.zeros(0)),
        {token: parts[1] for token, parts in rows.items() if len(parts) > 1},
    )


@torch.no_grad()
def _write(matrix: Tensor, rows: Mapping[int, Tensor]) -> None:
    for token, row in rows.items():
        matrix[token] = row.to(matrix)


def _nearest(
    matrix: Float[Tensor, "vocab dim"], token_id: int, words: Bool[Tensor, "known"], tokenizer: Any, *, count: int = 6
) -> list[str]:
    directions = nn.functional.normalize(matrix - matrix.mean(0), dim=-1)
    candidates = words.nonzero().flatten()
    candidates = candidates[candidates != token_id]
    cosines = directions[candidates] @ directions[token_id]
    # A word in capitals, with and without a space is one word.
    nearest = candidates[cosines.argsort(descending=True)[: 8 * count]].tolist()
    return list(dict.fromkeys(str(tokenizer.decode([index])).strip().lower() for index in nearest))[:count]
