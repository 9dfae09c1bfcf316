"""Reading base and LoRA features of every adapted module while a model runs."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from peft import LoraModel
from peft.tuners.adalora.layer import AdaLoraLayer
from peft.tuners.lora.layer import LoraLayer, MultiheadAttention, ParamWrapper
from torch import Tensor, nn

from intarsia.errors import ModelError, UnknownNameError

OnFeatures = Callable[[str, Tensor, Tensor], None]
"""Called with a module's name, its base output and its LoRA output, each `[..., features]`."""

# Variants that only initialise or freeze differently; their update is s B A like plain LoRA's.
_PLAIN_VARIANTS = {"MiCALinearVariant"}


class AdaptedModules(NamedTuple):
    """The linear modules of a model that one adapter changes.

    Attributes:
        adapter: Name of the adapter.
        modules: LoRA layers by their name in the model that peft wraps.
        skipped: Modules that carry the adapter but are not measured, with the reason.
    """

    adapter: str
    modules: dict[str, Any]
    skipped: dict[str, str]


def wrapped_model(model: Any) -> nn.Module:
    """Returns the model inside peft's wrappers; a model that carries adapters without a wrapper is its own."""
    if hasattr(model, "get_base_model"):
        return model.get_base_model()
    return model.model if isinstance(model, LoraModel) else model


def adapted_modules(model: nn.Module, adapter: str | None = None) -> AdaptedModules:
    """Finds the linear LoRA modules (plain or quantised) of `adapter`.

    Args:
        model: A model with LoRA modules.
        adapter: Name of the adapter; may be left out if exactly one is active.

    Raises:
        UnknownNameError: If no module carries `adapter`.
        ModelError: If there is no LoRA module, no linear one, the adapter is not active, disabled or merged into the
            base, or its update is not `s B A` (DoRA and other variants).
    """
    layers = {name: module for name, module in wrapped_model(model).named_modules() if isinstance(module, LoraLayer)}
    if not layers:
        raise ModelError(
            f"no LoRA module found in {type(model).__name__}",
            fix="adapt the model with peft.get_peft_model and a LoraConfig, and measure before merge_and_unload()",
        )
    adapter = _resolve(layers, adapter)
    layers = {name: module for name, module in layers.items() if _carries(module, adapter)}
    modules: dict[str, Any] = {}
    skipped: dict[str, str] = {}
    for name, module in layers.items():
        _require_usable(name, module, adapter)
        reason = _not_linear(module, adapter)
        if reason:
            skipped[name] = reason
        else:
            modules[name] = module
    if not modules:
        name, reason = next(iter(skipped.items()))
        raise ModelError(f"adapter {adapter!r} changes no linear module", where=f"{name}: {reason}")
    return AdaptedModules(adapter, modules, skipped)


def _resolve(layers: Mapping[str, Any], adapter: str | None) -> str:
    known = sorted({name for module in layers.values() for name in (*module.lora_A, *module.lora_embedding_A)})
    active = [name for name in known if any(name in module.active_adapters for module in layers.values())]
    if adapter is None:
        if len(active) != 1:
            raise ModelError(
                f"{len(active)} LoRA adapters are active: {', '.join(active) or 'none'}",
                fix=f"name the one to measure; the model has {', '.join(known) or 'none'}",
            )
        return active[0]
    if adapter not in known:
        raise UnknownNameError("LoRA adapter", adapter, known)
    if adapter not in active:
        raise ModelError(
            f"LoRA adapter {adapter!r} is not active (active: {', '.join(active) or 'none'})",
            fix=f"model.set_adapter({adapter!r})",
        )
    return adapter


def _carries(module: Any, adapter: str) -> bool:
    return adapter in module.lora_A or adapter in module.lora_embedding_A


def _require_usable(name: str, module: Any, adapter: str) -> None:
    if module.disable_adapters:
        raise ModelError(
            "the adapters are disabled", where=name, fix="measure outside disable_adapter(), or enable_adapter_layers()"
        )
    if module.merged:
        raise ModelError(
            f"adapter {', '.join(map(repr, module.merged_adapters))} is merged into the base weights",
            where=name,
            fix="model.unmerge_adapter()",
        )
    variant = "AdaLora" if isinstance(module, AdaLoraLayer) else _variant(module, adapter)
    if variant:
        raise ModelError(
            f"adapter {adapter!r} uses the LoRA variant {variant}, whose update is not s B A",
            where=name,
            fix="MIUB is defined for plain LoRA and rsLoRA",
        )


def _variant(module: Any, adapter: str) -> str | None:
    kind = type(module.lora_variant[adapter]).__name__ if adapter in module.lora_variant else None
    if kind is None or kind in _PLAIN_VARIANTS:
        return None
    return "DoRA" if kind.startswith("Dora") else kind.removesuffix("Variant").removesuffix("Linear")


def _not_linear(module: Any, adapter: str) -> str | None:
    if adapter in module.lora_embedding_A:
        return "an embedding, not a linear module"
    if isinstance(module, (MultiheadAttention, ParamWrapper)) or not isinstance(module.lora_A[adapter], nn.Linear):
        return f"a {type(module).__name__} LoRA layer, not a linear module"
    return None


@contextmanager
def watching(modules: Mapping[str, Any], adapter: str, on_features: OnFeatures) -> Iterator[None]:
    """Calls `on_features` each time one of `modules` runs; the hooks are gone when the context ends, also on an error.

    Base features are what the frozen layer itself returned and LoRA features what `lora_B` returned, times the scaling,
    in the same call: both come from the same input, with whatever quantisation and adapters the layers below have.
    """
    handles: list[Any] = []
    try:
        for name, module in modules.items():
            handles += _watch(name, module, adapter, on_features)
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(name: str, module: Any, adapter: str, on_features: OnFeatures) -> list[Any]:
    seen: dict[str, Tensor] = {}

    def keep(side: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, args: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise ModelError(f"the {side} layer returns a {type(output).__name__}, not a tensor", where=name)
            seen[side] = output

        return hook

    def finish(*_: Any) -> None:
        if len(seen) == 2:
            on_features(name, seen["base"], _scaled(seen["lora"], module.scaling[adapter]))
        seen.clear()

    return [
        module.base_layer.register_forward_hook(keep("base")),
        module.lora_B[adapter].register_forward_hook(keep("lora")),
        module.register_forward_hook(finish),
    ]


def _scaled(output: Float[Tensor, "*tokens features"], scaling: float) -> Float[Tensor, "*tokens features"]:
    # Half precision would round the product once more and may underflow.
    return (output.float() if output.dtype in (torch.float16, torch.bfloat16) else output) * scaling
