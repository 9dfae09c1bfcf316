"""The settings of RoleBreak's reproduction."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from intarsia.audit.roleplay.defences import DEFENCES
from intarsia.errors import ConfigError
from intarsia.models.sentence_encoder import DEFAULT_ENCODER
from intarsia.pipeline.recipe import parse


@dataclass(frozen=True)
class InterviewRecipe:
    """E1, real answers of models to interview questions, judged by embeddings.

    Attributes:
        answers: Files of answers in the folder `roleplay-interview`.
        encoder: Sentence encoder, or `words`.
        resamples: Bootstrap samples of questions.
    """

    answers: tuple[str, ...] = ("responses_chatgpt", "responses_alpaca7b")
    encoder: str = "asset:minilm-l6"
    resamples: int = 2000


@dataclass(frozen=True)
class ScriptedRecipe:
    """E2, scripted models under all defences.

    Attributes:
        roles: Built-in roles.
        hallucination: Share of plain replies to attacks that are out of character.
        narrator_hallucination: The same of narrated replies.
        sensitivity: Share of those that the scripted judge finds.
        specificity: Share of other replies that it spares.
    """

    roles: int = 32
    hallucination: float = 0.5
    narrator_hallucination: float = 0.1
    sensitivity: float = 0.9
    specificity: float = 0.95


@dataclass(frozen=True)
class JudgeRecipe:
    """E3, rates corrected for a judge's errors.

    Attributes:
        sensitivity: Of the simulated judges.
        specificity: Of the simulated judges.
        true_rates: True hallucination rates.
        items: Replies judged.
        replicates: How often each is simulated.
    """

    sensitivity: tuple[float, ...] = (0.9, 0.8, 0.7)
    specificity: tuple[float, ...] = (0.95, 0.9, 0.8)
    true_rates: tuple[float, ...] = (0.1, 0.3, 0.5)
    items: int = 1000
    replicates: int = 400

    def __post_init__(self) -> None:
        if len(self.sensitivity) != len(self.specificity):
            raise ConfigError("specificity", list(self.specificity), "a list as long as sensitivity")


@dataclass(frozen=True)
class RealRecipe:
    """E4, real models.

    Attributes:
        targets: Models that play; none leaves E4 out.
        judge: Model that judges.
        roles: Built-in roles.
        defences: Defences.
        multi_domain: Queries of the multi-domain attack for each role.
        omission: Queries of the omission attack for each role.
        base: Base queries of each role that are translated and perturbed.
        encoder: Sentence encoder, or `words`.
        concurrency: Calls at once.
    """

    targets: tuple[str, ...] = ()
    judge: str = ""
    roles: int = 40
    defences: tuple[str, ...] = tuple(DEFENCES)
    multi_domain: int = 10
    omission: int = 5
    base: int = 5
    encoder: str = DEFAULT_ENCODER
    concurrency: int = 10


@dataclass(frozen=True)
class RolebreakRecipe:
    """The whole reproduction.

    Attributes:
        data_folder: Folder that holds `roleplay-interview`, from the checkout; `INTARSIA_DATA` comes first.
        interview: E1.
        scripted: E2.
        judge: E3.
        real: E4.
    """

    data_folder: str = ""
    interview: InterviewRecipe = field(default_factory=InterviewRecipe)
    scripted: ScriptedRecipe = field(default_factory=ScriptedRecipe)
    judge: JudgeRecipe = field(default_factory=JudgeRecipe)
    real: RealRecipe = field(default_factory=RealRecipe)


def read_recipe(config: Mapping[str, Any]) -> RolebreakRecipe:
    """Reads and checks the recipe; models named in the environment take the place of the recipe's."""
    recipe: RolebreakRecipe = parse(RolebreakRecipe, config, where="rolebreak recipe")
    target, judge = os.environ.get("INTARSIA_ROLEPLAY_MODEL"), os.environ.get("INTARSIA_ROLEPLAY_JUDGE")
    if target:
        recipe = replace(recipe, real=replace(recipe.real, targets=(target,)))
    if judge:
        recipe = replace(recipe, real=replace(recipe.real, judge=judge))
    if recipe.real.targets and not recipe.real.judge:
        raise ConfigError("judge", recipe.real.judge, "the name of a model, or rules, if there are targets")
    return recipe
