"""Twin-merged models as transformers knows them: loading, saving, `generate`, pipelines and harnesses work on them.

Importing this module registers the classes with the Auto classes; `import intarsia` sees to that.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GenerationConfig,
    GenerationMixin,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast, SequenceClassifierOutput
from transformers.utils.generic import can_return_tuple

from intarsia.errors import ConfigError, InputError, ModelError, UnknownNameError
from intarsia.merge._twin_model import TwinModel
from intarsia.merge.heads import Head, build_head
from intarsia.merge.layers import serving
from intarsia.merge.twin_config import TwinMergedConfig


@dataclass
class TwinCausalLMOutput(CausalLMOutputWithPast):
    """A causal model's output and the mixture it was computed with.

    Attributes:
        mixture: Weights of each row, `[batch, experts]`; pass them on when continuing from the cache.
    """

    mixture: Float[Tensor, "batch experts"] | None = None


class TwinMergedForCausalLM(TwinModel, GenerationMixin):
    """A causal language model that answers each prompt with the mixture of experts its router chooses.

    The mixture of a row is computed once, on its prompt, and stays for all generated tokens, so the key-value cache
    stays valid. `mixture=` overrides the router, in `forward` and in `generate`.
    """

    def __init__(self, config: TwinMergedConfig, *, base: PreTrainedModel | None = None) -> None:
        if config.heads is not None:
            raise ModelError(
                "the model is a classifier, not a language model",
                fix="load it with AutoModelForSequenceClassification",
            )
        super().__init__(config, base=base)
        self.post_init()

    def _build_base(self, config: PretrainedConfig, **kwargs: Any) -> PreTrainedModel:
        return AutoModelForCausalLM.from_config(config, **kwargs)

    @can_return_tuple
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
        mixture: Float[Tensor, "batch experts"] | None = None,
        **kwargs: Any,
    ) -> TwinCausalLMOutput:
        """Computes logits, each row with its mixture.

        Args:
            input_ids: Tokens; or give `inputs_embeds`.
            attention_mask: Which positions are tokens. Without one, tokens 0 and padding tokens at the end of a row
                do not take part in routing, so rows may be padded on the right as harnesses do.
            position_ids: As for the base model.
            past_key_values: The cache. If it holds part of the sequence, `mixture` must be given.
            inputs_embeds: States that enter the first layer.
            labels: For the base model's loss.
            use_cache: Whether to return a cache.
            logits_to_keep: As for the base model.
            mixture: Weights of each row, columns in the order of `experts`; by default the router's.
            **kwargs: For the base model.

        Raises:
            InputError: If the batch is empty or the mixture does not fit it.
            ModelError: If a mixture is needed and cannot be computed.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
        if position_ids is not None:
            inputs["position_ids"] = position_ids
        started = past_key_values is not None and past_key_values.get_seq_length() > 0
        request = self._open_request(inputs, mixture, started=started, records_states=_records_states(self, kwargs))
        with serving(request):
            outputs = self.base(
                **inputs,
                past_key_values=past_key_values,
                labels=labels,
                use_cache=use_cache,
                logits_to_keep=logits_to_keep,
                **kwargs,
            )
        return TwinCausalLMOutput(**outputs, mixture=self._close_request(request))

    @torch.no_grad()
    def generate(
        self,
        inputs: Int[Tensor, "batch seq"] | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        mixture: Float[Tensor, "batch experts"] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generates as any causal model does; see `transformers.GenerationMixin.generate`.

        Args:
            inputs: Prompts.
            generation_config: Settings.
            mixture: Weights of each prompt; by default the router chooses them on the prompt.
            **kwargs: As for any model.
        """
        prompt = inputs if inputs is not None else kwargs.get("input_ids")
        if mixture is None and not self._first_call_sees_the_prompt(generation_config, kwargs):
            mixture = self.route(prompt, kwargs.get("attention_mask"), kwargs.get("inputs_embeds"))
        if mixture is not None:
            given = kwargs.get("inputs_embeds") if prompt is None else prompt
            if given is not None:
                self._check_mixture(mixture, len(given))
            kwargs["mixture"] = mixture
        return super().generate(inputs, generation_config, **kwargs)

    def _first_call_sees_the_prompt(self, settings: GenerationConfig | None, kwargs: Mapping[str, Any]) -> bool:
        """Whether `generate` will first call `forward` on the prompt alone, which then routes on the way.

        A filled cache hides part of the prompt, chunks split it, assisted decoding adds guesses to it, and for a
        static cache the padding mask is replaced by an attention bias.
        """
        settings = settings or self.generation_config
        names = ("prompt_lookup_num_tokens", "prefill_chunk_size", "assistant_early_exit", "cache_implementation")
        return (
            kwargs.get("past_key_values") is None
            and kwargs.get("assistant_model") is None
            and all(kwargs.get(name, getattr(settings, name, None)) is None for name in names)
        )

    def _update_model_kwargs_for_generation(
        self, outputs: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any]:
        model_kwargs = super()._update_model_kwargs_for_generation(outputs, model_kwargs, *args, **kwargs)
        model_kwargs["mixture"] = outputs.mixture
        return model_kwargs


@dataclass
class TwinClassifierOutput(SequenceClassifierOutput):
    """A classifier's output, the mixture it was computed with and the head that answered.

    Attributes:
        mixture: Weights of each row, `[batch, experts]`.
        head: Index of the expert whose head answered each row, `[batch]`.
    """

    mixture: Float[Tensor, "batch experts"] | None = None
    head: Int[Tensor, "batch"] | None = None


class TwinMergedForSequenceClassification(TwinModel):
    """A text classifier of several tasks: the router chooses each text's mixture and head.

    Heads are not merged, each expert keeps its own. Labels of all heads share one numbering (`config.id2label`, with
    names `expert/label`); logits of heads that do not answer are minus infinity.
    """

    def __init__(self, config: TwinMergedConfig, *, base: PreTrainedModel | None = None) -> None:
        if config.heads is None or len(config.heads) != len(config.experts):
            raise ModelError(
                "the model is no classifier: it has no classification head for each expert",
                fix="load it with AutoModelForCausalLM",
            )
        super().__init__(config, base=base)
        self.heads = nn.ModuleList([build_head(spec, self._width) for spec in config.heads])
        self.post_init()

    def _build_base(self, config: PretrainedConfig, **kwargs: Any) -> PreTrainedModel:
        return AutoModel.from_config(config, **kwargs)

    @property
    def label_offsets(self) -> list[int]:
        """Where each head's labels begin in the common numbering."""
        offsets = [0]
        for spec in self.config.heads:
            offsets.append(offsets[-1] + len(spec["labels"]))
        return offsets[:-1]

    def set_head(self, head: Literal["routed", "oracle"]) -> None:
        """Sets whether the router picks the head (a wrong pick is an error) or the caller does (the paper's protocol).

        Raises:
            ConfigError: If it is neither.
        """
        if head not in ("routed", "oracle"):
            raise ConfigError("head", head, "'routed' or 'oracle'")
        self.config.head = head

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Int[Tensor, "batch seq"] | None = None,
        token_type_ids: Int[Tensor, "batch seq"] | None = None,
        position_ids: Int[Tensor, "batch seq"] | None = None,
        inputs_embeds: Float[Tensor, "batch seq dim"] | None = None,
        labels: Int[Tensor, "batch"] | None = None,
        mixture: Float[Tensor, "batch experts"] | None = None,
        tasks: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> TwinClassifierOutput:
        """Computes logits over the labels of all heads.

        Args:
            input_ids: Tokens; or give `inputs_embeds`.
            attention_mask: Which positions are tokens.
            token_type_ids: As for the base model.
            position_ids: As for the base model.
            inputs_embeds: Embedded tokens.
            labels: In the common numbering, for a cross-entropy loss.
            mixture: Weights of each row, columns in the order of `experts`; by default the router's.
            tasks: Name of the expert whose head answers each row, if the head is `"oracle"`.
            **kwargs: For the base model.

        Raises:
            InputError: If the batch is empty, the mixture does not fit it, or an oracle head has no tasks.
            UnknownNameError: If there is no expert of a task's name.
        """
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
        inputs |= {
            name: value
            for name, value in (("token_type_ids", token_type_ids), ("position_ids", position_ids))
            if value is not None
        }
        request = self._open_request(inputs, mixture, started=False, records_states=_records_states(self, kwargs))
        with serving(request):
            outputs = self.base(**inputs, **kwargs)
        weights = self._close_request(request)
        answering = self._answering(weights, tasks)
        states = outputs.last_hidden_state
        mask = torch.ones(states.shape[:2], device=states.device) if attention_mask is None else attention_mask
        logits = states.new_full((len(states), len(self.config.id2label)), float("-inf"))
        for index, (offset, head) in enumerate(zip(self.label_offsets, self.heads, strict=True)):
            rows = (answering == index).nonzero()[:, 0]
            if len(rows):
                scores = head(outputs, mask, rows)
                logits[rows[:, None], offset + torch.arange(scores.shape[1], device=rows.device)] = scores
        return TwinClassifierOutput(
            loss=None if labels is None else F.cross_entropy(logits, labels),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            mixture=weights,
            head=answering,
        )

    def _answering(self, weights: Tensor, tasks: Sequence[str] | None) -> Tensor:
        if self.config.head == "routed":
            return weights.argmax(-1)
        if tasks is None or len(tasks) != len(weights):
            raise InputError(
                "an oracle head needs the task of every row",
                fix='pass tasks=[expert name, ...], or set_head("routed")',
            )
        for task in tasks:
            if task not in self.config.experts:
                raise UnknownNameError("task", task, self.experts)
        return torch.tensor([self.config.experts.index(task) for task in tasks], device=weights.device)


def label_names(experts: Sequence[str], heads: Sequence[Head]) -> dict[int, str]:
    """Returns the common numbering of all heads' labels, `expert/label` each."""
    names = [f"{name}/{label}" for name, head in zip(experts, heads, strict=True) for label in head.labels]
    return dict(enumerate(names))


def _records_states(model: PreTrainedModel, kwargs: Mapping[str, Any]) -> bool:
    names = ("output_hidden_states", "output_attentions")
    return any(kwargs.get(name, getattr(model.base.config, name, False)) for name in names)


AutoConfig.register(TwinMergedConfig.model_type, TwinMergedConfig)
AutoModelForCausalLM.register(TwinMergedConfig, TwinMergedForCausalLM)
AutoModelForSequenceClassification.register(TwinMergedConfig, TwinMergedForSequenceClassification)
