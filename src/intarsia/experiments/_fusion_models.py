"""The models of the Dynamic Logit Fusion reproduction: made once, kept in the run's folder."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from intarsia.data import TextToTextRow
from intarsia.experiments._fusion_recipe import FusionRecipe
from intarsia.experiments.context import Context
from intarsia.finetune import ExpertConfig, distill, keep_layers, train_expert
from intarsia.models import CausalLM, load_causal_lm
from intarsia.models.lower_states import decoder_layers
from intarsia.models.prompts import set_instruction
from intarsia.pipeline.tasks import TaskRows, draw_rows, load_task


@dataclass(frozen=True)
class Study:
    """Everything that is measured.

    Attributes:
        large: The large model and the tokenizer of all.
        small: Where the small base is.
        experts: Where the experts are, by task.
        upper: Where the adapters of the large model are, by task.
        rows: Of the tasks experts know.
        unseen: Test rows of the tasks none knows.
    """

    large: CausalLM
    small: str
    experts: dict[str, Path]
    upper: dict[str, Path]
    rows: dict[str, TaskRows]
    unseen: dict[str, list[TextToTextRow]]


def prepare(recipe: FusionRecipe, context: Context) -> Study:
    """Loads the large model, draws rows and trains what is not there yet."""
    large = load_causal_lm(recipe.large, dtype=getattr(torch, recipe.dtype))
    set_instruction(large.tokenizer, recipe.instruction)
    rows = {name: load_task(task, large.tokenizer, context.seed) for name, task in recipe.tasks.items()}
    unseen = {
        name: draw_rows(task, task.test_split, task.test, large.tokenizer, context.seed)
        for name, task in recipe.unseen.items()
    }
    small_ref = recipe.small or str(_sibling(recipe, large, rows, context))
    small = load_causal_lm(small_ref, dtype=getattr(torch, recipe.dtype))
    set_instruction(small.tokenizer, recipe.instruction)
    experts = {
        name: _expert(small, task.train, recipe.expert, context.folder / "experts" / name, context)
        for name, task in rows.items()
    }
    upper = {
        name: _expert(large, task.train, recipe.upper, context.folder / "upper" / name, context)
        for name, task in rows.items()
    }
    return Study(large, small_ref, experts, upper, rows, unseen)


def _sibling(recipe: FusionRecipe, large: CausalLM, rows: Mapping[str, TaskRows], context: Context) -> Path:
    assert recipe.sibling is not None
    output, healed = context.folder / "small", context.folder / "healed"
    if output.is_dir():
        return output
    generator = random.Random(context.seed)
    prompts, answers = [], []
    for task in rows.values():
        prompts += large.tokenizer.apply_chat_template(
            [[{"role": "user", "content": row.prompt}] for row in task.train],
            add_generation_prompt=True,
            tokenize=False,
        )
        # Any answers of the task: the small base is to know the large model, not the labels.
        answers += generator.sample([row.target for row in task.train], len(task.train))
    order = generator.sample(range(len(prompts)), len(prompts))
    prompts, answers = [prompts[index] for index in order], [answers[index] for index in order]
    layers = [index for index in recipe.sibling.layers if index < len(decoder_layers(large.model))]
    if not healed.is_dir():
        context.progress("distilling the small base on whole prompts ...")
        heal = replace(recipe.sibling.heal, seed=context.seed)
        distill(keep_layers(large.model, layers), large, prompts[: recipe.sibling.heal_texts], heal, healed)
    context.progress("distilling the small base where answers are written ...")
    align = replace(recipe.sibling.align, seed=context.seed)
    count = recipe.sibling.align_texts
    return distill(load_causal_lm(healed).model, large, prompts[:count], align, output, continuations=answers[:count])


def _expert(
    base: CausalLM, rows: Sequence[TextToTextRow], config: ExpertConfig, output: Path, context: Context
) -> Path:
    if not output.is_dir():
        context.progress(f"training {output.parent.name}/{output.name} ...")
        train_expert(base, rows, replace(config, seed=context.seed), output)
    return output


def load_part(ref: str | Path, recipe: FusionRecipe) -> Any:
    """Loads one of the models, ready to answer."""
    return load_causal_lm(ref, dtype=getattr(torch, recipe.dtype)).model
