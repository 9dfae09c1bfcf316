"""Speed of dynamic logit fusion: the solver, fused decoding, and speculative fused decoding.

    python benchmarks/fusion.py [--layers 8,6,4] [--threads N] [--rounds N] [--prompts N] [--models FOLDER]
                                [--json FILE]

Every figure is the median of ratios of runs that follow each other, so load from elsewhere hits both sides alike.

The large model is SmolLM2-135M-Instruct. Its small base keeps some of the 30 layers and is distilled on news reports
that are continued, half by their authors and half by the large model. Of its two experts, LoRA adapters of that base,
one continues reports as their authors do, which nobody can guess, and one files them: it names the topic and writes
the topic's standing order below, as experts for fixed forms do. Made once, kept in `--models` (minutes for each size).
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from timing import median_ratio
from torch import Tensor

from intarsia.data import TextToTextRow, read_rows
from intarsia.files import read_json, write_json
from intarsia.finetune import DistillationConfig, ExpertConfig, distill, keep_layers, train_expert
from intarsia.fusion import FusionTrace, SolverConfig, fuse_models, solve_alpha
from intarsia.models import load_causal_lm

LARGE = "asset:smollm2-135m-instruct"
LAYERS = {4: [0, 1, 2, 29], 6: [0, 1, 2, 3, 28, 29], 8: [0, 1, 2, 3, 4, 5, 28, 29]}
ROWS, HELD_OUT, NEW_TOKENS, BATCH, STEPS = 360, 16, 48, 8, 6
CONTINUE, FILE = "\nContinue this report.", "\nFile this report."
ORDERS = {
    "acq": "takeover\nDesk: mergers"
    "\nOrder: call both companies, ask who advises them, and look up what each owns of the other.",
    "crude": "oil\nDesk: energy"
    "\nOrder: compare with the prices of the week before, and ask the refineries what they expect.",
    "earn": "profit\nDesk: companies"
    "\nOrder: put the figures into the table of results, and compare them with those a year ago.",
    "grain": "grain\nDesk: commodities"
    "\nOrder: ask the exchange about the volume, and look up the harvest in the last bulletin.",
    "interest": "interest rates\nDesk: money"
    "\nOrder: note the rate and the day it takes effect, and ask two banks what will follow.",
    "money-fx": "currencies\nDesk: money"
    "\nOrder: note the rates at noon and at the close, and ask whether a central bank was seen.",
    "ship": "shipping\nDesk: transport"
    "\nOrder: find the ship and its port in the register, and ask the harbour about delays.",
    "trade": "trade\nDesk: economy"
    "\nOrder: name the countries first, then the goods, and quote the ministry if it has answered.",
}


class Expert(NamedTuple):
    """What an expert is asked, passes over its training rows, and tokens it is to write when it is timed."""

    question: str
    epochs: int
    tokens: int


EXPERTS = {"author": Expert(CONTINUE, 1, NEW_TOKENS), "filing": Expert(FILE, 3, 28)}


# The models


def reports(task: str) -> list[TextToTextRow]:
    """Beginnings of news reports, and what an expert does with them."""
    rows = []
    for row in read_rows("reuters-r8", split="train", seed=0):
        words = row.text.split()
        if len(words) >= 60:
            target = " ".join(words[24:60]) if task == CONTINUE else f"Topic: {ORDERS[row.label]}"
            rows.append(TextToTextRow(" ".join(words[:24]) + task, target))
        if len(rows) == ROWS + HELD_OUT:
            break
    return rows


@torch.inference_mode()
def continued_by(model: Any, tokenizer: Any, prompts: list[str]) -> list[str]:
    """How a model continues the reports."""
    texts = []
    for start in range(0, len(prompts), 20):
        inputs = chat(tokenizer, prompts[start : start + 20])
        out = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        texts += tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def chat(tokenizer: Any, prompts: list[str]) -> Any:
    """Prompts as padded tensors."""
    return tokenizer(rendered(tokenizer, prompts), add_special_tokens=False, padding=True, return_tensors="pt")


def midway(tokenizer: Any, rows: list[TextToTextRow]) -> Any:
    """Prompts and the first half of their answers, as padded tensors."""
    prompts = rendered(tokenizer, [row.prompt for row in rows])
    halves = [row.target[: len(row.target) // 2] for row in rows]
    texts = [prompt + half for prompt, half in zip(prompts, halves, strict=True)]
    return tokenizer(texts, add_special_tokens=False, padding=True, return_tensors="pt")


def rendered(tokenizer: Any, prompts: list[str]) -> list[str]:
    """Prompts as the model reads them."""
    messages = [[{"role": "user", "content": prompt}] for prompt in prompts]
    texts: list[str] = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    return texts


def prepare(layers: int, folder: Path) -> tuple[Path, dict[str, Path]]:
    """Returns the folders of the small base and of its experts, by name; trains what is missing."""
    large = load_causal_lm(LARGE)
    rows = reports(CONTINUE)[:ROWS]
    written = folder / "continuations.json"
    if not written.is_file():
        write_json(written, continued_by(large.model, large.tokenizer, [row.prompt for row in rows[::2]]))
    own = [TextToTextRow(row.prompt, text) for row, text in zip(rows[::2], read_json(written), strict=True)]
    small = folder / f"small-{layers}"
    if not small.is_dir():
        chosen = [*own, *rows[1::2]]
        config = DistillationConfig(positions="answer", epochs=3, batch_size=8, learning_rate=1e-3)
        distill(
            keep_layers(large.model, LAYERS[layers]),
            large,
            rendered(large.tokenizer, [row.prompt for row in chosen]),
            config,
            small,
            continuations=[row.target for row in chosen],
        )
    experts = {}
    for name, kind in EXPERTS.items():
        experts[name] = folder / f"{name}-{layers}"
        if not experts[name].is_dir():
            train_expert(
                load_causal_lm(small),
                reports(kind.question)[:ROWS],
                ExpertConfig(rank=16, alpha=32, epochs=kind.epochs),
                experts[name],
            )
    return small, experts


# The solver


def literal_grid(large: Tensor, small: Tensor, expert: Tensor) -> Tensor:
    """The paper's pseudo-code as it stands: for each alpha, the fused distribution and both divergences."""
    base, weak, tuned = (values.log_softmax(-1) for values in (large, small, expert))
    target = (tuned.exp() * (tuned - weak)).sum(-1), (weak.exp() * (weak - tuned)).sum(-1)
    best = torch.full_like(target[0], float("inf"))
    chosen = torch.zeros_like(best)
    for index in range(21):
        alpha = index / 10
        fused = (large + alpha * (expert - small)).log_softmax(-1)
        forward = (fused.exp() * (fused - base)).sum(-1)
        backward = (base.exp() * (base - fused)).sum(-1)
        loss = (forward - target[0]) ** 2 + (backward - target[1]) ** 2
        chosen = torch.where(loss < best, alpha, chosen)
        best = torch.minimum(best, loss)
    return chosen


