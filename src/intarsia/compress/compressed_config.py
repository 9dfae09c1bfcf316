"""The config of a model with a compressed embedding: the original model's config and what the embedding is made of."""

from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import AutoConfig, PretrainedConfig

from intarsia.models.wrapped import WrappedConfig


class CompressedConfig(WrappedConfig):
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
        original: What its card says of the original: `name`, and if known `base_model` and `license`.
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
        original: Mapping[str, str] | None = None,
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
        self.original = dict(original or {})
        super().__init__(**kwargs)
        # The head holds no weights of its own, so transformers has nothing to tie.
        self.tie_word_embeddings = False
        self.wrap(base_config=base_config)
