"""Methods and ratios side by side on one model: what each takes, and what it leaves of the model."""

import shutil
import time
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from intarsia.compress.compressing import compress_model, counts_for, embedding_of, report_on
from intarsia.compress.evaluating import DENSE_BYTES, text_quality
from intarsia.compress.modeling import CompressedForCausalLM
from intarsia.compress.progress import Stage, silent
from intarsia.compress.ratio import UnreachableRatioError, check_ratio
from intarsia.compress.registry import find_method
from intarsia.compress.see.methods import SEESettings, settings_record
from intarsia.compress.stages_config import StagesConfig
from intarsia.compress.training import check_stages, prepare_states, stages_for, train_stages
from intarsia.engine import stable_key
from intarsia.errors import InputError
from intarsia.files import read_json, work_folder, write_json
from intarsia.models import CausalLM
from intarsia.models.lower_states import weights_digest

# A perplexity up to so many times the original's is called usable.
USABLE = 1.25

ORIGINAL = "original"


@dataclass(frozen=True)
class ComparisonRow:
    """One method at one ratio.

    Attributes:
        method: The method; `original` for the model as it was.
        ratio: The ratio asked for; None where there is no choice.
        parameter_ratio: How many times fewer parameters (with few bits: 1).
        bytes: Of the embedding on disk.
        byte_ratio: How many times fewer, against float32.
        model_byte_ratio: How many times fewer bytes the whole model has.
        centred_error: Of the matrix; in a comparison, before training.
        cosine: Mean cosine of rows, likewise.
        neighbour_overlap: Of the ten nearest tokens, likewise.
        fitted_perplexity: After the fit alone.
        perplexity: After the stages of training too, if there were any; else the same.
        trained: Whether there were.
        seconds: Wall time, in a comparison.
    """

    method: str
    ratio: float | None
    parameter_ratio: float
    bytes: int
    byte_ratio: float
    model_byte_ratio: float
    centred_error: float
    cosine: float
    neighbour_overlap: float
    fitted_perplexity: float
    perplexity: float
    trained: bool
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """A comparison and what follows from it.

    Attributes:
        rows: The original first, then by bytes, the largest first.
        tokens: Tokens that perplexities are measured on.
    """

    rows: list[ComparisonRow]
    tokens: int

    @property
    def verdict(self) -> str:
        """Which is the best buy, in a sentence or two that follow from the rows."""
        return best_buy(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """Returns rows and verdict as JSON values."""
        return {"rows": [asdict(row) for row in self.rows], "tokens": self.tokens, "verdict": self.verdict}


def compare(
    loaded: CausalLM,
    methods: Sequence[str],
    ratios: Sequence[float],
    held_out: Int[Tensor, "rows length"],
    *,
    texts: Sequence[str] = (),
    stages: StagesConfig | None = None,
    settings: SEESettings | None = None,
    seed: int = 0,
    work: str | Path | None = None,
    fresh: bool = False,
    stage: Stage | None = None,
) -> Comparison:
    """Compresses a model by every method at every ratio and measures what is left of it.

    Args:
        loaded: The original, unchanged, and its tokenizer.
        methods: Names of methods; those of a fixed ratio are measured once.
        ratios: Ratios of parameters.
        held_out: Tokens to measure perplexity on.
        texts: Text to train on.
        stages: How every method that can learn is trained after the fit; None leaves it at the fit.
        settings: Of methods that sum tensor products.
        seed: Of everything drawn.
        work: Folder in which finished rows are kept, so that an interrupted comparison goes on.
        fresh: Whether rows that are kept there are measured again.
        stage: Opens a stage of progress with a title and a number of steps; see `intarsia.pipeline.progress`.

    Raises:
        InputError: If there is no method or ratio, texts are missing for the stages, or no ratio can be reached.
        UnknownNameError: If there is no such method.
        DataError: If settings weight tokens by how often they occur, but there is no text.
    """
    jobs = _jobs(methods, ratios)
    if stages is not None and stages.steps and not texts:
        raise InputError("there is no text to train on", fix="give some (--data), or train for 0 steps")
    embedding_of(loaded.model)
    counts = counts_for(loaded, settings, texts)
    stage = stage or silent
    described: list[Any] = [seed, asdict(stages) if stages else None, weights_digest(loaded.model)]
    described += [held_out.tolist(), list(texts)]
    for method, _ in jobs:
        check_stages(loaded.model, stages_for(find_method(method), stages))
    kinds = {find_method(method).senses for method, _ in jobs}
    records = {senses: settings_record(settings, loaded.tokenizer, senses=senses) for senses in kinds}
    with stage("measure the original", None):
        rows = [original_row(loaded, held_out)]
    with work_folder(work) as folder:
        for method, ratio in jobs:
            name = method if ratio is None else f"{method}-{ratio:g}"
            key = stable_key([method, ratio, records[find_method(method).senses], *described])
            kept = folder / f"{name}-{key[:8]}.json"
            if fresh or not kept.is_file():
                own, training = stages_for(find_method(method), stages), folder / "training"
                if own is not None:
                    with stage("states of the original", own.rows) as advance:
                        prepare_states(loaded, texts, own, training, advance)
                try:
                    row = _measure(loaded, method, ratio, held_out, texts, own, settings, seed, counts, training, stage)
                except UnreachableRatioError as error:
                    # No reason to lose the other methods and ratios.
                    warnings.warn(f"{method} is left out: {error.what}", stacklevel=2)
                    continue
                write_json(kept, asdict(row))
            rows.append(ComparisonRow(**read_json(kept)))
        shutil.rmtree(folder / "training", ignore_errors=True)
    if len(rows) == 1:
        raise InputError("no method reaches any of the ratios", fix="give smaller ratios")
    count = held_out.shape[0] * (held_out.shape[1] - 1)
    return Comparison([rows[0], *sorted(rows[1:], key=lambda row: -row.bytes)], count)


def best_buy(rows: Sequence[ComparisonRow]) -> str:
    """Says which of some measured rows to take: the smallest that is usable, and what is left at smaller sizes.

    Args:
        rows: The original and at least one other.
    """
    original = next(row for row in rows if row.method == ORIGINAL)
    others = [row for row in rows if row.method != ORIGINAL and row.bytes < original.bytes]
    if not others:
        return f"Nothing here is smaller than the original's {_size(original)}: ask for higher ratios."
    usable = [row for row in others if row.perplexity <= USABLE * original.perplexity]
    said = []
    if usable:
        best = min(usable, key=lambda row: (row.bytes, row.perplexity))
        said.append(
            f"{_name(best)} is the best buy: {_size(best)} for the embedding, {best.byte_ratio:.1f} times less, at "
            f"perplexity {best.perplexity:.1f} against the original's {original.perplexity:.1f}; "
            f"the whole model becomes {best.model_byte_ratio:.2f} times smaller."
        )
        smaller = [row for row in others if row.bytes < best.bytes]
    else:
        nearest = min(others, key=lambda row: row.perplexity)
        said.append(
            f"Nothing here keeps perplexity within {USABLE - 1:.0%} of the original's {original.perplexity:.1f}; "
            f"{_name(nearest)} comes nearest, {_size(nearest)} at {nearest.perplexity:,.1f}."
        )
        smaller = [row for row in others if row.bytes < nearest.bytes]
    if smaller:
        least = min(smaller, key=lambda row: row.perplexity)
        said.append(f"Of what is smaller, {_name(least)} loses least: {_size(least)} at {least.perplexity:,.1f}.")
    return " ".join(said)


def _name(row: ComparisonRow) -> str:
    name = row.method if row.ratio is None else f"{row.method} at {row.ratio:g}x"
    return f"{name}, trained," if row.trained else name


def _size(row: ComparisonRow) -> str:
    return f"{row.bytes / 1e6:.3g} MB"


def _jobs(methods: Sequence[str], ratios: Sequence[float]) -> list[tuple[str, float | None]]:
    if not methods:
        raise InputError("there is no method to compare", fix="name at least one")
    for ratio in ratios:
        check_ratio(ratio)
    jobs: list[tuple[str, float | None]] = []
    for name in dict.fromkeys(methods):
        if find_method(name).fixed_ratio is not None:
            jobs.append((name, None))
        elif not ratios:
            raise InputError(f"there is no ratio for {name}", fix="give at least one")
        else:
            jobs += [(name, float(ratio)) for ratio in dict.fromkeys(ratios)]
    return jobs


def _measure(
    loaded: CausalLM,
    method: str,
    ratio: float | None,
    held_out: Tensor,
    texts: Sequence[str],
    stages: StagesConfig | None,
    settings: SEESettings | None,
    seed: int,
    counts: Int[Tensor, "vocab"] | None,
    training: Path,
    stage: Stage,
) -> ComparisonRow:
    start = time.perf_counter()
    chosen = find_method(method)
    title = method if ratio is None else f"{method} at {ratio:g}x"
    steps = (settings or SEESettings()).steps if chosen.fitted else None
    with stage(f"compress by {title}", steps) as advance:
        compressed = compress_model(
            loaded, method, ratio, settings=settings, seed=seed, progress=advance, counts=counts
        )
    matrix = embedding_of(loaded.model).weight.detach().float()
    with stage(f"measure {title}", None):
        row = row_of(compressed.model, matrix, ratio, held_out)
    if stages is not None:
        with stage(f"train {title}", stages.steps) as advance:
            train_stages(compressed.model, loaded, texts, stages, work=training, progress=advance)
        with stage(f"measure {title}, trained", None):
            row = replace(row, perplexity=text_quality(compressed.model, held_out).perplexity, trained=True)
    return replace(row, seconds=time.perf_counter() - start)


def row_of(
    model: CompressedForCausalLM,
    matrix: Float[Tensor, "vocab dim"],
    ratio: float | None,
    held_out: Int[Tensor, "rows length"],
    *,
    fitted: float | None = None,
    trained: bool = False,
) -> ComparisonRow:
    """Measures a compressed model.

    Args:
        model: The compressed model.
        matrix: The original's matrix.
        ratio: The ratio that was asked for.
        held_out: Tokens to measure perplexity on.
        fitted: Perplexity before training, if it was trained.
        trained: Whether it was.
    """
    report = report_on(model, matrix)
    perplexity = text_quality(model, held_out).perplexity
    return ComparisonRow(
        method=model.config.method,
        ratio=ratio,
        parameter_ratio=report.size.parameter_ratio,
        bytes=report.size.bytes,
        byte_ratio=report.size.byte_ratio,
        model_byte_ratio=report.size.model_byte_ratio,
        centred_error=report.quality.centred_error,
        cosine=report.quality.cosine,
        neighbour_overlap=report.quality.neighbour_overlap,
        fitted_perplexity=perplexity if fitted is None else fitted,
        perplexity=perplexity,
        trained=trained,
        seconds=0.0,
    )


def original_row(loaded: CausalLM, held_out: Int[Tensor, "rows length"]) -> ComparisonRow:
    """Measures the original model."""
    quality = text_quality(loaded.model, held_out)
    matrix = embedding_of(loaded.model).weight
    return ComparisonRow(
        method=ORIGINAL,
        ratio=None,
        parameter_ratio=1.0,
        bytes=DENSE_BYTES * matrix.numel(),
        byte_ratio=1.0,
        model_byte_ratio=1.0,
        centred_error=0.0,
        cosine=1.0,
        neighbour_overlap=1.0,
        fitted_perplexity=quality.perplexity,
        perplexity=quality.perplexity,
        trained=False,
        seconds=0.0,
    )
