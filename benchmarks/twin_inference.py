"""Speed of a twin-merged model beside its plain base model and beside rebuilding the weights for each input.

    python benchmarks/twin_inference.py [--threads N] [--rounds N] [--skip generation] [--json FILE]

Every figure is the median of ratios of runs that follow each other, so load from elsewhere hits both sides alike. The
experts are random LoRA adapters of SmolLM2-135M-Instruct (speed does not depend on what they learnt) on all linear
layers of the top 10 and of all 30 decoder layers; the prompts are 24 texts of four kinds.
"""

import argparse
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from rich.console import Console
from rich.table import Table
from timing import median_ratio
from torch import Tensor
from torch.func import functional_call

from intarsia.merge import TwinMergingConfig
from intarsia.merge.router import Router
from intarsia.merge.twin import merge_residuals
from intarsia.models import load_causal_lm

BASE = "asset:smollm2-135m-instruct"
EXPERTS = ("mail", "news", "recipes", "travel")
TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
TEXTS = (
    "Write a short reply to this mail: Dear team, the meeting on {} is moved to the small room on the second floor.",
    "Which topic is this report about? Shares of the company fell by {} per cent after the quarter's figures came out.",
    "List the steps: boil {} potatoes, peel them while warm, then mash them with butter, milk, salt and some nutmeg.",
    "Plan a day in a town with {} museums for two people who like to walk, eat early and be back by nine.",
)
RANK, LORA_RANK, NEW_TOKENS = 8, 16, 64


def build_twin(layers: list[int], folder: Path) -> Any:
    """Merges four random experts on the given layers, with an untrained router."""
    paths = {}
    for seed, name in enumerate(EXPERTS):
        torch.manual_seed(seed)
        settings = LoraConfig(r=LORA_RANK, target_modules=TARGETS, layers_to_transform=layers, init_lora_weights=False)
        get_peft_model(load_causal_lm(BASE).model, settings).save_pretrained(folder / name)
        paths[name] = folder / name
    twin = merge_residuals(load_causal_lm(BASE).model, BASE, paths, config=TwinMergingConfig(rank=RANK))
    torch.manual_seed(0)
    return twin.attach_router(Router(twin.config.hidden_size, len(EXPERTS)))


class Rebuilding:
    """The published inference loop: dense residuals of every tensor are summed and added for each input."""

    def __init__(self, twin: Any, plain: Any) -> None:
        self.plain = plain
        zero = torch.zeros(len(EXPERTS))
        self.merged = twin.merged_state(zero)
        # The output head is the input embedding.
        del self.merged["lm_head.weight"]
        self.residuals = []
        for index in range(len(EXPERTS)):
            expert = twin.merged_state(torch.eye(len(EXPERTS))[index])
            self.residuals.append({name: expert[name] - self.merged[name] for name in self.merged})

    def __call__(self, ids: Tensor, mask: Tensor, mixture: Tensor) -> None:
        for row in range(len(ids)):
            scaled = [
                {name: weight * tensor for name, tensor in residual.items()}
                for weight, residual in zip(mixture[row], self.residuals, strict=True)
            ]
            total = scaled[0]
            for other in scaled[1:]:
                total = {name: total[name] + other[name] for name in total}
            weights = {name: self.merged[name] + total[name] for name in total}
            kept = mask[row].bool()
            functional_call(self.plain, weights, (ids[row : row + 1, kept],), {"use_cache": False})


@torch.inference_mode()
def measure(rounds: int, skip: str | None) -> list[dict[str, Any]]:
    base = load_causal_lm(BASE)
    plain, tokenizer = base.model, base.tokenizer
    prompts = [TEXTS[i % 4].format(i) for i in range(24)]
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    ids, mask = batch.input_ids, batch.attention_mask
    rows: list[dict[str, Any]] = []

    def report(adapted: str, what: str, peer: str, times: tuple[float, float, float], limit: float) -> None:
        ours, theirs, ratio = times
        rows.append(
            {"adapted": adapted, "what": what, "peer": peer, "ours_s": ours, "peer_s": theirs, "ratio": ratio}
            | {"wanted": limit, "tokens": int(mask.sum()), "rounds": rounds}
        )
        print(
            f"{adapted}: {what}: {ours:.3f} s, {peer}: {theirs:.3f} s, ratio {ratio:.3f} (wanted <= {limit})",
            flush=True,
        )

    for adapted, first, early in (("top 10 layers", 20, 20), ("all 30 layers", 0, 5)):
        with tempfile.TemporaryDirectory() as folder:
            twin = build_twin(list(range(first, 30)), Path(folder))
        inputs = {"input_ids": ids, "attention_mask": mask}
        forward = partial(plain, **inputs, use_cache=False)
        ours = partial(twin, **inputs, use_cache=False)
        twin.set_router_input(layer=early)
        report(
            adapted, f"forward, router after {early} layers", "base forward", median_ratio(ours, forward, rounds), 1.3
        )
        twin.set_router_input()
        report(adapted, "forward, router after all layers", "base forward", median_ratio(ours, forward, rounds), 1.3)
        mixture = twin.route(ids, mask)
        given = partial(ours, mixture=mixture)
        report(adapted, "forward, mixture given", "base forward", median_ratio(given, forward, rounds), 1.3)
        if skip != "rebuilding":
            rebuild = partial(Rebuilding(twin, plain), ids, mask, mixture)
            # The published loop is given the router's weights too.
            times = median_ratio(given, rebuild, max(1, rounds // 3))
            report(adapted, "forward, mixture given", "rebuilding for each input", times, 0.1)
            del rebuild
        if skip != "generation":
            settings = {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, "do_sample": False}
            generate = partial(plain.generate, **inputs, **settings)
            routed = partial(twin.generate, **inputs, **settings)
            runs = {
                f"generation, router after {early} layers": (early, routed),
                "generation, router after all layers": (None, routed),
                "generation, mixture given": (None, partial(routed, mixture=mixture)),
            }
            for what, (layer, run) in runs.items():
                twin.set_router_input(layer=layer)
                report(adapted, what, "base generation", median_ratio(run, generate, max(1, rounds // 3)), 1.25)
        del twin
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--skip", choices=("rebuilding", "generation"))
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    rows = measure(arguments.rounds, arguments.skip)
    table = Table("adapted", "what", "seconds", "peer", "seconds", "ratio", "wanted")
    for row in rows:
        figures = (f"{row['ours_s']:.3f}", f"{row['peer_s']:.3f}", f"{row['ratio']:.3f}")
        table.add_row(
            row["adapted"], row["what"], figures[0], row["peer"], figures[1], figures[2], f"<= {row['wanted']}"
        )
    Console().print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
