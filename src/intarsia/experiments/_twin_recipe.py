"""The settings of the Twin-Merging reproduction, and where its texts come from."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from intarsia.errors import ConfigError, UnknownNameError
from intarsia.experiments._local_data import data_folder, tasks_at_hand
from intarsia.experiments._twin_names import STATIC
from intarsia.finetune.encoders import EncoderConfig
from intarsia.merge.config import check_rank
from intarsia.merge.methods.adamerging import AdaMergingParams
from intarsia.pipeline.recipe import Recipe, TaskRecipe, parse

METRICS = ("accuracy", "matthews", "accuracy_and_f1", "pearson_spearman")


@dataclass(frozen=True)
class EncoderTask:
    """A task of the encoder experts.

    Attributes:
        data: As for `intarsia.data.read`; `$DATA/...` is in the local data folder.
        fields: Which columns are the `text` and the `label` or `score`.
        where: Which rows of the file, by column and values.
        schema: `classification`, or `scored-text` for a number to predict.
        metric: How it is scored: one of `METRICS`.
        positive: The label whose F1 score counts, for `accuracy_and_f1`.
        train: Training rows.
    """

    data: str
    fields: dict[str, str] = field(default_factory=dict)
    where: dict[str, list[str]] = field(default_factory=dict)
    schema: str = "classification"
    metric: str = "accuracy"
    positive: str = ""
    train: int = 1000

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ConfigError("metric", self.metric, f"one of {', '.join(METRICS)}")
        if self.train < 1:
            raise ConfigError("train", self.train, "at least 1")


@dataclass(frozen=True)
class EncoderRecipe:
    """The discriminative part: encoders fine-tuned in full, as RoBERTa on GLUE in the paper.

    Attributes:
        model: The encoder all experts start from.
        tasks: The tasks; the curve over the number of tasks takes them in this order.
        instead: The tasks where the local data folder lacks a file of `tasks`.
        expert: How experts are trained.
        harder: How they are trained for the comparison of longer fine-tuning; None leaves it out.
        seeds: Each is added to the run's seed and gives one training of all experts; scores are means over them.
        dev: Rows of a task on which settings of static methods are chosen.
        test: Rows of a task everything is measured on.
        router_texts: Rows of a task the router learns from; not those of the expert, as far as there are others.
        router_epochs: Passes over them.
        gamma: Scale of the summed task vectors in the shared model.
        ranks: Ranks measured beside 10 % of the width and the full rank.
        baselines: Settings of static methods tried on the dev rows: method to lists of values.
        adamerging: How its coefficients are learned.
        adamerging_batch: Dev rows of one task in one of its steps; labels are not used.
        fisher_rows: Training rows of a task for the Fisher information.
        regmean_rows: Training rows of a task for the Gram matrices.
        timed_items: Items whose inference is timed.
    """

    model: str
    tasks: dict[str, EncoderTask]
    instead: dict[str, EncoderTask] = field(default_factory=dict)
    expert: EncoderConfig = field(default_factory=EncoderConfig)
    harder: EncoderConfig | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    dev: int = 100
    test: int = 400
    router_texts: int = 300
    router_epochs: int = 50
    gamma: float = 0.3
    ranks: list[int] = field(default_factory=lambda: [0, 1, 4, 8])
    baselines: dict[str, dict[str, list[float]]] = field(default_factory=lambda: {"task_arithmetic": {"weight": [0.3]}})
    adamerging: AdaMergingParams = field(default_factory=AdaMergingParams)
    adamerging_batch: int = 16
    fisher_rows: int = 64
    regmean_rows: int = 128
    timed_items: int = 24

    def __post_init__(self) -> None:
        if len(self.tasks) < 2:
            raise ConfigError("tasks", list(self.tasks), "at least two tasks")
        if not self.seeds:
            raise ConfigError("seeds", self.seeds, "at least one seed")
        for rank in self.ranks:
            check_rank(rank)
        if "task_arithmetic" not in self.baselines:
            raise ConfigError("baselines", list(self.baselines), "a mapping with task_arithmetic")
        for method in self.baselines:
            if method not in STATIC:
                raise UnknownNameError("baseline", method, STATIC)


@dataclass(frozen=True)
class GenerativeRecipe:
    """The generative part: LoRA experts of a chat model, through the pipeline of `intarsia run`.

    Attributes:
        recipe: What `intarsia run` takes.
        instead: The tasks where the local data folder lacks a file of the recipe's.
    """

    recipe: Recipe
    instead: dict[str, TaskRecipe] = field(default_factory=dict)


@dataclass(frozen=True)
class TwinRecipe:
    """Both parts; either may be left out.

    Attributes:
        data_folder: The local data folder, from the checkout; the environment variable `INTARSIA_DATA` overrides it.
        encoders: The discriminative part.
        generative: The generative part.
    """

    data_folder: str = ""
    encoders: EncoderRecipe | None = None
    generative: GenerativeRecipe | None = None

    def __post_init__(self) -> None:
        if self.encoders is None and self.generative is None:
            raise ConfigError("encoders", None, "given, or else generative")


def read_recipe(config: Mapping[str, Any]) -> TwinRecipe:
    """Reads the recipe and puts in the tasks that this machine has the texts of."""
    given: TwinRecipe = parse(TwinRecipe, config, where="twin-merging recipe")
    folder = data_folder(given.data_folder)
    encoders, generative = given.encoders, given.generative
    if encoders is not None:
        encoders = replace(encoders, tasks=tasks_at_hand(encoders.tasks, encoders.instead, folder))
    if generative is not None:
        tasks = tasks_at_hand(generative.recipe.tasks, generative.instead, folder)
        generative = replace(generative, recipe=replace(generative.recipe, tasks=tasks))
    return replace(given, encoders=encoders, generative=generative)
