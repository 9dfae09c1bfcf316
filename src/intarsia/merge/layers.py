"""Layers that add, row by row of a batch, a mixture of the experts' low-rank residuals to the shared weights.

A layer keeps the name, the class (by inheritance) and the parameters of the one it stands for, which hold the shared
weights, and gains the residuals of all experts in one buffer per factor. Which mixture applies is not passed through
the model's forward, whose signature is not ours: it is read from the `Request` that is active in the current context.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from intarsia.errors import ModelError
from intarsia.merge.residuals import FactorSplit, Truncated
from intarsia.models.linear import OneDNNLinear, linear


class Group(NamedTuple):
    """Rows of a batch that share a mixture; `rows` is None if all do."""

    weights: Float[Tensor, "experts"]
    rows: Int[Tensor, "rows"] | None


class Request:
    """The mixtures of the rows a model is working on. Without weights, layers compute the shared model.

    Args:
        weights: Mixture of each row, `[batch, experts]`.
    """

    def __init__(self, weights: Float[Tensor, "batch experts"] | None = None) -> None:
        self._weights = weights
        self._coefficients: dict[object, Tensor] = {}
        self._groups: list[Group] | None = None

    @property
    def weights(self) -> Float[Tensor, "batch experts"] | None:
        """Mixture of each row."""
        return self._weights

    @weights.setter
    def weights(self, weights: Float[Tensor, "batch experts"] | None) -> None:
        self._weights = weights
        self._coefficients.clear()
        self._groups = None

    def coefficients(self, repeats: int, like: Tensor) -> Float[Tensor, "batch 1 terms"]:
        """Returns the weights repeated for each of `repeats` residual terms; made once per request, not per layer."""
        key = (repeats, like.dtype, like.device)
        found = self._coefficients.get(key)
        if found is None:
            assert self._weights is not None
            found = self._weights.to(like).repeat(1, repeats).unsqueeze(1)
            self._coefficients[key] = found
        return found

    @property
    def groups(self) -> list[Group]:
        """Rows by mixture."""
        if self._groups is None:
            assert self._weights is not None
            distinct, which = torch.unique(self._weights, dim=0, return_inverse=True)
            self._groups = (
                [Group(distinct[0], None)]
                if len(distinct) == 1
                else [Group(weights, (which == i).nonzero()[:, 0]) for i, weights in enumerate(distinct)]
            )
        return self._groups


# Per context, so that threads can share a model.
_ACTIVE: ContextVar[Request | None] = ContextVar("intarsia_twin_request", default=None)


@contextmanager
def serving(request: Request | None) -> Iterator[None]:
    """Within the context, twin layers apply the mixtures of `request`."""
    token = _ACTIVE.set(request)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def active_request() -> Request | None:
    """Returns the request the model is working on, if any."""
    return _ACTIVE.get()


def _mixing() -> Request | None:
    request = _ACTIVE.get()
    return None if request is None or request._weights is None else request


def _by_rows(x: Tensor, request: Request) -> Tensor:
    """Views `x` as `[batch, positions, features]`; some models flatten batch and sequence before a layer."""
    batch = request._weights.shape[0]  # type: ignore[union-attr]
    count = x.numel() // x.shape[-1]
    if count % batch:
        raise ModelError(
            f"a mixture of {batch} rows was given for {count} token states, which do not divide into {batch} rows",
            fix="pass one mixture per row of the batch",
        )
    return x.reshape(batch, count // batch, x.shape[-1])


class TwinLinear(nn.Linear):
    """`Y_i = W_s X_i + B (w_i * (A X_i)) + b_s + sum_t w_it d_t` for row `i` with mixture `w_i`.

    `residual_a` (`[terms, in]`) and `residual_b` (`[terms, out]`) hold term `j` of expert `t` at row
    `j * experts + t`, singular values folded into `residual_a`: a lower rank for all experts is a leading slice.

    Attributes:
        stored_rank: Terms stored per expert.
        rank: Terms used per expert.
    """

    residual_a: nn.Parameter
    residual_b: nn.Parameter
    residual_bias: nn.Parameter | None
    experts: int
    stored_rank: int
    rank: int

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Applies the active mixture, or the shared weights alone."""
        request = _mixing()
        if request is None:
            return linear(x, self.weight, self.bias)
        rows = _by_rows(x, request)
        if self._merging_is_cheaper(rows, request):
            y = self._by_groups(rows, request)
        else:
            y = linear(rows, self._matrix(), self.bias)
            if self.rank:
                terms = self.rank * self.experts
                z = F.linear(rows, self.residual_a[:terms])
                z = z * request.coefficients(self.rank, z)
                # In place: the product is added by the matrix multiplication itself.
                y.view(-1, y.shape[-1]).addmm_(z.view(-1, terms), self.residual_b[:terms])
            if self.residual_bias is not None:
                y = y + request.coefficients(1, y) @ self.residual_bias
        return y.view(*x.shape[:-1], y.shape[-1])

    def _matrix(self) -> Float[Tensor, "outputs inputs"]:
        return self.weight

    def merged(self, weights: Float[Tensor, "experts"]) -> tuple[Tensor, Tensor | None]:
        """Returns the weight and bias for one mixture, as the layer stores them."""
        return self._merged(weights)

    def _merged(self, weights: Float[Tensor, "experts"]) -> tuple[Float[Tensor, "outputs inputs"], Tensor | None]:
        weights = weights.to(self.weight)
        terms = self.rank * self.experts
        scaled = weights.repeat(self.rank)[:, None] * self.residual_a[:terms]
        matrix = torch.addmm(self._matrix(), self.residual_b[:terms].mT, scaled)
        if self.residual_bias is None:
            return matrix, self.bias
        return matrix, self.bias + weights @ self.residual_bias

    def _merging_is_cheaper(self, rows: Tensor, request: Request) -> bool:
        # Multiplications per term: (in + out) for each token if factored, in * out for each group if merged.
        inputs, outputs = self.residual_a.shape[1], self.residual_b.shape[1]
        factored, merged = rows.shape[0] * rows.shape[1] * (inputs + outputs), inputs * outputs
        # Groups are only counted where one of them would do.
        return factored > merged and factored > merged * len(request.groups)

    def _by_groups(self, rows: Tensor, request: Request) -> Tensor:
        if len(request.groups) == 1:
            return linear(rows, *self._merged(request.groups[0].weights))
        y = rows.new_empty(*rows.shape[:2], self.residual_b.shape[1])
        for group in request.groups:
            y[group.rows] = linear(rows[group.rows], *self._merged(group.weights))
        return y


