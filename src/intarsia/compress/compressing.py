"""Compressing the embedding of a causal language model, and saving what came of it."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

from intarsia.compress.compressed_config import CompressedConfig
from intarsia.compress.compressed_embedding import CompressedEmbedding
from intarsia.compress.evaluating import MatrixQuality, Size, matrix_quality, size_of
from intarsia.compress.modeling import CompressedForCausalLM
from intarsia.compress.progress import Progress
from intarsia.compress.ratio import check_ratio
from intarsia.compress.registry import Job, find_method
from intarsia.compress.see.methods import SEESettings
from intarsia.compress.see.rebuilt_table import UnitEmbedding
from intarsia.compress.texts import token_counts
from intarsia.compress.units import UnitStatistics
from intarsia.compress.vocabulary import vocabulary_digest
from intarsia.errors import ModelError, RunExistsError
from intarsia.files import atomic_folder, write_json
from intarsia.models import CausalLM, load_causal_lm
from intarsia.models.folders import check_finite_tensor
from intarsia.models.model_card import write_card
from intarsia.models.progress_bars import without_progress_bars
from intarsia.models.sources import resolve

Ref = str | os.PathLike[str]


@dataclass(frozen=True)
class CompressionReport:
    """What compressing an embedding saved and lost.

    Attributes:
        method: The method.
        size: What embedding and model take.
        quality: How near the matrix comes to the original.
        units: What its tokens are made of, where units make them up.
    """

    method: str
    size: Size
    quality: MatrixQuality
    units: UnitStatistics | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values, ratios included."""
        return {
            "method": self.method,
            **self.size.to_dict(),
            **self.quality._asdict(),
            **({} if self.units is None else {"units": self.units.to_dict()}),
        }


def compress(
    model: Ref,
    method: str = "svd",
    ratio: float | None = None,
    *,
    settings: SEESettings | None = None,
    seed: int = 0,
    device: str | torch.device | None = None,
    progress: Progress | None = None,
) -> CausalLM:
    """Loads a model and compresses its embedding; see `compress_model`.

    Args:
        model: Hub id, local folder, GGUF file or `asset:NAME`.
        method: A key of `METHODS`.
        ratio: How many times fewer parameters the embedding is to have; by default 10, or what the method gives.
        settings: Of methods that sum tensor products.
        seed: Of everything drawn.
        device: Where to run; by default the accelerator if there is one.
        progress: Called with the number of steps done since the last call, by methods that are fitted.
    """
    find_method(method).ratio(ratio)
    if ratio is not None:
        check_ratio(ratio)
    loaded = load_causal_lm(model, device=device)
    return compress_model(loaded, method, ratio, settings=settings, seed=seed, progress=progress)


def compress_model(
    loaded: CausalLM,
    method: str = "svd",
    ratio: float | None = None,
    *,
    settings: SEESettings | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    counts: Int[Tensor, "vocab"] | None = None,
) -> CausalLM:
    """Returns a model whose embedding, and head if it is tied to it, is a compressed one.

    The embedding is fitted to the original matrix, nothing more; `train_stages` goes on from there. What was measured
    stands in `model.config.statistics`.

    Args:
        loaded: The original model, unchanged, and its tokenizer. The compressed model shares its layers' weights: they
            are not copied.
        method: A key of `METHODS`.
        ratio: How many times fewer parameters the embedding is to have; by default 10, or what the method gives.
        settings: Of methods that sum tensor products.
        seed: Of everything drawn.
        progress: Called with the number of steps done since the last call, by methods that are fitted.
        counts: How often each token occurs, for `sqrt` weighting; see `texts.token_counts`.

    Raises:
        UnknownNameError: If there is no such method.
        ConfigError: If the ratio is not above 1.
        UnreachableRatioError: If the method cannot reach it.
        ModelError: If the model's embedding cannot be compressed or does not go with the tokenizer, or holds NaN.
        DataError: If counts are asked for but missing.
    """
    chosen = find_method(method)
    wanted = chosen.ratio(ratio)
    if wanted is not None:
        check_ratio(wanted)
    original = embedding_of(loaded.model)
    matrix = original.weight.detach().float()
    check_rows(loaded.tokenizer.get_vocab(), len(matrix))
    check_finite_tensor(matrix, "the embedding matrix", loaded.model.name_or_path or "the model to compress")
    padding = original.padding_idx
    # Models name a padding token but have trained its row, unless it is zero.
    padding = padding if padding is not None and not matrix[padding].any() else None
    embedding = chosen.build(Job(matrix, loaded.tokenizer, wanted, padding, seed, settings, progress, counts))
    return wrap_embedding(loaded, method, embedding)


def counts_for(loaded: CausalLM, settings: SEESettings | None, texts: Sequence[str]) -> Int[Tensor, "vocab"] | None:
    """Returns how often each token occurs in texts, where settings weight tokens by it.

    Raises:
        DataError: If there is no text.
    """
    if settings is None or settings.weighting == "uniform":
        return None
    return token_counts(loaded.tokenizer, texts, embedding_of(loaded.model).num_embeddings)


def wrap_embedding(loaded: CausalLM, method: str, embedding: CompressedEmbedding) -> CausalLM:
    """Returns a model that has a compressed embedding in the place of its own, and what it measures there.

    Args:
        loaded: The original model, unchanged, and its tokenizer.
        method: The method the embedding was made by.
        embedding: The embedding.

    Raises:
        ModelError: If the model's embedding cannot be compressed, or a token has no row.
    """
    original = embedding_of(loaded.model)
    tokens = loaded.tokenizer.get_vocab()
    size = check_rows(tokens, embedding.num_embeddings)
    head = loaded.model.get_output_embeddings()
    config = CompressedConfig(
        base_config=copy.deepcopy(loaded.model.config),
        method=method,
        tied=head is not None and head.weight is original.weight,
        scale=float(getattr(original, "embed_scale", 1.0)),
        vocabulary=size,
        vocabulary_digest=vocabulary_digest(tokens, size),
        dtype=loaded.model.dtype,
    )
    model = CompressedForCausalLM(
        config, base=_sharing_weights(loaded.model), embedding=embedding.to(original.weight.device)
    )
    model.generation_config = copy.deepcopy(loaded.model.generation_config)
    config.statistics = report_on(model, original.weight.detach().float()).to_dict()
    return CausalLM(model.eval(), loaded.tokenizer)


