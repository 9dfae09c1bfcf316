"""Twin-Merging from start to end: experts in, one model with a router out (arXiv 2406.15479).

    model = twin_merge(
        "asset:smollm2-135m-instruct",
        {"news": "experts/news", "tweets": "experts/tweets"},
        {"news": news_texts, "tweets": tweet_texts},
        output="merged",
    )

The steps are public too, for callers that have the router's inputs already: `merge_residuals` turns a base model into
a twin model without a router, `embed_texts` gives what a router reads, `fit_router` trains and attaches it.
"""

import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from rich.progress import track
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.pytorch_utils import Conv1D

from intarsia.errors import ConfigError, DataError, InputError, ModelError, RunExistsError, UnknownNameError
from intarsia.files import atomic_folder
from intarsia.merge._twin_model import TwinModel
from intarsia.merge.checkpoints import Checkpoint, Expert, StateDict, Weights, align_keys, open_experts
from intarsia.merge.config import TwinMergingConfig
from intarsia.merge.heads import Head, read_linear_head
from intarsia.merge.layers import (
    TwinEmbedding,
    TwinFactorLinear,
    TwinLinear,
    adapt_matrix,
    adapt_vectors,
    store_factors,
    store_residuals,
)
from intarsia.merge.modeling import TwinMergedForCausalLM, TwinMergedForSequenceClassification, label_names
from intarsia.merge.residuals import (
    LoraFactors,
    Truncated,
    exclusive_residuals,
    lora_factor_split,
    lora_residuals,
    lora_shared_delta,
    resolve_rank,
    shared_delta,
)
from intarsia.merge.router import RouterTraining, train_router
from intarsia.merge.twin_config import TwinMergedConfig

Ref = str | Path
Model = TypeVar("Model", bound=TwinModel)
Item = TypeVar("Item")

_TOKENS_PER_BATCH = 4096


def twin_merge(
    base: Ref,
    experts: Mapping[str, Ref],
    router_texts: Mapping[str, Sequence[str]],
    *,
    config: TwinMergingConfig | None = None,
    output: Ref | None = None,
    overwrite: bool = False,
    tokenizer: Any = None,
    render: Callable[[str], str] | None = None,
    shared: Ref | None = None,
    progress: bool = False,
) -> TwinMergedForCausalLM:
    """Merges causal-LM experts into one model that mixes them per prompt.

    Args:
        base: The model the experts were fine-tuned from: hub id, folder, `asset:NAME`.
        experts: Folders of full checkpoints or PEFT LoRA adapters, by name.
        router_texts: Texts of each expert's kind (a few dozen or more), for the router.
        config: Settings.
        output: Folder to save the model and tokenizer to.
        overwrite: Whether to replace what stands at `output`.
        tokenizer: By default the base model's.
        render: Makes the prompt an expert sees of a text; by default a user turn in the tokenizer's chat template.
        shared: A merged checkpoint (by any static method) to use as the shared model, instead of task arithmetic.
        progress: Whether to show progress bars.

    Returns:
        The model, in evaluation mode; `model.statistics` says what merging measured.

    Raises:
        InputError: If an input is unusable; the message names it.
    """
    from intarsia.models import load_causal_lm, render_prompt

    config = config or TwinMergingConfig()
    _check_inputs(experts, router_texts, output, overwrite)
    loaded = load_causal_lm(base)
    tokenizer = tokenizer if tokenizer is not None else loaded.tokenizer
    model = merge_residuals(loaded.model, base, experts, config=config, shared=shared, progress=progress)
    render = render or (lambda text: render_prompt(tokenizer, [{"role": "user", "content": text}]))
    states = {
        # A chat template writes the special tokens itself.
        name: embed_texts(
            model,
            tokenizer,
            [render(text) for text in router_texts[name]],
            max_length=config.router.max_length,
            add_special_tokens=tokenizer.chat_template is None,
            description=f"router texts: {name}" if progress else None,
        )
        for name in model.experts
    }
    fit_router(model, states, config=config)
    _save(model, tokenizer, output, overwrite)
    return model