class TwinConv1D(TwinLinear, Conv1D):
    """The same for GPT-2's linear layer, which stores its weight as `[in, out]`."""

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Applies the active mixture, or the shared weights alone."""
        return Conv1D.forward(self, x) if _mixing() is None else super().forward(x)

    def _matrix(self) -> Float[Tensor, "outputs inputs"]:
        return self.weight.mT

    def merged(self, weights: Float[Tensor, "experts"]) -> tuple[Tensor, Tensor | None]:
        """Returns the weight and bias for one mixture, as the layer stores them."""
        matrix, bias = self._merged(weights)
        return matrix.mT.contiguous(), bias


class TwinFactorLinear(nn.Linear):
    """A LoRA layer whose factors are mixed one by one, as the published code does; see `FactorSplit`.

    `residual_a` (`[(1 + experts) * lora_rank, in]`) and `residual_b` (`[(1 + experts) * lora_rank, out]`) hold the
    shared factors first, then each expert's. The weight is the base model's.
    """

    residual_a: nn.Parameter
    residual_b: nn.Parameter
    experts: int
    rank: int

    def forward(self, x: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """Applies the active mixture, or the shared factors alone."""
        request = _mixing()
        y = linear(x, self.weight, self.bias)
        if request is None:
            return y + F.linear(x, self.residual_a[: self.rank]) @ self.residual_b[: self.rank]
        rows = _by_rows(x, request)
        weights = request.coefficients(1, rows)
        weights = torch.cat([torch.ones_like(weights[..., :1]), weights], dim=-1)[..., None]
        z = F.linear(rows, self.residual_a).view(*rows.shape[:2], 1 + self.experts, self.rank)
        z = (z * weights).sum(dim=-2, keepdim=True) * weights
        return y + (z.flatten(-2) @ self.residual_b).view_as(y)

    def merged(self, weights: Float[Tensor, "experts"]) -> tuple[Tensor, Tensor | None]:
        """Returns the weight and bias for one mixture."""
        weights = torch.cat([weights.new_ones(1), weights]).to(self.weight)
        shape = (1 + self.experts, self.rank, -1)
        a, b = (torch.einsum("t,tr...->r...", weights, p.view(shape)) for p in (self.residual_a, self.residual_b))
        return self.weight + b.mT @ a, self.bias


class TwinEmbedding(nn.Embedding):
    """An embedding whose rows gain the mixture's residual; factors as in `TwinLinear`, `out` the vocabulary."""

    residual_a: nn.Parameter
    residual_b: nn.Parameter
    experts: int
    stored_rank: int
    rank: int

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch dim"]:
        """Looks up, gathers the ids' left singular vectors, and multiplies only these."""
        y = super().forward(ids)
        request = _mixing()
        if request is None or not self.rank:
            return y
        terms = self.rank * self.experts
        weights = request.coefficients(self.rank, y)
        # Positions are often looked up once for the whole batch.
        batch = ids.expand(weights.shape[0], *ids.shape[1:]) if ids.shape[0] == 1 else ids
        gathered = self.residual_b[:terms].mT[batch]
        return y + (gathered * weights) @ self.residual_a[:terms]

    def merged(self, weights: Float[Tensor, "experts"]) -> Tensor:
        """Returns the weight for one mixture."""
        terms = self.rank * self.experts
        scaled = weights.to(self.weight).repeat(self.rank)[:, None] * self.residual_a[:terms]
        return torch.addmm(self.weight, self.residual_b[:terms].mT, scaled)


