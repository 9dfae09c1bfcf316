"""Sums of tensor products made for a trained matrix: which units, how many vectors, then a fit."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, get_args

import torch

from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.fitting import FitConfig, Weighting, fit_matrix
from intarsia.compress.ratio import UnreachableRatioError
from intarsia.compress.registry import Job
from intarsia.compress.see.budget import largest_ratio, plan_budget
from intarsia.compress.see.config import SEEConfig
from intarsia.compress.see.embedding import SEEEmbedding
from intarsia.compress.see.rebuilt_table import HashedEmbedding, UnitEmbedding
from intarsia.compress.see.term_table import TermTable
from intarsia.compress.units import Lexicon, UnitConfig, UnitMap, default_lexicon
from intarsia.compress.units.config import PARTS
from intarsia.compress.units.copies import Copying
from intarsia.compress.units.pieces import read_morphemes, segmenter_of, table_segmenter
from intarsia.compress.units.special_cases import hashed_units
from intarsia.compress.units.unit_map import hash_tokenizer
from intarsia.engine import stable_key
from intarsia.errors import ConfigError


@dataclass(frozen=True)
class SEESettings:
    """Settings of methods that sum tensor products.

    Attributes:
        lexicon: File or folder of a lexicon of your own; by default the one made from WordNet.
        merges: How many merges of the tokenizer split words into pieces.
        morphemes: File of words and their morphemes, with a tab between; other words are split by merges.
        senses: Senses of a word that get a term.
        order: Vectors in a product.
        terms: Terms of a token, once its own are repeated with other copies.
        copies: How a unit's copies are shared out: `assigned` by a hash, or `all` of them to every token.
        exact_tokens: So many of the first tokens of the vocabulary keep rows of their own.
        min_usage: A piece that fewer tokens use is cut: on SmolLM2 2 is a little better than 1 at equal size.
        lowrank: Rank of a matrix that is added; by default half the budget for `hybrid` and 0 for others.
        token_scale: Whether the products of each token have a factor.
        steps: Steps of the fit.
        learning_rate: Highest learning rate of the fit, for unit vectors; by default a quarter of their entries' size.
        batch_size: Tokens in a step of the fit.
        weighting: Of tokens in the fit: `uniform`, or `sqrt` of how often they occur in the text to train on.
    """

    lexicon: str | None = None
    merges: int = 4000
    morphemes: str | None = None
    senses: int = 4
    order: int = 3
    terms: int = 36
    copies: Copying = "assigned"
    exact_tokens: int = 0
    min_usage: int = 2
    lowrank: int | None = None
    token_scale: bool = False
    steps: int = 2000
    learning_rate: float | None = None
    batch_size: int = 1024
    weighting: Weighting = "uniform"

    def __post_init__(self) -> None:
        if not isinstance(self.terms, int) or self.terms < 1:
            raise ConfigError("terms", self.terms, "a whole number, 1 or more")
        if self.copies not in get_args(Copying):
            raise ConfigError("copies", self.copies, " or ".join(map(repr, get_args(Copying))))
        # These check their own fields.
        self.units()
        self.see(self.lowrank or 0, 0)
        self.fit(0)

    def units(self, **changes: Any) -> UnitConfig:
        """The settings of units."""
        return replace(
            UnitConfig(
                order=self.order,
                senses=self.senses,
                merges=self.merges,
                exact_tokens=self.exact_tokens,
                min_usage=self.min_usage,
                parts=PARTS,
            ),
            **changes,
        )

    def see(self, lowrank: int, seed: int) -> SEEConfig:
        """The settings of the layer."""
        return SEEConfig(lowrank=lowrank, token_scale=self.token_scale, seed=seed)

    def fit(self, seed: int) -> FitConfig:
        """The settings of the fit."""
        return FitConfig(
            steps=self.steps,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            weighting=self.weighting,
            seed=seed,
        )


def build_see(job: Job) -> CompressedEmbedding:
    """Sememes, pieces and shapes (SEE)."""
    settings = _settings(job)
    return _fitted(job, partial(_of_units, units=_units(job, lexicon_of(settings), settings.units()), lowrank=None))


def build_hybrid(job: Job) -> CompressedEmbedding:
    """A matrix of low rank, and SEE for what it leaves."""
    settings = _settings(job)
    units = _units(job, lexicon_of(settings), settings.units())
    if settings.lowrank is not None:
        return _fitted(job, partial(_of_units, units=units, lowrank=settings.lowrank))
    vocab, dim = job.matrix.shape
    try:
        lowrank = half_rank(vocab, dim, job.chosen_ratio)
        return _fitted(job, partial(_of_units, units=units, lowrank=lowrank))
    except UnreachableRatioError as error:
        # The rank falls as the ratio grows; what is sure to work leaves each half enough.
        alone = largest_ratio(vocab, dim, len(units.names), units.config.order, len(units.exact), settings.see(0, 0))
        raise error.with_largest(min(alone, vocab * dim / (vocab + dim)) / 2) from None


def build_pieces(job: Job) -> CompressedEmbedding:
    """Pieces alone, every copy of them in every token (MorphTE)."""
    settings = _settings(job)
    units = _units(job, None, settings.units(parts=("pieces",)))
    return _fitted(job, partial(_of_units, units=units, lowrank=None, copies="all"))


def build_hashed(job: Job) -> CompressedEmbedding:
    """Vectors picked by a hash."""
    return _fitted(job, _of_hashes)


def half_rank(vocab: int, dim: int, ratio: float) -> int:
    """Returns the rank whose matrix takes half of what a ratio allows.

    Raises:
        UnreachableRatioError: If that is less than rank 1.
    """
    rank = int(vocab * dim / ratio / 2 / (vocab + dim))
    if rank < 1:
        raise UnreachableRatioError(ratio, "less than rank 1 for a hybrid's half", vocab * dim / 2 / (vocab + dim))
    return rank


def _of_units(job: Job, *, units: UnitMap, lowrank: int | None, copies: Copying | None = None) -> CompressedEmbedding:
    settings = _settings(job)
    how = copies or settings.copies
    config = settings.see(settings.lowrank or 0 if lowrank is None else lowrank, job.seed)
    vocab, dim = job.matrix.shape
    plan = plan_budget(
        vocab,
        dim,
        job.chosen_ratio,
        num_units=len(units.names),
        order=units.config.order,
        terms=units.units.shape[1] if how == "all" else settings.terms,
        num_exact=len(units.exact),
        copies=how,
        config=config,
    )
    table = units.term_table(plan.num_rows, how, job.seed, terms=settings.terms)
    return UnitEmbedding.from_units(_empty(job, table, config), units, table, how, job.seed)


def _of_hashes(job: Job) -> CompressedEmbedding:
    settings = _settings(job)
    vocab, dim = job.matrix.shape
    config = settings.see(settings.lowrank or 0, job.seed)
    plan = plan_budget(
        vocab, dim, job.chosen_ratio, num_units=1, order=settings.order, terms=settings.terms, config=config
    )
    table = hashed_units(vocab, plan.num_rows, order=settings.order, terms=settings.terms, seed=job.seed)
    return HashedEmbedding(_empty(job, table, config), job.seed, table.digest())


def _empty(job: Job, table: TermTable, config: SEEConfig) -> SEEEmbedding:
    return SEEEmbedding.from_matrix(job.matrix, table, config, padding_idx=job.padding_idx, store_table=False)


def _fitted(job: Job, make: Callable[[Job], CompressedEmbedding]) -> CompressedEmbedding:
    embedding = make(job).to(job.matrix.device)
    # Its own randomness is seeded; dropout and the like play no part here.
    with torch.enable_grad():
        fit = _settings(job).fit(job.seed)
        fit_matrix(embedding, job.matrix, fit, counts=job.counts, progress=job.progress)
    return embedding


def _units(job: Job, lexicon: Lexicon | None, config: UnitConfig) -> UnitMap:
    segmenter, table = segmenter_of(job.tokenizer, config.merges), _settings(job).morphemes
    if table is not None:
        segmenter = table_segmenter(read_morphemes(table), segmenter)
    return UnitMap.from_tokenizer(job.tokenizer, lexicon, config, rows=len(job.matrix), segmenter=segmenter)


def lexicon_of(settings: SEESettings | None) -> Lexicon:
    """Returns the lexicon that settings name.

    Raises:
        InputError: If it is the default one and no WordNet release is installed.
        DataError: If it cannot be read.
    """
    if settings is None or settings.lexicon is None:
        return default_lexicon()
    return Lexicon.read(settings.lexicon)


def settings_record(settings: SEESettings | None, tokenizer: Any, *, senses: bool) -> dict[str, Any]:
    """Returns what a fit follows from beside the matrix: settings, and what stands in the files they name.

    Args:
        settings: The settings.
        tokenizer: Its vocabulary is cut into units.
        senses: Whether words are looked up in a lexicon.

    Raises:
        InputError: If the lexicon is the default one and no WordNet release is installed.
        DataError: If a file cannot be read.
    """
    settings = settings or SEESettings()
    return {
        **asdict(settings),
        "lexicon": lexicon_of(settings).hash if senses else None,
        "morphemes": None if settings.morphemes is None else stable_key(read_morphemes(settings.morphemes)),
        "tokenizer": hash_tokenizer(tokenizer),
    }


def _settings(job: Job) -> SEESettings:
    return job.settings or SEESettings()
