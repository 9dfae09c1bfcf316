"""The settings of the reproduction of sememe entanglement encoding, and where its texts and lexicon come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from intarsia.compress.fitting import FitConfig
from intarsia.compress.stages_config import StagesConfig
from intarsia.compress.units import Lexicon, UnitConfig, default_lexicon
from intarsia.errors import ConfigError, InputError
from intarsia.experiments._local_data import LOCAL, data_folder
from intarsia.pipeline.recipe import parse


@dataclass(frozen=True)
class MatrixRecipe:
    """A, what closed forms and rounding make of the model's matrix.

    Attributes:
        svd: Ratios of the truncated SVD.
        kronecker: Ratios of the best word2ketXS of order 2.
        tt: Ratios of the tensor train.
        bits: Bits a number, in groups of 32.
        perplexity: Systems, as they are called in the table, whose perplexity is measured.
        rows: Rows of text.
        length: Tokens of a row.
        reference: Raw error of systems, measured when the method was specified.
        tolerance: How far one of them may be off.
    """

    svd: tuple[float, ...] = (2.0, 3.0, 5.0, 10.0, 20.0, 30.0)
    kronecker: tuple[float, ...] = (5.0, 10.0, 20.0, 30.0)
    tt: tuple[float, ...] = (5.0, 10.0, 20.0, 30.0)
    bits: tuple[int, ...] = (4, 3)
    perplexity: tuple[str, ...] = ()
    rows: int = 4
    length: int = 128
    reference: dict[str, float] = field(default_factory=dict)
    tolerance: float = 0.005


@dataclass(frozen=True)
class FitsRecipe:
    """B, fits to the rows of the most frequent tokens, all of one size and for as many steps.

    Attributes:
        tokens: So many of the first ordinary tokens.
        parameters: Numbers that are trained, by the name of the comparison.
        systems: Which systems are fitted, by the same names.
        lowrank_share: Share of the numbers that the low rank part of a hybrid has.
        fit: Steps, rate and batch.
        units: How tokens are made of units.
    """

    tokens: int = 8192
    parameters: dict[str, int] = field(default_factory=lambda: {"10x": 449_064})
    systems: dict[str, list[str]] = field(default_factory=dict)
    lowrank_share: float = 0.5
    fit: FitConfig = field(default_factory=FitConfig)
    units: UnitConfig = field(default_factory=UnitConfig)

    def __post_init__(self) -> None:
        if set(self.systems) != set(self.parameters):
            raise ConfigError("systems", sorted(self.systems), f"given for {', '.join(self.parameters)}")


@dataclass(frozen=True)
class UnseenRecipe:
    """C, rows of tokens that were left out of the fit.

    Attributes:
        tokens: So many of the first ordinary tokens.
        share: Share of the tokens, or of the words with all their forms, that are left out.
        parameters: Numbers that are trained by fits, at most.
        candidates: Rows among which the place of the right one is looked for.
        fit: Steps, rate and batch.
        units: How tokens are made of units, for fits.
        row_units: Likewise, for the regression of rows on units.
        penalties: Of the regression on units; the best on a part of the known words is taken, for each system.
        text: Text on which a model with predicted rows is measured; by default the recipe's.
        text_rows: Rows of it.
        length: Tokens of a row.
    """

    tokens: int = 16384
    share: float = 0.2
    parameters: int = 143_500
    candidates: int = 1000
    fit: FitConfig = field(default_factory=FitConfig)
    units: UnitConfig = field(default_factory=UnitConfig)
    row_units: UnitConfig = field(default_factory=UnitConfig)
    penalties: tuple[float, ...] = (3.0, 10.0, 30.0)
    text: str = ""
    text_rows: int = 12
    length: int = 128


@dataclass(frozen=True)
class ClassifierRecipe:
    """D, a classifier of sentences trained from scratch.

    Attributes:
        train: File of tab-separated label and text.
        validation: The same; chooses the epoch.
        test: The same; what is reported.
        sentences: Training sentences, the first ones of the file.
        ratios: Systems by how many times fewer numbers than the dense embedding they have.
        dim: Length of a row.
        epochs: Passes over the sentences, by their number.
        learning_rate: Of Adam.
        batch_size: Sentences of a step.
        terms: Terms of a word.
        units: How words are made of units.
    """

    train: str = "$DATA/sst_polarity/judge_train.tsv.gz"
    validation: str = "$DATA/sst_polarity/dev.tsv.gz"
    test: str = "$DATA/sst_polarity/scorer_train.tsv.gz"
    sentences: tuple[int, ...] = (300, 900, 3600)
    ratios: dict[str, float] = field(default_factory=lambda: {"9.5x": 9.5})
    dim: int = 64
    epochs: int = 10
    learning_rate: float = 3e-3
    batch_size: int = 32
    terms: int = 36
    units: UnitConfig = field(default_factory=UnitConfig)


@dataclass(frozen=True)
class StagesRecipe:
    """E, the two stages of training after the fit.

    Attributes:
        methods: Methods of `intarsia compress`, or `hashed hybrid`, by how many times fewer numbers they have.
        untrained: Methods that are measured as they are: they have nothing to train.
        texts: What is trained on.
        held_out: What cross-entropy is measured on.
        held_out_rows: How many rows of it, from its beginning, give the points of the learning curve.
        judged_rows: How many rows of it give what is reported of the trained models and their differences.
        fit_steps: Steps of the fit.
        stages: Steps, rates, batches.
        points: Points of the learning curve in each stage.
        models: Models to do it with; the recipe's own model if there is none.
    """

    methods: dict[str, list[str]] = field(default_factory=lambda: {"10": ["see", "hybrid", "svd"]})
    untrained: tuple[str, ...] = ("int4",)
    texts: str = "$DATA/wikitext2-clean/train.txt.gz"
    held_out: str = "$DATA/wikitext2-clean/dev.txt.gz"
    held_out_rows: int = 8
    judged_rows: int = 64
    fit_steps: int = 1000
    stages: StagesConfig = field(default_factory=StagesConfig)
    points: int = 5
    models: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for ratio in self.methods:
            try:
                float(ratio)
            except ValueError:
                raise ConfigError("methods", ratio, "by ratios, which are numbers") from None


@dataclass(frozen=True)
class TranslationRecipe:
    """F, translation trained from scratch: the paper's own comparison.

    Attributes:
        train: Sentence pairs: a hub id or a folder of `intarsia.data` with `prompt` and `target`.
        fields: Which columns are the two languages.
        systems: Embeddings beside the dense one.
        ratios: How many times fewer numbers each has.
        vocabulary: Byte-level tokens of the tokenizer that is trained on both sides.
        dim: Width of the model.
        layers: Of the encoder, and of the decoder.
        heads: Of attention.
        feed_forward: Width of its inner layers.
        dropout: In training.
        label_smoothing: Likewise.
        epochs: Passes over the pairs.
        batch_size: Pairs of a step.
        learning_rate: Peak rate of Adam.
        warmup: Steps in which it rises.
        beams: Of the search.
        test_rows: Pairs that are translated.
    """

    train: str
    fields: dict[str, str] = field(default_factory=dict)
    systems: tuple[str, ...] = ("SEE", "MorphTE", "word2ketXS")
    ratios: tuple[float, ...] = (10.0, 20.0, 40.0, 80.0)
    vocabulary: int = 10_000
    dim: int = 512
    layers: int = 6
    heads: int = 4
    feed_forward: int = 1024
    dropout: float = 0.3
    label_smoothing: float = 0.1
    epochs: int = 70
    batch_size: int = 160
    learning_rate: float = 5e-4
    warmup: int = 20_000
    beams: int = 5
    test_rows: int = 10_000


@dataclass(frozen=True)
class SEERecipe:
    """The whole reproduction; each part may be left out.

    Attributes:
        model: The model whose embedding is compressed.
        data_folder: The local data folder, from the checkout; the environment variable `INTARSIA_DATA` overrides it.
        lexicon: A lexicon to take instead of the one made from WordNet; `$DATA/...` is in the local data folder.
        instead_lexicon: What is taken where no WordNet release is installed.
        text: Text whose perplexity is measured.
        instead_text: Where the local data folder lacks it: a data set of `intarsia data`.
        seeds: Each is added to the run's seed.
        matrix: A.
        fits: B.
        unseen: C.
        classifier: D.
        stages: E.
        translation: F.
    """

    model: str
    data_folder: str = ""
    lexicon: str = ""
    instead_lexicon: str = ""
    text: str = ""
    instead_text: str = ""
    seeds: tuple[int, ...] = (0, 1, 2)
    matrix: MatrixRecipe | None = None
    fits: FitsRecipe | None = None
    unseen: UnseenRecipe | None = None
    classifier: ClassifierRecipe | None = None
    stages: StagesRecipe | None = None
    translation: TranslationRecipe | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise ConfigError("seeds", self.seeds, "at least one seed")


def read_recipe(config: Mapping[str, Any]) -> SEERecipe:
    """Reads the recipe and puts in this machine's paths; a part whose texts are absent takes others or is left out.

    Raises:
        ConfigError: If a value is not allowed.
    """
    given: SEERecipe = parse(SEERecipe, config, where="sememe-entanglement-encoding recipe")
    folder = data_folder(given.data_folder)

    def at_hand(path: str) -> str:
        if not path.startswith(LOCAL):
            return path
        local = folder / path.removeprefix(LOCAL) if folder is not None else None
        return str(local) if local is not None and local.exists() else ""

    text = at_hand(given.text) or given.instead_text
    unseen, classifier, stages = given.unseen, given.classifier, given.stages
    if unseen is not None:
        unseen = replace(unseen, text=at_hand(unseen.text) or text)
    if classifier is not None:
        paths = [at_hand(path) for path in (classifier.train, classifier.validation, classifier.test)]
        train, validation, test = paths
        classifier = replace(classifier, train=train, validation=validation, test=test) if all(paths) else None
    if stages is not None:
        texts, held_out = at_hand(stages.texts), at_hand(stages.held_out)
        if not (texts and held_out):
            texts = held_out = given.instead_text
        stages = replace(stages, texts=texts, held_out=held_out)
    return replace(
        given,
        text=text,
        unseen=unseen,
        lexicon=at_hand(given.lexicon),
        instead_lexicon=at_hand(given.instead_lexicon),
        classifier=classifier,
        stages=stages,
    )


def load_lexicon(recipe: SEERecipe) -> Lexicon:
    """Returns the recipe's lexicon, or the one made from WordNet, or the one for where there is none.

    Raises:
        InputError: If no WordNet release is installed and the recipe names no other lexicon that is there.
    """
    if recipe.lexicon:
        return Lexicon.read(Path(recipe.lexicon))
    try:
        return default_lexicon()
    except InputError:
        if not recipe.instead_lexicon:
            raise
        return Lexicon.read(Path(recipe.instead_lexicon))
