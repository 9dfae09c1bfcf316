"""LoRA adapters of one base, all in one batch: rows of different experts pass through the base's weights together."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from intarsia.errors import ModelError

# Which adapters the rows of the batch belong to: equal blocks of rows, one for each entry; None is the base itself.
_blocks: ContextVar[tuple[int | None, ...]] = ContextVar("adapter_blocks", default=(None,))


class LoRAFactors(NamedTuple):
    """One module's low-rank change, `up @ down`, with the adapter's scaling in `up`."""

    down: Float[Tensor, "rank inputs"]
    up: Float[Tensor, "outputs rank"]


@contextmanager
def adapter_blocks(blocks: Sequence[int | None]) -> Iterator[None]:
    """Within it, the batch's rows are equal blocks, one per entry: of the adapter of that index or (None) the base."""
    token = _blocks.set(tuple(blocks))
    try:
        yield
    finally:
        _blocks.reset(token)


class AdapterBankLinear(nn.Module):
    """A linear layer and the low-rank changes of several adapters, each for its own rows of the batch.

    Attributes:
        base: The layer itself.
        down: Of all adapters, zeros where one has a lower rank or does not change this layer.
        up: Likewise, scaled.
    """

    def __init__(self, base: nn.Linear, adapters: int, rank: int) -> None:
        super().__init__()
        self.base = base
        options: dict[str, Any] = {"dtype": base.weight.dtype, "device": base.weight.device}
        self.down = nn.Parameter(torch.zeros(adapters, rank, base.in_features, **options))
        self.up = nn.Parameter(torch.zeros(adapters, base.out_features, rank, **options))

    @property
    def weight(self) -> Tensor:
        """The base layer's; some architectures look at it."""
        return self.base.weight

    def forward(self, inputs: Float[Tensor, "rows seq inputs"]) -> Float[Tensor, "rows seq outputs"]:
        """Applies the base layer to all rows, and to each block of rows its adapter."""
        outputs = self.base(inputs)
        blocks = _blocks.get()
        adapters = [index for index in blocks if index is not None]
        if not adapters:
            return outputs
        # The base's block, if there is one, comes first.
        first = len(blocks) - len(adapters)
        size = len(inputs) // len(blocks)
        tuned = inputs[first * size :].reshape(len(adapters), -1, inputs.shape[-1])
        down, up = (self.down, self.up) if len(adapters) == len(self.down) else (self.down[adapters], self.up[adapters])
        change = torch.bmm(torch.bmm(tuned, down.transpose(1, 2)), up.transpose(1, 2))
        changed = outputs[first * size :] + change.reshape(-1, *outputs.shape[1:])
        return torch.cat([outputs[: first * size], changed]) if first else changed


def build_bank(model: nn.Module, modules: Sequence[str], adapters: int, rank: int) -> None:
    """Puts an empty `AdapterBankLinear` in place of each named linear layer."""
    for name in modules:
        parent, _, child = name.rpartition(".")
        layer = model.get_submodule(name)
        if not isinstance(layer, nn.Linear):
            raise ModelError(f"the adapters change {name}, which is no linear layer of the small model")
        setattr(model.get_submodule(parent), child, AdapterBankLinear(layer, adapters, rank))


@torch.no_grad()
def fill_bank(model: nn.Module, factors: Sequence[Mapping[str, LoRAFactors]]) -> None:
    """Copies the adapters' factors into the layers of `build_bank`."""
    for name, layer in model.named_modules():
        if isinstance(layer, AdapterBankLinear):
            for index, adapter in enumerate(factors):
                if name in adapter:
                    down, up = adapter[name]
                    layer.down[index, : len(down)] = down
                    layer.up[index, :, : up.shape[1]] = up


def read_adapter(base: nn.Module, folder: Path) -> dict[str, LoRAFactors] | nn.Module:
    """Reads a peft adapter of `base`.

    Args:
        base: The model it was trained on; unchanged afterwards.
        folder: The adapter's folder.

    Returns:
        Factors by module, if it is plain LoRA on linear layers; else a copy of the base with the adapter merged in.

    Raises:
        ModelError: If it does not fit the base.
    """
    import copy
    import warnings

    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from peft.tuners.lora.layer import Linear as LoraLinear

    try:
        with warnings.catch_warnings():
            # peft leaves adapter weights it finds no value for at their random start, and only warns.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            # peft looks at an attribute that transformers has renamed.
            warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*")
            adapted: Any = PeftModel.from_pretrained(copy.deepcopy(base), str(folder))
    except Exception as error:
        raise ModelError(
            f"the adapter does not fit the small model: {' '.join(str(error).split())[:300]}", where=folder
        ) from error
    config = adapted.active_peft_config
    tuned = {name: layer for name, layer in adapted.base_model.model.named_modules() if isinstance(layer, LoraLayer)}
    plain = (
        getattr(config, "peft_type", None) == "LORA"
        and not config.modules_to_save
        and not config.use_dora
        and config.bias == "none"
        and all(type(layer) is LoraLinear and isinstance(layer.get_base_layer(), nn.Linear) for layer in tuned.values())
        and not any(bool(layer.lora_bias.get("default")) for layer in tuned.values())
    )
    if not plain:
        return adapted.merge_and_unload()
    return {
        name: LoRAFactors(
            layer.lora_A["default"].weight.detach(),
            layer.lora_B["default"].weight.detach() * layer.scaling["default"],
        )
        for name, layer in tuned.items()
    }
