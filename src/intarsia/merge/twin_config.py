"""The config of a twin-merged model: what rebuilds it without its weights."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from transformers import AutoConfig, PretrainedConfig

from intarsia.merge.config import Routing
from intarsia.models.wrapped import WrappedConfig


class TwinMergedConfig(WrappedConfig):
    """Describes a twin model: the base architecture, the experts, where residuals are, and how to route.

    Attributes it does not have (`hidden_size`, `vocab_size`, ...) are those of the base model.

    Args:
        base_config: The base model's config, so that its architecture is rebuilt without its weights.
        experts: Names of the experts, in the order of mixture columns.
        matrices: Stored rank of each module with low-rank residuals, by its name in the base model.
        biases: Those of them whose bias has residuals.
        vectors: Modules with vector residuals, and which of their parameters.
        lora_mode: See `TwinMergingConfig`.
        rank: Terms used of those stored; None for all.
        routing: See `TwinMergingConfig`.
        unknown_threshold: See `TwinMergingConfig`.
        allow_any_weights: See `TwinMergingConfig`.
        pool: How the states the router reads are pooled, `"mean"` or `"last"`.
        router_layer: How many layers' states the router reads; None for all and the final norm.
        router: Settings that rebuild the router (`hidden`, `dropout`); None if there is none.
        reuse_lower_layers: Whether the layers below the first adapted one run once for routing and answering; found
            out when merging, since it is not exact for every architecture.
        heads: Of a classifier, one description per expert.
        head: Of a classifier, whether the `"routed"` head answers or the one of the task given (`"oracle"`).
        statistics: What merging measured.
        **kwargs: Of `PretrainedConfig`.
    """

    model_type = "twin_merged"
    sub_configs: ClassVar[dict[str, Any]] = {"base_config": AutoConfig}

    def __init__(
        self,
        base_config: PretrainedConfig | dict[str, Any] | None = None,
        experts: Sequence[str] = (),
        matrices: Mapping[str, int] | None = None,
        biases: Sequence[str] = (),
        vectors: Mapping[str, Sequence[str]] | None = None,
        lora_mode: str = "product",
        rank: int | None = None,
        routing: Routing = "soft",
        unknown_threshold: float | None = None,
        allow_any_weights: bool = False,
        pool: Literal["mean", "last"] = "mean",
        router_layer: int | None = None,
        router: Mapping[str, Any] | None = None,
        reuse_lower_layers: bool = False,
        heads: Sequence[Mapping[str, Any]] | None = None,
        head: Literal["routed", "oracle"] = "routed",
        statistics: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.experts = list(experts)
        self.matrices = dict(matrices or {})
        self.biases = list(biases)
        self.vectors = {name: list(parameters) for name, parameters in (vectors or {}).items()}
        self.lora_mode = lora_mode
        self.rank = rank
        self.routing = routing
        self.unknown_threshold = unknown_threshold
        self.allow_any_weights = allow_any_weights
        self.pool = pool
        self.router_layer = router_layer
        self.router = dict(router) if router is not None else None
        self.reuse_lower_layers = reuse_lower_layers
        self.heads = [dict(head) for head in heads] if heads is not None else None
        self.head = head
        self.statistics = dict(statistics or {})
        super().__init__(**kwargs)
        self.wrap(base_config=base_config)
