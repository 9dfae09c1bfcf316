"""Words that a model's vocabulary never had: their rows follow from sememes and pieces it knows.

`predict_rows` asks a trained matrix, by regression, what units add to a row, and gives dense rows for any model.
`add_words` gives words terms of a table, so that a compressed embedding needs no dense row for them. What these rows
are worth depends on the copies: with `all`, words share whole vectors; with `assigned` each has a mixture of its own,
and its row says next to nothing until it is trained.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, NoReturn

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.compress.see.term_table import TermTable
from intarsia.compress.units.copies import Copying, cycle_terms, hashed_copies, repeat_terms
from intarsia.compress.units.definitions import sememes_of_definition
from intarsia.compress.units.lexicon import Lexicon, Sense
from intarsia.compress.units.pieces import Segmenter, segmenter_of
from intarsia.compress.units.row_regression import PENALTY, RowRegression
from intarsia.compress.units.token_strings import read_token, write_token
from intarsia.compress.units.token_terms import Term, kind_of, token_terms
from intarsia.compress.units.unit_map import UnitMap, hash_tokenizer
from intarsia.errors import InputError, UnknownNameError


@dataclass(frozen=True, kw_only=True)
class NewWord:
    """A word to add.

    Attributes:
        word: The word as it is written.
        senses: Sememes of each of its senses, the most characteristic first; None looks the word up in a lexicon. No
            sense at all leaves its pieces to say everything.
        definitions: What further senses mean, in words of which a lexicon tells the sememes; there must be one.
        pieces: Its parts in order, or None to split it as the vocabulary's words are split.
        starts_word: Whether it stands after a space.
    """

    word: str
    senses: tuple[tuple[str, ...], ...] | None = None
    definitions: tuple[str, ...] = ()
    pieces: tuple[str, ...] | None = None
    starts_word: bool = True

    def __post_init__(self) -> None:
        if not self.word.strip() or self.word != self.word.strip():
            raise InputError(f"{self.word!r} is no word", where="word", fix="give letters, without spaces around them")
        if any(not sense for sense in self.senses or ()):
            raise InputError(f"a sense of {self.word!r} has no sememe", where="senses", fix="name one, or leave it out")


class WithNewWords(NamedTuple):
    """A unit map and a term table that know new words.

    Attributes:
        units: The units, with a row for each new word.
        table: The terms and copies, likewise; the copies of units did not change, so a trained table fits.
    """

    units: UnitMap
    table: TermTable


def add_words(
    units: UnitMap,
    table: TermTable,
    words: Mapping[int, NewWord],
    tokenizer: Any,
    *,
    lexicon: Lexicon | None = None,
    segmenter: Segmenter | None = None,
    how: Copying = "assigned",
    seed: int = 0,
) -> WithNewWords:
    """Gives new words terms of units that are there already, so that nothing has to be trained.

    Args:
        units: The units of the vocabulary so far.
        table: The terms of the trained embedding.
        words: The new words by token id: of rows that no token has, or following the last row without a gap.
        tokenizer: The tokenizer that has the new tokens.
        lexicon: Where words without given senses are looked up.
        segmenter: Splits words without given pieces; by default the tokenizer's first merges.
        how: How the table's copies were assigned.
        seed: By which they were.

    Raises:
        InputError: If an id belongs to a token of the vocabulary or leaves a gap, or units and table do not fit.
        UnknownNameError: If a given sememe or piece is none of the units; the message lists near ones.
    """
    size = _new_size(units, table, words)
    segmenter = segmenter or segmenter_of(tokenizer, units.config.merges)
    grown = _grown(units, size)
    for id, word in sorted(words.items()):
        terms = word_terms(units, word, lexicon=lexicon, segmenter=segmenter)[: units.units.shape[1]]
        numbers = torch.tensor([[units.index[name] for name in term] for term in terms], dtype=torch.int32)
        grown.units[id] = 0
        grown.units[id, : len(terms)] = numbers
        grown.mask[id] = torch.arange(grown.mask.shape[1]) < len(terms)
        grown.words[id] = len(word.word) >= 3 and word.word.isalpha()
        grown.found[id] = any(kind_of(name) == "sememe" for term in terms for name in term)
    grown = replace(grown, tokenizer_hash=hash_tokenizer(tokenizer))
    return WithNewWords(grown, _grown_table(grown, table, sorted(words), how, seed))


def predict_rows(
    units: UnitMap,
    matrix: Float[Tensor, "vocab dim"],
    words: Sequence[NewWord],
    *,
    lexicon: Lexicon | None,
    segmenter: Segmenter,
    penalty: float = PENALTY,
) -> Float[Tensor, "words dim"]:
    """Predicts rows of new words from what units say in the rows there are.

    Args:
        units: The units of the vocabulary.
        matrix: Its rows: a dense embedding, or what `to_dense` gives of a compressed one.
        words: The new words.
        lexicon: Where words without given senses are looked up.
        segmenter: Splits words without given pieces.
        penalty: Of the regression; see `RowRegression.fit`.

    Raises:
        UnknownNameError: If a given sememe or piece is none of the units; the message lists near ones.
        ModelError: If units and matrix are of different vocabularies.
    """
    terms = [word_terms(units, word, lexicon=lexicon, segmenter=segmenter, whole=False) for word in words]
    regression = RowRegression.fit(units, matrix, penalty=penalty)
    return torch.stack([regression.row(of_word) for of_word in terms])


def word_terms(
    units: UnitMap, word: NewWord, *, lexicon: Lexicon | None, segmenter: Segmenter, whole: bool = True
) -> list[Term]:
    """Returns the terms of a new word, by the names of units that `units` has.

    Pieces the vocabulary never used are split into those it did.

    Args:
        units: The units of the vocabulary.
        word: The word.
        lexicon: Where a word without given senses is looked up.
        segmenter: Splits a word without given pieces.
        whole: Whether a term with a unit that `units` has not is left out; otherwise that unit is.

    Raises:
        UnknownNameError: If a given sememe or piece is none of the units.
        InputError: If the word, or a definition of it, has nothing that any token of the vocabulary has, or there is no
            lexicon to read definitions with.
    """
    senses = _senses(units, word, lexicon)
    token = read_token(write_token(word.word, units.style, starts_word=word.starts_word), units.style)
    known = {name.partition(":")[2] for name in units.names if kind_of(name) == "piece"} - {""}
    if word.pieces is not None:
        pieces = [piece.lower() for piece in word.pieces]
        for piece in pieces:
            if piece not in known:
                raise UnknownNameError("piece", piece, _near(piece, known), where=f"pieces of {word.word!r}")
        if len(pieces) > units.config.order:
            raise InputError(
                f"{len(pieces)} pieces are given, but a term has {units.config.order}",
                where=f"pieces of {word.word!r}",
                fix=f"join some; the vocabulary's words are cut after {units.config.order} as well",
            )
    else:
        pieces = list(segmenter(token))
    pieces = _known_pieces(pieces, known, units.config.order)
    if not pieces:
        raise InputError(
            f"{word.word!r} shares no character with the vocabulary", where="word", fix="give its pieces and sememes"
        )
    terms = token_terms(token, pieces, senses, units.config)
    if whole:
        found = [term for term in terms if all(name in units.index for name in term)]
    else:
        parts = [tuple(name for name in term if name in units.index) for term in terms]
        found = [part for part in parts if part]
    if not found:
        raise InputError(
            f"no term of {word.word!r} is made of units the vocabulary has", where="word", fix="give it sememes"
        )
    return found


def _senses(units: UnitMap, word: NewWord, lexicon: Lexicon | None) -> tuple[Sense, ...]:
    sememes = {name.partition(":")[2] for name in units.names if kind_of(name) == "sememe"}

    def trained(names: Sequence[str]) -> tuple[str, ...]:
        # A sememe that no token of the vocabulary has was never trained.
        return tuple(name for name in names if name in sememes)

    for name in (name for sense in word.senses or () for name in sense):
        if name not in sememes:
            _refuse_sememe(name, sememes, lexicon, where=f"senses of {word.word!r}")
    told = list(word.senses or ())
    if word.definitions and lexicon is None:
        raise InputError("there is no lexicon to read definitions with", where=f"{word.word!r}", fix="give sememes")
    if lexicon is not None:
        for text in word.definitions:
            known = trained(sememes_of_definition(text, lexicon))
            if not known:
                raise InputError(
                    f"no token of the vocabulary has a sememe of the definition {text!r}",
                    where=f"{word.word!r}",
                    fix="use other words, or give sememes",
                )
            told.append(known)
        if word.senses is None and not told:
            found = lexicon.lookup(word.word)
            return tuple(sense._replace(sememes=trained(sense.sememes)) for sense in found)
    return tuple(Sense(sense, _likeliest_class(units, sense)) for sense in told)


def _refuse_sememe(name: str, sememes: set[str], lexicon: Lexicon | None, *, where: str) -> NoReturn:
    """Says what to write instead: the sememes of a word that is none itself, or sememes whose names begin alike."""
    senses = lexicon.lookup(name) if lexicon is not None else ()
    own = list(dict.fromkeys(sememe for sense in senses for sememe in sense.sememes if sememe in sememes))
    if own:
        raise InputError(
            f"{name!r} is no sememe, though the lexicon has the word", where=where, fix=f"its own are {', '.join(own)}"
        )
    raise UnknownNameError("sememe", name, _near(name, sememes), where=where)


def _likeliest_class(units: UnitMap, sememes: Sequence[str]) -> str:
    """Class that fills a sense of too few sememes: one that a term of the vocabulary has beside them, if any."""
    known = [units.index[f"sememe:{name}"] for name in sememes]
    beside = (torch.isin(units.units, torch.tensor(known)).any(2) & units.mask)[..., None].expand(units.units.shape)
    counts = torch.bincount(units.units[beside].long(), minlength=len(units.names))
    classes = [number for number, name in enumerate(units.names) if kind_of(name) == "class" and counts[number]]
    best = max(classes, key=lambda number: int(counts[number]), default=None)
    return "" if best is None else units.names[best].partition(":")[2]


def _known_pieces(pieces: Sequence[str], known: set[str], order: int) -> list[str]:
    found = [part for piece in pieces for part in _split_known(piece, known)]
    if len(found) <= order:
        return found
    tail = "".join(found[order - 1 :])
    return [*found[: order - 1], *_split_known(tail, known)[:1]]


def _split_known(piece: str, known: set[str]) -> list[str]:
    """Splits a piece into known ones, the longest first; characters that are in none are left out."""
    found, start = [], 0
    while start < len(piece):
        end = next((end for end in range(len(piece), start, -1) if piece[start:end] in known), None)
        if end is None:
            start += 1
        else:
            found.append(piece[start:end])
            start = end
    return found


def _near(name: str, known: set[str]) -> list[str]:
    """The units whose names begin alike; listing thousands would help nobody."""
    return sorted(other for other in known if other[:2] == name[:2]) or sorted(known)[:20]


def _new_size(units: UnitMap, table: TermTable, words: Mapping[int, NewWord]) -> int:
    rows = len(units)
    if table.num_embeddings != rows or table.num_units != len(units.names):
        raise InputError(
            f"the table has {table.num_embeddings} tokens of {table.num_units} units, the unit map {rows} of "
            f"{len(units.names)}",
            where="table",
            fix="give the unit map the table was made of",
        )
    reserved = units.index.get("reserved")
    for id in sorted(words):
        is_free = 0 <= id < rows and bool(units.mask[id, 0]) and int(units.units[id, 0, 0]) == reserved
        if not (is_free or id >= rows):
            raise InputError(
                f"token id {id} is taken",
                where=f"word {words[id].word!r}",
                fix="use ids the tokenizer gives to new tokens",
            )
    appended = [id for id in sorted(words) if id >= rows]
    if appended != list(range(rows, rows + len(appended))):
        raise InputError(
            f"token ids {appended} do not follow the last row, {rows - 1}", where="words", fix="leave no gap"
        )
    return rows + len(appended)


def _grown(units: UnitMap, size: int) -> UnitMap:
    more = size - len(units)
    return replace(
        units,
        units=_longer(units.units, more),
        mask=_longer(units.mask, more),
        words=_longer(units.words, more),
        found=_longer(units.found, more),
    )


def _grown_table(units: UnitMap, table: TermTable, ids: Sequence[int], how: Copying, seed: int) -> TermTable:
    more = len(units) - table.num_embeddings
    numbers, mask, copies = (_longer(tensor, more) for tensor in (table.units, table.mask, table.copies))
    for id in ids:
        own, present = units.units[id : id + 1], units.mask[id : id + 1]
        if how == "all":
            own, own_copies, present = repeat_terms(own, present, table.terms // own.shape[1])
            copies[id] = own_copies[0]
        else:
            own, present = cycle_terms(own, present, table.terms)
            copies[id] = hashed_copies(own, table.copies_of_unit, seed, first_token=id)[0]
        numbers[id], mask[id] = own[0], present[0]
    return TermTable(numbers, copies, mask, table.copies_of_unit, table.exact)


def _longer(tensor: Tensor, more: int) -> Tensor:
    """A copy with zeros for `more` new rows."""
    return torch.cat([tensor, torch.zeros(more, *tensor.shape[1:], dtype=tensor.dtype)])
