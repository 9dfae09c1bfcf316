"""What watching a training run with MIUB costs: one quickstart expert, trained with and without the callback.

    python benchmarks/miub_callback.py --repeats 3

Runs alternate, so that a busy machine slows both sides alike. Prints the ratio of the medians of the training times
(the states of the frozen layers are computed beforehand), and exits 1 if it is above 1.05.
"""

import argparse
import statistics
import sys
import tempfile
import time
from importlib.resources import files
from pathlib import Path

from intarsia.data import TextToTextRow
from intarsia.finetune import MIUBConfig, train_expert
from intarsia.models import CausalLM, load_causal_lm
from intarsia.models.prompts import set_instruction
from intarsia.pipeline import Recipe
from intarsia.pipeline.tasks import load_task

TARGET = 1.05


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--task", default="reuters")
    arguments = parser.parse_args()

    recipe = Recipe.from_file(Path(str(files("intarsia.pipeline") / "quickstart.yaml")))
    base = load_causal_lm(recipe.model)
    rows = load_task(recipe.tasks[arguments.task], base.tokenizer, recipe.seed).train
    set_instruction(base.tokenizer, recipe.instruction)
    seconds: dict[str, list[float]] = {"without": [], "with": []}
    with tempfile.TemporaryDirectory() as folder:
        train(base, rows, recipe, Path(folder), "warm-up", miub=None)
        for repeat in range(arguments.repeats):
            for side, miub in (("without", None), ("with", MIUBConfig(max_tokens=500))):
                taken = train(base, rows, recipe, Path(folder), f"{side}-{repeat}", miub=miub)
                seconds[side].append(taken)
                print(f"{side:8} {taken:6.1f} s", flush=True)
    ratio = statistics.median(seconds["with"]) / statistics.median(seconds["without"])
    print(f"with / without: {ratio:.3f} (target: at most {TARGET})")
    return int(ratio > TARGET)


def train(
    base: CausalLM, rows: list[TextToTextRow], recipe: Recipe, folder: Path, name: str, *, miub: MIUBConfig | None
) -> float:
    """Trains one expert; the warm-up leaves the frozen layers' states for the others."""
    start = time.perf_counter()
    train_expert(base, rows, recipe.expert, folder / name, miub=miub, states_folder=folder / "states")
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
