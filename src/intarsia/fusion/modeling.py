"""A large model, a small base and its experts as one causal language model.

Importing this module registers the classes with the Auto classes; `import intarsia` sees to that.
"""

import inspect
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    PreTrainedModel,
    StoppingCriteriaList,
)
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from intarsia.errors import ConfigError, InputError, ModelError, UnknownNameError
from intarsia.fusion.adapters import adapter_blocks, build_bank
from intarsia.fusion.cache import FusedCache
from intarsia.fusion.config import SolverConfig
from intarsia.fusion.fusion_config import LogitFusionConfig
from intarsia.fusion.kl_solver import FusedLogits, fuse_logits
from intarsia.fusion.speculative import speculate
from intarsia.fusion.stopping import EndOfContext
from intarsia.fusion.trace import FusionTrace, last_position
from intarsia.models.wrapped import WrappedModel

# Prompts of members that differ from the large model's: `input_ids` and, if rows are padded, `attention_mask`.
Contexts = Mapping[str, Mapping[str, Tensor]]


@dataclass
class FusedCausalLMOutput(CausalLMOutputWithPast):
    """A causal model's output and how it was fused.

    Attributes:
        alpha: Strength of each expert's shift at each position kept, `[batch, positions, experts]`.
    """

    alpha: Float[Tensor, "batch positions experts"] | None = None


class SequenceScore(NamedTuple):
    """Log-probabilities of continuations, in nats.

    Attributes:
        log_probs: Of each token, 0 where the mask is, `[batch, tokens]`.
        total: Their sums, `[batch]`.
        alpha: With which strengths, `[batch, tokens, experts]`.
    """

    log_probs: Float[Tensor, "batch tokens"]
    total: Float[Tensor, "batch"]
    alpha: Float[Tensor, "batch tokens experts"]


class _Inputs(NamedTuple):
    """What one pass gives every member that has no prompt of its own."""

    ids: Int[Tensor, "batch seq"]
    mask: Int[Tensor, "batch total"] | None
    positions: Int[Tensor, "batch seq"] | None