def twin_merge_classifiers(
    base: Ref,
    experts: Mapping[str, Ref],
    router_texts: Mapping[str, Sequence[str]],
    *,
    heads: Mapping[str, Head] | None = None,
    config: TwinMergingConfig | None = None,
    output: Ref | None = None,
    overwrite: bool = False,
    shared: Ref | None = None,
    progress: bool = False,
) -> TwinMergedForSequenceClassification:
    """Merges fine-tuned encoders into one classifier of all their tasks; each expert keeps its own head.

    Args:
        base: The encoder the experts were fine-tuned from.
        experts: Folders of fine-tuned encoders, or of `...ForSequenceClassification` models, by name.
        router_texts: Texts of each expert's kind, for the router.
        heads: Each expert's head; by default the one in its folder.
        config: Settings.
        output: Folder to save the model and tokenizer to.
        overwrite: Whether to replace what stands at `output`.
        shared: A merged checkpoint to use as the shared model, instead of task arithmetic.
        progress: Whether to show progress bars.

    Returns:
        The model, in evaluation mode; `model.statistics` says what merging measured.

    Raises:
        InputError: If an input is unusable, or an expert has no head; the message names it.
    """
    from intarsia.models import load_encoder

    config = config or TwinMergingConfig()
    _check_inputs(experts, router_texts, output, overwrite)
    loaded = load_encoder(base)
    own_heads = read_heads(loaded.model, experts) if heads is None else heads
    model = merge_residual_encoders(
        loaded.model, base, experts, own_heads, config=config, shared=shared, progress=progress
    )
    states = {
        name: embed_texts(
            model,
            loaded.tokenizer,
            router_texts[name],
            max_length=config.router.max_length,
            description=f"router texts: {name}" if progress else None,
        )
        for name in model.experts
    }
    fit_router(model, states, config=config)
    _save(model, loaded.tokenizer, output, overwrite)
    return model


# The steps


def merge_residuals(
    model: PreTrainedModel,
    base: Ref,
    experts: Mapping[str, Ref],
    *,
    config: TwinMergingConfig | None = None,
    shared: Ref | None = None,
    progress: bool = False,
) -> TwinMergedForCausalLM:
    """Turns a loaded base model into a twin model without a router.

    Experts are read tensor by tensor, so besides the result only one tensor of each expert is in memory.

    Args:
        model: The base model, whose weights become the shared model's.
        base: What it was loaded from.
        experts: Folders by name; columns of mixtures are in sorted order of the names.
        config: Settings.
        shared: See `twin_merge`.
        progress: Whether to show a progress bar.
    """
    config = config or TwinMergingConfig()
    twin_config = _merge_into(model, base, experts, config, shared, (), progress)
    with init.no_init_weights():
        twin = TwinMergedForCausalLM(twin_config, base=model)
    twin.generation_config = model.generation_config
    return _finished(twin, config)


def merge_residual_encoders(
    model: PreTrainedModel,
    base: Ref,
    experts: Mapping[str, Ref],
    heads: Mapping[str, Head],
    *,
    config: TwinMergingConfig | None = None,
    shared: Ref | None = None,
    progress: bool = False,
) -> TwinMergedForSequenceClassification:
    """Turns a loaded encoder into a twin classifier without a router; arguments as for `merge_residuals`.

    Args:
        model: The base encoder, whose weights become the shared model's.
        base: What it was loaded from.
        experts: Folders by name.
        heads: Each expert's classification head.
        config: Settings.
        shared: See `twin_merge`.
        progress: Whether to show a progress bar.

    Raises:
        ModelError: If an expert has no head.
    """
    config = config or TwinMergingConfig()
    for name in experts:
        if name not in heads:
            raise ModelError(f"there is no classification head for expert {name!r}", fix="give one in heads")
    own = tuple(sorted({key for head in heads.values() if head.config is not None for key in head.state}))
    twin_config = _merge_into(model, base, experts, config, shared, own, progress)
    ordered = [heads[name] for name in twin_config.experts]
    twin_config.heads = [head.spec() for head in ordered]
    twin_config.id2label = label_names(twin_config.experts, ordered)
    twin_config.label2id = {label: index for index, label in twin_config.id2label.items()}
    with init.no_init_weights():
        twin = TwinMergedForSequenceClassification(twin_config, base=model)
    for module, head in zip(twin.heads, ordered, strict=True):
        inner = module.model if head.config is not None else module
        try:
            inner.load_state_dict(dict(head.state))  # type: ignore[union-attr]
        except RuntimeError as error:
            raise ModelError(f"a classification head's tensors do not fit: {error}") from error
    twin.heads.to(device=model.device, dtype=model.dtype)
    return _finished(twin, config)


