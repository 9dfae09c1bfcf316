"""Measuring MIUB on a model: one forward pass, every adapted module scored as it runs."""

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from intarsia.errors import ModelError
from intarsia.finetune.miub.accumulate import ModuleAccumulator, Statistics
from intarsia.finetune.miub.assignments import Normalization
from intarsia.finetune.miub.batches import Forward, forwards
from intarsia.finetune.miub.config import MIUBConfig
from intarsia.finetune.miub.hooks import AdaptedModules, adapted_modules, watching, wrapped_model
from intarsia.finetune.miub.jackknife import block_of_tokens
from intarsia.finetune.miub.report import MIUBReport, ModuleReport, kind_of, layer_of
from intarsia.finetune.miub.spectral import spectrum

UNTRAINED_BELOW = 1e-3
"""Mean `||L|| / ||O||` below which an adapter is reported as (almost) untrained."""


def miub_report(
    model: nn.Module,
    batches: Iterable[Mapping[str, Tensor]],
    *,
    adapter: str | None = None,
    config: MIUBConfig | None = None,
) -> MIUBReport:
    """Measures how strongly the features of a LoRA adapter depend on those of the frozen modules it sits on.

    The model runs in evaluation mode without gradients and without its language-model head; its mode and the random
    state are afterwards what they were.

    Args:
        model: Any causal language model or encoder with peft LoRA modules, `PeftModel` or not.
        batches: Tokenised batches with `input_ids` or `inputs_embeds`, `attention_mask` where there is padding, and
            `labels` if `token_mask="labels"`.
        adapter: The adapter to measure; may be left out if exactly one is active.
        config: What to measure.

    Raises:
        ModelError: If the model has no usable LoRA module, or its features are not finite.
        UnknownNameError: If no module carries `adapter`.
        DataError: If the batches hold fewer than 50 tokens or lack what is needed.
        ConfigError: If `bins` is above a module's output features.
    """
    config = config or MIUBConfig()
    found = adapted_modules(model, adapter)
    inner = wrapped_model(model)
    if getattr(getattr(inner, "config", None), "is_encoder_decoder", False):
        raise ModelError(
            "encoder-decoder models are not supported: their two sides see different tokens",
            where=type(inner).__name__,
            fix="measure a causal language model or an encoder",
        )
    runner = _body(inner, found.modules)
    with _undisturbed(model):
        passes = forwards(batches, config, accepted=_accepted(runner), causal=_is_causal(inner))
        measured = _measure(runner, passes, found, config)
    return _report(measured, found, config)


class _Measured(NamedTuple):
    accumulator: ModuleAccumulator
    statistics: dict[Normalization, Statistics]


class _CalledAgainError(Exception):
    """A module ran again after it was scored."""


class _Run:
    """Receives the features of all modules while the model runs.

    Args:
        found: The modules to measure.
        config: What to measure.
        score_at_once: Whether modules are scored, and their sums freed, at their first call.
    """

    def __init__(self, found: AdaptedModules, config: MIUBConfig, *, score_at_once: bool) -> None:
        self.tokens = 0
        self.measured: dict[str, _Measured] = {}
        self.unaligned: dict[str, str] = {}
        self._found = found
        self._config = config
        self._score_at_once = score_at_once
        self._accumulators: dict[str, ModuleAccumulator] = {}
        self._mask_shape = torch.Size()
        self._index = torch.empty(0, dtype=torch.long)
        self._blocks: Tensor | None = None

    def forward(self, runner: nn.Module, forward: Forward) -> None:
        device = next(runner.parameters()).device
        self._mask_shape = forward.tokens.shape
        self._index = forward.tokens.flatten().nonzero().squeeze(1)
        self._blocks = block_of_tokens(self.tokens, len(self._index), max(1, self._config.blocks))
        inputs: dict[str, Any] = {name: value.to(device) for name, value in forward.inputs.items()}
        if "use_cache" in inspect.signature(runner.forward).parameters:
            inputs["use_cache"] = False
        with watching(self._found.modules, self._found.adapter, self._receive):
            runner(**inputs)
        self.tokens += len(self._index)

    def finish(self) -> None:
        for name in list(self._accumulators):
            self._score(name)

    def _receive(self, name: str, base: Tensor, lora: Tensor) -> None:
        if name in self.measured:
            raise _CalledAgainError
        rows = self._rows(base)
        if rows is None:
            self.unaligned[name] = f"its output {list(base.shape)} is not one vector a token"
            return
        lora_rows = self._rows(lora)
        if lora_rows is None:
            raise ModelError(
                f"base and LoRA features have different token counts: {list(base.shape)} and {list(lora.shape)}",
                where=name,
            )
        if name not in self._accumulators:
            self._accumulators[name] = ModuleAccumulator(name, self._config)
        self._accumulators[name].update(rows, lora_rows, self._blocks)
        if self._score_at_once:
            self._score(name)

    def _rows(self, output: Tensor) -> Tensor | None:
        flat = output.flatten(0, -2)
        aligned = output.shape[:-1] == self._mask_shape or (output.dim() == 2 and len(flat) == self._mask_shape.numel())
        return flat[self._index.to(flat.device)] if aligned else None

    def _score(self, name: str) -> None:
        accumulator = self._accumulators.pop(name)
        self.measured[name] = _Measured(accumulator, accumulator.statistics())
        accumulator.release()


