"""Which units a tokenizer's tokens are made of."""

import hashlib
import json
import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Bool, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from intarsia import files
from intarsia.compress.see.term_table import TermTable
from intarsia.compress.units.config import UnitConfig
from intarsia.compress.units.copies import Copying, assign_copies
from intarsia.compress.units.lexicon import Lexicon, Sense
from intarsia.compress.units.pieces import Segmenter, limit_pieces, segmenter_of
from intarsia.compress.units.statistics import UnitStatistics, find_collisions, unit_usage, usage_histogram
from intarsia.compress.units.token_strings import TokenString, TokenStyle, find_style, read_token
from intarsia.compress.units.token_terms import RESERVED, Term, kind_of, reserved_term, token_terms
from intarsia.errors import ConfigError, DataError, InputError, IntarsiaError, ModelError

_RECORD, _TENSORS = "units.json", "units.safetensors"
TERMS = 36
"""Terms of a token once copies are assigned: its own repeat, with other copies, up to so many."""

_FEWEST_FOUND = 0.2
_JUDGED_FROM = 200  # words; fewer say nothing about the language


class LexiconMismatchWarning(UserWarning):
    """The lexicon has few of the vocabulary's words: it may be of another language."""


@dataclass(frozen=True, eq=False)
class UnitMap:
    """The terms of every token of a vocabulary, before copies are assigned.

    Attributes:
        names: Name of each unit: its kind (see `kind_of`), a colon, what it is.
        units: Unit of each slot. A token's terms come first; where `mask` is off the number is 0.
        mask: Which terms a token has. Tokens with dense rows of their own have none.
        exact: Ids of those.
        config: How it was made.
        style: How the vocabulary writes its tokens.
        words: Which tokens might stand in a lexicon.
        found: Which of them do.
        tokenizer_hash: SHA-256 of the vocabulary.
        lexicon_hash: SHA-256 of the lexicon; empty if there was none.
    """

    names: tuple[str, ...]
    units: Int[Tensor, "vocab terms order"]
    mask: Bool[Tensor, "vocab terms"]
    exact: Int[Tensor, "exact"]
    config: UnitConfig
    style: TokenStyle
    words: Bool[Tensor, "vocab"]
    found: Bool[Tensor, "vocab"]
    tokenizer_hash: str
    lexicon_hash: str = ""

    def __len__(self) -> int:
        return len(self.units)

    @cached_property
    def index(self) -> Mapping[str, int]:
        """Number of each unit by its name."""
        return {name: number for number, name in enumerate(self.names)}

    @classmethod
    def from_tokenizer(
        cls,
        tokenizer: Any,
        lexicon: Lexicon | None = None,
        config: UnitConfig | None = None,
        *,
        segmenter: Segmenter | None = None,
        rows: int | None = None,
    ) -> Self:
        """Makes the units of a Hugging Face tokenizer.

        Args:
            tokenizer: A fast tokenizer: byte-level BPE, SentencePiece or WordPiece.
            lexicon: Senses of words; None makes no sense terms.
            config: How terms are made.
            segmenter: Splits words into pieces; by default the tokenizer's own first merges.
            rows: Rows of the embedding, where there are more than tokens; those that no token has share one term.

        Raises:
            ModelError: If the tokenizer has more tokens than `rows`.
            DataError: If two tokens have the same string.
        """
        config = config or UnitConfig()
        vocabulary = {str(token): int(id) for token, id in tokenizer.get_vocab().items()}
        size = max(vocabulary.values(), default=-1) + 1
        if rows is not None and rows < size:
            raise ModelError(
                f"the tokenizer has {size} tokens, but the embedding has {rows} rows",
                where="tokenizer",
                fix="use the tokenizer the model was trained with, or resize the model's embedding",
            )
        tokens: list[str | None] = [None] * (size if rows is None else rows)
        for token, id in vocabulary.items():
            tokens[id] = token
        special = {*tokenizer.all_special_ids, *tokenizer.get_added_vocab().values()}
        segmenter = segmenter or segmenter_of(tokenizer, config.merges)
        return cls.from_vocabulary(
            tokens, lexicon, config, segmenter=segmenter, style=find_style(vocabulary), special=special
        )

    @classmethod
    def from_vocabulary(
        cls,
        tokens: Sequence[str | None],
        lexicon: Lexicon | None = None,
        config: UnitConfig | None = None,
        *,
        segmenter: Segmenter,
        style: TokenStyle | None = None,
        special: Iterable[int] = (),
    ) -> Self:
        """Makes the units of a list of tokens.

        Args:
            tokens: Strings by id; None for a row that no token has.
            lexicon: Senses of words; None makes no sense terms.
            config: How terms are made.
            segmenter: Splits words into pieces.
            style: How the strings mark a word's start; told from the strings by default.
            special: Ids that keep dense rows of their own.

        Raises:
            DataError: If two tokens have the same string.
            ConfigError: If there are fewer tokens than `exact_tokens`.
        """
        config = config or UnitConfig()
        _check_vocabulary(tokens, config)
        style = style or find_style(token for token in tokens if token is not None)
        exact = _exact(tokens, set(special), config)
        read = [None if token is None or id in exact else read_token(token, style) for id, token in enumerate(tokens)]
        pieces = [None if token is None else limit_pieces(segmenter(token), config.order) for token in read]
        if config.min_usage > 1:
            pieces = cut_rare_pieces(pieces, config.min_usage)
        senses = _senses(read, lexicon)
        terms = []
        for id, token in enumerate(read):
            if token is not None:
                terms.append(token_terms(token, pieces[id] or [], senses[id], config))
            else:
                terms.append([] if id in exact else [reserved_term(config)])
        words = torch.tensor([token is not None and token.is_word for token in read])
        found = torch.tensor([bool(of_token) for of_token in senses])
        _warn_of_mismatch(words, found, lexicon)
        names, units, mask = _numbered(terms, config.order)
        return cls(
            names,
            units,
            mask,
            torch.tensor(sorted(exact), dtype=torch.int32),
            config,
            style,
            words,
            found,
            hash_vocabulary(tokens),
            lexicon.hash if lexicon is not None else "",
        )

    @property
    def min_copies(self) -> int:
        """The fewest copies there can be: one for each unit."""
        return len(self.names)

    def term_table(
        self, total_copies: int, how: Copying = "assigned", seed: int = 0, *, terms: int = TERMS
    ) -> TermTable:
        """Gives the units copies; see `assign_copies`. `terms` counts with `assigned` only.

        Raises:
            InputError: If there are fewer copies than units.
        """
        return assign_copies(
            self.units,
            self.mask,
            total_copies,
            how,
            seed,
            num_units=len(self.names),
            terms=terms,
            exact=self.exact,
        )

    def statistics(self) -> UnitStatistics:
        """Counts units, words found, senses, users of units, and tokens whose terms are the same."""
        usage = unit_usage(self.units, self.mask, len(self.names))
        of_sense = torch.tensor([kind_of(name) in ("sememe", "class") for name in self.names])
        sense_terms = (of_sense[self.units.long()].any(2) & self.mask).sum(1)[self.found]
        of_tokens = self.mask & (self.units[:, :, 0] != self.index.get(RESERVED, -1))
        return UnitStatistics(
            tokens=len(self),
            exact=len(self.exact),
            words=int(self.words.sum()),
            words_found=int(self.found.sum()),
            mean_senses=float(sense_terms.float().mean()) if len(sense_terms) else 0.0,
            units=dict(Counter(kind_of(name) for name in self.names)),
            usage=usage_histogram(usage),
            one_user=int((usage == 1).sum()),
            collisions=find_collisions(self.units, of_tokens),
        )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of all units and terms: the same lexicon, tokenizer and settings give the same."""
        total = hashlib.sha256("\n".join(self.names).encode())
        for tensor in (self.units, self.mask, self.exact):
            total.update(repr(tuple(tensor.shape)).encode())
            total.update(tensor.to(torch.int32).contiguous().numpy().tobytes())
        return total.hexdigest()

    def record(self) -> dict[str, Any]:
        """Returns what tells another map from this one, as JSON: settings and hashes."""
        return {
            "config": asdict(self.config),
            "style": str(self.style),
            "tokenizer_hash": self.tokenizer_hash,
            "lexicon_hash": self.lexicon_hash,
            "hash": self.hash,
        }

    def check_record(self, record: Mapping[str, Any]) -> None:
        """Checks that this map, made again, is the one a record tells of.

        Raises:
            ModelError: If the tokenizer, the lexicon or the units differ.
        """
        for name, what, fix in (
            ("tokenizer_hash", "the tokenizer", "use the tokenizer that was saved with the compressed model"),
            (
                "lexicon_hash",
                "the lexicon",
                "use the lexicon the model was compressed with, or a model saved with its terms",
            ),
            ("hash", "the unit map", "use the version of Intarsia it was made with, or a model saved with its terms"),
        ):
            if record[name] != getattr(self, name):
                raise ModelError(
                    f"{what} differs from the one the terms were made with ({getattr(self, name)[:12]} instead of "
                    f"{record[name][:12]})",
                    where=name,
                    fix=fix,
                )

    def save(self, folder: str | Path) -> None:
        """Writes `units.json` and `units.safetensors` into a folder."""
        folder = Path(folder)
        narrow = torch.int16 if len(self.names) < 2**15 else torch.int32
        tensors = {
            "units": self.units.to(narrow),
            "mask": self.mask,
            "exact": self.exact,
            "words": self.words,
            "found": self.found,
        }
        with files.atomic_file(folder / _TENSORS) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        files.write_json(folder / _RECORD, {**self.record(), "names": list(self.names)})

    @classmethod
    def load(cls, folder: str | Path, tokenizer: Any | None = None) -> Self:
        """Reads what `save` wrote.

        Args:
            folder: The folder.
            tokenizer: If given, it has to be the one the map was made of.

        Raises:
            InputError: If a file is missing or damaged.
            ModelError: If the tokenizer differs.
        """
        folder = Path(folder)
        try:
            record = files.read_json(folder / _RECORD)
            tensors = load_file(folder / _TENSORS)
            loaded = cls(
                tuple(record["names"]),
                tensors["units"].int(),
                tensors["mask"],
                tensors["exact"],
                UnitConfig(**record["config"]),
                TokenStyle(record["style"]),
                tensors["words"],
                tensors["found"],
                record["tokenizer_hash"],
                record["lexicon_hash"],
            )
        except (IntarsiaError, OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, ConfigError):
                raise
            raise InputError(
                f"no unit map can be read: {getattr(error, 'what', error)}", where=folder, fix="make it again"
            ) from error
        if tokenizer is not None:
            _check_tokenizer(loaded, tokenizer)
        if loaded.hash != record["hash"]:
            raise InputError("the unit map is damaged: its hash differs", where=folder, fix="make it again")
        return loaded


def hash_vocabulary(tokens: Sequence[str | None]) -> str:
    """Returns the SHA-256 of a vocabulary's strings in the order of their ids."""
    size = len(tokens)
    while size and tokens[size - 1] is None:  # rows beyond the last token are the embedding's, not the tokenizer's
        size -= 1
    return hashlib.sha256(
        json.dumps(list(tokens[:size]), ensure_ascii=False).encode("utf-8", "surrogatepass")
    ).hexdigest()


