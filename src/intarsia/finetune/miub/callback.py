"""MIUB beside the loss during any LoRA training run of transformers' Trainer, trl's included."""

import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple

from torch import Tensor
from transformers import TrainerCallback

from intarsia.errors import ConfigError
from intarsia.finetune.miub.batches import forwards
from intarsia.finetune.miub.config import MIUBConfig
from intarsia.finetune.miub.hooks import adapted_modules
from intarsia.finetune.miub.measure import miub_report
from intarsia.finetune.miub.report import MIUBReport

LOGGED = ("miub", "miub_paper", "miub_paper_zscore", "miub_paper_softmax", "miub_mutual_information", "stable_rank")
"""Entries of `MIUBReport.summary()` that are logged, where the report has them."""

MEASUREMENTS = 10
"""Measurements of a run when `every` is left out."""

MONITORED_TOKENS = 1000
"""Tokens measured when no configuration is given: the headline of a short run moves by far more than this costs it."""


class Measurement(NamedTuple):
    """One measurement of a training run.

    Attributes:
        step: Optimisation steps done.
        report: What was found.
        seconds: What it cost.
    """

    step: int
    report: MIUBReport
    seconds: float


class MIUBCallback(TrainerCallback):
    """Logs MIUB beside the loss: `trainer.add_callback(MIUBCallback(batches))`.

    Each measurement asks the Trainer to log at that step, and its values join that entry, in `state.log_history` and
    for the callbacks that come later; `attach` puts it before the reporting integrations as well. The last step is
    always measured. Nothing the training depends on is touched: mode, gradients and random state are restored.

    Args:
        batches: What to measure on; the same tokens every time. Held-out texts are best, and a few dozen are enough:
            measuring stops at `config.max_tokens`.
        config: What to measure; the defaults on 1,000 tokens if left out. Standard errors and the permutation null are
            left out during training, whatever it says; `miub_report` gives them afterwards.
        adapter: The adapter to measure; may be left out if exactly one is active.
        every: Steps between measurements, or `"epoch"`. Left out: ten times in the run.
        budget: Share of the training time that measuring may take; steps after a measurement are slower too, since
            their weights have left the processor's cache. A measurement is left out while it, and the one at the last
            step, would go over that. None leaves none out.
        per_layer: Whether the mean of every layer is logged too, as `miub_layer_3`.

    Attributes:
        history: All measurements of the run, with their reports.
        seconds: Time spent measuring.

    Raises:
        ConfigError: If `every` or `budget` has a value that is not allowed.
    """

    def __init__(
        self,
        batches: Iterable[Mapping[str, Tensor]],
        config: MIUBConfig | None = None,
        *,
        adapter: str | None = None,
        every: int | Literal["epoch"] | None = None,
        budget: float | None = 0.03,
        per_layer: bool = False,
    ) -> None:
        if every is not None and every != "epoch" and (isinstance(every, str) or every < 1):
            raise ConfigError("every", every, 'a number of steps above 0, "epoch", or None')
        if budget is not None and not 0 < budget <= 1:
            raise ConfigError("budget", budget, "a share above 0 and up to 1, or None")
        self.history: list[Measurement] = []
        self._batches = batches
        self._config = (config or MIUBConfig(max_tokens=MONITORED_TOKENS)).light()
        self._adapter = adapter
        self._every = every
        self._budget = budget
        self._per_layer = per_layer
        self._pending: dict[str, float] = {}
        self._started = 0.0
        self._rows = 0

    @property
    def seconds(self) -> float:
        """Time spent measuring in this run."""
        return sum(measurement.seconds for measurement in self.history)

    def attach(self, trainer: Any) -> "MIUBCallback":
        """Adds the callback before all others, so that TensorBoard, Weights & Biases and the like log MIUB as well."""
        trainer.callback_handler.callbacks.insert(0, self)
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, *, model: Any, **kwargs: Any) -> None:
        """Checks model and batches, so that a mistake is told before the training and not after its first part."""
        adapted_modules(model, self._adapter)
        self._batches = list(self._batches)
        passes = forwards(self._batches, self._config, accepted=None, causal=False)
        self._rows = sum(len(forward.tokens) for forward in passes)
        self.history.clear()
        self._pending.clear()
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, *, model: Any, **kwargs: Any) -> None:
        """Measures when it is due."""
        last = state.global_step >= state.max_steps or control.should_training_stop
        every = self._every or max(1, state.max_steps // MEASUREMENTS)
        due = every != "epoch" and state.global_step % every == 0
        if last or (due and self._affordable(args, state)):
            self._measure(args, state, control, model)

    def on_epoch_end(self, args: Any, state: Any, control: Any, *, model: Any, **kwargs: Any) -> None:
        """Measures when it is due."""
        done = bool(self.history) and self.history[-1].step == state.global_step
        if self._every == "epoch" and not done and self._affordable(args, state):
            self._measure(args, state, control, model)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:
        """Adds the newest measurement to the entry being logged."""
        if logs is None or not self._pending or not {"loss", "train_loss"} & logs.keys():
            return
        logs.update(self._pending)
        state.log_history[-1].update(self._pending)
        self._pending = {}

    def _affordable(self, args: Any, state: Any) -> bool:
        if self._budget is None:
            return True
        training = time.perf_counter() - self._started - self.seconds
        if self.history:
            cost = self.history[-1].seconds
        else:
            # Not known yet. With adapters on all linear modules of SmolLM2-135M, measuring took 1.3 to 1.6 times a
            # training step on the same rows.
            rows_a_step = args.train_batch_size * args.gradient_accumulation_steps
            cost = 1.5 * training / state.global_step * self._rows / rows_a_step
        return self.seconds + 2 * cost <= self._budget * training

    def _measure(self, args: Any, state: Any, control: Any, model: Any) -> None:
        start = time.perf_counter()
        report = miub_report(model, self._batches, adapter=self._adapter, config=self._config)
        self.history.append(Measurement(state.global_step, report, time.perf_counter() - start))
        summary = report.summary()
        self._pending = {name: summary[name] for name in LOGGED if name in summary}
        if self._per_layer:
            self._pending |= {f"miub_layer_{layer}": scores.dpi for layer, scores in report.per_layer().items()}
        if args.logging_strategy != "no":
            control.should_log = True
