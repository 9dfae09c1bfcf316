"""The settings of the causal benchmark's reproduction."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intarsia.errors import ConfigError
from intarsia.pipeline.recipe import parse


@dataclass(frozen=True)
class SolverRecipe:
    """E1, the ground truth: which questions the exact solver answers.

    Attributes:
        groups: Shape groups.
        graphs: Graphs for every level and number of passes.
        names: Name styles.
        prompts: Prompt styles.
        evidence: Kinds of evidence.
    """

    groups: tuple[str, ...] = ("00",)
    graphs: int = 50
    names: tuple[str, ...] = ("specific",)
    prompts: tuple[str, ...] = ("zero_shot",)
    evidence: tuple[str, ...] = ("full", "partial")


@dataclass(frozen=True)
class ScorerRecipe:
    """E2, the published scorer of adjustment sets.

    Attributes:
        levels: Nodes in a tier; from 3 on some graphs have 10^5 and more paths for the published scorer to list.
        graphs: Graphs for every level and number of passes.
    """

    levels: tuple[int, ...] = (1, 2, 3)
    graphs: int = 50


@dataclass(frozen=True)
class NoiseRecipe:
    """E3, a responder that makes a mistake in a step now and then.

    Attributes:
        errors: Probabilities of a mistake in one derivation step.
        graphs: Graphs for every level and number of passes.
        replicates: How often each question is answered.
        resamples: Bootstrap samples of graphs.
    """

    errors: tuple[float, ...] = (0.05, 0.1, 0.2)
    graphs: int = 50
    replicates: int = 256
    resamples: int = 1000

    def __post_init__(self) -> None:
        if not all(0 < error < 0.5 for error in self.errors):
            raise ConfigError("errors", list(self.errors), "probabilities between 0 and 0.5")


@dataclass(frozen=True)
class NamesRecipe:
    """E4, a responder that is disturbed by real words, and one that is not.

    Attributes:
        styles: The plain name style and the one with real words.
        error: Probability of a mistake in one derivation step with plain names.
        disturbed: The same with real words, for the responders that are disturbed; the first is twice `error`.
        pairs: Problems that are asked in both styles.
        replicates: How often the comparison is repeated.
    """

    styles: tuple[str, str] = ("specific", "bio")
    error: float = 0.05
    disturbed: tuple[float, ...] = (0.1, 0.075, 0.06)
    pairs: int = 600
    replicates: int = 512

    def __post_init__(self) -> None:
        if not self.disturbed or self.disturbed[0] != 2 * self.error:
            raise ConfigError(
                "disturbed", list(self.disturbed), f"a list that begins with twice error, {2 * self.error:g}"
            )


@dataclass(frozen=True)
class ModelsRecipe:
    """E5, language models.

    Attributes:
        ask: Models, as `intarsia audit causal run --model` takes them; the environment variable `INTARSIA_MODELS`,
            names separated by commas, takes their place. None are asked if both are empty.
        levels: Nodes in a tier.
        graphs: Graphs for every level and number of passes.
        names: Name styles: one with invented names, then one with real words.
        prompts: Prompt styles.
        concurrency: Calls at once.
        engine: As in `intarsia audit causal run --engine`.
    """

    ask: tuple[str, ...] = ()
    levels: tuple[int, ...] = (1, 2, 3)
    graphs: int = 13
    names: tuple[str, str] = ("specific", "bio")
    prompts: tuple[str, ...] = ("zero_shot", "zero_cot")
    concurrency: int = 10
    engine: str = "inspect"

    def asked(self) -> tuple[str, ...]:
        """The models to ask: those of the environment, or else the recipe's."""
        given = tuple(name.strip() for name in os.environ.get("INTARSIA_MODELS", "").split(",") if name.strip())
        return given or self.ask


@dataclass(frozen=True)
class CausalRecipe:
    """The whole reproduction.

    Attributes:
        solver: E1.
        scorer: E2.
        noise: E3.
        names: E4.
        models: E5.
    """

    solver: SolverRecipe = field(default_factory=SolverRecipe)
    scorer: ScorerRecipe = field(default_factory=ScorerRecipe)
    noise: NoiseRecipe = field(default_factory=NoiseRecipe)
    names: NamesRecipe = field(default_factory=NamesRecipe)
    models: ModelsRecipe = field(default_factory=ModelsRecipe)


def read_recipe(config: Mapping[str, Any]) -> CausalRecipe:
    """Reads and checks the recipe."""
    recipe: CausalRecipe = parse(CausalRecipe, config, where="causal-generalization-benchmark recipe")
    return recipe