@torch.no_grad()
def embed_texts(
    model: TwinModel,
    tokenizer: Any,
    texts: Sequence[str],
    *,
    max_length: int = 512,
    add_special_tokens: bool = True,
    description: str | None = None,
) -> Float[Tensor, "texts dim"]:
    """Returns what the router reads of each text: the shared model's states, pooled.

    Args:
        model: A twin model, with or without a router.
        tokenizer: Its tokenizer.
        texts: Prompts as the experts see them.
        max_length: Tokens kept of each text.
        add_special_tokens: Whether the tokenizer adds its special tokens.
        description: Shown beside a progress bar; None shows none.
    """
    ids = [
        tokenizer(text, truncation=True, max_length=max_length, add_special_tokens=add_special_tokens).input_ids
        for text in texts
    ]
    for text, tokens in zip(texts, ids, strict=True):
        if not tokens:
            raise DataError(f"the router text {text!r} is empty", fix="leave it out")
    out: list[Tensor] = [torch.empty(0)] * len(ids)
    # Texts of like length together: little of a batch is padding.
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    for rows in _shown(list(_token_batches(order, ids)), description):
        width = max(len(ids[row]) for row in rows)
        batch = torch.zeros(len(rows), width, dtype=torch.long)
        mask = torch.zeros(len(rows), width, dtype=torch.long)
        for place, row in enumerate(rows):
            # On the right, where absolute positions of tokens do not shift.
            batch[place, : len(ids[row])] = torch.tensor(ids[row])
            mask[place, : len(ids[row])] = 1
        pooled = model.pooled_states(batch.to(model.device), mask.to(model.device)).cpu()
        for row, state in zip(rows, pooled, strict=True):
            out[row] = state
    return torch.stack(out) if out else torch.empty(0, model._width)


def fit_router(
    model: TwinModel, states: Mapping[str, Float[Tensor, "texts dim"]], *, config: TwinMergingConfig | None = None
) -> RouterTraining:
    """Trains a router on pooled states of each expert's texts and attaches it.

    Args:
        model: The twin model.
        states: Of each expert, by name; see `embed_texts`.
        config: Settings.

    Raises:
        UnknownNameError: If a name is no expert's.
        DataError: If an expert has no texts.
    """
    config = config or TwinMergingConfig()
    _check_classes(model.experts, states)
    training = train_router({name: states[name] for name in model.experts}, config.router, seed=config.seed)
    model.attach_router(training.router)
    model.config.statistics["router"] = {
        "accuracy": training.accuracy,
        "accuracies": training.accuracies,
        "mean_max_weight": training.mean_max_weight,
        "epoch": training.epoch,
        "texts": {name: len(states[name]) for name in model.experts},
    }
    return training