def hash_tokenizer(tokenizer: Any) -> str:
    """Returns the SHA-256 of a tokenizer's vocabulary."""
    vocabulary = tokenizer.get_vocab()
    tokens: list[str | None] = [None] * (max(vocabulary.values(), default=-1) + 1)
    for token, id in vocabulary.items():
        tokens[id] = token
    return hash_vocabulary(tokens)


def cut_rare_pieces(pieces: Sequence[Sequence[str] | None], min_usage: int) -> list[list[str] | None]:
    """Cuts pieces that few tokens use to their longest beginning that enough use, at least one character.

    Args:
        pieces: Pieces of each token; None for a token that has none.
        min_usage: Tokens that have to use a piece for it to stay.
    """
    usage = Counter(piece for of_token in pieces if of_token is not None for piece in set(of_token))

    def cut(piece: str) -> str:
        if usage[piece] >= min_usage or piece.startswith("<0x"):
            return piece
        ends = range(len(piece) - 1, 1, -1)
        return next((piece[:end] for end in ends if usage[piece[:end]] >= min_usage), piece[:1])

    return [None if of_token is None else [cut(piece) for piece in of_token] for of_token in pieces]


def _check_vocabulary(tokens: Sequence[str | None], config: UnitConfig) -> None:
    first: dict[str, int] = {}
    for id, token in enumerate(tokens):
        if token is None:
            continue
        if token in first:
            raise DataError(
                f"tokens {first[token]} and {id} have the same string {token!r}",
                field="tokens",
                fix="give every token a string of its own",
            )
        first[token] = id
    if not first:
        raise DataError("the vocabulary has no token", field="tokens")
    if config.exact_tokens > len(tokens):
        raise ConfigError("exact_tokens", config.exact_tokens, f"at most {len(tokens)}, the number of tokens")


