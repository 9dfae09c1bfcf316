"""Words a compressed model's vocabulary never had: nothing is trained, their rows follow from their units."""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import AddedToken
from torch import nn

from intarsia.compress.adding_tokens import NewWord, add_words
from intarsia.compress.modeling import CompressedForCausalLM
from intarsia.compress.rebuilt_table import UnitEmbedding
from intarsia.compress.units import Lexicon
from intarsia.errors import InputError, ModelError
from intarsia.models import CausalLM


class AddedWord(NamedTuple):
    """What became of a word.

    Attributes:
        word: The word.
        token_id: Its token.
        terms: The units of its terms, by their names.
        nearest: The tokens whose rows are nearest to its own, by cosine, the nearest first.
    """

    word: str
    token_id: int
    terms: list[list[str]]
    nearest: list[str]


def add_words_to_model(
    loaded: CausalLM, words: Sequence[NewWord], *, lexicon: Lexicon | None = None
) -> list[AddedWord]:
    """Gives a compressed model and its tokenizer new words, in place.

    Args:
        loaded: A model compressed with a method that has units: `see`, `hybrid` or `morphte`.
        words: The words.
        lexicon: Where words without given senses are looked up.

    Raises:
        ModelError: If the model's embedding has no units.
        InputError: If the tokenizer has a word already, or a word has nothing in common with the vocabulary.
        UnknownNameError: If a given sememe or piece is none of the units.
    """
    model, tokenizer = loaded
    embedding = model.compressed if isinstance(model, CompressedForCausalLM) else None
    if not isinstance(embedding, UnitEmbedding):
        raise ModelError(
            "only a model compressed by units of meaning and form knows what a new word is made of",
            where=getattr(model, "name_or_path", None) or None,
            fix="compress the original with --method see, hybrid or morphte",
        )
    vocabulary = tokenizer.get_vocab()
    spaced = {f" {word.word}" if word.starts_word else word.word: word for word in words}
    for text, word in spaced.items():
        own = tokenizer(text, add_special_tokens=False).input_ids
        if text in vocabulary or len(own) == 1:
            raise InputError(f"the tokenizer has {word.word!r} already", where="word", fix="there is nothing to add")
    new = [AddedToken(text, normalized=False, special=False) for text in spaced]
    # On a copy first: a word that cannot be added must leave nothing behind.
    longer = copy.deepcopy(tokenizer)
    longer.add_tokens(new)
    ids = {longer.convert_tokens_to_ids(text): word for text, word in spaced.items()}
    grown = add_words(
        embedding.units,
        embedding.table(),
        ids,
        longer,
        lexicon=lexicon,
        how=embedding.copies,
        seed=embedding.seed,
    )
    made = embedding.with_words(grown)
    tokenizer.add_tokens(new)
    model.replace_embedding(made)
    return [_report(made, token_id, word, tokenizer) for token_id, word in sorted(ids.items())]


def _report(embedding: UnitEmbedding, token_id: int, word: NewWord, tokenizer: object) -> AddedWord:
    units = embedding.units
    terms = [[units.names[int(unit)] for unit in term] for term in units.units[token_id][units.mask[token_id]]]
    directions = nn.functional.normalize(embedding.to_dense(), dim=-1)
    cosines = directions @ directions[token_id]
    cosines[token_id] = -2.0
    # Rows that no token has are no neighbours.
    cosines[tokens_of(tokenizer) :] = -2.0
    nearest = torch.topk(cosines, min(6, len(cosines) - 1)).indices.tolist()
    names = [str(tokenizer.decode([index])).strip() for index in nearest]  # type: ignore[attr-defined]
    return AddedWord(word.word, token_id, terms, list(dict.fromkeys(names)))


def tokens_of(tokenizer: object) -> int:
    """Returns the number of a tokenizer's ids."""
    return int(max(tokenizer.get_vocab().values())) + 1  # type: ignore[attr-defined]
