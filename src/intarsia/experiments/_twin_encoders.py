"""The discriminative part of the Twin-Merging reproduction: one set of encoder experts, merged in every way."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.func import functional_call

from intarsia.data import read_rows
from intarsia.experiments._twin_names import (
    FULL,
    HARD,
    MAIN,
    NO_SHARED,
    OF_BASE,
    ORACLE,
    REBUILT,
    SHARE,
)
from intarsia.experiments._twin_recipe import EncoderRecipe, EncoderTask
from intarsia.experiments._twin_scores import WRONG, TaskTarget
from intarsia.finetune.encoders import (
    EncoderConfig,
    TextCollator,
    TextRow,
    encode_texts,
    label_names,
    train_encoder_expert,
)
from intarsia.merge import (
    Head,
    RouterConfig,
    TwinMergedForSequenceClassification,
    TwinMergingConfig,
    adamerging_coefficients,
    embed_texts,
    fisher_diagonal,
    fit_router,
    gram_matrices,
    merge_residual_encoders,
    merge_state,
    open_experts,
)
from intarsia.merge.checkpoints import StateDict
from intarsia.merge.heads import read_linear_head
from intarsia.merge.router import pool_states
from intarsia.models import Encoder, load_encoder
from intarsia.models.lower_states import batches_by_length
from intarsia.pipeline.evaluation import one_hot_of_largest, weights_replaced

Example = dict[str, Any]
Answers = dict[str, list[float]]
Stage = Callable[[str, Callable[[], Any]], Any]

# Nothing is trained there, or, in the pooler, nothing is used.
_EXCLUDED = ("pooler.*",)
_TOKENS_PER_BATCH = 3072


@dataclass(frozen=True)
class TaskTexts:
    """The rows of one task and its labels in the order of the head's outputs."""

    train: list[TextRow]
    router: list[TextRow]
    dev: list[TextRow]
    test: list[TextRow]
    labels: tuple[str, ...]

    @classmethod
    def draw(cls, task: EncoderTask, recipe: EncoderRecipe, seed: int) -> "TaskTexts":
        """Draws rows; dev and test rows are the same for all seeds."""

        def rows(split: str, seed: int, limit: int | None) -> list[TextRow]:
            options: dict[str, Any] = {"fields": task.fields or None, "where": task.where or None}
            return read_rows(task.data, schema=task.schema, split=split, seed=seed, limit=limit, **options)

        train = rows("train", seed, None)
        others = train[task.train :] or train
        return cls(
            train[: task.train],
            others[: recipe.router_texts],
            rows("dev", 0, recipe.dev),
            rows("test", 0, recipe.test),
            label_names(train),
        )

    def target(self, task: EncoderTask) -> TaskTarget:
        """What is right on the test rows."""
        values = [self.labels.index(row.label) if hasattr(row, "label") else row.score for row in self.test]
        positive = self.labels.index(task.positive) if task.positive else 0
        return TaskTarget(np.array(values), task.metric, positive)


