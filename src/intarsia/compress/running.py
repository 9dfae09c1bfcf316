"""The whole job of compressing a model: fit, train, measure, say what it is worth, save; goes on where it stopped."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jaxtyping import Int
from safetensors.torch import load_file, save_file
from torch import Tensor

from intarsia.compress.comparing import ComparisonRow, best_buy, original_row, row_of
from intarsia.compress.compressing import (
    compress_model,
    counts_for,
    embedding_of,
    report_on,
    save_compressed,
    wrap_embedding,
)
from intarsia.compress.evaluating import text_quality
from intarsia.compress.progress import Progress, Stage, silent
from intarsia.compress.ratio import check_ratio
from intarsia.compress.registry import embedding_settings, empty_embedding, find_method
from intarsia.compress.see.methods import SEESettings, lexicon_of, settings_record
from intarsia.compress.stages_config import StagesConfig
from intarsia.compress.texts import probe_rows
from intarsia.compress.training import CurvePoint, check_stages, prepare_states, stages_for, train_stages
from intarsia.errors import DataError, RunExistsError
from intarsia.files import atomic_file, read_json, write_json
from intarsia.models import CausalLM, load_causal_lm
from intarsia.models.lower_states import weights_digest

RECORD, RESULT = "run.json", "compression.json"
"""Files in the folder of a compressed model: where it comes from, and what was measured."""

ANCHOR = "int4"
"""The method every other is measured against: no training, and hard to beat."""


@dataclass(frozen=True)
class CompressionResult:
    """What came of compressing a model.

    Attributes:
        output: The compressed model's folder.
        rows: The original, `int4` and the compressed model, if there was text to measure perplexity on.
        statistics: Sizes, ratios and errors of the compressed embedding.
        curve: The learning curve, if it was trained.
        verdict: What it is worth.
    """

    output: Path
    rows: list[ComparisonRow]
    statistics: Mapping[str, Any]
    curve: list[CurvePoint]
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return {
            "output": str(self.output),
            "verdict": self.verdict,
            "statistics": dict(self.statistics),
            "rows": [asdict(row) for row in self.rows],
            "curve": [asdict(point) for point in self.curve],
        }


def run_compression(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    method: str,
    ratio: float | None = None,
    *,
    settings: SEESettings | None = None,
    texts: Sequence[str] = (),
    held_out: Sequence[str] = (),
    stages: StagesConfig | None = None,
    held_out_rows: int = 16,
    seed: int = 0,
    record: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    stage: Stage | None = None,
) -> CompressionResult:
    """Compresses a model, trains it if there is text, measures and saves it.

    Interrupted and called again with the same arguments, it goes on: from the fit, from the last checkpoint.

    Args:
        model: Hub id, local folder, GGUF file or `asset:NAME`.
        output: Folder of the compressed model; written whole or not at all.
        method: A key of `METHODS`.
        ratio: How many times fewer parameters; by default 10, or what the method gives.
        settings: Of methods that sum tensor products.
        texts: Text to train on.
        held_out: Text to measure on.
        stages: How to train; None leaves the embedding as it was fitted.
        held_out_rows: Rows of held-out text that are measured.
        seed: Of everything drawn.
        record: What to write beside the model about where it comes from.
        overwrite: Whether a folder that stands there is replaced.
        stage: Opens a stage of progress.

    Raises:
        RunExistsError: If something stands at the output and is not to be replaced.
        DataError: If there is text to train on missing.
    """
    output = Path(output)
    if output.exists() and not overwrite and (not output.is_dir() or any(output.iterdir())):
        raise RunExistsError(output, what="a model or other files")
    chosen = find_method(method)
    wanted = chosen.ratio(ratio)
    if wanted is not None:
        check_ratio(wanted)
    if stages is not None and stages.steps and not texts:
        raise DataError("there is no text to train on", fix="give some (--data), or train for 0 steps")
    if chosen.senses:
        lexicon_of(settings)
    stage = stage or silent
    with stage(f"load {os.fspath(model)}", None):
        loaded = load_causal_lm(model)
    check_stages(loaded.model, stages_for(chosen, stages))
    # The current folder has no name of its own.
    target = output.absolute()
    work = target.with_name(f".{target.name}.compressing")
    length = (stages or StagesConfig()).length
    probe = probe_rows(loaded, held_out, length, limit=held_out_rows) if held_out else None
    steps = (settings or SEESettings()).steps if chosen.fitted else None
    counts = counts_for(loaded, settings, texts)
    with stage(f"compress by {method}", steps) as advance:
        compressed = _compressed(loaded, method, wanted, settings, seed, counts, work, advance)
    fitted = None if probe is None else text_quality(compressed.model, probe)
    curve: list[CurvePoint] = []
    stages = stages_for(chosen, stages)
    if stages is not None:
        with stage("states of the original", stages.rows) as advance:
            prepare_states(loaded, texts, stages, work, advance)
        with stage(f"train {stages.steps} steps", stages.steps) as advance:
            curve = train_stages(
                compressed.model, loaded, texts, stages, held_out=held_out, work=work, progress=advance
            )
        matrix = embedding_of(loaded.model).weight.detach().float()
        compressed.model.config.statistics = report_on(compressed.model, matrix).to_dict()
    rows = []
    if probe is not None and fitted is not None:
        with stage(f"measure on {probe.numel()} tokens", None):
            rows = _rows(loaded, compressed, method, wanted, probe, fitted.perplexity, bool(curve))
    statistics = compressed.model.config.statistics
    result = CompressionResult(output, rows, statistics, curve, _verdict(method, rows, statistics))
    files = {
        RECORD: dict(record or {}),
        RESULT: {name: value for name, value in result.to_dict().items() if name != "output"},
    }
    with stage(f"write {output}", None):
        save_compressed(compressed, target, files=files, source=model, overwrite=overwrite)
    shutil.rmtree(work, ignore_errors=True)
    return result


def held_out_part(texts: Sequence[str], share: float = 0.05) -> tuple[list[str], list[str]]:
    """Splits text into what to train on and, from its end, what to measure on.

    Raises:
        DataError: If there are fewer than two texts.
    """
    if len(texts) < 2:
        raise DataError("one text cannot be split", fix="give --held-out, or text of several lines")
    count = max(1, round(share * len(texts)))
    return list(texts[:-count]), list(texts[-count:])


def _compressed(
    loaded: CausalLM,
    method: str,
    ratio: float | None,
    settings: SEESettings | None,
    seed: int,
    counts: Int[Tensor, "vocab"] | None,
    work: Path,
    progress: Progress,
) -> CausalLM:
    """Compresses a model, or takes the embedding an interrupted call has made already."""
    if not find_method(method).fitted:
        return compress_model(loaded, method, ratio, seed=seed)
    described = settings_record(settings, loaded.tokenizer, senses=find_method(method).senses)
    key = hashlib.sha256(json.dumps([method, ratio, described, seed]).encode())
    key.update(weights_digest(loaded.model.get_input_embeddings()).encode())
    key.update(b"" if counts is None else counts.numpy().tobytes())
    kept = work / f"embedding-{key.hexdigest()[:16]}.safetensors"
    kind = kept.with_suffix(".json")
    if kept.is_file() and kind.is_file():
        embedding = empty_embedding(read_json(kind))
        embedding.load_state_dict(load_file(kept))
        return wrap_embedding(loaded, method, embedding)
    made = compress_model(loaded, method, ratio, settings=settings, seed=seed, progress=progress, counts=counts)
    embedding = made.model.compressed
    with atomic_file(kept) as temporary:
        save_file({name: tensor.contiguous() for name, tensor in embedding.state_dict().items()}, temporary)
    write_json(kind, embedding_settings(embedding))
    return made


def _rows(
    loaded: CausalLM,
    compressed: CausalLM,
    method: str,
    ratio: float | None,
    probe: Int[Tensor, "rows length"],
    fitted: float,
    trained: bool,
) -> list[ComparisonRow]:
    matrix = embedding_of(loaded.model).weight.detach().float()
    rows = [original_row(loaded, probe)]
    if method != ANCHOR:
        anchor = compress_model(loaded, ANCHOR)
        rows.append(row_of(anchor.model, matrix, None, probe))
    rows.append(row_of(compressed.model, matrix, ratio, probe, fitted=fitted, trained=trained))
    return rows


def _verdict(method: str, rows: Sequence[ComparisonRow], statistics: Mapping[str, Any]) -> str:
    if rows:
        return best_buy(rows)
    saved = (
        f"The embedding is {statistics['byte_ratio']:.1f} times smaller, the whole model "
        f"{statistics['model_byte_ratio']:.2f} times; the matrix's centred error is {statistics['centred_error']:.2f}."
    )
    if method == ANCHOR:
        return saved
    if statistics["centred_error"] >= 1:
        saved += " That is no better than the same row for every token: give the fit more steps, or a lower ratio."
    return (
        f"{saved} What the model still says was not measured, nor whether {ANCHOR} is the better buy: give --held-out."
    )
