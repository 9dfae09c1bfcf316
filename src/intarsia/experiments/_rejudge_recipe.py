"""The settings of the reproduction of re-judge inconsistency."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from intarsia.errors import ConfigError
from intarsia.pipeline.recipe import parse


@dataclass(frozen=True)
class ListsRecipe:
    """E1, recorded word lists.

    Attributes:
        variants: Prompts whose answers are scored.
        resamples: Bootstrap samples of answers.
    """

    variants: tuple[str, ...] = ("replication", "instruction1")
    resamples: int = 2000


@dataclass(frozen=True)
class AgentsRecipe:
    """E2, simulated models with known beliefs.

    Attributes:
        tests: Association tests.
        templates: Wordings.
        draws: Completions of each wording.
    """

    tests: tuple[str, ...] = ("gender", "race", "age")
    templates: int = 10
    draws: int = 20


@dataclass(frozen=True)
class BeliefsRecipe:
    """E2, intervals and identities.

    Attributes:
        betas: Beliefs of consistent models, log-odds.
        implicit: Belief of completions of the model with two beliefs.
        explicit: Its belief of judgements.
        clusters: Pairs of wording and attributes.
        of_cluster: Completions of each.
        runs: Simulated runs.
        resamples: Bootstrap samples of clusters in each.
        wilson_runs: Simulated runs of a fair completer.
    """

    betas: tuple[float, ...] = (-1.0, 0.0, 0.5, 1.5, 3.0)
    implicit: float = 1.5
    explicit: float = -2.0
    clusters: int = 50
    of_cluster: int = 4
    runs: int = 200
    resamples: int = 1000
    wilson_runs: int = 2000

    def __post_init__(self) -> None:
        if self.runs < 1 or self.clusters < 2:
            raise ConfigError("runs", self.runs, "at least 1, of at least 2 clusters")


@dataclass(frozen=True)
class ModelsRecipe:
    """E3 and E4, language models.

    Attributes:
        ask: Models, as `intarsia audit bias run --model` takes them; the environment variable `INTARSIA_MODELS`, names
            separated by commas, takes their place. None are asked if both are empty.
        tests: Association tests.
        templates: Wordings.
        draws: Completions of each wording.
        scales: How judgements are asked for.
        contexts: What judges see.
        neutral: Neutral statements.
        concurrency: Calls at once.
    """

    ask: tuple[str, ...] = ()
    tests: tuple[str, ...] = ("gender",)
    templates: int = 10
    draws: int = 20
    scales: tuple[str, ...] = ("agree2", "likert5")
    contexts: tuple[str, ...] = ("fresh",)
    neutral: int = 40
    concurrency: int = 10

    def asked(self) -> tuple[str, ...]:
        """The models to ask: those of the environment, or else the recipe's."""
        given = tuple(name.strip() for name in os.environ.get("INTARSIA_MODELS", "").split(",") if name.strip())
        return given or self.ask


@dataclass(frozen=True)
class RejudgeRecipe:
    """The whole reproduction.

    Attributes:
        data_folder: Folder that holds `implicit-association`.
        lists: E1.
        agents: E2.
        beliefs: E2.
        models: E3 and E4.
    """

    data_folder: str = ""
    lists: ListsRecipe = field(default_factory=ListsRecipe)
    agents: AgentsRecipe = field(default_factory=AgentsRecipe)
    beliefs: BeliefsRecipe = field(default_factory=BeliefsRecipe)
    models: ModelsRecipe = field(default_factory=ModelsRecipe)


def read_recipe(config: Mapping[str, Any]) -> RejudgeRecipe:
    """Returns the settings of a recipe file.

    Raises:
        ConfigError: If a setting is unknown or has a value that is not allowed.
    """
    recipe: RejudgeRecipe = parse(RejudgeRecipe, config, where="re-judge-inconsistency recipe")
    return recipe