def _exact(tokens: Sequence[str | None], special: set[int], config: UnitConfig) -> set[int]:
    ordinary = (id for id, token in enumerate(tokens) if token is not None and id not in special)
    frequent = {id for _, id in zip(range(config.exact_tokens), ordinary, strict=False)}
    return {id for id in special if id < len(tokens)} | frequent


def _senses(read: Sequence[TokenString | None], lexicon: Lexicon | None) -> list[tuple[Sense, ...]]:
    if lexicon is None:
        return [()] * len(read)
    # The same word comes with and without a space before it, and in capitals.
    known: dict[str, tuple[Sense, ...]] = {}
    found: list[tuple[Sense, ...]] = []
    for token in read:
        if token is None or not token.is_word:
            found.append(())
            continue
        if token.core not in known:
            known[token.core] = lexicon.lookup(token.core)
        found.append(known[token.core])
    return found


def _warn_of_mismatch(words: Bool[Tensor, "vocab"], found: Bool[Tensor, "vocab"], lexicon: Lexicon | None) -> None:
    count = int(words.sum())
    if lexicon is None or count < _JUDGED_FROM:
        return
    share = int(found.sum()) / count
    if share < _FEWEST_FOUND:
        warnings.warn(
            f"the lexicon has only {share:.0%} of the vocabulary's {count} words: is it of another language?",
            LexiconMismatchWarning,
            stacklevel=4,
        )