def read_heads(encoder: PreTrainedModel, experts: Mapping[str, Ref]) -> dict[str, Head]:
    """Reads the classification heads of experts: beside the encoder, or in `...ForSequenceClassification` folders.

    Args:
        encoder: The base encoder; what an expert has beside its tensors is the head.
        experts: Folders by name.

    Raises:
        ModelError: If a folder has no head.
    """
    heads = {}
    for name, ref in experts.items():
        checkpoint = Checkpoint(ref)
        beside = read_linear_head(checkpoint.path)
        if beside is not None:
            heads[name] = beside
            continue
        own = align_keys(checkpoint.specs, encoder.state_dict())
        state = {key: checkpoint.read(own[key]) for key in own if key not in encoder.state_dict()}
        labels = checkpoint.config.get("id2label") or {}
        if not state:
            raise ModelError(
                f"expert {name!r} has no classification head",
                where=checkpoint.path,
                fix="give a ...ForSequenceClassification folder, or its head in heads",
            )
        names = tuple(labels[key] for key in sorted(labels, key=int)) or ("LABEL_0", "LABEL_1")
        heads[name] = Head(names, state, config=checkpoint.config)
    return heads


# The split


def _merge_into(
    model: PreTrainedModel,
    base: Ref,
    experts: Mapping[str, Ref],
    config: TwinMergingConfig,
    shared: Ref | None,
    head_keys: tuple[str, ...],
    progress: bool,
) -> TwinMergedConfig:
    weights = _base_weights(model, base)
    opened = open_experts(weights, experts, exclude=(*config.exclude, *head_keys))
    merger = _Merger(
        model, opened, config, None if shared is None else open_experts(weights, {"shared": shared})["shared"]
    )
    for key in _shown(merger.keys, "residuals" if progress else None):
        merger.merge(key)
    return merger.twin_config()


def _base_weights(model: PreTrainedModel, base: Ref) -> Weights:
    """The base's tensors under the names they have in the model."""
    names = model.state_dict()
    checkpoint = Checkpoint(base)
    if set(checkpoint.specs) <= set(names):
        return checkpoint
    # A bare encoder loaded from a checkpoint with a head, for instance.
    return StateDict(names, name=str(base))


