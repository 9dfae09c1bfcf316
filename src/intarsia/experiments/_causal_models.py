"""E5 of the causal benchmark's reproduction: language models, asked if there are any; returns JSON values."""

import re
from pathlib import Path
from typing import Any

from intarsia.experiments._causal_recipe import ModelsRecipe


def stage_name(ref: str) -> str:
    """Returns the name of a model's stage and folder."""
    return "model-" + re.sub(r"[^A-Za-z0-9.]+", "-", ref).strip("-")


def model_study(ref: str, recipe: ModelsRecipe, seed: int, folder: Path) -> dict[str, Any]:
    """Asks one model.

    Args:
        ref: Name of the model, as `intarsia audit causal run --model` takes it.
        recipe: What it is asked.
        seed: Seed of the questions.
        folder: Folder of the audit, from which a stopped one goes on.

    Returns:
        The result of the audit under the adjustment criterion, and under `"released"` the table by the published rule.
    """
    from intarsia.audit.causal.auditing import read_audit, run_audit
    from intarsia.audit.causal.config import BenchmarkConfig
    from intarsia.audit.causal.layout import AuditConfig

    benchmark = BenchmarkConfig(
        levels=recipe.levels,
        graphs=recipe.graphs,
        names=recipe.names,
        prompts=recipe.prompts,
        minimal_sets=False,
        seed=seed,
    )
    config = AuditConfig(ref, concurrency=recipe.concurrency, engine=recipe.engine)
    done = run_audit(folder, config, benchmark=benchmark, progress=True)
    return {**done.result.to_json(), "released": list(read_audit(folder, criterion="released").table)}