def _numbered(
    terms: Sequence[Sequence[Term]], order: int
) -> tuple[tuple[str, ...], Int[Tensor, "vocab terms order"], Bool[Tensor, "vocab terms"]]:
    """Numbers units in the order of their names, so that the numbers do not depend on that of the tokens."""
    names = tuple(sorted({name for of_token in terms for term in of_token for name in term}))
    number = {name: place for place, name in enumerate(names)}
    most = max((len(of_token) for of_token in terms), default=1) or 1
    flat = [
        number[name]
        for of_token in terms
        for term in (*of_token, *[None] * (most - len(of_token)))
        for name in (term if term is not None else names[:1] * order)
    ]
    units = torch.tensor(flat, dtype=torch.int32).view(len(terms), most, order)
    counts = torch.tensor([len(of_token) for of_token in terms])
    return names, units, torch.arange(most)[None] < counts[:, None]


def _check_tokenizer(unit_map: UnitMap, tokenizer: Any) -> None:
    own = hash_tokenizer(tokenizer)
    if own != unit_map.tokenizer_hash:
        raise ModelError(
            f"the tokenizer is not the one the units were made of ({own[:12]} instead of "
            f"{unit_map.tokenizer_hash[:12]})",
            where="tokenizer",
            fix="use the tokenizer that was saved with the compressed model",
        )
