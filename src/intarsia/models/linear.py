"""Linear layers on processors by oneDNN, which PyTorch contains but does not use for them in float32.

PyTorch multiplies float32 matrices with MKL, whose kernels for a few rows read the weights two to five times slower
than memory gives them. A decoding step is a product with one row, checking drafted tokens one with a few: there oneDNN
takes half the time and less, and for long inputs still a tenth to a third less. `benchmarks/linear_layers.py` measures
both.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

# Smaller weights stay in the processor's cache, where MKL is as good and the call's own cost counts.
_MIN_WEIGHTS = 2**18

_AVAILABLE: bool = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")  # type: ignore[no-untyped-call]


def linear(
    x: Float[Tensor, "*batch inputs"], weight: Float[Tensor, "outputs inputs"], bias: Float[Tensor, "outputs"] | None
) -> Float[Tensor, "*batch outputs"]:
    """Returns `x @ weight.T + bias`, as `torch.nn.functional.linear` does and by it wherever oneDNN gains nothing.

    That is for small weights, other types than float32, on accelerators, while a graph is compiled, and for weights
    that are trained. The two round differently, by as much as either does from one batch size to another.
    """
    trains = torch.is_grad_enabled() and (weight.requires_grad or (bias is not None and bias.requires_grad))
    if trains or not _suits(x, weight):
        return nn.functional.linear(x, weight, bias)
    if torch.is_grad_enabled() and x.requires_grad:
        product: Tensor = _FrozenLinear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return product
    return _multiply(x, weight, bias)


class OneDNNLinear(nn.Linear):
    """A linear layer computed by `linear`; nothing else differs from `torch.nn.Linear`."""

    def forward(self, input: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Returns the product."""
        return linear(input, self.weight, self.bias)


def use_onednn(model: nn.Module) -> None:
    """Lets a model's linear layers be computed by `linear`.

    Parameters, names and hooks stay as they are; only the class of plain `torch.nn.Linear` modules changes.
    """
    if not _AVAILABLE:
        return
    for module in model.modules():
        # Layers that somebody else made their own are left alone.
        if type(module) is nn.Linear:
            module.__class__ = OneDNNLinear


def _suits(x: Tensor, weight: Tensor) -> bool:
    return bool(
        _AVAILABLE
        and weight.numel() >= _MIN_WEIGHTS
        and x.numel() > 0
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == weight.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and torch.backends.mkldnn.enabled
    )


def _multiply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


class _FrozenLinear(torch.autograd.Function):
    """The product with weights that are not trained."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight)
        return _multiply(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return _multiply(gradient.contiguous(), weight.t(), None), None, None
