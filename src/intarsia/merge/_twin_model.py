"""What twin models of all kinds share: the merged base, routing, mixtures by name, export."""

import copy
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache, PretrainedConfig, PreTrainedModel

from intarsia.errors import ConfigError, InputError, ModelError, UnknownNameError
from intarsia.files import atomic_folder
from intarsia.merge._layer_stack import adapt, decoder_layers, final_norm, first_adapted_layer, tie_residuals
from intarsia.merge.config import ROUTINGS, Routing
from intarsia.merge.layers import (
    Request,
    TwinEmbedding,
    TwinFactorLinear,
    TwinLinear,
    TwinVectors,
    active_request,
    serving,
)
from intarsia.merge.router import Router, mixture_weights, pool_states, prompt_mask
from intarsia.merge.twin_config import TwinMergedConfig
from intarsia.models.linear import use_onednn
from intarsia.models.wrapped import WrappedModel

_SUM_TOLERANCE = 1e-4


class _RoutingRequest(Request):
    """A request whose mixture is not known yet: it is computed on the way, where the router's layer is reached."""

    def __init__(self, mask: Bool[Tensor, "batch seq"], *, states_only: bool = False) -> None:
        super().__init__()
        self.mask = mask
        self.states_only = states_only
        self.pending = True
        self.pooled: Tensor | None = None


class _StatesReady(Exception):
    """Ends a forward pass that was only to compute the router's input."""


