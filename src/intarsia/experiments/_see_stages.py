"""The two stages of training after the fit: SEE and its rivals, with the same steps on the same text."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from intarsia.compress.compressing import compress_model, embedding_of
from intarsia.compress.evaluating import token_losses
from intarsia.compress.see.methods import SEESettings, half_rank
from intarsia.compress.texts import read_texts, token_rows
from intarsia.compress.training import train_stages
from intarsia.experiments._see_recipe import StagesRecipe
from intarsia.models import CausalLM

HASHED_HYBRID = "hashed hybrid"


def stages_study(
    loaded: CausalLM, method: str, ratio: float | None, recipe: StagesRecipe, lexicon: str, seed: int, work: Path
) -> dict[str, Any]:
    """Compresses a model, trains it, and measures it along the way.

    Args:
        loaded: The original.
        method: Name of the method, or `HASHED_HYBRID`: what `hybrid` does, with vectors picked by a hash.
        ratio: How many times fewer numbers; None for a method that knows only one, which is not trained.
        recipe: How to train.
        lexicon: A lexicon of one's own, or nothing.
        seed: Of everything drawn.
        work: Folder for what an interrupted training goes on from.
    """
    settings = SEESettings(lexicon=lexicon or None, steps=recipe.fit_steps)
    if method == HASHED_HYBRID and ratio is not None:
        vocab, dim = embedding_of(loaded.model).weight.shape
        method, settings = "hashed", replace(settings, lowrank=half_rank(vocab, dim, ratio))
    compressed = compress_model(loaded, method, ratio, settings=settings, seed=seed)
    statistics = compressed.model.config.statistics
    found: dict[str, Any] = {
        "parameter_ratio": statistics["parameter_ratio"],
        "byte_ratio": statistics["byte_ratio"],
        "model_byte_ratio": statistics["model_byte_ratio"],
        "centred": statistics["centred_error"],
    }
    if ratio is None:
        return {**found, "losses": _row_losses(compressed.model, loaded, recipe)}
    curve = train_stages(
        compressed.model,
        loaded,
        read_texts(recipe.texts),
        recipe.stages,
        held_out=read_texts(recipe.held_out),
        held_out_rows=recipe.held_out_rows,
        points=recipe.points,
        work=work,
    )
    return {
        **found,
        "curve": [asdict(point) for point in curve],
        "losses": _row_losses(compressed.model, loaded, recipe),
    }


def original_losses(loaded: CausalLM, recipe: StagesRecipe) -> dict[str, list[float]]:
    """The original's losses on the same rows."""
    return {"losses": _row_losses(loaded.model, loaded, recipe)}


def _row_losses(model: Any, original: CausalLM, recipe: StagesRecipe) -> list[float]:
    """The mean loss of each row: tokens of one row are not independent, so intervals are over rows."""
    held_out = read_texts(recipe.held_out)
    rows = token_rows(original.tokenizer, held_out, recipe.stages.length, limit=recipe.judged_rows)
    means: list[float] = token_losses(model, rows).mean(1).tolist()
    return means