def embedding_of(model: Any) -> nn.Embedding:
    """Returns a model's input embedding.

    Raises:
        ModelError: If the model is an adapter or compressed already, or its embedding is more than a table of rows.
    """
    if isinstance(model, CompressedForCausalLM):
        raise ModelError("the model is compressed already", fix="give the original model")
    if not isinstance(model, PreTrainedModel):
        raise ModelError(
            f"a {type(model).__name__} cannot be compressed",
            fix="if it is an adapter on a model, merge it into the model first (merge_and_unload)",
        )
    embedding = model.get_input_embeddings()
    if not isinstance(embedding, nn.Embedding):
        raise ModelError(f"the model's input embedding is a {type(embedding).__name__}, not a table of rows")
    ids = torch.arange(min(4, embedding.num_embeddings), device=embedding.weight.device)
    with torch.no_grad():
        rows = embedding.weight[ids] * getattr(embedding, "embed_scale", 1.0)
        if not torch.equal(embedding(ids), rows.to(embedding.weight.dtype)):
            raise ModelError(f"the model's input embedding ({type(embedding).__name__}) does more than look rows up")
    return embedding


def check_rows(tokens: Mapping[str, int], rows: int) -> int:
    """Returns the number of a tokenizer's ids, having checked that the matrix has a row for each.

    Matrices may have more rows than there are tokens, to be of a convenient size.

    Raises:
        ModelError: If a token has no row.
    """
    if not tokens:
        raise ModelError("the tokenizer has no tokens")
    token, last = max(tokens.items(), key=lambda item: item[1])
    if last >= rows:
        raise ModelError(
            f"the tokenizer has token {token!r} with id {last}, but the embedding matrix has {rows} rows",
            fix="use the model's own tokenizer, or resize the model's embeddings first",
        )
    return last + 1


def report_on(model: CompressedForCausalLM, matrix: Float[Tensor, "vocab dim"]) -> CompressionReport:
    """Measures a compressed model against the matrix it was made of.

    Args:
        model: The compressed model.
        matrix: The original's.
    """
    embedding: CompressedEmbedding = model.compressed
    size = size_of(embedding, model)
    units = embedding.units.statistics() if isinstance(embedding, UnitEmbedding) else None
    return CompressionReport(model.config.method, size, matrix_quality(matrix, embedding.to_dense()), units)


def save_compressed(
    loaded: CausalLM,
    output: str | os.PathLike[str],
    *,
    files: Mapping[str, Any] | None = None,
    source: Ref | None = None,
    overwrite: bool = False,
) -> Path:
    """Saves a compressed model and its tokenizer as a folder that everything that knows transformers loads.

    Args:
        loaded: What `compress` gave.
        output: Where to; written whole or not at all.
        files: JSON values to write beside the model, by file name.
        source: What the model was made of, for its card.
        overwrite: Whether a folder that stands there is replaced.

    Raises:
        RunExistsError: If something stands there and is not to be replaced.
    """
    output = Path(output)
    if output.exists() and not overwrite and (not output.is_dir() or any(output.iterdir())):
        raise RunExistsError(output, what="a model or other files")
    is_compressed = isinstance(loaded.model, CompressedForCausalLM)
    # One that was compressed before knows what it was made of; its source now is the compressed model.
    if is_compressed and source is not None and not loaded.model.config.original:
        loaded.model.config.original = _origin(source)
    with atomic_folder(output, overwrite=True) as folder, without_progress_bars():
        loaded.model.save_pretrained(folder)
        loaded.tokenizer.save_pretrained(folder)
        for name, value in (files or {}).items():
            write_json(folder / name, value)
        if is_compressed:
            _write_card(folder, loaded.model.config)
    return output


_CARD = """# A model with a compressed embedding

The embedding of {of} compressed by `{method}`: {bytes:.3g} MB, {times:.1f} times less than in float32. The whole model
is {model_times:.2f} times smaller.

Its class comes with Intarsia:

```python
import intarsia
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
"""


def _write_card(folder: Path, config: CompressedConfig) -> None:
    """What someone finds who gets the folder without a word."""
    facts: dict[str, Any] = {"library_name": "transformers", "tags": ["intarsia", "compressed-embedding"]}
    facts |= {name: config.original[name] for name in ("base_model", "license") if name in config.original}
    text = _CARD.format(
        of=f"`{config.original['name']}`" if config.original else "a model",
        method=config.method,
        bytes=config.statistics["bytes"] / 1e6,
        times=config.statistics["byte_ratio"],
        model_times=config.statistics["model_byte_ratio"],
    )
    write_card(folder, facts, text)


def _origin(source: Ref) -> dict[str, str]:
    found = resolve(source)
    origin = {"name": str(source), "base_model": found.ref if found.kind == "hub" else None, "license": found.licence}
    return {name: value for name, value in origin.items() if value}


def _sharing_weights(model: PreTrainedModel) -> PreTrainedModel:
    """Returns a model of new modules on the same memory, so that modules can be put in other ones' place."""
    weights: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
    }
    weights |= {id(buffer): buffer for buffer in model.buffers()}
    return copy.deepcopy(model, weights)
