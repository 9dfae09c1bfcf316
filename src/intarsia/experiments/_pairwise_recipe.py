"""The settings of the reproduction of pairwise classification."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intarsia.errors import ConfigError
from intarsia.pipeline.recipe import parse


@dataclass(frozen=True)
class ResponderRecipe:
    """E1, a responder whose utilities are real similarities.

    Attributes:
        dataset: The intent set.
        easy: Easy texts for each hard one.
        sharpness: Utility of a cosine of 1.
        settings: Pairs of growth g and position bias b; the first is the null control, (0, 0).
        options: Numbers of options; 0 is all labels.
        replicates: How often every text is classified, with other noise and shuffles.
    """

    dataset: str = "banking77"
    easy: float = 1.0
    sharpness: float = 30.0
    settings: tuple[tuple[float, ...], ...] = ((0.0, 0.0), (1.0, 0.0), (1.0, 3.0))
    options: tuple[int, ...] = (2, 4, 8, 16, 32, 0)
    replicates: int = 3

    def __post_init__(self) -> None:
        if any(len(pair) != 2 for pair in self.settings):
            raise ConfigError("settings", list(self.settings), "pairs of growth and position bias")
        if not self.settings or tuple(self.settings[0]) != (0.0, 0.0):
            raise ConfigError("settings", list(self.settings), "a list that begins with the null control, [0, 0]")
        if self.replicates < 2:
            raise ConfigError("replicates", self.replicates, "at least 2: flips are counted between two of them")


@dataclass(frozen=True)
class PositionRecipe:
    """E2, where the right option stands, with the responder of E1 that has a position bias.

    Attributes:
        growth: g.
        position_bias: b.
        options: Number of options of a list.
        places: Places of the right option in it, from 0.
        content_free: Questions about a text without content.
    """

    growth: float = 1.0
    position_bias: float = 3.0
    options: int = 16
    places: tuple[int, ...] = (0, 5, 10, 15)
    content_free: int = 200


@dataclass(frozen=True)
class BreakEvenRecipe:
    """E3, an encoder that reduces and duels with a known chance of a mistake.

    Attributes:
        errors: Chances of a mistake in a duel.
        k: Candidates.
        resamples: Bootstrap samples of texts.
        replicates: How often the duels of every text are held where they are simulated.
    """

    errors: tuple[float, ...] = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4)
    k: int = 5
    resamples: int = 1000
    replicates: int = 3


@dataclass(frozen=True)
class ChatRecipe:
    """E5, real chat models.

    Attributes:
        models: References as `intarsia.evals.chat_model` takes them; none skips this part.
        subset: `hard`, `easy` or `all` texts.
        limit: Texts of each set at most; 0 for all of the subset.
        label_space: `full` or `observed` (only labels that occur, as published).
        concurrency: Texts worked on at once.
    """

    models: tuple[str, ...] = ()
    subset: str = "hard"
    limit: int = 0
    label_space: str = "full"
    concurrency: int = 10


@dataclass(frozen=True)
class PairwiseRecipe:
    """The whole reproduction.

    Attributes:
        data_folder: Folder that holds `intent-options`.
        datasets: Intent sets.
        encoder: Sentence encoder.
        shots: Example sentences a label for centroids.
        responder: E1.
        position: E2.
        break_even: E3.
        chat: E5.
    """

    data_folder: str = ""
    datasets: tuple[str, ...] = ("banking77", "hwu64", "liu54", "clinc150")
    encoder: str = "asset:minilm-l6"
    shots: int = 5
    responder: ResponderRecipe = field(default_factory=ResponderRecipe)
    position: PositionRecipe = field(default_factory=PositionRecipe)
    break_even: BreakEvenRecipe = field(default_factory=BreakEvenRecipe)
    chat: ChatRecipe = field(default_factory=ChatRecipe)


def read_recipe(config: Mapping[str, Any]) -> PairwiseRecipe:
    """Reads and checks the recipe."""
    recipe: PairwiseRecipe = parse(PairwiseRecipe, config, where="pairwise-classification recipe")
    return recipe