class TwinVectors(nn.Module):
    """Mixed into the class of a module whose own parameters are vectors (norms, scales): each row gets its own."""

    residual_names: tuple[str, ...]

    def forward(self, x: Float[Tensor, "*batch dim"], *args: Any, **kwargs: Any) -> Float[Tensor, "*batch dim"]:
        """Calls the module with vectors `[batch, 1, ..., dim]`, which its own formula broadcasts."""
        request = _mixing()
        if request is None:
            return super().forward(x, *args, **kwargs)
        weights = request.weights
        assert weights is not None
        rows = x if len(x) == len(weights) else _by_rows(x, request)
        # A shallow stand-in: writing the mixed vectors into this module would not be safe with threads.
        shell = copy.copy(self)
        shell._parameters = dict(self._parameters)
        for name in self.residual_names:
            mixed = getattr(self, name) + weights.to(x) @ getattr(self, f"residual_{name}")
            shell._parameters[name] = mixed.view(len(mixed), *[1] * (rows.dim() - 2), -1)
        return self._apply_to(shell, rows, *args, **kwargs).view(x.shape)

    def _apply_to(self, shell: Any, rows: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The module's formula with the stand-in's vectors; torch's own norms take no vectors per row."""
        if isinstance(shell, nn.LayerNorm):
            normed = F.layer_norm(rows, shell.normalized_shape, None, None, shell.eps) * shell.weight
            return normed if shell.bias is None else normed + shell.bias
        if isinstance(shell, nn.RMSNorm):
            return F.rms_norm(rows, shell.normalized_shape, None, shell.eps) * shell.weight
        return super(TwinVectors, shell).forward(rows, *args, **kwargs)

    def merged(self, weights: Float[Tensor, "experts"]) -> dict[str, Tensor]:
        """Returns the vectors for one mixture."""
        return {
            name: getattr(self, name) + weights.to(getattr(self, name)) @ getattr(self, f"residual_{name}")
            for name in self.residual_names
        }


_VECTOR_KINDS: dict[type, type] = {}


def _with_vectors(kind: type) -> type:
    return _VECTOR_KINDS.setdefault(kind, type(f"Twin{kind.__name__}", (TwinVectors, kind), {}))


TwinMatrix = TwinLinear | TwinFactorLinear | TwinEmbedding


def adapt_matrix(module: Any, name: str, experts: int, rank: int, *, bias: bool, factors: bool) -> None:
    """Turns a linear layer or embedding into its twin, with empty residuals.

    Args:
        module: The layer; its class is changed in place, so names, ties and hooks stay.
        name: What messages call it.
        experts: Number of experts.
        rank: Terms to store per expert; with `factors`, the LoRA rank.
        bias: Whether the bias has residuals too.
        factors: Whether to mix the LoRA factors one by one.

    Raises:
        ModelError: If it is of another kind, such as a quantised layer.
    """
    kinds: dict[type, type] = (
        {nn.Linear: TwinFactorLinear, OneDNNLinear: TwinFactorLinear}
        if factors
        else {nn.Linear: TwinLinear, OneDNNLinear: TwinLinear, Conv1D: TwinConv1D, nn.Embedding: TwinEmbedding}
    )
    if type(module) not in kinds:
        raise ModelError(
            f"module {name!r} is a {type(module).__name__}; such a module cannot have low-rank residuals",
            where=f"{name}.weight",
            fix="use an unquantised model, or leave the tensor out with an exclude pattern",
        )
    weight = module.get_parameter("weight")
    rows, columns = weight.shape[::-1] if isinstance(module, Conv1D) else weight.shape
    terms = (1 + experts) * rank if factors else experts * rank
    module.__class__ = kinds[type(module)]
    module.experts, module.rank, module.stored_rank = experts, rank, rank
    module.residual_a = _zeros(weight, terms, columns)
    module.residual_b = _zeros(weight, terms, rows)
    module.residual_bias = _zeros(weight, experts, rows) if bias else None


def adapt_vectors(module: nn.Module, experts: int, names: Sequence[str]) -> None:
    """Gives vector parameters of a module residuals, empty at first, if they have none; its class is changed in place.

    Args:
        module: The module, such as a norm.
        experts: Number of experts.
        names: Which of its parameters.
    """
    if not isinstance(module, TwinVectors):
        module.__class__ = _with_vectors(type(module))
    module.residual_names = tuple(names)  # type: ignore[assignment]
    for name in names:
        # What an earlier call made may be filled already.
        if not hasattr(module, f"residual_{name}"):
            vector = getattr(module, name)
            module.register_parameter(f"residual_{name}", _zeros(vector, experts, len(vector)))


def _zeros(like: Tensor, rows: int, columns: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(rows, columns, dtype=like.dtype, device=like.device))


@torch.no_grad()
def store_residuals(module: TwinLinear | TwinEmbedding, residuals: Sequence[Truncated]) -> None:
    """Writes the residuals of all experts into a layer, in the order of the experts."""
    module.residual_a.copy_(torch.stack([r.s[:, None] * r.vt for r in residuals], dim=1).flatten(0, 1))
    module.residual_b.copy_(torch.stack([r.u.mT for r in residuals], dim=1).flatten(0, 1))


@torch.no_grad()
def store_factors(module: TwinFactorLinear, split: FactorSplit) -> None:
    """Writes split LoRA factors into a layer."""
    module.residual_a.copy_(torch.cat([split.a_shared[None], split.a]).flatten(0, 1))
    module.residual_b.copy_(torch.cat([split.b_shared.mT[None], split.b.mT]).flatten(0, 1))