def _measure(runner: nn.Module, passes: Iterator[Forward], found: AdaptedModules, config: MIUBConfig) -> _Run:
    first = next(passes)
    second = next(passes, None)
    if second is None:
        # One pass holds all tokens: a module can be scored the moment it has run, and only one module's joint
        # distributions are in memory at a time. Modules that run several times a pass (tied or looped layers) cannot;
        # they are rare enough to find out by running into one.
        try:
            return _run([first], runner, found, config, score_at_once=True)
        except _CalledAgainError:
            return _run([first], runner, found, config, score_at_once=False)
    return _run(_chain(first, second, passes), runner, found, config, score_at_once=False)


def _chain(first: Forward, second: Forward, rest: Iterator[Forward]) -> Iterator[Forward]:
    yield first
    yield second
    yield from rest


def _run(
    passes: Iterable[Forward], runner: nn.Module, found: AdaptedModules, config: MIUBConfig, *, score_at_once: bool
) -> _Run:
    run = _Run(found, config, score_at_once=score_at_once)
    for forward in passes:
        run.forward(runner, forward)
    run.finish()
    return run


def _report(run: _Run, found: AdaptedModules, config: MIUBConfig) -> MIUBReport:
    skipped = found.skipped | run.unaligned
    idle = [name for name in found.modules if name not in run.measured and name not in run.unaligned]
    skipped |= {name: "it did not run" for name in idle}
    if not run.measured:
        name, reason = next(iter(skipped.items()))
        raise ModelError(f"no module of adapter {found.adapter!r} could be measured", where=f"{name}: {reason}")
    modules = tuple(
        _module_report(name, found.modules[name], found.adapter, run.measured[name], config)
        for name in found.modules
        if name in run.measured
    )
    warnings = [f"{name} was skipped: {reason}" for name, reason in skipped.items()]
    ratio = sum(module.lora_to_base for module in modules) / len(modules)
    if ratio < UNTRAINED_BELOW:
        warnings.append(
            f"the adapter is (almost) untrained: mean ‖L‖/‖O‖ is {ratio:.1e}. MIUB starts at 0, so a low value "
            "says nothing here"
        )
    return MIUBReport(found.adapter, run.tokens, config, modules, tuple(warnings))


def _module_report(name: str, module: Any, adapter: str, measured: _Measured, config: MIUBConfig) -> ModuleReport:
    accumulator, statistics = measured
    headline = statistics[config.normalizations[0]]
    return ModuleReport(
        name=name,
        layer=layer_of(name),
        kind=kind_of(name),
        features=accumulator.features,
        classes=accumulator.classes,
        tokens=accumulator.tokens,
        rank=module.r[adapter],
        scaling=module.scaling[adapter],
        scores={normalization: found.scores for normalization, found in statistics.items()},
        errors=headline.errors,
        null=headline.null,
        bias=headline.bias,
        lora_to_base=accumulator.lora_to_base,
        spectrum=spectrum(
            module.lora_A[adapter].weight.detach().cpu(),
            module.lora_B[adapter].weight.detach().cpu(),
            module.scaling[adapter],
        ),
        without_block=headline.without_block,
        block_sizes=headline.block_sizes,
    )


def _body(inner: nn.Module, modules: Mapping[str, nn.Module]) -> nn.Module:
    """The model without its head, if all modules lie inside: logits over a vocabulary cost more than the layers."""
    body = getattr(inner, "base_model", inner)
    inside = set(body.modules())
    return body if all(module in inside for module in modules.values()) else inner


def _accepted(runner: nn.Module) -> set[str] | None:
    parameters = inspect.signature(runner.forward).parameters.values()
    named = {parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD}
    return named if named & {"input_ids", "inputs_embeds"} else None


def _is_causal(model: nn.Module) -> bool:
    known = set(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())
    return any(kind.__name__ in known or kind.__name__.endswith("ForCausalLM") for kind in type(model).__mro__)


@contextmanager
def _undisturbed(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module's mode and the random state are what they were."""
    training = [module for module in model.modules() if module.training]
    devices = {parameter.device for parameter in model.parameters() if parameter.device.type == "cuda"}
    # Batches may come from a DataLoader, which draws a seed from the global generator whenever it is iterated.
    with torch.random.fork_rng(devices=sorted(device.index for device in devices)), torch.no_grad():
        model.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True
