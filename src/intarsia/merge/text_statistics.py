"""What Fisher, RegMean and AdaMerging must know of causal-LM experts, from prompts of each expert's kind."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from torch import Tensor, nn

from intarsia.errors import DataError, UnknownNameError
from intarsia.merge.checkpoints import Checkpoint, Expert, Weights, open_experts
from intarsia.merge.methods.adamerging import AdaMergingParams, adamerging_coefficients, predict_with
from intarsia.merge.methods.fisher import fisher_diagonal
from intarsia.merge.methods.regmean import gram_matrices
from intarsia.merge.safetensors_io import SafetensorsFile

_ROWS_PER_BATCH = 8
_MAX_TOKENS = 256


def text_statistics(
    method: str,
    base: str | Path,
    experts: Mapping[str, str | Path],
    texts: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    exclude: Sequence[str] = (),
    seed: int = 0,
    adamerging: AdaMergingParams | None = None,
    progress: bool = False,
) -> dict[str, SafetensorsFile]:
    """Computes the data statistics of a merge method, one file per expert in `folder`.

    Each text becomes a user turn in the model's chat template, and what counts is the model's prediction of the token
    after it. Fisher's is the true information: the label is drawn from that prediction.

    Args:
        method: "fisher", "regmean" or "adamerging".
        base: The base model.
        experts: Folders by name; one is in memory at a time.
        texts: Prompts of each expert's kind, by its name; no labels needed. A few dozen do.
        folder: Where the files go.
        exclude: Patterns of tensors that are not merged.
        seed: Of the drawn labels.
        adamerging: How AdaMerging's coefficients are learned.
        progress: Whether to show a progress bar on stderr.

    Raises:
        InputError: If an expert has no texts, or texts belong to no expert.
    """
    check_texts(experts, texts)
    weights = Checkpoint(base)
    opened = open_experts(weights, experts, exclude=exclude)
    steps = (adamerging or AdaMergingParams()).steps if method == "adamerging" else len(opened)
    files = {}
    with Progress(console=Console(stderr=True), disable=not progress, transient=True) as bars:
        task = bars.add_task(f"statistics for {method}", total=steps)

        def advance(*_: float) -> None:
            bars.update(task, advance=1)

        coefficients = {}
        if method == "adamerging":
            coefficients = _coefficients(base, weights, opened, texts, adamerging, advance)
        for i, (name, expert) in enumerate(opened.items()):
            if method == "adamerging":
                found = coefficients[name]
            else:
                found = _expert_statistics(method, experts[name], frozenset(expert.keys()), texts[name], seed)
                advance()
            save_file(found, folder / f"{i}.safetensors")
            files[name] = SafetensorsFile(folder / f"{i}.safetensors")
    return files


def _coefficients(
    base: str | Path,
    weights: Weights,
    experts: Mapping[str, Expert],
    texts: Mapping[str, Sequence[str]],
    params: AdaMergingParams | None,
    on_step: Callable[[float], None],
) -> dict[str, dict[str, Tensor]]:
    model, tokenizer = _load(base)
    vectors = {}
    for name, expert in experts.items():
        keys = expert.keys()
        vectors[name] = {key: expert.delta(key) for key in keys}
    changed = sorted({key for vector in vectors.values() for key in vector})
    return adamerging_coefficients(
        predict_with(model.requires_grad_(False)),
        {key: weights.read(key).float() for key in changed},
        vectors,
        {name: prompt_batches(tokenizer, texts[name]) for name in experts},
        params,
        on_step=on_step,
    )


def _expert_statistics(
    method: str, ref: str | Path, keys: frozenset[str], texts: Sequence[str], seed: int
) -> dict[str, Tensor]:
    model, tokenizer = _load(ref)
    batches = prompt_batches(tokenizer, texts)
    if method == "regmean":
        return {key: gram for key, gram in gram_matrices(model, batches).items() if key in keys}
    for key, parameter in model.named_parameters():
        parameter.requires_grad_(key in keys)
    loss = partial(_drawn_loss, generator=torch.Generator().manual_seed(seed))
    return fisher_diagonal(model, batches, negative_log_likelihood=loss)


def check_texts(experts: Mapping[str, Any], texts: Mapping[str, Sequence[str]]) -> None:
    """Checks that every expert has texts, and no text belongs to an unknown one.

    Raises:
        UnknownNameError: If texts are given for no expert.
        DataError: If an expert has none.
    """
    for name in texts:
        if name not in experts:
            raise UnknownNameError("expert", name, experts, where="data")
    for name in experts:
        if not texts.get(name):
            raise DataError(f"there are no texts for expert {name!r}", fix="give prompts of its kind as data")


def prompt_batches(tokenizer: Any, texts: Sequence[str]) -> list[dict[str, Tensor]]:
    """Tokenizes texts as user turns, padded on the left."""
    from intarsia.models import render_prompt

    prompts = [render_prompt(tokenizer, [{"role": "user", "content": text}]) for text in texts]
    batches = []
    for start in range(0, len(prompts), _ROWS_PER_BATCH):
        batch = tokenizer(
            prompts[start : start + _ROWS_PER_BATCH],
            return_tensors="pt",
            padding=True,
            truncation=True,
            max_length=_MAX_TOKENS,
            # A chat template writes the special tokens itself.
            add_special_tokens=tokenizer.chat_template is None,
        )
        batches.append({"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]})
    return batches


def _load(ref: str | Path) -> tuple[nn.Module, Any]:
    from intarsia.models import load_causal_lm

    model, tokenizer = load_causal_lm(ref)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    return model.eval(), tokenizer


def _drawn_loss(model: nn.Module, row: Mapping[str, Tensor], *, generator: torch.Generator) -> Float[Tensor, ""]:
    log_p = model(**row, logits_to_keep=1).logits[:, -1].log_softmax(dim=-1)
    label = torch.multinomial(log_p.detach().exp(), 1, generator=generator)
    return -log_p.gather(1, label).sum()