class TwinModel(WrappedModel):
    """A base architecture with shared weights, the experts' residuals, and a router that mixes them per row.

    Attributes:
        base: The base model; its own parameters are the shared model.
        router: None until one is attached.
    """

    config_class = TwinMergedConfig
    base_model_prefix = "base"
    _keep_in_fp32_modules_strict: ClassVar[Any] = ["router"]

    base: PreTrainedModel
    router: Router | None

    def __init__(self, config: TwinMergedConfig, *, base: PreTrainedModel | None = None) -> None:
        super().__init__(config)
        if config.base_config is None or not config.experts:
            raise ModelError("a twin model needs a base config and at least one expert")
        if len(set(config.experts)) < len(config.experts):
            raise ModelError(f"expert names must differ, but they are {', '.join(config.experts)}")
        self.base = self._build_base(config.base_config) if base is None else base
        use_onednn(self.base)
        # One object, so that changes of either (resized embeddings, attention kinds) are saved.
        config.base_config = self.base.config
        if base is None:
            adapt(self.base, config)
        tied = tie_residuals(self.base)
        self._tied_weights_keys = {f"base.{head}": f"base.{embedding}" for head, embedding in tied.items()}
        self.router = None
        if config.router is not None:
            self.router = Router(self._width, len(config.experts), config.router["hidden"], config.router["dropout"])
        self._fork: int | None = None
        self._fork_handle: Any = None
        self._place_fork()
        self.set_rank(config.rank)

    def _build_base(self, config: PretrainedConfig, **kwargs: Any) -> PreTrainedModel:
        raise NotImplementedError

    # What it is made of

    @property
    def body(self) -> nn.Module:
        """The base model without its language-model head."""
        return self.base.base_model

    @property
    def experts(self) -> list[str]:
        """Names of the experts, in the order of mixture columns."""
        return list(self.config.experts)

    @property
    def statistics(self) -> dict[str, Any]:
        """What merging measured: ranks, energy kept, bytes, router accuracy."""
        return dict(self.config.statistics)

    @property
    def _width(self) -> int:
        return int(self.base.config.get_text_config().hidden_size)

    def twin_modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Yields the modules that have residuals, with their names in the base model."""
        for name, module in self.base.named_modules():
            if isinstance(module, TwinLinear | TwinFactorLinear | TwinEmbedding | TwinVectors):
                yield name, module

    def residual_bytes(self) -> int:
        """Bytes that all residuals take as stored."""
        # Named once, where they are tied.
        return sum(p.nbytes for name, p in self.base.named_parameters() if "residual_" in name.rpartition(".")[2])

    def set_rank(self, rank: int | None) -> Self:
        """Uses the leading `rank` terms of every residual; None uses all that are stored. Nothing is lost or copied.

        Raises:
            ConfigError: If it is negative or above every stored rank.
            ModelError: If the model mixes LoRA factors, which have no common order of terms.
        """
        if rank is not None:
            if self.config.lora_mode == "factor":
                raise ModelError('the rank of a model merged with lora_mode="factor" cannot be changed')
            stored = max(self.config.matrices.values(), default=0)
            if not 0 <= rank <= stored:
                raise ConfigError("rank", rank, f"between 0 and {stored}, the rank that is stored")
        self.config.rank = rank
        for _, module in self.twin_modules():
            if isinstance(module, TwinLinear | TwinEmbedding):
                module.rank = module.stored_rank if rank is None else min(rank, module.stored_rank)
        return self

    def set_routing(self, routing: Routing) -> Self:
        """Sets how mixtures follow from the router; see `TwinMergingConfig.routing`.

        Raises:
            ConfigError: If there is no such routing.
        """
        if routing not in ROUTINGS:
            raise ConfigError("routing", routing, " or ".join(map(repr, ROUTINGS)))
        self.config.routing = routing
        return self

    def attach_router(self, router: Router) -> Self:
        """Gives the model its router, trained on `pooled_states`.

        Args:
            router: With one output per expert, in the order of `experts`.

        Raises:
            ModelError: If its outputs are not one per expert or its inputs have another width than the model.
        """
        first, last = router.layers[0], router.layers[-1]
        if last.out_features != len(self.experts):
            raise ModelError(f"the router has {last.out_features} outputs, but there are {len(self.experts)} experts")
        if first.in_features != self._width:
            raise ModelError(f"the router reads {first.in_features} numbers, but the model's states have {self._width}")
        self.router = router.to(self.device).eval()
        self.config.router = {"hidden": first.out_features, "dropout": router.layers[3].p}
        return self

    def set_router_input(self, *, pool: Literal["mean", "last"] = "mean", layer: int | None = None) -> Self:
        """Sets what `pooled_states` gives and the router reads; see `RouterConfig`.

        Raises:
            ConfigError: If the model has fewer layers.
        """
        count = len(decoder_layers(self.body))
        if layer is not None and layer > count:
            raise ConfigError("router layer", layer, f"at most {count}, the number of the model's layers")
        self.config.pool, self.config.router_layer = pool, layer
        self._place_fork()
        return self

    def train(self, mode: bool = True) -> Self:
        """Sets training mode for everything but the router, which is trained already."""
        super().train(mode)
        if self.router is not None:
            self.router.eval()
        return self

    # Mixtures

    def mixture(self, rows: Sequence[str | Mapping[str, float]]) -> Float[Tensor, "batch experts"]:
        """Returns mixture weights to pass as `mixture=`, each row an expert's name or weights by name.

        Raises:
            UnknownNameError: If there is no such expert.
            InputError: If weights are negative or do not sum to 1 (and the model does not allow that).
        """
        weights = torch.zeros(len(rows), len(self.experts), dtype=self.dtype, device=self.device)
        for row, wanted in enumerate(rows):
            for name, weight in ({wanted: 1.0} if isinstance(wanted, str) else wanted).items():
                if name not in self.config.experts:
                    raise UnknownNameError("expert", name, self.experts)
                weights[row, self.config.experts.index(name)] = weight
        self._check_mixture(weights, len(rows))
        return weights

    def _check_mixture(self, weights: Tensor, batch: int, *, values: bool = True) -> None:
        expected = (batch, len(self.experts))
        if tuple(weights.shape) != expected:
            raise InputError(
                f"the mixture has shape {list(weights.shape)}, but {expected[0]} rows and {expected[1]} experts "
                f"need {list(expected)}",
                fix="pass one row of weights per prompt, with columns in the order of model.experts",
            )
        if not values or self.config.allow_any_weights:
            return
        sums = weights.sum(-1)
        # All zeros is the shared model alone, what an unknown prompt is routed to.
        wrong = ((sums - 1).abs() > _SUM_TOLERANCE) & (weights != 0).any(-1)
        wrong |= (weights < 0).any(-1) | ~sums.isfinite()
        if wrong.any():
            row = int(wrong.nonzero()[0, 0])
            raise InputError(
                f"the mixture weights must not be negative and must sum to 1, but row {row} is "
                f"{[round(float(weight), 6) for weight in weights[row]]}",
                fix="normalise them, or set allow_any_weights",
            )

    # Routing

    @property
    def _router_layer(self) -> int:
        layer = self.config.router_layer
        return len(decoder_layers(self.body)) if layer is None else int(layer)

    def _place_fork(self) -> None:
        """Decides at which layer routing leaves the common path: at the first adapted one, or where the router reads.

        Below it the shared model and every mixture have the same states, so they are computed once.
        """
        if self._fork_handle is not None:
            self._fork_handle.remove()
            self._fork_handle = self._fork = None
        layers = decoder_layers(self.body)
        if not self.config.reuse_lower_layers:
            return
        self._fork = min(first_adapted_layer(self.base, self.config), self._router_layer, len(layers) - 1)
        self._fork_handle = layers[self._fork].register_forward_pre_hook(self._at_fork, with_kwargs=True)

    def reuse_lower_layers_if_exact(self) -> None:
        """Lets routing leave the common path at the first adapted layer, if that gives the states of a separate pass.

        It does not where layers of one model get different arguments (alternating attention windows), or where the
        model does more between its layers than handing on states. Such models route in a separate pass.
        """
        types = getattr(self.base.config.get_text_config(), "layer_types", None) or []
        embeddings = any(isinstance(module, TwinEmbedding) for _, module in self.twin_modules())
        generator = torch.Generator().manual_seed(0)
        vocabulary = self.base.config.get_text_config().vocab_size
        ids = torch.randint(1, vocabulary, (2, 8), generator=generator).to(self.device)
        mask = torch.ones_like(ids)
        mask[0, :2] = 0
        training = self.training
        self.eval()
        separate = self.pooled_states(ids, mask)
        self.config.reuse_lower_layers = True
        self._place_fork()
        assert self._fork is not None
        exact = not embeddings and len(set(types[self._fork :])) <= 1
        try:
            exact = exact and torch.allclose(self.pooled_states(ids, mask), separate, rtol=1e-4, atol=1e-4)
        except (TypeError, AttributeError, KeyError, IndexError, ValueError):
            exact = False
        self.config.reuse_lower_layers = exact
        self._place_fork()
        self.train(training)

    def _at_fork(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        request = active_request()
        if not isinstance(request, _RoutingRequest) or not request.pending:
            return
        request.pending = False
        with torch.no_grad():
            request.pooled = self._pooled(self._shared_upper_states(args, kwargs), request.mask)
            if request.states_only:
                raise _StatesReady
            request.weights = self._weights(request.pooled)

    def _shared_upper_states(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        """Runs the layers from the fork to the router's on the shared weights, with the arguments of the first."""
        hidden, *rest = args if args else (kwargs["hidden_states"],)
        # The cache is for the pass that answers; architectures call it by different names.
        rest = [None if isinstance(value, Cache) else value for value in rest]
        kwargs = {
            name: None if isinstance(value, Cache) else value
            for name, value in kwargs.items()
            if name != "hidden_states"
        }
        mask = kwargs.get("attention_mask")
        if isinstance(mask, Tensor) and mask.dim() == 4:
            # A static cache has a mask as wide as the cache.
            kwargs["attention_mask"] = mask[..., : hidden.shape[1]]
        layers = decoder_layers(self.body)
        for layer in layers[self._fork : self._router_layer]:
            # `forward`, because hooks (ours, and those that record states) are for the pass that answers.
            output = layer.forward(hidden, *rest, **kwargs)
            hidden = output[0] if isinstance(output, tuple) else output
        norm = final_norm(self.body)
        return norm(hidden) if norm is not None and self._router_layer == len(layers) else hidden

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        return pool_states(states, mask, self.config.pool)

    def _weights(self, pooled: Tensor) -> Tensor:
        if self.router is None:
            raise ModelError("the model has no router", fix="pass mixture=, or attach a router")
        return mixture_weights(self.router(pooled), self.config.routing, self.config.unknown_threshold)

    @torch.no_grad()
    def pooled_states(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Int[Tensor, "batch seq"] | None = None,
        inputs_embeds: Float[Tensor, "batch seq dim"] | None = None,
        **kwargs: Any,
    ) -> Float[Tensor, "batch dim"]:
        """Returns what the router reads of each row: the shared model's states, pooled.

        Args:
            input_ids: Tokens; or give `inputs_embeds`.
            attention_mask: Which positions are tokens; see `prompt_mask` for what holds without one.
            inputs_embeds: States that enter the first layer.
            **kwargs: For the base model, such as `position_ids`.
        """
        mask = prompt_mask(input_ids, inputs_embeds, attention_mask, self._pad_token_id)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds, **kwargs}
        if self._fork is not None:
            request = _RoutingRequest(mask, states_only=True)
            try:
                with serving(request):
                    self.body(**inputs)
            except _StatesReady:
                assert request.pooled is not None
                return request.pooled
        layer = self._router_layer
        whole = layer == len(decoder_layers(self.body))
        with serving(None):
            outputs = self.body(**inputs, output_hidden_states=not whole)
        return self._pooled(outputs.last_hidden_state if whole else outputs.hidden_states[layer], mask)

    @torch.no_grad()
    def route(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Int[Tensor, "batch seq"] | None = None,
        inputs_embeds: Float[Tensor, "batch seq dim"] | None = None,
        **kwargs: Any,
    ) -> Float[Tensor, "batch experts"]:
        """Returns the mixture of each row, columns in the order of `experts`. Arguments as for `pooled_states`."""
        given = input_ids if input_ids is not None else inputs_embeds
        assert given is not None
        if len(self.experts) == 1 and self.config.unknown_threshold is None:
            return torch.ones(len(given), 1, device=given.device)
        return self._weights(self.pooled_states(input_ids, attention_mask, inputs_embeds, **kwargs))

    def _open_request(
        self, inputs: Mapping[str, Any], mixture: Tensor | None, *, started: bool, records_states: bool
    ) -> Request:
        """Returns the request a forward pass serves.

        Args:
            inputs: `input_ids`, `inputs_embeds`, `attention_mask` and what else the base model gets.
            mixture: The weights, if they are given.
            started: Whether part of the sequence is in a cache.
            records_states: Whether the caller wants hidden states, which routing on the way would mix up.
        """
        given = inputs["input_ids"] if inputs.get("input_ids") is not None else inputs.get("inputs_embeds")
        if given is None:
            raise InputError("either input_ids or inputs_embeds must be given")
        if len(given) == 0:
            raise InputError("the batch is empty", fix="pass at least one row")
        if mixture is not None:
            self._check_mixture(mixture, len(given), values=not started)
            return Request(mixture)
        if started:
            raise ModelError(
                "the mixture is chosen on the prompt, which is in the cache already",
                fix="pass mixture=outputs.mixture of the first call, or mixture=model.route(prompt)",
            )
        if self._fork is None or records_states or self.router is None or len(self.experts) == 1:
            return Request(self.route(**inputs))
        mask = prompt_mask(
            inputs.get("input_ids"), inputs.get("inputs_embeds"), inputs.get("attention_mask"), self._pad_token_id
        )
        return _RoutingRequest(mask)

    def _close_request(self, request: Request) -> Tensor:
        if request.weights is None:
            raise ModelError(
                "the layer the router reads did not run",
                fix="pass mixture=, or start the stored states at or below the first adapted layer and the router's",
            )
        return request.weights

    @property
    def _pad_token_id(self) -> int | None:
        pad = getattr(self.base.config.get_text_config(), "pad_token_id", None)
        return pad if isinstance(pad, int) else None

    # Export

    @torch.no_grad()
    def merged_state(self, weights: Mapping[str, float] | Float[Tensor, "experts"]) -> dict[str, Tensor]:
        """Returns the base architecture's state dict for one mixture: `theta_s + sum_t w_t U_t S_t V_t^T`.

        Args:
            weights: By expert name, or in the order of `experts`.
        """
        if isinstance(weights, Mapping):
            mixture = self.mixture([weights])[0]
        else:
            self._check_mixture(weights[None], 1)
            mixture = weights.to(self.device)
        state = {
            name: tensor
            for name, tensor in self.base.state_dict().items()
            if not name.rpartition(".")[2].startswith("residual_")
        }
        for name, module in self.twin_modules():
            if isinstance(module, TwinVectors):
                state |= {f"{name}.{vector}": tensor for vector, tensor in module.merged(mixture).items()}
            elif isinstance(module, TwinEmbedding):
                state[f"{name}.weight"] = module.merged(mixture)
            else:
                weight, bias = module.merged(mixture)  # type: ignore[operator]
                state[f"{name}.weight"] = weight
                if bias is not None:
                    state[f"{name}.bias"] = bias
        return state

    @torch.no_grad()
    def materialize(self, weights: Mapping[str, float] | Float[Tensor, "experts"]) -> PreTrainedModel:
        """Returns a plain model of the base architecture with the mixture merged into its weights.

        Args:
            weights: By expert name, or in the order of `experts`. All zero gives the shared model.
        """
        # `dtype` at once: casting afterwards would cast rotary frequencies too.
        plain = self._build_base(copy.deepcopy(self.base.config), dtype=self.dtype).to(self.device)
        plain.load_state_dict(self.merged_state(weights))
        if self.can_generate():
            plain.generation_config = copy.deepcopy(self.generation_config)
        return plain.eval()

    def save_materialized(
        self,
        folder: str | Path,
        weights: Mapping[str, float] | Float[Tensor, "experts"],
        *,
        tokenizer: Any = None,
        overwrite: bool = False,
    ) -> Path:
        """Saves `materialize(weights)` as a plain checkpoint that tools that know the base architecture read.

        Args:
            folder: Where to.
            weights: By expert name, or in the order of `experts`.
            tokenizer: Saved beside the model, if given.
            overwrite: Whether a folder that stands there is replaced; otherwise it is left as it is.
        """
        with atomic_folder(folder, overwrite=overwrite) as temporary:
            self.materialize(weights).save_pretrained(temporary)
            if tokenizer is not None:
                tokenizer.save_pretrained(temporary)
        return Path(folder)
