"""The methods of compression by name, and how an embedding is described so that an empty one can be made again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from jaxtyping import Float, Int
from torch import Tensor

from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.progress import Progress
from intarsia.errors import ConfigError, UnknownNameError

if TYPE_CHECKING:
    from intarsia.compress.see.methods import SEESettings

# Every class of embedding a saved model may hold, and its home.
_KINDS: dict[str, str] = {
    "AddedRowsEmbedding": "intarsia.compress.added_rows",
    "HashedEmbedding": "intarsia.compress.see.rebuilt_table",
    "UnitEmbedding": "intarsia.compress.see.rebuilt_table",
    "KroneckerEmbedding": "intarsia.compress.rivals.kronecker",
    "QuantizedEmbedding": "intarsia.compress.rivals.quantized",
    "SEEEmbedding": "intarsia.compress.see.embedding",
    "SVDEmbedding": "intarsia.compress.rivals.svd",
    "TTEmbedding": "intarsia.compress.rivals.tensor_train",
}

DEFAULT_RATIO = 10.0


@dataclass(frozen=True)
class Job:
    """What a method makes an embedding of.

    Attributes:
        matrix: The trained matrix.
        tokenizer: Its tokenizer.
        ratio: How many times fewer parameters; None for a method whose ratio is fixed.
        padding_idx: Token whose row is zero, if any.
        seed: Of everything drawn.
        settings: Of methods that sum tensor products; their defaults where None.
        progress: Called with the number of steps done since the last call, by methods that are fitted.
        counts: How often each token occurs, for fits that weight tokens by it.
    """

    matrix: Float[Tensor, "vocab dim"]
    tokenizer: Any
    ratio: float | None = None
    padding_idx: int | None = None
    seed: int = 0
    settings: "SEESettings | None" = None
    progress: Progress | None = None
    counts: Int[Tensor, "vocab"] | None = None

    @property
    def chosen_ratio(self) -> float:
        """The ratio, of methods that do not know only one."""
        assert self.ratio is not None
        return self.ratio


@dataclass(frozen=True)
class Method:
    """A way to compress an embedding.

    Attributes:
        name: What the user calls it.
        summary: What it stores, in one sentence.
        paper: Where it comes from.
        build: Makes the embedding.
        fixed_ratio: Ratio in bytes of a method that knows only one; None where the user chooses.
        trains: Whether the embedding has parameters that the stages of training can improve.
        fitted: Whether it is found by a fit, with `SEESettings`; others are closed forms.
        senses: Whether it looks words up in a lexicon.
        unread: Fields of `SEESettings` that make no difference to it.
    """

    name: str
    summary: str
    paper: str
    build: Callable[[Job], CompressedEmbedding]
    fixed_ratio: float | None = None
    trains: bool = True
    fitted: bool = False
    senses: bool = False
    unread: frozenset[str] = frozenset()

    def ratio(self, wanted: float | None) -> float | None:
        """Returns the ratio to build for: the one wanted, or the default, or None if the method knows only one.

        Raises:
            ConfigError: If another is wanted than the method has.
        """
        if self.fixed_ratio is None:
            return DEFAULT_RATIO if wanted is None else wanted
        if wanted is not None and abs(wanted - self.fixed_ratio) > 0.05 * self.fixed_ratio:
            raise ConfigError("ratio", wanted, f"left out for {self.name}, which always gives {self.fixed_ratio:.2g}")
        return None


def _closed_form(kind: str) -> Callable[[Job], CompressedEmbedding]:
    def build(job: Job) -> CompressedEmbedding:
        from intarsia.compress import rivals

        made: CompressedEmbedding = getattr(rivals, kind).from_matrix(
            job.matrix, ratio=job.chosen_ratio, padding_idx=job.padding_idx
        )
        return made

    return build


def _product_sums(builder: str) -> Callable[[Job], CompressedEmbedding]:
    def build(job: Job) -> CompressedEmbedding:
        from intarsia.compress.see import methods

        made: CompressedEmbedding = getattr(methods, builder)(job)
        return made

    return build


def _bits(bits: int) -> Callable[[Job], CompressedEmbedding]:
    def build(job: Job) -> CompressedEmbedding:
        from intarsia.compress.rivals.quantized import QuantizedEmbedding

        return QuantizedEmbedding.from_matrix(job.matrix, bits=bits, padding_idx=job.padding_idx)

    return build


def _few_bits(bits: int) -> Method:
    # A scale of 16 bits for every 32 numbers, against 32 bits a number.
    ratio = 32 * 32 / (32 * bits + 16)
    summary = f"{bits} bits a number and a scale for every 32; nothing is trained."
    return Method(f"int{bits}", summary, "absolute-maximum rounding in groups", _bits(bits), ratio, trains=False)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("svd", "The best matrix of low rank.", "Eckart and Young 1936", _closed_form("SVDEmbedding")),
        Method(
            "kronecker",
            "The best sum of Kronecker products of two factors: word2ketXS of order 2.",
            "word2ketXS, arXiv 1911.04975; Van Loan and Pitsianis 1993",
            _closed_form("KroneckerEmbedding"),
        ),
        Method(
            "tt",
            "A tensor train of three cores.",
            "TT-SVD, Oseledets 2011; arXiv 1901.10787",
            _closed_form("TTEmbedding"),
        ),
        Method(
            "see",
            "Sums of tensor products of vectors of sememes, pieces and shapes.",
            "SEE, arXiv 2412.12204",
            _product_sums("build_see"),
            fitted=True,
            senses=True,
        ),
        Method(
            "hybrid",
            "A matrix of low rank, and SEE for what it leaves.",
            "ours",
            _product_sums("build_hybrid"),
            fitted=True,
            senses=True,
        ),
        Method(
            "morphte",
            "Sums of tensor products of vectors of pieces.",
            "MorphTE, arXiv 2210.15379",
            _product_sums("build_pieces"),
            fitted=True,
            unread=frozenset({"lexicon", "senses", "terms", "copies"}),
        ),
        Method(
            "hashed",
            "Sums of tensor products of vectors that a hash picks; no structure.",
            "ours, as a control",
            _product_sums("build_hashed"),
            fitted=True,
            unread=frozenset({"lexicon", "senses", "merges", "morphemes", "min_usage", "exact_tokens", "copies"}),
        ),
        _few_bits(8),
        _few_bits(4),
        _few_bits(3),
    )
}


def find_method(name: str) -> Method:
    """Returns a method by its name.

    Raises:
        UnknownNameError: If there is none; the message lists near names.
    """
    if name not in METHODS:
        raise UnknownNameError("compression method", name, METHODS)
    return METHODS[name]


def embedding_settings(embedding: CompressedEmbedding) -> dict[str, Any]:
    """Returns what `empty_embedding` makes an embedding of the same shape of, as JSON values.

    Raises:
        ConfigError: If the embedding's table of terms would be saved neither with it nor as the units it is made of.
    """
    settings = {"kind": type(embedding).__name__, **embedding.settings}
    if settings.get("store_table") is False:
        raise ConfigError("store_table", False, "True where no `UnitEmbedding` holds the units")
    return settings


def empty_embedding(settings: Mapping[str, Any]) -> CompressedEmbedding:
    """Makes an embedding whose weights are still to be filled in.

    Raises:
        UnknownNameError: If a saved model names a kind that does not exist.
    """
    values = dict(settings)
    kind = str(values.pop("kind", ""))
    if kind not in _KINDS:
        raise UnknownNameError("kind of compressed embedding", kind, _KINDS)
    made: CompressedEmbedding = getattr(import_module(_KINDS[kind]), kind)(**values)
    return made