class LogitFusionForCausalLM(WrappedModel, GenerationMixin):
    """The large model's logits, shifted by what fine-tuning did to small models (Dynamic Logit Fusion).

    At each position the shift's strength alpha is chosen so that the large model moves as far from itself, in KL, as
    the small expert from its base. The fused distribution depends on the context alone, so everything that works on
    causal models works on it: greedy decoding, sampling, beams, stopping strings, streaming, teacher forcing.

    Attributes:
        large: The model that is specialised.
        small: The base of the experts; adapters live in it.
        experts: The experts that are models of their own, by name.
    """

    config_class = LogitFusionConfig
    base_model_prefix = "large"

    def __init__(
        self,
        config: LogitFusionConfig,
        *,
        large: PreTrainedModel | None = None,
        small: PreTrainedModel | None = None,
        experts: Mapping[str, PreTrainedModel] | None = None,
    ) -> None:
        super().__init__(config)
        if config.large_config is None or config.small_config is None or not config.experts:
            raise ModelError("a fused model needs a large model, a small one and at least one expert")
        self.large = AutoModelForCausalLM.from_config(config.large_config) if large is None else large
        if small is None:
            small = AutoModelForCausalLM.from_config(config.small_config)
            build_bank(small, config.adapter_modules, len(config.adapters), config.adapter_rank)
        self.small = small
        if experts is None:
            experts = {
                name: AutoModelForCausalLM.from_config(config.expert_config(name)) for name in config.expert_configs
            }
        self.experts = nn.ModuleDict({name: experts[name] for name in config.experts if name in experts})
        for name, part in {"large": self.large, "small": self.small, **dict(self.experts.items())}.items():
            _check_arguments(_title(name), part)
        # One object each, so that changes of either are saved.
        config.large_config, config.small_config = self.large.config, self.small.config
        self._tied_weights_keys = dict(config.shared)
        self._solver = config.solver_config
        self.post_init()
        # transformers looks for ties in direct children only.
        self.all_tied_weights_keys = self.get_expanded_tied_weights_keys(all_submodels=True)

    # What it is made of

    @property
    def solver(self) -> SolverConfig:
        """How alpha is found; assign another to change it."""
        return self._solver

    @solver.setter
    def solver(self, config: SolverConfig) -> None:
        self._solver = config
        self.config.solver = config.to_dict()

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Module:
        """Refuses: the models share one vocabulary.

        Raises:
            ModelError: Always.
        """
        raise ModelError(
            "the vocabulary of a fused model cannot be resized, since its models share it",
            fix="resize the models before they are fused",
        )

    @property
    def context_length(self) -> int | None:
        """Most tokens that every model can read; None if no model says."""
        return min((limit for _, limit in self._limits()), default=None)

    def _limits(self) -> list[tuple[str, int]]:
        """How many tokens each model reads, by its name; those that do not say are left out."""
        parts = {"large": self.large, "small": self.small}
        # Adapters read what their base reads.
        parts |= {name: self.small for name in self.config.adapters} | dict(self.experts.items())
        limits = ((name, getattr(part.config, "max_position_embeddings", None)) for name, part in parts.items())
        return [(name, limit) for name, limit in limits if limit]

    # Running the members

    def new_cache(self, *, speculative: bool = False) -> FusedCache:
        """Returns an empty cache for all models.

        Args:
            speculative: Whether adapters run apart from their base, as speculation needs it.
        """
        configs = {"large": self.large.config, "small": self.small.config}
        configs |= {name: module.config for name, module in self.experts.items()}
        adapters = len(self.config.adapters)
        if not adapters:
            return FusedCache(configs, {})
        if not speculative:
            return FusedCache(configs, {"small": 1 + adapters})
        return FusedCache(configs | {"adapters": self.small.config}, {"adapters": adapters})

    def _member_logits(
        self,
        member: str,
        inputs: _Inputs,
        cache: FusedCache | None,
        *,
        keep: int | Tensor,
        contexts: Contexts | None = None,
        kwargs: Mapping[str, Any] | None = None,
    ) -> dict[str, Float[Tensor, "batch positions vocab"]]:
        """Runs one member of a cache; returns the logits of the models it stands for."""
        names, blocks = self._blocks_of(member, cache)
        module: Any = {"large": self.large, **dict(self.experts.items())}.get(member, self.small)
        ids, mask, positions = inputs
        past = None if cache is None else cache.members[member]
        if contexts and any(name in contexts for name in names):
            own = {"input_ids": ids, "attention_mask": mask}
            ids, mask = _join_contexts([contexts.get(name, own) for name in names])
            positions = (mask.cumsum(-1) - 1).clamp(min=0)
            if cache is not None:
                cache.masks[member] = mask
        elif len(blocks) > 1:
            ids = ids.repeat(len(blocks), 1)
            mask = None if mask is None else mask.repeat(len(blocks), 1)
            positions = None if positions is None else positions.expand(len(inputs.ids), -1).repeat(len(blocks), 1)
        if cache is not None and member in cache.masks and past is not None and past.get_seq_length() > 0:
            mask = cache.extend_mask(member, ids.shape[1])
            positions = cache.positions(member, ids.shape[1])
        if positions is not None:
            kwargs = {**(kwargs or {}), "position_ids": positions}
        with adapter_blocks(blocks):
            logits = module(
                input_ids=ids,
                attention_mask=mask,
                past_key_values=past,
                use_cache=past is not None,
                logits_to_keep=keep,
                **(kwargs or {}),
            ).logits[..., : self.config.vocabulary]
        return dict(zip(names, logits.chunk(len(blocks)), strict=True))

    def _blocks_of(self, member: str, cache: FusedCache | None) -> tuple[list[str], list[int | None]]:
        """Names of the models a member stands for, and the adapter each is."""
        adapters = self.config.adapters
        if member == "adapters":
            return adapters, list(range(len(adapters)))
        if member == "small" and adapters and (cache is None or cache.blocks.get("small", 1) > 1):
            return ["small", *adapters], [None, *range(len(adapters))]
        return [member], [None]

    def read(
        self, member: str, cache: FusedCache, ids: Int[Tensor, "batch seq"], mask: Int[Tensor, "batch total"] | None
    ) -> dict[str, Float[Tensor, "batch seq vocab"]]:
        """Lets one member of a started cache read further tokens; returns logits after each, by model.

        Args:
            member: A member of the cache.
            cache: Holds what was read before.
            ids: The tokens.
            mask: Of all tokens, those included; None if no row is padded.
        """
        positions = None if mask is None else (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        return self._member_logits(member, _Inputs(ids, mask, positions), cache, keep=0)

    def fuse(self, logits: Mapping[str, Tensor], prior: Tensor | None) -> FusedLogits:
        """Fuses the logits of all models, `[batch, positions, vocab]` each; see `fuse_logits`."""
        experts = [logits[name] for name in self.config.experts]
        if prior is not None:
            prior = prior[:, None].expand(*logits["large"].shape[:-1], len(experts))
        return fuse_logits(logits["large"], logits["small"], experts, self._solver, prior=prior)

    @torch.no_grad()
    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Int[Tensor, "batch total"] | None = None,
        position_ids: Int[Tensor, "batch seq"] | None = None,
        past_key_values: FusedCache | None = None,
        inputs_embeds: Float[Tensor, "batch seq dim"] | None = None,
        labels: Int[Tensor, "batch seq"] | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        prior: Float[Tensor, "batch experts"] | None = None,
        contexts: Contexts | None = None,
        trace: FusionTrace | None = None,
        **kwargs: Any,
    ) -> FusedCausalLMOutput:
        """Computes fused logits. No gradients: there is nothing to train.

        Args:
            input_ids: Tokens.
            attention_mask: Which positions are tokens.
            position_ids: As for the large model.
            past_key_values: What `new_cache` gave, or an earlier output.
            inputs_embeds: Not possible: the models embed tokens differently.
            labels: For the loss, shifted here as for any causal model.
            use_cache: Whether to return a cache.
            logits_to_keep: As for the large model; fewer positions save most of the solver's work.
            prior: Weights of the experts for each row; see `solve_alpha`.
            contexts: Prompts of the small model (`small`) and of experts (by name), where they differ from
                `input_ids`; only with an empty cache, and only the last position's logits.
            trace: Collects the last position's result.
            **kwargs: For the models.

        Raises:
            InputError: If embeddings are given, a prompt is longer than a model can read, or logits are NaN.
            ModelError: If the cache is another model's.
        """
        if input_ids is None or inputs_embeds is not None:
            raise InputError(
                "a fused model reads tokens, not embeddings, which differ between its models", fix="pass input_ids"
            )
        if past_key_values is not None and not isinstance(past_key_values, FusedCache):
            if past_key_values.get_seq_length() > 0:
                raise ModelError("the cache is not a fused model's", fix="pass model.new_cache(), or nothing")
            past_key_values = None
        use_cache = bool(self.config.use_cache) if use_cache is None else use_cache
        cache = past_key_values
        if cache is None and use_cache:
            cache = self.new_cache()
        started = cache is not None and cache.get_seq_length() > 0
        contexts = None if started else self._check_contexts(contexts, len(input_ids), logits_to_keep)
        self._check_lengths(input_ids.shape[1], contexts, cache=cache)
        inputs = _Inputs(input_ids, attention_mask, position_ids)
        logits: dict[str, Tensor] = {}
        for member in cache.members if cache is not None else ("large", "small", *self.experts):
            logits |= self._member_logits(
                member, inputs, cache, keep=logits_to_keep, contexts=contexts, kwargs=_model_kwargs(kwargs)
            )
        fused, result = self.fuse(logits, prior)
        if trace is not None:
            trace.experts = list(self.config.experts)
            trace.add(last_position(result))
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=fused, labels=labels, vocab_size=fused.shape[-1])
        return FusedCausalLMOutput(
            loss=loss, logits=fused, past_key_values=cache if use_cache else None, alpha=result.alpha
        )

    def _check_contexts(self, contexts: Contexts | None, batch: int, keep: int | Tensor) -> Contexts | None:
        if not contexts:
            return None
        known = ["small", *self.config.experts]
        for name, context in contexts.items():
            if name not in known:
                raise UnknownNameError("context", name, known)
            if len(context["input_ids"]) != batch:
                raise InputError(
                    f"the context of {name} has {len(context['input_ids'])} rows, but the batch has {batch}",
                    fix="give one prompt per row",
                )
        if not isinstance(keep, int) or keep != 1:
            raise InputError(
                "with contexts only the last position's logits exist, since prompts differ in length",
                fix="pass logits_to_keep=1, or use score()",
            )
        return contexts

    def _check_lengths(
        self, new: int, contexts: Contexts | None, *, cache: FusedCache | None = None, more: int = 0
    ) -> None:
        """Checks what each model is to read: its own prompt or `new` tokens, `more`, and what it has read before."""
        for name, limit in self._limits():
            context = (contexts or {}).get(name)
            length = more + (new if context is None else context["input_ids"].shape[1])
            length += 0 if cache is None else cache.length(name)
            if length > limit:
                raise InputError(
                    f"the text has {length} tokens, but {_title(name)} reads at most {limit}", fix="shorten the prompt"
                )

    # Generating

    @torch.no_grad()
    def generate(
        self,
        inputs: Int[Tensor, "batch seq"] | None = None,
        generation_config: GenerationConfig | None = None,
        *,
        speculative: bool = False,
        trace: FusionTrace | None = None,
        **kwargs: Any,
    ) -> Any:
        """Generates as any causal model does; see `transformers.GenerationMixin.generate`.

        Args:
            inputs: Prompts, padded on the left.
            generation_config: Settings.
            speculative: Whether an expert drafts tokens that the other models then check together. The same tokens
                when greedy, the same distribution when sampling. Helps where drafts are often right, most with single
                rows.
            trace: Collects alpha, divergences and flags of every token; not with beams.
            **kwargs: As for any model; also `prior` and `contexts`, see `forward`. Generation ends where a model can
                read no more.

        Raises:
            InputError: If speculation or a trace is asked for together with beams.
            ModelError: If speculation is asked for and a model's cache cannot be rolled back.
        """
        settings = generation_config or self.generation_config
        beams = kwargs.get("num_beams") or settings.num_beams or 1
        if beams > 1 and (speculative or trace is not None):
            raise InputError(
                f"{'speculation' if speculative else 'a trace'} does not go with beam search",
                fix="set num_beams=1, or leave speculative and trace out",
            )
        if kwargs.get("contexts") is not None and kwargs.get("use_cache", settings.use_cache) is False:
            raise InputError("contexts need the cache: later steps only know the new tokens", fix="leave use_cache on")
        prompt = inputs if inputs is not None else kwargs.get("input_ids")
        if trace is not None:
            trace.experts = list(self.config.experts)
        if speculative:
            kwargs["speculative"] = True
        pads = bool(kwargs.get("stopping_criteria") or kwargs.get("stop_strings"))
        if prompt is not None and (end_of_context := self._end_of_context(prompt.shape[1], kwargs.get("contexts"))):
            kwargs["stopping_criteria"] = StoppingCriteriaList(
                [*(kwargs.get("stopping_criteria") or ()), end_of_context]
            )
        out = super().generate(inputs, generation_config, trace=trace, **kwargs)
        if trace is not None and prompt is not None:
            sequences = out if isinstance(out, Tensor) else out.sequences
            end = kwargs.get("eos_token_id", settings.eos_token_id)
            end = self.generation_config.eos_token_id if end is None else end
            # Rows that another criterion ended are filled up with this.
            pad = kwargs.get("pad_token_id", settings.pad_token_id)
            trace.finish(_written(sequences[:, prompt.shape[1] :], end, pad if pads else None))
        return out

    def _end_of_context(self, prompt: int, contexts: Contexts | None) -> EndOfContext | None:
        """How long a sequence may become until a model can read no more; the last token need not be read."""
        lengths = {name: context["input_ids"].shape[1] for name, context in (contexts or {}).items()}
        room = min((limit - lengths.get(name, prompt) for name, limit in self._limits()), default=None)
        return None if room is None else EndOfContext(prompt + max(room, 0) + 1)

    def _validate_model_kwargs(self, model_kwargs: dict[str, Any]) -> None:
        # Read by `_sample`, not by `forward`.
        super()._validate_model_kwargs({name: value for name, value in model_kwargs.items() if name != "speculative"})

    def _sample(self, *args: Any, speculative: bool = False, **kwargs: Any) -> Any:
        return speculate(self, *args, **kwargs) if speculative else super()._sample(*args, **kwargs)

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        if generation_config.cache_implementation not in (None, "dynamic"):
            raise ConfigError("cache_implementation", generation_config.cache_implementation, "dynamic or left out")
        # Speculation makes a cache of its own.
        if model_kwargs.get("speculative"):
            model_kwargs["past_key_values"] = None
        elif model_kwargs.get("past_key_values") is None and generation_config.use_cache is not False:
            model_kwargs["past_key_values"] = self.new_cache()

    @staticmethod
    def _expand_inputs_for_generation(expand_size: int = 1, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        contexts = kwargs.pop("contexts", None)
        ids, kwargs = GenerationMixin._expand_inputs_for_generation(None, expand_size, **kwargs)
        if contexts is not None:
            kwargs["contexts"] = {
                name: {
                    key: None if value is None else value.repeat_interleave(expand_size, 0)
                    for key, value in context.items()
                }
                for name, context in contexts.items()
            }
        return ids, kwargs

    # Scoring

    @torch.no_grad()
    def score(
        self,
        input_ids: Int[Tensor, "batch seq"],
        continuations: Int[Tensor, "batch tokens"],
        *,
        attention_mask: Int[Tensor, "batch seq"] | None = None,
        continuation_mask: Int[Tensor, "batch tokens"] | None = None,
        prior: Float[Tensor, "batch experts"] | None = None,
        contexts: Contexts | None = None,
        trace: FusionTrace | None = None,
    ) -> SequenceScore:
        """Returns the log-probability of each continuation, with the alphas generation would have used.

        Args:
            input_ids: Prompts, padded on the left.
            continuations: What follows, padded on the right.
            attention_mask: Which positions of the prompts are tokens.
            continuation_mask: Which positions of the continuations are tokens.
            prior: See `forward`.
            contexts: See `forward`.
            trace: Collects every token's result.

        Raises:
            InputError: As `forward`; or if there are not as many continuations as prompts.
        """
        if len(continuations) != len(input_ids) or continuations.shape[1] == 0:
            raise InputError(
                f"there are {len(input_ids)} prompts, but continuations of shape {list(continuations.shape)}",
                fix="give one continuation per prompt, each of at least one token",
            )
        kept = torch.ones_like(continuations) if continuation_mask is None else continuation_mask
        mask = torch.cat([torch.ones_like(input_ids) if attention_mask is None else attention_mask, kept], -1)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        prompt = input_ids.shape[1]
        contexts = self._check_contexts(contexts, len(input_ids), 1)
        self._check_lengths(prompt, contexts, more=continuations.shape[1])
        cache = self.new_cache()
        first = _Inputs(input_ids, mask[:, :prompt], positions[:, :prompt])
        rest = _Inputs(continuations[:, :-1], mask[:, :-1], positions[:, prompt:-1])
        logits: dict[str, Tensor] = {}
        for member in cache.members:
            parts = self._member_logits(member, first, cache, keep=1, contexts=contexts)
            if continuations.shape[1] > 1:
                more = self._member_logits(member, rest, cache, keep=0)
                parts = {name: torch.cat([part, more[name]], 1) for name, part in parts.items()}
            logits |= parts
        fused, result = self.fuse(logits, prior)
        log_probs = fused.log_softmax(-1).gather(-1, continuations[..., None])[..., 0] * kept
        if trace is not None:
            trace.experts = list(self.config.experts)
            for position in range(continuations.shape[1]):
                trace.add(type(result)(*(value[:, position] for value in result)))
            trace.finish([row[keep == 1].tolist() for row, keep in zip(continuations, kept, strict=True)])
        return SequenceScore(log_probs, log_probs.sum(-1), result.alpha)

    # Saving

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike[str] | None, *args: Any, **kwargs: Any
    ) -> Any:
        """Loads a fused model. If its folder only refers to its parts, these are loaded from where they are.

        Raises:
            ModelError: If a part cannot be loaded.
        """
        config = kwargs.get("config")
        if config is None and pretrained_model_name_or_path is not None:
            config = LogitFusionConfig.from_pretrained(pretrained_model_name_or_path)
        if not isinstance(config, LogitFusionConfig) or config.references is None:
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)
        from intarsia.fusion.building import build_from_references

        model = build_from_references(config, dtype=kwargs.get("dtype"))
        model.name_or_path = str(pretrained_model_name_or_path)
        if kwargs.get("output_loading_info"):
            return model, {"missing_keys": set(), "unexpected_keys": set(), "mismatched_keys": set(), "error_msgs": []}
        return model

    def save_pretrained(
        self, save_directory: str | os.PathLike[str], *args: Any, references: bool | None = None, **kwargs: Any
    ) -> None:
        """Saves the model.

        Args:
            save_directory: Where to.
            *args: Of `PreTrainedModel.save_pretrained`.
            references: Whether to write only where the parts are; by default as the model was loaded or built.
            **kwargs: Of `PreTrainedModel.save_pretrained`.

        Raises:
            ModelError: If references are asked for and the model was not built from any.
        """
        known = self.config.references or self._sources
        if references is None:
            references = self.config.references is not None
        if references and known is None:
            raise ModelError(
                "where the parts of the fused model came from is not known",
                fix="build it with fuse_models from model arguments, or save with references=False",
            )
        kept, self.config.references = self.config.references, known if references else None
        try:
            if references:
                os.makedirs(save_directory, exist_ok=True)  # noqa: PTH103 (what the parent does)
                self.config.architectures = [type(self).__name__]
                self.config.save_pretrained(save_directory)
                self.generation_config.save_pretrained(save_directory)
            else:
                super().save_pretrained(save_directory, *args, **kwargs)
        finally:
            self.config.references = kept

    _sources: dict[str, str] | None = None

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        """Returns which tensors are tied to which, each to the one that is stored."""
        tied = dict(super().get_expanded_tied_weights_keys(all_submodels))
        # A part's head is tied to its embedding, which may itself be another part's.
        return {target: self.config.shared.get(source, source) for target, source in tied.items()}

    def tie_shared(self) -> Self:
        """Makes tensors that the config calls shared one and the same object."""
        for target, source in self.config.shared.items():
            owner, _, leaf = target.rpartition(".")
            setattr(self.get_submodule(owner), leaf, self.get_parameter(source))
        # A head that is tied to an embedding follows it.
        for part in (self.small, *self.experts.values()):
            part.tie_weights()
        return self


