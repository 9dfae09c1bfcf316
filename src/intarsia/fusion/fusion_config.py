"""The config of a fused model: what rebuilds it, and where its parts are if it does not hold them itself."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import nn
from transformers import AutoConfig, PretrainedConfig

from intarsia.errors import ConfigError
from intarsia.fusion.config import SolverConfig
from intarsia.models.wrapped import WrappedConfig, as_config

_NAME = re.compile(r"[A-Za-z0-9_-]+")


class LogitFusionConfig(WrappedConfig):
    """Describes a fused model. Attributes it does not have (`hidden_size`, ...) are those of the large model.

    Args:
        large_config: The large model's config.
        small_config: The config of the small base.
        experts: Names of the experts, in the order of columns of alpha.
        expert_configs: For each expert that is a model of its own, its config. Other experts are adapters.
        adapter_rank: Rank that adapters are stored with.
        adapter_modules: Modules of the small base that adapters change.
        solver: Settings of the solver; see `SolverConfig`.
        vocabulary: Tokens that all models share; logits beyond them are cut off.
        draft_tokens: Most tokens that are drafted at once when `generate` speculates.
        shared: Tensors that are one and the same: name to the name it is stored under.
        references: Model arguments of the parts (`large`, `small`, and each expert's name), if the folder holds no
            weights; None if it does.
        **kwargs: Of `PretrainedConfig`.

    Raises:
        ConfigError: If experts' names repeat or have other characters than letters, digits, `-` and `_`.
    """

    model_type = "logit_fusion"
    main_config = "large_config"
    sub_configs: ClassVar[dict[str, Any]] = {"large_config": AutoConfig, "small_config": AutoConfig}

    def __init__(
        self,
        large_config: PretrainedConfig | dict[str, Any] | None = None,
        small_config: PretrainedConfig | dict[str, Any] | None = None,
        experts: Sequence[str] = (),
        expert_configs: Mapping[str, PretrainedConfig | dict[str, Any]] | None = None,
        adapter_rank: int = 0,
        adapter_modules: Sequence[str] = (),
        solver: SolverConfig | Mapping[str, Any] | None = None,
        vocabulary: int | None = None,
        draft_tokens: int = 5,
        shared: Mapping[str, str] | None = None,
        references: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        for name in experts:
            # `nn.ModuleDict` refuses names of its own attributes; the other three name what is not an expert.
            if not _NAME.fullmatch(name) or name in ("large", "small", "adapters") or hasattr(nn.ModuleDict, name):
                raise ConfigError(
                    "expert name",
                    name,
                    "made of letters, digits, - and _, and none of 'large', 'small', 'adapters' and the attributes of "
                    "a torch module ('train', 'keys', ...)",
                )
        if len(set(experts)) < len(experts):
            raise ConfigError("expert names", list(experts), "different from each other")
        if draft_tokens < 1:
            raise ConfigError("draft_tokens", draft_tokens, "1 or more")
        self.experts = list(experts)
        self.expert_configs = {
            name: config.to_dict() if isinstance(config, PretrainedConfig) else dict(config)
            for name, config in (expert_configs or {}).items()
        }
        self.adapter_rank = adapter_rank
        self.adapter_modules = list(adapter_modules)
        self.solver = solver.to_dict() if isinstance(solver, SolverConfig) else dict(solver or {})
        self.vocabulary = vocabulary
        self.draft_tokens = draft_tokens
        self.shared = dict(shared or {})
        self.references = dict(references) if references is not None else None
        super().__init__(**kwargs)
        # transformers ties what the model declares only if the config says so.
        self.tie_word_embeddings = bool(self.shared)
        self.wrap(small_config=small_config, large_config=large_config)

    @property
    def solver_config(self) -> SolverConfig:
        """The solver's settings, checked."""
        return SolverConfig.from_dict(self.solver)

    @property
    def adapters(self) -> list[str]:
        """Names of the experts that are adapters on the small base."""
        return [name for name in self.experts if name not in self.expert_configs]

    def expert_config(self, name: str) -> PretrainedConfig:
        """Returns the config of an expert that is a model of its own."""
        config = as_config(self.expert_configs[name])
        assert config is not None
        return config