@torch.inference_mode()
def time_solver(fused: Any, inputs: Any, rounds: int, name: str) -> list[dict[str, Any]]:
    """Solvers at some decoding steps of a batch, beside the forward passes they accompany."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    cache = fused.new_cache(speculative=True)
    fused(ids[:, :-STEPS], attention_mask=mask[:, :-STEPS], past_key_values=cache, logits_to_keep=1)

    def read(count: int) -> dict[str, Tensor]:
        """Logits after each of the next tokens."""
        end = ids.shape[1] - STEPS + count
        logits: dict[str, Tensor] = {}
        for member in cache.members:
            logits |= fused.read(member, cache, ids[:, end - count : end], mask[:, :end])
        cache.crop(-count)
        return logits

    # Each step's apart, as decoding gives them.
    logits = {part: [step.clone() for step in values.float().unbind(1)] for part, values in read(STEPS).items()}
    steps = list(zip(logits["large"], logits["small"], logits[fused.config.experts[0]], strict=True))

    def solve(solver: Literal["newton", "grid"]) -> Tensor:
        config = SolverConfig(solver=solver)
        return torch.stack([solve_alpha(large, small, [expert], config).loss for large, small, expert in steps])

    def literal() -> None:
        for step in steps:
            literal_grid(*step)

    def forward() -> None:
        for _ in steps:
            read(1)

    results = []
    for what, peer in (
        ("the same library's 21-point grid", partial(solve, "grid")),
        ("the pseudo-code's grid", literal),
        ("the models' forward passes", forward),
    ):
        seconds, other, ratio = median_ratio(partial(solve, "newton"), peer, rounds * 3)
        what = f"{name}: newton, beside {what}"
        results.append(
            {"what": what, "ours_ms": 1e3 * seconds / STEPS, "other_ms": 1e3 * other / STEPS, "ratio": ratio}
        )
    results[0]["largest_excess_of_loss"] = float((solve("newton") - solve("grid")).max())
    return results


# Decoding


@torch.inference_mode()
def time_decoding(
    fused: Any, expert: Any, small: Any, inputs: list[Any], rounds: int, tokens: int, name: str
) -> list[dict[str, Any]]:
    """Fused decoding beside its models' own, and speculative beside plain."""
    options = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False}

    def run(model: Any, **extra: Any) -> None:
        for prompt in inputs:
            model.generate(**prompt, **options, **extra)

    def one_after_the_other() -> None:
        for model in (fused.large, small, expert):
            run(model)

    traces = [FusionTrace() for _ in inputs]
    same = 0
    for prompt, trace in zip(inputs, traces, strict=True):
        plain = fused.generate(**prompt, **options)
        same += int(torch.equal(plain, fused.generate(**prompt, **options, speculative=True, trace=trace)))
    drafted, accepted = sum(trace.drafted for trace in traces), sum(trace.accepted for trace in traces)
    results = []
    for what, ours, peer in (
        ("fused, beside the sum of its models' own decoding", partial(run, fused), one_after_the_other),
        ("speculative, beside plain fusion", partial(run, fused, speculative=True), partial(run, fused)),
        ("speculative, beside the large model alone", partial(run, fused, speculative=True), partial(run, fused.large)),
    ):
        seconds, other, ratio = median_ratio(ours, peer, rounds)
        print(f"{name}: {what}: {ratio:.3f}", file=sys.stderr, flush=True)
        results.append({"what": f"{name}: {what}", "ours_ms": 1e3 * seconds, "other_ms": 1e3 * other, "ratio": ratio})
    results[1] |= {"accepted": accepted / max(drafted, 1), "same_text": f"{same} of {len(inputs)}"}
    return results


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", default="8,6,4", help="sizes of the small base")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=3, help="texts that are continued, one at a time")
    parser.add_argument("--models", type=Path, default=Path("runs/benchmarks/fusion"))
    parser.add_argument("--prepare", action="store_true", help="only make the models")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    sizes = [int(size) for size in arguments.layers.split(",")]
    results = []
    for layers in sizes:
        small_folder, folders = prepare(layers, arguments.models)
        if arguments.prepare:
            continue
        small = load_causal_lm(small_folder).model
        for name, folder in folders.items():
            fused, tokenizer = fuse_models(LARGE, small_folder, {name: folder}, solver=SolverConfig("newton"))
            prompts = [row.prompt for row in reports(EXPERTS[name].question)[ROWS:]]
            if layers == sizes[0]:
                answers = midway(tokenizer, reports(EXPERTS[name].question)[-BATCH:])
                results += time_solver(fused, answers, arguments.rounds, f"{layers} layers, {name}")
            # Merged, so that the peer does not pay for peft's hooks.
            expert = load_causal_lm(folder).model.merge_and_unload()
            inputs = [chat(tokenizer, [prompt]) for prompt in prompts[: arguments.prompts]]
            results += time_decoding(
                fused, expert, small, inputs, arguments.rounds, EXPERTS[name].tokens, f"{layers} layers, {name}"
            )
    if arguments.prepare:
        return
    table = Table("what", "ours, ms", "other, ms", "ratio", "notes")
    for row in results:
        notes = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
            if key not in ("what", "ours_ms", "other_ms", "ratio")
        )
        table.add_row(row["what"], f"{row['ours_ms']:.1f}", f"{row['other_ms']:.1f}", f"{row['ratio']:.3f}", notes)
    Console(width=160).print(table)
    if arguments.json is not None:
        write_json(arguments.json, {"threads": arguments.threads, "torch": torch.__version__, "results": results})


if __name__ == "__main__":
    main()
