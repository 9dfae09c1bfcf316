"""The main job: experts from labelled data, one model from the experts, and the proof.

Every stage leaves its result in the run's folder, whole or not at all, and is skipped when it finds it there; that is
all there is to resuming.

    run.json                      what was asked for: recipe, command, commit, versions
    data/TASK.json                the rows drawn
    experts/TASK/                 one PEFT adapter a task, with its training log
    model/                        the merged model
    evaluation/{dev,test}/*.json  what each system answered
    report.html, report.json
"""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from intarsia.data import TextToTextRow
from intarsia.errors import IntarsiaError, RunExistsError
from intarsia.experiments import provenance
from intarsia.files import atomic_folder, read_json, write_json
from intarsia.finetune.experts import train_expert
from intarsia.finetune.miub import MIUBConfig
from intarsia.merge import Expert, merge_state, open_expert, open_experts
from intarsia.merge.checkpoints import StateDict
from intarsia.merge.config import TwinMergingConfig
from intarsia.merge.twin import fit_router, merge_residuals
from intarsia.models import CausalLM, load_causal_lm
from intarsia.models.lower_states import decoder_layers, is_exact, upper_layers_only
from intarsia.models.prompts import set_instruction
from intarsia.pipeline.evaluation import Answers, TestSet, ask, one_hot_of_largest, over_prompts, weights_replaced
from intarsia.pipeline.progress import Stages
from intarsia.pipeline.recipe import Recipe
from intarsia.pipeline.results import Asked, RunResult, expert_name, judge
from intarsia.pipeline.tasks import TaskRows, load_task, read_rows_of_task, write_rows_of_task


def run_recipe(
    recipe: Recipe,
    output: str | Path,
    *,
    command: str = "",
    seed: int | None = None,
    overwrite: bool = False,
    stages: Stages | None = None,
) -> RunResult:
    """Trains the experts of a recipe, merges them, measures every system and writes the report.

    A run that was stopped goes on where it was when it is started again in the same folder; a finished one is only
    read.

    Args:
        recipe: What to do.
        output: Folder of the run.
        command: The user's command, for the record.
        seed: Takes the place of the recipe's seed.
        overwrite: Whether whatever is in the folder is thrown away first.
        stages: What shows the progress; by default stderr.

    Returns:
        What was found, and where the model and the report are.

    Raises:
        RunExistsError: If the folder holds the run of another recipe.
        IntarsiaError: If an input of the recipe cannot be used.
    """
    from intarsia.experiments.report import write_report
    from intarsia.pipeline.report import run_report

    if seed is not None:
        recipe = replace(recipe, seed=seed, expert=replace(recipe.expert, seed=seed))
    folder = Path(output)
    stages = stages or Stages()
    record = _open_folder(recipe, folder, command, overwrite)
    start = time.perf_counter()
    work = Run(recipe, folder, stages)
    result = judge(
        work.systems(),
        tasks=list(recipe.tasks),
        folder=folder,
        merged=f"twin rank {recipe.merge.rank}",
        mixture=np.array([work.routed[task] for task in recipe.tasks]).T,
    )
    if not result.report.exists():
        record["wall_seconds"] = round(record.get("wall_seconds", 0) + time.perf_counter() - start, 1)
        write_json(folder / "run.json", record)
        write_report(run_report(recipe, result, record), folder)
        shutil.rmtree(work.states_folder, ignore_errors=True)
    return result


def _open_folder(recipe: Recipe, folder: Path, command: str, overwrite: bool) -> dict[str, Any]:
    wanted = asdict(recipe)
    path = folder / "run.json"
    if overwrite and path.exists():
        shutil.rmtree(folder)
    if path.exists():
        record: dict[str, Any] = read_json(path)
        # Through JSON, tuples are lists.
        if record.get("recipe") != _as_json(wanted):
            raise RunExistsError(folder, what="a run of another recipe or seed")
        return record
    if folder.exists() and any(folder.iterdir()):
        raise RunExistsError(folder, what="files that are not a run")
    record = {"recipe": wanted, **provenance.collect(command, recipe.seed)}
    write_json(path, record)
    return record


def _as_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, list | tuple) else value