class EncoderStudy:
    """One set of experts, trained with one config and seed.

    Args:
        recipe: The recipe.
        config: How the experts are trained.
        seed: Of the rows, the training, the router and random merges.
        folder: Where the experts are kept.
        stage: Keeps results, see `Context.stage`; names are unique within the study.
    """

    def __init__(self, recipe: EncoderRecipe, config: EncoderConfig, seed: int, folder: Path, stage: Stage) -> None:
        self.recipe = recipe
        self.config = config
        self.seed = seed
        self.folder = folder
        self.stage = stage
        self.tasks = list(recipe.tasks)

    # What it is made of

    @cached_property
    def base(self) -> Encoder:
        """The encoder all experts start from."""
        return load_encoder(self.recipe.model)

    @cached_property
    def texts(self) -> dict[str, TaskTexts]:
        """The rows of every task."""
        return {name: TaskTexts.draw(task, self.recipe, self.seed) for name, task in self.recipe.tasks.items()}

    def train(self, name: str) -> Path:
        """Trains the expert of a task, if it is not there yet."""
        folder, own = self.folder / name, self.texts[name]
        if not folder.exists():
            train_encoder_expert(self.base, own.train, self.config, folder, labels=own.labels)
        return folder

    @cached_property
    def experts(self) -> dict[str, Path]:
        """The experts' folders."""
        return {name: self.train(name) for name in self.tasks}

    @cached_property
    def heads(self) -> dict[str, Head]:
        """The experts' heads."""
        heads = {name: read_linear_head(folder) for name, folder in self.experts.items()}
        return {name: head for name, head in heads.items() if head is not None}

    @cached_property
    def states(self) -> dict[str, dict[str, Tensor]]:
        """The tensors training changes, of every expert."""
        opened = open_experts(StateDict(self.base.model.state_dict()), self.experts, exclude=self._excluded)
        return {name: {key: expert.tensor(key) for key in expert.keys()} for name, expert in opened.items()}  # noqa: SIM118

    @cached_property
    def base_state(self) -> dict[str, Tensor]:
        """The same tensors of the base."""
        state = self.base.model.state_dict()
        return {key: state[key].clone() for key in next(iter(self.states.values()))}

    @property
    def _excluded(self) -> tuple[str, ...]:
        return (*_EXCLUDED, "embeddings.*") if self.config.freeze_embeddings else _EXCLUDED

    def _examples(self, part: str, names: Sequence[str], limit: int | None = None) -> dict[str, list[Example]]:
        return {
            name: encode_texts(
                self.base.tokenizer,
                getattr(self.texts[name], part)[:limit],
                self.texts[name].labels,
                max_length=self.config.max_length,
            )
            for name in names
        }

    def _batches(self, examples: Sequence[Example], size: int | None = None) -> Iterator[tuple[list[int], Any]]:
        """Yields batches with the places of their rows: of texts of like length, or of `size` rows in order."""
        device = self.base.model.device
        collate = TextCollator(self.base.tokenizer.pad_token_id)
        lengths = [len(example["input_ids"]) for example in examples]
        places = (
            batches_by_length(lengths, _TOKENS_PER_BATCH)
            if size is None
            else [list(range(start, min(start + size, len(examples)))) for start in range(0, len(examples), size)]
        )
        for rows in places:
            batch = collate([examples[row] for row in rows])
            yield rows, {name: tensor.to(device) for name, tensor in batch.items()}

    def _inputs(self, examples: Sequence[Example], size: int) -> list[dict[str, Tensor]]:
        return [
            {name: tensor for name, tensor in batch.items() if name != "labels"}
            for _, batch in self._batches(examples, size)
        ]

    # Asking

    @torch.no_grad()
    def ask(self, weights: Mapping[str, Tensor], names: Sequence[str], part: str = "test") -> Answers:
        """Asks the base with some weights replaced; each task's rows are answered by the task's head."""
        sets = self._examples(part, names)
        stacked = [example for examples in sets.values() for example in examples]
        model = self.base.model.eval()
        pooled: list[Tensor] = [torch.empty(0)] * len(stacked)
        with weights_replaced(model, weights):
            for rows, batch in self._batches(stacked):
                states = model(batch["input_ids"], batch["attention_mask"]).last_hidden_state
                means = pool_states(states, batch["attention_mask"].bool(), "mean").cpu()
                for row, mean in zip(rows, means, strict=True):
                    pooled[row] = mean
        answers, start = {}, 0
        for name, examples in sets.items():
            own = torch.stack(pooled[start : start + len(examples)])
            answers[name] = _decide(self._head(name, own))
            start += len(examples)
        return answers

    def _head(self, name: str, pooled: Float[Tensor, "rows dim"]) -> Float[Tensor, "rows labels"]:
        state = self.heads[name].state
        return F.linear(pooled, state["weight"].to(pooled), state["bias"].to(pooled))

    @torch.no_grad()
    def ask_twin(self, twin: TwinMergedForSequenceClassification, mixture: Float[Tensor, "rows experts"]) -> Answers:
        """Asks a twin model the test rows of its experts with given mixtures; each task's head answers its rows."""
        names = [name for name in self.tasks if name in twin.experts]
        sets = self._examples("test", names)
        stacked = [(name, example) for name, examples in sets.items() for example in examples]
        twin.set_head("oracle")
        answers: list[float] = [WRONG] * len(stacked)
        offsets = dict(zip(twin.experts, twin.label_offsets, strict=True))
        for rows, batch in self._batches([example for _, example in stacked]):
            tasks = [stacked[row][0] for row in rows]
            logits = twin(
                batch["input_ids"], batch["attention_mask"], mixture=mixture[rows].to(twin.device), tasks=tasks
            ).logits
            for row, task, scores in zip(rows, tasks, logits.cpu(), strict=True):
                own = scores[offsets[task] : offsets[task] + len(self.texts[task].labels)]
                answers[row] = _decide(own[None])[0]
        found, start = {}, 0
        for name, examples in sets.items():
            found[name] = answers[start : start + len(examples)]
            start += len(examples)
        return found

    # Static merges

    def merged(self, method: str, params: Mapping[str, float], names: Sequence[str], **extra: Any) -> dict[str, Tensor]:
        """Weights of a static merge of some experts."""
        return merge_state(self.base_state, {name: self.states[name] for name in names}, method, params, **extra)

    def own_answers(self) -> Answers:
        """Each task's rows as its own expert answers them."""
        return {name: self.ask(self.states[name], [name])[name] for name in self.tasks}

    def tuned(self, method: str, names: Sequence[str]) -> dict[str, Any]:
        """A static merge with the settings that do best on the dev rows: `params`, `dev` scores and `answers`."""
        grid = self.recipe.baselines[method]
        settings = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        dev = {}
        if len(settings) > 1:
            targets = {name: self._dev_target(name) for name in names}
            for number, params in enumerate(settings):
                answers = self.ask(self.merged(method, params, names), names, "dev")
                dev[number] = float(np.mean([targets[name].score(answers[name]) for name in names]))
        best = settings[max(dev, key=dev.__getitem__)] if dev else settings[0]
        return {"params": best, "dev": list(dev.values()), "answers": self.ask(self.merged(method, best, names), names)}

    def _dev_target(self, name: str) -> TaskTarget:
        labels = self._examples("dev", [name])[name]
        task = self.recipe.tasks[name]
        positive = self.texts[name].labels.index(task.positive) if task.positive else 0
        return TaskTarget(np.array([example["label"] for example in labels]), task.metric, positive)

    def fisher(self) -> Answers:
        """Fisher merging; the information is that of labelled training rows."""
        self._train_only_merged()
        model, found = self.base.model, {}
        for name in self.tasks:
            examples = self._examples("train", [name], self.recipe.fisher_rows)[name]

            def loss(encoder: Any, row: Mapping[str, Tensor], name: str = name) -> Tensor:
                states = encoder(row["input_ids"], row["attention_mask"]).last_hidden_state
                outputs = self._head(name, pool_states(states, row["attention_mask"].bool(), "mean"))
                if row["labels"].is_floating_point():
                    return F.mse_loss(outputs[:, 0], row["labels"]) / 2
                return F.cross_entropy(outputs, row["labels"])

            with weights_replaced(model, self.states[name]):
                batches = [batch for _, batch in self._batches(examples, 1)]
                found[name] = {
                    key: tensor.cpu()
                    for key, tensor in fisher_diagonal(model, batches, negative_log_likelihood=loss).items()
                }
        model.requires_grad_(False)
        return self.ask(self.merged("fisher", {}, self.tasks, statistics=found), self.tasks)

    def regmean(self) -> Answers:
        """RegMean; the Gram matrices are those of training texts."""
        model, found = self.base.model, {}
        for name in self.tasks:
            examples = self._examples("train", [name], self.recipe.regmean_rows)[name]
            with weights_replaced(model, self.states[name]):
                grams = gram_matrices(model, self._inputs(examples, 32))
            found[name] = {key: gram.cpu() for key, gram in grams.items()}
        return self.ask(self.merged("regmean", {}, self.tasks, statistics=found), self.tasks)

    def adamerging(self) -> Answers:
        """Layer-wise AdaMerging on the dev rows without their labels."""
        model = self.base.model.requires_grad_(False)
        device = model.device
        vectors = {
            name: {key: (state[key] - self.base_state[key]).to(device) for key in state}
            for name, state in self.states.items()
        }
        base = {key: tensor.to(device) for key, tensor in self.base_state.items()}
        batches = {
            name: self._inputs(examples, self.recipe.adamerging_batch)
            for name, examples in self._examples("dev", self.tasks).items()
        }

        def predict(task: str, weights: Mapping[str, Tensor], batch: Mapping[str, Tensor]) -> Tensor:
            states = functional_call(model, dict(weights), kwargs=dict(batch)).last_hidden_state
            return self._head(task, pool_states(states, batch["attention_mask"].bool(), "mean"))

        found = adamerging_coefficients(predict, base, vectors, batches, self.recipe.adamerging)
        return self.ask(self.merged("adamerging", {}, self.tasks, statistics=found), self.tasks)

    def _train_only_merged(self) -> None:
        self.base.model.requires_grad_(False)
        for key in self.base_state:
            self.base.model.get_parameter(key).requires_grad_(True)

    # Twin-Merging

    def build_twin(
        self, names: Sequence[str], *, rank: Any, gamma: float, router: bool = True
    ) -> TwinMergedForSequenceClassification:
        """Merges some experts, by default with a router trained on texts the experts were not trained on."""
        settings = RouterConfig(epochs=self.recipe.router_epochs, max_length=self.config.max_length)
        config = TwinMergingConfig(
            gamma=gamma, rank=rank, exclude=self._excluded, router=settings, allow_any_weights=True, seed=self.seed
        )
        twin = merge_residual_encoders(
            load_encoder(self.recipe.model).model,
            self.recipe.model,
            {name: self.experts[name] for name in names},
            {name: self.heads[name] for name in names},
            config=config,
        )
        if router:
            states = {
                name: embed_texts(
                    twin,
                    self.base.tokenizer,
                    [row.text for row in self.texts[name].router],
                    max_length=self.config.max_length,
                )
                for name in names
            }
            fit_router(twin, states, config=config)
        return twin

    @cached_property
    def twin(self) -> TwinMergedForSequenceClassification:
        """All experts at full rank; a lower rank is a leading part of it."""
        return self.build_twin(self.tasks, rank="full", gamma=self.recipe.gamma)

    def at_share(self) -> int:
        """The main rank; both sides of all matrices of an encoder are its width or a multiple."""
        return max(1, int(SHARE * self.base.model.config.hidden_size))

    def route(self, twin: TwinMergedForSequenceClassification) -> dict[str, list[list[float]]]:
        """The router's weights for each test row of each task, columns in the order of `tasks`."""
        names = [name for name in self.tasks if name in twin.experts]
        order = [twin.experts.index(name) for name in names]
        found = {}
        for name, examples in self._examples("test", names).items():
            weights = torch.empty(len(examples), len(names))
            for rows, batch in self._batches(examples):
                weights[rows] = twin.route(batch["input_ids"], batch["attention_mask"]).cpu()[:, order]
            found[name] = weights.tolist()
        return found

    def mixture(
        self, twin: TwinMergedForSequenceClassification, routing: Mapping[str, Any]
    ) -> Float[Tensor, "rows experts"]:
        """`route`'s result, for all rows, in the twin model's order of experts."""
        names = [name for name in self.tasks if name in twin.experts]
        weights = torch.cat([torch.tensor(routing[name]) for name in names])
        return weights[:, [names.index(name) for name in twin.experts]]

    def told(self, twin: TwinMergedForSequenceClassification) -> Float[Tensor, "rows experts"]:
        """All weight on the expert of each row's own task."""
        names = [name for name in self.tasks if name in twin.experts]
        return twin.mixture([name for name in names for _ in self.texts[name].test]).cpu()

    def twin_systems(self, routing: Mapping[str, Any]) -> Iterator[tuple[str, Callable[[], Answers]]]:
        """Yields each system made of the twin model and what asks it.

        Args:
            routing: The router's weights, see `route`.
        """
        share = self.at_share()
        named: dict[str, int | None] = {f"Twin, rank {rank}": rank for rank in self.recipe.ranks}
        named |= {MAIN: share, FULL: None}

        def ask(rank: int | None, mixture: Callable[[Tensor], Tensor] = lambda weights: weights) -> Answers:
            self.twin.set_rank(rank)
            return self.ask_twin(self.twin, mixture(self.mixture(self.twin, routing)))

        for name, rank in named.items():
            yield name, partial(ask, rank)
        yield HARD, lambda: ask(share, one_hot_of_largest)
        yield ORACLE, lambda: ask(share, lambda _: self.told(self.twin))
        yield NO_SHARED, lambda: self._without_shared(routing)
        yield OF_BASE, lambda: self._of_base(routing)

    def _without_shared(self, routing: Mapping[str, Any]) -> Answers:
        """The same residuals, added to the base instead of the shared model."""
        self.twin.set_rank(self.at_share())
        with weights_replaced(self.twin.base, self.base_state):
            return self.ask_twin(self.twin, self.mixture(self.twin, routing))

    def _of_base(self, routing: Mapping[str, Any]) -> Answers:
        """Residuals of the base (gamma = 0), of the same rank and mixed by the same weights."""
        twin = self.build_twin(self.tasks, rank=self.at_share(), gamma=0.0, router=False)
        return self.ask_twin(twin, self.mixture(twin, routing))

    def storage(self) -> dict[str, float]:
        """Bytes of all residuals, as a share in percent of one full set of the tensors training changes, by system."""
        whole = sum(tensor.numel() for tensor in self.base_state.values())
        sides = [
            sum(module.weight.shape) for _, module in self.twin.twin_modules() if getattr(module, "stored_rank", 0)
        ]
        vectors = sum(tensor.numel() for tensor in self.base_state.values() if tensor.dim() == 1)
        ranks = {f"Twin, rank {rank}": rank for rank in self.recipe.ranks} | {MAIN: self.at_share()}
        count = len(self.tasks)
        return {name: 100 * count * (rank * sum(sides) + vectors) / whole for name, rank in ranks.items()}

    # Speed

    @torch.inference_mode()
    def speed(self, rounds: int = 5) -> dict[str, float]:
        """Milliseconds an item: the base, the twin model, and rebuilding the weights for each item as published.

        Items of all tasks are mixed in one batch; the mixture is given, so that only its application is timed.
        """
        count = max(1, self.recipe.timed_items // len(self.tasks))
        examples = [example for of_task in self._examples("test", self.tasks, count).values() for example in of_task]
        batch = self._inputs(examples, len(examples))[0]
        singles = self._inputs(examples, 1)
        tasks = [name for name in self.tasks for _ in range(count)][: len(examples)]
        mixture = self.told(self.twin).new_full((len(examples), len(self.tasks)), 0.01)
        mixture[range(len(tasks)), [self.twin.experts.index(task) for task in tasks]] = 1 - 0.01 * (len(self.tasks) - 1)
        plain = self.base.model.eval()
        self.twin.set_head("oracle")

        def factored(rank: int) -> Callable[[], object]:
            def run() -> object:
                self.twin.set_rank(rank)
                return self.twin(**batch, mixture=mixture.to(self.twin.device), tasks=tasks)

            return run

        def rebuilt() -> None:
            self.twin.set_rank(self.at_share())
            for single, weights in zip(singles, mixture, strict=True):
                merged = self.twin.merged_state(weights)
                functional_call(plain, merged, kwargs=single)

        timed: dict[str, Callable[[], object]] = {"Base model": lambda: plain(**batch)}
        timed |= {f"Twin, rank {rank}": factored(rank) for rank in self.recipe.ranks if rank}
        timed |= {MAIN: factored(self.at_share()), REBUILT: rebuilt}
        return {name: 1000 * _median_seconds(run, rounds) / len(examples) for name, run in timed.items()}


def _decide(outputs: Float[Tensor, "rows labels"]) -> list[float]:
    """The class of each row, or the number if there is one output."""
    return outputs[:, 0].tolist() if outputs.shape[1] == 1 else outputs.argmax(-1).tolist()


def _median_seconds(run: Callable[[], object], rounds: int) -> float:
    run()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
