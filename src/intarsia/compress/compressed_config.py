"""The config of a model with a compressed embedding: the original model's config and what the embedding is made of."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig


class CompressedConfig(PretrainedConfig):
    """Describes a compressed model. Attributes it does not have (`hidden_size`, ...) are those of the original model.

    Args:
        base_config: The original model's config.
        method: Name of the method, a key of `METHODS`.
        embedding: What makes an empty embedding of the same shape; see `embedding_settings`.
        tied: Whether the output head is the compressed embedding again, as it was the original's.
        scale: What rows are multiplied by where tokens enter (Gemma).
        cache: Whether the matrix is kept in memory once it was rebuilt, for speed, while weights do not change.
        vocabulary: How many of the tokenizer's tokens `vocabulary_digest` covers: those there were when compressing.
        vocabulary_digest: Hash of these tokens, by which a tokenizer of another model is noticed.
        statistics: What compressing measured: parameters, bytes, errors.
        **kwargs: Of `PretrainedConfig`.
    """

    model_type = "compressed_embedding"
    sub_configs: ClassVar[dict[str, Any]] = {"base_config": AutoConfig}

    def __init__(
        self,
        base_config: PretrainedConfig | dict[str, Any] | None = None,
        method: str = "",
        embedding: Mapping[str, Any] | None = None,
        tied: bool = True,
        scale: float = 1.0,
        cache: bool = True,
        vocabulary: int = 0,
        vocabulary_digest: str = "",
        statistics: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.method = method
        self.embedding = dict(embedding or {})
        self.tied = tied
        self.scale = scale
        self.cache = cache
        self.vocabulary = vocabulary
        self.vocabulary_digest = vocabulary_digest
        self.statistics = dict(statistics or {})
        super().__init__(**kwargs)
        # The head holds no weights of its own, so transformers has nothing to tie.
        self.tie_word_embeddings = False
        # Last, because what this config seems to have through it would be taken for its own and saved.
        self.base_config = AutoConfig.for_model(**base_config) if isinstance(base_config, dict) else base_config
        if self.base_config is not None and self._attn_implementation is not None:
            self.base_config._attn_implementation = self._attn_implementation

    def __getattr__(self, name: str) -> Any:
        # Only called for what this config lacks. Harnesses and cache classes ask for the original model's sizes here.
        base = self.__dict__.get("base_config")
        if base is None or name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")
        return getattr(base, name)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """Returns the original model's config, which generation sizes its caches by."""
        base = self.__dict__.get("base_config")
        return self if base is None else base