class _Merger:
    """Splits one tensor after another and writes shared weights and residuals into the model."""

    def __init__(
        self,
        model: PreTrainedModel,
        experts: Mapping[str, Expert],
        config: TwinMergingConfig,
        shared: Expert | None,
    ) -> None:
        full = [name for name, expert in experts.items() if expert.kind != "lora"]
        if config.lora_mode == "factor" and (full or shared is not None):
            what = f"expert {full[0]!r} is a full checkpoint" if full else "a shared model was given"
            raise ModelError(f'lora_mode="factor" adds up the factors of LoRA experts, but {what}')
        self._model = model
        self._modules = dict(model.named_modules())
        self._experts = experts
        self._config = config
        self._shared = shared
        self._generator = torch.Generator().manual_seed(config.seed)
        self._matrices: dict[str, int] = {}
        self._biases: list[str] = []
        self._vectors: dict[str, list[str]] = {}
        self._shared_only: list[str] = []
        self._energy = torch.zeros(2, len(experts), dtype=torch.float64)
        self._held = {name: set(expert.keys()) for name, expert in experts.items()}
        # Weights before biases: a bias residual is written into a layer that is a twin already.
        self.keys = sorted(
            {key for held in self._held.values() for key in held}, key=lambda k: (k.endswith(".bias"), k)
        )
        head = model.get_output_embeddings()
        self._embeddings = {
            name for name, module in self._modules.items() if isinstance(module, nn.Embedding) or module is head
        }

    @torch.no_grad()
    def merge(self, key: str) -> None:
        """Splits tensor `key` of all experts."""
        name, _, parameter = key.rpartition(".")
        module = self._modules.get(name)
        target = getattr(module, parameter, None)
        if module is None or not isinstance(target, Tensor):
            raise ModelError(f"the model has no tensor {key!r}, which the experts change")
        updates = self._lora_updates(key)
        deltas = [self._delta(expert, key) for expert in self._experts] if updates is None else []
        if not any(delta.any() for delta in deltas or [update.b for update in updates or ()]):
            return
        shared_only = name in self._embeddings and not self._config.embeddings
        if updates is not None and self._config.lora_mode == "factor" and not shared_only:
            # Shared factors are kept apart, the weight stays the base's.
            self._store_factors(name, module, updates)
            return
        added = self._added(key, deltas, updates)
        if shared_only:
            self._shared_only.append(key)
        elif target.dim() == 1:
            self._store_vectors(name, module, parameter, [delta - added for delta in deltas])
        elif target.dim() == 2 and parameter == "weight":
            self._store_matrix(name, module, key, deltas, added, updates)
        else:
            raise ModelError(
                f"tensor {key!r} of shape {list(target.shape)} is no layer's matrix, so its residual cannot be mixed",
                fix="leave it out with an exclude pattern",
            )
        target.add_(added.to(target))

    def _added(self, key: str, deltas: list[Tensor], updates: list[LoraFactors] | None) -> Tensor:
        """What the shared model adds to the base's tensor."""
        if self._shared is not None:
            return self._shared.delta(key)
        if updates is not None:
            return lora_shared_delta(updates, self._config.gamma)
        return shared_delta(deltas, self._config.gamma)

    def _delta(self, expert: str, key: str) -> Tensor:
        if key in self._held[expert]:
            return self._experts[expert].delta(key)
        return torch.zeros_like(self._model.get_parameter(key), device="cpu")

    def _lora_updates(self, key: str) -> list[LoraFactors] | None:
        """The experts' factors, if all change `key` by low-rank updates and the shared model is their sum."""
        if self._shared is not None or any(key not in held for held in self._held.values()):
            return None
        factors = [expert.low_rank(key) for expert in self._experts.values()]
        if any(pair is None for pair in factors):
            return None
        return [LoraFactors(b=pair.B, a=pair.A) for pair in factors if pair is not None]

    def _store_matrix(
        self,
        name: str,
        module: nn.Module,
        key: str,
        deltas: Sequence[Tensor],
        added: Tensor,
        updates: list[LoraFactors] | None,
    ) -> None:
        if isinstance(module, Conv1D):
            # Its weight is stored the other way round; residuals are not.
            deltas, added = [delta.mT for delta in deltas], added.mT
            updates = updates and [LoraFactors(b=update.a.mT, a=update.b.mT) for update in updates]
        rank = self._rank(key, *added.shape, lora=updates is not None)
        if updates is not None:
            rank = min(rank, sum(update.a.shape[0] for update in updates))
            residuals = lora_residuals(updates, self._config.gamma, rank)
        else:
            residuals = exclusive_residuals(deltas, added, rank, generator=self._generator)
        adapt_matrix(module, name, len(residuals), rank, bias=False, factors=False)
        assert isinstance(module, TwinLinear | TwinEmbedding)
        store_residuals(module, residuals)
        self._matrices[name] = rank
        self._count_energy(residuals)

    def _rank(self, key: str, rows: int, columns: int, *, lora: bool) -> int:
        wanted = self._config.rank
        try:
            rank = resolve_rank(wanted, rows, columns, lora=lora, clip=self._config.clip_rank)
        except ConfigError as error:
            raise ConfigError("rank", wanted, f"at most {min(rows, columns)} for this tensor", where=key) from error
        if isinstance(wanted, int) and rank < wanted:
            warnings.warn(f"rank {wanted} is clipped to {rank} for tensor {key!r}", stacklevel=2)
        return rank

    def _store_factors(self, name: str, module: nn.Module, updates: list[LoraFactors]) -> None:
        lora_rank = updates[0].a.shape[0]
        rank = self._rank(f"{name}.weight", *updates[0].b.shape, lora=True)
        split = lora_factor_split(updates, self._config.gamma, rank)
        adapt_matrix(module, name, len(updates), lora_rank, bias=False, factors=True)
        assert isinstance(module, TwinFactorLinear)
        store_factors(module, split)
        self._matrices[name] = lora_rank

    def _store_vectors(self, name: str, module: nn.Module, parameter: str, residuals: list[Tensor]) -> None:
        stacked = torch.stack(residuals).to(getattr(module, parameter))
        if isinstance(module, nn.Linear | Conv1D):
            if not isinstance(module, TwinLinear):
                # The weight is no expert's to change, only the bias.
                adapt_matrix(module, name, len(residuals), 0, bias=False, factors=False)
                self._matrices[name] = 0
            module.residual_bias = nn.Parameter(stacked)
            self._biases.append(name)
        else:
            self._vectors.setdefault(name, []).append(parameter)
            adapt_vectors(module, len(residuals), [*getattr(module, "residual_names", ()), parameter])
            module.get_parameter(f"residual_{parameter}").copy_(stacked)

    def _count_energy(self, residuals: Sequence[Truncated]) -> None:
        kept = torch.tensor([float(residual.s.square().sum()) for residual in residuals], dtype=torch.float64)
        total = torch.tensor([residual.energy for residual in residuals], dtype=torch.float64)
        self._energy += torch.stack([kept, total])

    def twin_config(self) -> TwinMergedConfig:
        """Describes the twin model that the base model has become."""
        kept, total = self._energy
        ratios = torch.where(total > 0, kept / total.clamp_min(1e-300), torch.ones(())).clamp_max(1.0)
        ranks = sorted(self._matrices.values())
        config = self._config
        return TwinMergedConfig(
            base_config=self._model.config,
            experts=list(self._experts),
            matrices=self._matrices,
            biases=self._biases,
            vectors=self._vectors,
            lora_mode=config.lora_mode,
            routing=config.routing,
            unknown_threshold=config.unknown_threshold,
            allow_any_weights=config.allow_any_weights,
            statistics={
                "gamma": config.gamma,
                "matrices": len(self._matrices),
                "rank": {"lowest": ranks[0], "highest": ranks[-1]} if ranks else None,
                "energy_kept": dict(zip(self._experts, ratios.tolist(), strict=True)),
                "shared_only": self._shared_only,
                "excluded": list(config.exclude),
            },
        )


