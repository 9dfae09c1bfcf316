"""Models with a compressed embedding as transformers knows them: saving, loading, `generate`, pipelines and adapters.

Importing this module registers the classes with the Auto classes; `import intarsia` sees to that.
"""

import os
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from intarsia.compress.added_rows import AddedRowsEmbedding
from intarsia.compress.compressed_config import CompressedConfig
from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.evaluating import size_of
from intarsia.compress.registry import embedding_settings, empty_embedding
from intarsia.compress.tied_rows import CompressedHead, CompressedInput, MatrixCache
from intarsia.compress.vocabulary import check_vocabulary
from intarsia.errors import ModelError
from intarsia.models.lower_states import decoder_layers
from intarsia.models.wrapped import WrappedModel


class CompressedForCausalLM(WrappedModel, GenerationMixin):
    """A causal language model whose input embedding, and head if it was tied, is a compressed one.

    Everything else is the original model, with its own weights.

    Attributes:
        base: The original architecture with the compressed embedding in it.
    """

    config_class = CompressedConfig
    base_model_prefix = "base"
    supports_gradient_checkpointing = True

    def __init__(
        self,
        config: CompressedConfig,
        *,
        base: PreTrainedModel | None = None,
        embedding: CompressedEmbedding | None = None,
    ) -> None:
        super().__init__(config)
        if config.base_config is None or not (config.embedding or embedding is not None):
            raise ModelError("a compressed model needs the original model's config and an embedding")
        self.base = AutoModelForCausalLM.from_config(config.base_config) if base is None else base
        # One object, so that changes of either (attention kinds, vocabulary) are saved.
        config.base_config = self.base.config
        self._place(empty_embedding(config.embedding) if embedding is None else embedding)
        self.post_init()

    # Where the embedding stands

    @property
    def compressed(self) -> CompressedEmbedding:
        """The compressed embedding."""
        place: Any = self.base.get_input_embeddings()
        return place.embedding

    @property
    def cache(self) -> bool:
        """Whether the matrix is kept in memory once it was rebuilt.

        With it decoding is as fast as with a dense embedding, and takes the same memory; without, both are less.
        """
        return bool(self.config.cache)

    @cache.setter
    def cache(self, enabled: bool) -> None:
        self.config.cache = enabled
        place: Any = self.base.get_input_embeddings()
        place.cache.enabled = enabled
        if not enabled:
            place.cache.drop()

    def replace_embedding(self, embedding: CompressedEmbedding) -> Self:
        """Puts another compressed embedding, of as many tokens or more, in place of this one.

        A head of its own gets mean rows for tokens that are new.

        Args:
            embedding: The other one.

        Raises:
            ModelError: If its rows have another length.
        """
        if embedding.embedding_dim != self.compressed.embedding_dim:
            raise ModelError(
                f"rows have {embedding.embedding_dim} numbers, but those of the model {self.compressed.embedding_dim}"
            )
        self._place(embedding)
        if not self.config.tied:
            self._resize_head(embedding.num_embeddings)
        if self.config.statistics:
            self.config.statistics |= size_of(embedding, self).to_dict()
        return self

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Module:
        """Adds tokens with dense rows of their own, which start as the mean row, or takes added ones away.

        Args:
            new_num_tokens: How many tokens there are to be; by default as many as there are.
            pad_to_multiple_of: Rounds up to a multiple of it.
            mean_resizing: Has no effect.

        Raises:
            ConfigError: If there were to be fewer tokens than were compressed.
        """
        wanted = new_num_tokens or self.compressed.num_embeddings
        if pad_to_multiple_of:
            wanted = -(-wanted // pad_to_multiple_of) * pad_to_multiple_of
        if wanted != self.compressed.num_embeddings:
            self.replace_embedding(AddedRowsEmbedding.resized(self.compressed, wanted))
        return self.get_input_embeddings()

    def _resize_head(self, tokens: int) -> None:
        head: Any = self.base.get_output_embeddings()
        if head is None or head.out_features == tokens:
            return
        kept = min(tokens, head.out_features)
        made = nn.Linear(head.in_features, tokens, bias=False).to(head.weight)
        with torch.no_grad():
            made.weight.copy_(head.weight.mean(0).expand_as(made.weight))
            made.weight[:kept] = head.weight[:kept]
        made.register_parameter("bias", _lengthened(head.bias, tokens))
        self.base.set_output_embeddings(made)

    def _place(self, embedding: CompressedEmbedding) -> None:
        """Puts the embedding where tokens enter, and into the head if that is tied."""
        for module in embedding.modules():
            # What it holds is not to be drawn at random again.
            module._is_hf_initialized = True  # type: ignore[assignment]
        self.config.embedding = embedding_settings(embedding)
        self.config.get_text_config().vocab_size = embedding.num_embeddings
        self.base.vocab_size = embedding.num_embeddings
        layers = decoder_layers(self.base)
        cache = MatrixCache(embedding, enabled=bool(self.config.cache))
        self.base.set_input_embeddings(CompressedInput(embedding, layers[0], cache, scale=self.config.scale))
        if self.config.tied:
            head: Any = self.base.get_output_embeddings()
            bias = _lengthened(getattr(head, "bias", None), embedding.num_embeddings)
            self.base.set_output_embeddings(CompressedHead(cache, bias))
        # There is no matrix to tie any more.
        self.base._tied_weights_keys = None
        self.base.all_tied_weights_keys = {}
        # Products of several small numbers: in half precision they lose most of their digits. Parameters by name, since
        # of a module transformers would turn the whole numbers into floats as well.
        own = {id(parameter) for parameter in embedding.parameters()}
        self._keep_in_fp32_modules_strict = {name for name, part in self.named_parameters() if id(part) in own}

    @property
    def dtype(self) -> torch.dtype:
        """Type of the layers' weights; the compressed embedding's may be another."""
        return next(parameter.dtype for parameter in decoder_layers(self.base).parameters())

    # Running

    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Int[Tensor, "batch total"] | None = None,
        position_ids: Int[Tensor, "batch seq"] | None = None,
        past_key_values: Any = None,
        inputs_embeds: Float[Tensor, "batch seq dim"] | None = None,
        labels: Int[Tensor, "batch seq"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Runs the model; arguments and result are those of the original."""
        if position_ids is not None:
            kwargs["position_ids"] = position_ids
        outputs: CausalLMOutputWithPast = self.base(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            labels=labels,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            **kwargs,
        )
        return outputs

    # Loading

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> Any:
        """Loads a compressed model.

        Raises:
            ModelError: If the tokenizer in its folder is another than the one it was compressed for.
        """
        config = kwargs.get("config")
        if pretrained_model_name_or_path is not None and Path(pretrained_model_name_or_path).is_dir():
            folder = Path(pretrained_model_name_or_path)
            if not isinstance(config, CompressedConfig):
                config = CompressedConfig.from_pretrained(folder)
            check_vocabulary(folder, config.vocabulary, config.vocabulary_digest)
        return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


def _lengthened(bias: nn.Parameter | None, tokens: int) -> nn.Parameter | None:
    """A head's bias for another number of tokens; new ones are as unlikely as the unlikeliest."""
    if bias is None or len(bias) == tokens:
        return bias
    more = max(tokens - len(bias), 0)
    return nn.Parameter(torch.cat([bias.detach()[:tokens], bias.detach().min().expand(more)]))


AutoConfig.register(CompressedConfig.model_type, CompressedConfig)
AutoModelForCausalLM.register(CompressedConfig, CompressedForCausalLM)
