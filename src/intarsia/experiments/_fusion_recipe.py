"""The settings of the Dynamic Logit Fusion reproduction."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from intarsia.errors import ConfigError
from intarsia.experiments._local_data import data_folder, tasks_at_hand
from intarsia.finetune.config import ExpertConfig
from intarsia.finetune.distillation import DistillationConfig
from intarsia.pipeline.recipe import TaskRecipe, parse


@dataclass(frozen=True)
class SiblingRecipe:
    """How a small base is made of the large model, where the family has none.

    Attributes:
        layers: Layers it keeps.
        heal: First distillation, on whole training prompts.
        heal_texts: How many of them, over all tasks.
        align: Second distillation, where answers are written. The answers are other rows', so that no label is told.
        align_texts: On how many training prompts.
    """

    layers: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 28, 29)
    heal: DistillationConfig = field(default_factory=DistillationConfig)
    heal_texts: int = 240
    align: DistillationConfig = field(default_factory=lambda: DistillationConfig(positions="answer", batch_size=16))
    align_texts: int = 480


@dataclass(frozen=True)
class FusionRecipe:
    """The whole comparison.

    Attributes:
        large: The model to specialise.
        tasks: Tasks that experts are trained on.
        unseen: Tasks no expert knows.
        instead: Tasks where the local data folder lacks a file; the last one is the unseen one then.
        small: The small base, if the family has one.
        sibling: How it is made, if not.
        instruction: System message of every prompt.
        expert: How the small experts are trained.
        upper: How the large model is fine-tuned for comparison.
        fixed: Constant alphas beside 1 (proxy tuning).
        data_folder: The local data folder, from the checkout; `$INTARSIA_DATA` overrides it.
        dtype: Type of the weights.
    """

    large: str
    tasks: dict[str, TaskRecipe]
    unseen: dict[str, TaskRecipe] = field(default_factory=dict)
    instead: dict[str, TaskRecipe] = field(default_factory=dict)
    small: str | None = None
    sibling: SiblingRecipe | None = None
    instruction: str = "Answer with one label."
    expert: ExpertConfig = field(default_factory=ExpertConfig)
    upper: ExpertConfig = field(default_factory=ExpertConfig)
    fixed: tuple[float, ...] = (0.5, 1.5, 2.0)
    data_folder: str = ""
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if (self.small is None) == (self.sibling is None):
            raise ConfigError("small", self.small, "given, or else sibling, but not both")
        if len(self.tasks) < 2:
            raise ConfigError("tasks", list(self.tasks), "at least two tasks")
        if self.dtype not in ("float32", "bfloat16", "float16"):
            raise ConfigError("dtype", self.dtype, "float32, bfloat16 or float16")


def read_recipe(config: Mapping[str, Any]) -> FusionRecipe:
    """Reads the recipe and puts in the tasks that this machine has the texts of."""
    given: FusionRecipe = parse(FusionRecipe, config, where="dynamic-logit-fusion recipe")
    everything = tasks_at_hand({**given.tasks, **given.unseen}, given.instead, data_folder(given.data_folder))
    if set(everything) == {*given.tasks, *given.unseen}:
        unseen = {name: everything[name] for name in given.unseen}
    else:
        unseen = dict([list(everything.items())[-1]]) if given.unseen else {}
    seen = {name: task for name, task in everything.items() if name not in unseen}
    return replace(given, tasks=seen, unseen=unseen)
