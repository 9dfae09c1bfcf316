"""The embeddings that are compared: all made for the same tokens, with as many numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.rivals.kronecker import KroneckerEmbedding
from intarsia.compress.rivals.svd import SVDEmbedding
from intarsia.compress.see.config import SEEConfig
from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.compress.see.term_table import TermTable
from intarsia.compress.units import Lexicon, Segmenter, UnitConfig, UnitMap, hashed_units
from intarsia.errors import UnknownNameError

SEE, SEE_ALL, PIECES, MORPHTE, HASHED = "SEE", "SEE, all copies", "shapes and pieces", "MorphTE", "hashed"
SHUFFLED = "SEE, senses shuffled"
SVD, WORD2KETXS = "SVD", "word2ketXS, best of order 2"
HYBRID, HYBRID_HASHED = "SVD + SEE", "SVD + hashed"
CLOSED_FORMS = (SVD, WORD2KETXS)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """Tokens and everything that tells what they are made of.

    Attributes:
        tokens: Their strings.
        lexicon: Senses of words.
        segmenter: Splits words.
        config: How tokens are made of units.
    """

    tokens: Sequence[str]
    lexicon: Lexicon
    segmenter: Segmenter
    config: UnitConfig
    _maps: dict[str, UnitMap] = field(default_factory=dict)

    def units(self, kind: str) -> UnitMap:
        """The units of a system."""
        if kind not in self._maps:
            parts: Mapping[str, Any] = {PIECES: ("shape", "pieces"), MORPHTE: ("pieces",)}
            config = replace(self.config, parts=parts[kind]) if kind in parts else self.config
            lexicon = None if kind in parts else self.shuffled if kind == SHUFFLED else self.lexicon
            self._maps[kind] = UnitMap.from_vocabulary(self.tokens, lexicon, config, segmenter=self.segmenter)
        return self._maps[kind]

    @cached_property
    def shuffled(self) -> Lexicon:
        """The lexicon with the senses of each word given to another: forms of a word still share theirs."""
        words = sorted(self.lexicon.senses)
        order = torch.randperm(len(words), generator=torch.Generator().manual_seed(0)).tolist()
        senses = {word: self.lexicon.senses[words[other]] for word, other in zip(words, order, strict=True)}
        return Lexicon(senses, self.lexicon.irregular)

    def table(self, system: str, copies: int, seed: int, terms: int) -> TermTable:
        """The terms of a system with at most so many vectors.

        Raises:
            UnknownNameError: If there is no such system.
        """
        makers: dict[str, Callable[[], TermTable]] = {
            SEE: lambda: self.units(SEE).term_table(copies, "assigned", seed, terms=terms),
            SEE_ALL: lambda: self.units(SEE).term_table(copies, "all"),
            SHUFFLED: lambda: self.units(SHUFFLED).term_table(copies, "all"),
            PIECES: lambda: self.units(PIECES).term_table(copies, "assigned", seed, terms=terms),
            MORPHTE: lambda: self.units(MORPHTE).term_table(copies, "all"),
            HASHED: lambda: hashed_units(len(self.tokens), copies, order=self.config.order, terms=terms, seed=seed),
        }
        if system not in makers:
            raise UnknownNameError("system", system, makers)
        return makers[system]()


def build(
    system: str,
    vocabulary: Vocabulary,
    matrix: Float[Tensor, "vocab dim"],
    parameters: int,
    seed: int,
    *,
    terms: int = 36,
    lowrank_share: float = 0.5,
) -> CompressedEmbedding:
    """Makes a system for a trained matrix, with at most so many numbers, before any fit."""
    vocab, dim = matrix.shape
    if system == SVD:
        return SVDEmbedding.from_matrix(matrix, ratio=vocab * dim / parameters)
    if system == WORD2KETXS:
        return KroneckerEmbedding.from_matrix(matrix, ratio=vocab * dim / parameters)
    hybrids = {HYBRID: SEE, HYBRID_HASHED: HASHED}
    lowrank = int(lowrank_share * parameters / (vocab + dim)) if system in hybrids else 0
    config = SEEConfig(lowrank=lowrank, seed=seed)
    size = max(config.sizes(dim, vocabulary.config.order))
    copies = (parameters - dim - lowrank * (vocab + dim)) // size
    return SEEEmbedding.from_matrix(matrix, vocabulary.table(hybrids.get(system, system), copies, seed, terms), config)