def _title(name: str) -> str:
    return f"the {name} model" if name in ("large", "small") else f"expert {name!r}"


def _check_arguments(title: str, model: nn.Module) -> None:
    # Others would swallow these in their **kwargs, and read each token as if it were the first.
    accepted = inspect.signature(model.forward).parameters
    for argument in ("past_key_values", "logits_to_keep"):
        if argument not in accepted:
            raise ModelError(
                f"{title} ({type(model).__name__}) cannot be fused: it knows no {argument}",
                fix="choose an attention model",
            )


def _join_contexts(contexts: list[Mapping[str, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Puts the blocks' prompts into one batch, padded on the left to the longest."""
    width = max(context["input_ids"].shape[1] for context in contexts)  # type: ignore[union-attr]
    ids, masks = [], []
    for context in contexts:
        tokens, mask = context["input_ids"], context.get("attention_mask")
        assert tokens is not None
        mask = torch.ones_like(tokens) if mask is None else mask
        left = (width - tokens.shape[1], 0)
        ids.append(nn.functional.pad(tokens, left))
        masks.append(nn.functional.pad(mask, left))
    return torch.cat(ids), torch.cat(masks)


def _model_kwargs(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    dropped = ("return_dict", "cache_position", "output_attentions", "output_hidden_states", "num_items_in_batch")
    return {name: value for name, value in kwargs.items() if name not in dropped}


def _written(rows: Int[Tensor, "batch tokens"], end: int | list[int] | None, pad: int | None) -> list[list[int]]:
    """The tokens of each row up to and with the first end token, or without the padding at its end."""
    ends = set() if end is None else {end} if isinstance(end, int) else set(end)
    written = []
    for row in rows.tolist():
        stop = next((index + 1 for index, token in enumerate(row) if token in ends), None)
        if stop is None:
            stop = next((index + 1 for index in reversed(range(len(row))) if row[index] != pad), 0)
        written.append(row[:stop])
    return written


AutoConfig.register(LogitFusionConfig.model_type, LogitFusionConfig)
AutoModelForCausalLM.register(LogitFusionConfig, LogitFusionForCausalLM)