class Run:
    """The stages of one recipe in one folder."""

    def __init__(self, recipe: Recipe, folder: Path, stages: Stages) -> None:
        self.recipe = recipe
        self.folder = folder
        self.stages = stages
        self.states_folder = folder / ".states"

    @cached_property
    def base(self) -> CausalLM:
        """The base model; its tokenizer asks under the recipe's instruction."""
        with self.stages.stage(f"load {self.recipe.model}"):
            base = load_causal_lm(self.recipe.model)
        set_instruction(base.tokenizer, self.recipe.instruction)
        return base

    @cached_property
    def first_layer(self) -> int:
        """The lowest layer that any system changes; 0 where leaving out the ones below would not be exact."""
        top = self.recipe.expert.top_layers
        first = 0 if top is None else len(decoder_layers(self.base.model)) - top
        return first if first > 0 and is_exact(self.base.model, first) else 0

    @cached_property
    def tasks(self) -> dict[str, TaskRows]:
        """The rows of every task: drawn once, then read from the run's folder."""
        rows = {}
        for name, task in self.recipe.tasks.items():
            path = self.folder / "data" / f"{name}.json"
            if not path.exists():
                write_rows_of_task(path, load_task(task, self.base.tokenizer, self.recipe.seed))
            rows[name] = read_rows_of_task(path)
        return rows

    @cached_property
    def experts(self) -> dict[str, Path]:
        """The experts' adapter folders; trains those that are not there yet."""
        folders = {name: self.folder / "experts" / name for name in self.tasks}
        for name, folder in folders.items():
            if folder.exists():
                continue
            rows = self.tasks[name].train
            with self.stages.stage(f"train expert {name}", self.recipe.expert.steps(len(rows))) as advance:
                train_expert(
                    self.base,
                    rows,
                    self.recipe.expert,
                    folder,
                    miub=MIUBConfig(max_tokens=500),
                    states_folder=self.states_folder,
                    progress=advance,
                )
        return folders

    @cached_property
    def twin(self) -> Any:
        """The merged model; builds it if it is not there yet."""
        output = self.folder / "model"
        if not output.exists():
            merge = self.recipe.merge
            config = TwinMergingConfig(gamma=merge.gamma, rank=merge.rank, seed=self.recipe.seed)
            with self.stages.stage("merge the experts"):
                # The merge changes the model it is given; ours stays the base.
                base = load_causal_lm(self.recipe.model).model
                twin = merge_residuals(base, self.recipe.model, self.experts, config=config)
            with self.stages.stage("train the router", len(self.tasks)) as advance:
                states = {}
                with upper_layers_only(twin, self.first_layer):
                    for name, rows in self.tasks.items():
                        texts = self._with_states({name: rows.train}).first(merge.router_texts)
                        states[name] = over_prompts(texts, twin.pooled_states)
                        advance(1)
                fit_router(twin, states, config=config)
            with atomic_folder(output) as folder:
                twin.save_pretrained(folder)
                self.base.tokenizer.save_pretrained(folder)
        return load_causal_lm(output).model

    def _with_states(
        self, rows: Mapping[str, list[TextToTextRow]], progress: Callable[[int], None] | None = None
    ) -> TestSet:
        labels = {task: of_task.labels for task, of_task in self.tasks.items() if task in rows}
        tokenised = TestSet.build(self.base.tokenizer, rows, labels)
        return tokenised.with_states(self.base.model, self.first_layer, self.states_folder, progress)

    # What each system answers

    @cached_property
    def rows(self) -> dict[str, TestSet]:
        """The dev and test rows of all tasks, with the states of the frozen lower layers."""
        sets = {}
        for part in ("dev", "test"):
            rows = {task: getattr(of_task, part) for task, of_task in self.tasks.items()}
            total = sum(map(len, rows.values()))
            with self.stages.stage(f"frozen lower layers on {part} rows", total) as advance:
                sets[part] = self._with_states(rows, advance)
        return sets

    def _answers(self, part: str, system: str, make: Callable[[TestSet, Callable[[int], None]], Answers]) -> Answers:
        path = self.folder / "evaluation" / part / f"{system}.json"
        if not path.exists():
            rows = self.rows[part]
            with self.stages.stage(f"ask {system} the {part} rows", len(rows)) as advance:
                make(rows, advance).save(path)
        return Answers.load(path)

    def _ask_base(self, part: str, system: str, weights: Callable[[], Mapping[str, Tensor]]) -> Answers:
        """Asks the base model with some weights replaced."""

        def make(rows: TestSet, advance: Callable[[int], None]) -> Answers:
            model = self.base.model
            with upper_layers_only(model, self.first_layer), weights_replaced(model, weights()):
                return ask(model, rows, progress=advance)

        return self._answers(part, system, make)

    def _ask_twin(self, system: str, *, rank: int, mixture: Callable[[], Tensor]) -> Answers:
        """Asks the merged model at a rank with given weights of the experts."""

        def make(rows: TestSet, advance: Callable[[int], None]) -> Answers:
            self.twin.set_rank(rank)
            with self._twin_on_states():
                return ask(self.twin, rows, mixture=mixture(), progress=advance)

        return self._answers("test", system, make)

    @cached_property
    def routed(self) -> dict[str, list[float]]:
        """The router's weight of each expert, by name, for each test prompt."""
        path = self.folder / "evaluation" / "routing.json"
        if not path.exists():
            rows = self.rows["test"]
            with self._twin_on_states(), self.stages.stage("route the test prompts", len(rows)) as advance:
                weights = over_prompts(rows, self.twin.route, advance)
            write_json(path, dict(zip(self.twin.experts, weights.T.tolist(), strict=True)))
        return dict(read_json(path))

    def _mixture(self) -> Tensor:
        """`routed` as the merged model takes it, `[rows, experts]`."""
        return torch.tensor([self.routed[name] for name in self.twin.experts]).T

    @contextmanager
    def _twin_on_states(self) -> Iterator[None]:
        with upper_layers_only(self.twin, self.first_layer):
            yield

    # Systems

    def systems(self) -> list[Asked]:
        """Asks every system the test rows."""
        _ = self.experts, self.twin
        return [
            Asked("base", "base", self._ask_base("test", "base", dict)),
            *self._experts(),
            *(self._tuned(method, grid) for method, grid in self.recipe.merge.baselines.items()),
            *self._twins(),
        ]

    def _experts(self) -> Iterator[Asked]:
        for task in self.tasks:
            system = expert_name(task)
            weights = partial(self._merged, "task_arithmetic", {"weight": 1.0}, only=task)
            answers = self._ask_base("test", system, weights)
            if not answers.exact[task].any():
                raise IntarsiaError(
                    f"the expert of {task!r} answers none of its own test rows exactly: nothing can be measured by it",
                    where=self.experts[task],
                    fix="train longer (epochs), on more rows (train), or with a higher rank, in a new --output",
                )
            yield Asked(system, "expert", answers)

    def _tuned(self, method: str, grid: Mapping[str, list[float]]) -> Asked:
        """A static merge with the settings that do best on the dev rows."""
        settings = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]

        def dev_accuracy(params: dict[str, float]) -> float:
            name = " ".join([method, *(f"{key}={value:g}" for key, value in params.items())])
            answers = self._ask_base("dev", name, partial(self._merged, method, params))
            return float(np.mean(list(answers.accuracy().values())))

        best = max(settings, key=dev_accuracy) if len(settings) > 1 else settings[0]
        answers = self._ask_base("test", method, partial(self._merged, method, best))
        return Asked(method, "static", answers, best)

    def _merged(self, method: str, params: Mapping[str, float], only: str | None = None) -> dict[str, Tensor]:
        """Weights of a static merge; just those that any expert changes."""
        experts = self._opened if only is None else {only: self._opened[only]}
        return merge_state(self._adapted_weights, experts, method, params)

    @cached_property
    def _adapted_weights(self) -> dict[str, Tensor]:
        state = self.base.model.state_dict()
        changed = [open_expert(folder, StateDict(state)).keys() for folder in self.experts.values()]
        return {key: state[key].clone() for key in sorted(set().union(*changed))}

    @cached_property
    def _opened(self) -> dict[str, Expert]:
        return open_experts(StateDict(self._adapted_weights), self.experts)

    def _twins(self) -> Iterator[Asked]:
        rank = self.recipe.merge.rank
        for other in sorted({*self.recipe.merge.ranks, rank}):
            name = f"twin rank {other}"
            yield Asked(name, "twin", self._ask_twin(name, rank=other, mixture=self._mixture), {"rank": other})

        def hard() -> Tensor:
            return one_hot_of_largest(self._mixture())

        name = f"twin rank {rank}, hard routing"
        yield Asked(
            name,
            "twin",
            self._ask_twin(name, rank=rank, mixture=hard),
            {"rank": rank},
        )
        name = f"twin rank {rank}, told the task"
        yield Asked(name, "oracle", self._ask_twin(name, rank=rank, mixture=self._told), {"rank": rank})

    def _told(self) -> Tensor:
        """All weight on the expert of each row's own task."""
        weights: Tensor = self.twin.mixture(
            [task for task, count in self.rows["test"].rows.items() for _ in range(count)]
        )
        return weights