# Helpers


def _finished(twin: Model, config: TwinMergingConfig) -> Model:
    twin.config.statistics["residual_bytes"] = twin.residual_bytes()
    twin.config.statistics["shared_bytes"] = (
        sum(tensor.nbytes for tensor in twin.base.parameters()) - twin.residual_bytes()
    )
    twin.reuse_lower_layers_if_exact()
    twin.set_router_input(pool=config.router.pool, layer=config.router.layer)
    return twin.eval()


def _check_inputs(
    experts: Mapping[str, Ref], texts: Mapping[str, Sequence[str]], output: Ref | None, overwrite: bool
) -> None:
    if not experts:
        raise InputError("there are no experts to merge", fix="give at least one")
    _check_classes(list(experts), texts)
    if output is not None and not overwrite and Path(output).exists() and any(Path(output).iterdir()):
        raise RunExistsError(output, what="a model")


def _check_classes(experts: Sequence[str], texts: Mapping[str, Sequence[Any] | Tensor]) -> None:
    for name in texts:
        if name not in experts:
            raise UnknownNameError("expert", name, experts, where="router texts")
    for name in experts:
        if name not in texts or len(texts[name]) == 0:
            raise DataError(f"there are no router texts for expert {name!r}", fix="give a few dozen texts per expert")


def _save(model: TwinModel, tokenizer: Any, output: Ref | None, overwrite: bool) -> None:
    if output is not None:
        with atomic_folder(output, overwrite=overwrite) as temporary:
            model.save_pretrained(temporary)
            tokenizer.save_pretrained(temporary)


def _shown(items: Sequence[Item], description: str | None) -> Iterable[Item]:
    return items if description is None else track(items, description=description)


def _token_batches(order: Sequence[int], ids: Sequence[Sequence[int]]) -> Iterable[list[int]]:
    """Cuts `order`, sorted by length, into batches of at most `_TOKENS_PER_BATCH` tokens with padding."""
    batch: list[int] = []
    for row in order:
        if batch and (len(batch) + 1) * len(ids[row]) > _TOKENS_PER_BATCH:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
