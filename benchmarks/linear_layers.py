"""Speed of linear layers by oneDNN beside PyTorch's own (MKL), at SmolLM2-135M's shapes and in its decoding.

    python benchmarks/linear_layers.py [--threads N] [--rounds N] [--json FILE]

Every figure is the median of ratios of runs that follow each other, so load from elsewhere hits both sides alike.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from timing import median_ratio
from torch import Tensor, nn
from transformers import DynamicCache

from intarsia.files import write_json
from intarsia.models import load_causal_lm
from intarsia.models.linear import OneDNNLinear, linear

SHAPES = {"gate or up": (1536, 576), "down": (576, 1536), "output head": (49152, 576)}
# Weights are taken in turn, so that they come from memory as they do in a model.
WEIGHT_BYTES = 2e8


@torch.inference_mode()
def time_products(rounds: int) -> list[dict[str, Any]]:
    """One product after another, through weights larger than the processor's cache."""
    results = []
    for name, (outputs, inputs) in SHAPES.items():
        weights = [torch.randn(outputs, inputs) for _ in range(max(1, int(WEIGHT_BYTES / (4 * outputs * inputs))))]
        for rows in (1, 4, 8, 64) if outputs > 10_000 else (1, 4, 8, 64, 512):
            x = torch.randn(rows, inputs)

            def multiply(function: Any, x: Tensor = x, weights: list[Tensor] = weights) -> None:
                for weight in weights:
                    function(x, weight, None)

            ours, peer, ratio = median_ratio(partial(multiply, linear), partial(multiply, nn.functional.linear), rounds)
            results.append(_row(f"{name}, {rows} rows", ours / len(weights), peer / len(weights), ratio))
    return results


@torch.inference_mode()
def time_decoding(rounds: int) -> list[dict[str, Any]]:
    """A pass of the model over new tokens after a short text."""
    model, tokenizer = load_causal_lm("asset:smollm2-135m-instruct", device="cpu")
    layers = [module for module in model.modules() if type(module) is OneDNNLinear]
    cache = DynamicCache(config=model.config)
    model(**tokenizer("The first thing to know about an inlay is", return_tensors="pt"), past_key_values=cache)

    def run(kind: type, tokens: Tensor) -> None:
        for module in layers:
            module.__class__ = kind
        model(tokens, past_key_values=cache)
        cache.crop(-tokens.shape[1])

    results = []
    for count in (1, 2, 4, 8, 12):
        tokens = torch.randint(0, 40_000, (1, count))
        ours, peer, ratio = median_ratio(partial(run, OneDNNLinear, tokens), partial(run, nn.Linear, tokens), rounds)
        results.append(_row(f"SmolLM2-135M, {count} new tokens", ours, peer, ratio))
    return results


def _row(what: str, ours: float, peer: float, ratio: float) -> dict[str, Any]:
    return {"what": what, "ours_ms": 1e3 * ours, "other_ms": 1e3 * peer, "ratio": ratio}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = time_products(arguments.rounds) + time_decoding(arguments.rounds)
    table = Table("what", "oneDNN, ms", "torch's own, ms", "ratio")
    for row in results:
        table.add_row(row["what"], f"{row['ours_ms']:.2f}", f"{row['other_ms']:.2f}", f"{row['ratio']:.2f}")
    Console(width=120).print(table)
    if arguments.json is not None:
        write_json(arguments.json, {"threads": arguments.threads, "torch": torch.__version__, "results": results})


if __name__ == "__main__":
    main()
