"""What configs and models around another model share: what they lack is that model's."""

from typing import Any, ClassVar

from torch import nn
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel


class WrappedConfig(PretrainedConfig):
    """A config around other models' configs. Attributes it lacks (`hidden_size`, ...) are those of the main one."""

    main_config: ClassVar[str] = "base_config"
    """Name of the attribute that holds the main one."""

    def wrap(self, **configs: PretrainedConfig | dict[str, Any] | None) -> None:
        """Takes in the configs of the models inside, and hands the attention implementation on to them.

        To be called last in `__init__`: what a config seems to have through the main one would be taken for its own
        and saved.
        """
        for name, config in configs.items():
            config = as_config(config)
            setattr(self, name, config)
            if config is not None and self._attn_implementation is not None:
                config._attn_implementation = self._attn_implementation

    def __getattr__(self, name: str) -> Any:
        # Only called for what this config lacks. Harnesses and cache classes ask for the main model's sizes here.
        main = self.__dict__.get(self.main_config)
        if main is None or name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(main, name)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """Returns the main model's config, which generation sizes its caches by."""
        main = self.__dict__.get(self.main_config)
        return self if main is None else main


class WrappedModel(PreTrainedModel):
    """A model around another; `base_model_prefix` names the attribute that holds it.

    To transformers, its embeddings, its head and its body without the head are those of the model inside.
    """

    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True

    @property
    def _main(self) -> PreTrainedModel:
        main: PreTrainedModel = getattr(self, self.base_model_prefix)
        return main

    @property
    def base_model(self) -> nn.Module:
        """The model inside without its head, as on any causal model of transformers."""
        return self._main.base_model

    def get_input_embeddings(self) -> nn.Module:
        """Returns those of the model inside."""
        return self._main.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Sets those of the model inside."""
        self._main.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module | None:
        """Returns the head of the model inside."""
        return self._main.get_output_embeddings()

    def set_output_embeddings(self, new_embeddings: nn.Module) -> None:
        """Sets the head of the model inside."""
        self._main.set_output_embeddings(new_embeddings)


def as_config(config: PretrainedConfig | dict[str, Any] | None) -> PretrainedConfig | None:
    """Returns a config from what `to_dict` made of it; anything else as it is."""
    return AutoConfig.for_model(**config) if isinstance(config, dict) else config
