"""Speed and memory of embeddings that are sums of tensor products, beside their peers, on one thread.

    python benchmarks/compress.py [--rounds N] [--json FILE]

At SmolLM2-135M's sizes: 49,152 tokens of 576 numbers. Every figure is the median of ratios of runs that follow each
other, so load from elsewhere hits both sides alike.

- Lookup with gradient of 1,024 tokens, all distinct (the worst case: nothing is saved by computing a token once), and
  of 1,024 tokens of news reports. MorphTE's way computes every row of the vocabulary in each step and then looks the
  batch up. word2ket's way computes the rows of the batch alone, each term's product as a balanced tree, all terms at
  once, and adds them up. Both are written here plainly, without what the papers' networks put around them; they look
  all vectors up at once, give the same numbers as the layer (checked), and are timed on settings of their papers as
  well as on SEE's. Where terms are few, word2ket's way and ours both wait for the gradient's memory.
- Decoding: tokens of SmolLM2-135M with its embedding compressed ten times and the rebuilt matrix kept, beside the
  original.
- Loading: of both from a folder, until the first logits, so that the matrix is rebuilt.
- Memory: the peak of a process that trains an embedding and its tied head with Adam, less that of one that only imports
  the library, ten times compressed beside dense.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from timing import median_ratio
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from intarsia.compress import SEEConfig, SEEEmbedding, SEEHead, TermTable
from intarsia.compress.compressing import compress_model, save_compressed
from intarsia.compress.see.methods import SEESettings
from intarsia.compress.units import assign_copies, hashed_units, private_units
from intarsia.data import read_rows
from intarsia.files import write_json
from intarsia.models import CausalLM, load_causal_lm
from intarsia.models.progress_bars import without_progress_bars

MODEL = "asset:smollm2-135m-instruct"
VOCAB, DIM, TERMS, RATIO = 49_152, 576, 36, 10
BATCH, STATES, STEPS = 1024, 64, 4


# Tables of terms. Speed does not depend on what the units mean.


def see_terms() -> TermTable:
    """SEE's setting: 36 terms of three units, vectors for a tenth of the parameters."""
    return hashed_units(VOCAB, int(VOCAB * DIM / RATIO) // 9, order=3, terms=TERMS)


def morphte_terms() -> TermTable:
    """MorphTE's: three morphemes, every copy of them; seven copies as on IWSLT14."""
    units = torch.randint(6886, (VOCAB, 1, 3), generator=torch.Generator().manual_seed(0))
    return assign_copies(units, torch.ones(VOCAB, 1, dtype=torch.bool), 7 * 6886, "all", num_units=6886)


# The peers


def product_tree(vectors: list[Tensor]) -> Tensor:
    """Tensor product of vectors along the last axis, neighbours first, as word2ket's tree has it."""
    while len(vectors) > 1:
        pairs = zip(vectors[0::2], vectors[1::2], strict=False)
        joined = [(left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2) for left, right in pairs]
        vectors = joined + vectors[len(vectors) - len(vectors) % 2 :]
    return vectors[0]


def rows_by_trees(embedding: SEEEmbedding, ids: Tensor) -> Tensor:
    """word2ket's way: products of the batch's terms, all at once, then their sum."""
    vectors = nn.functional.embedding(embedding.index[ids], embedding.weight)
    slots = [vectors[:, slot, :, :size] for slot, size in enumerate(embedding.slot_sizes)]
    return product_tree(slots).sum(1)[:, : embedding.embedding_dim]


def vocabulary_of_copies(embedding: SEEEmbedding) -> Tensor:
    """MorphTE's way: for each copy the products of all words, added up."""
    total: Any = 0
    for term in range(embedding.terms):
        vectors = nn.functional.embedding(embedding.index[:, :, term], embedding.weight)
        slots = [vectors[:, slot, :size] for slot, size in enumerate(embedding.slot_sizes)]
        total = total + product_tree(slots)[:, : embedding.embedding_dim]
    return total


# What is measured


def time_lookup(rounds: int, text: Tensor) -> list[dict[str, Any]]:
    """Lookups with gradient."""
    distinct = torch.randperm(VOCAB, generator=torch.Generator().manual_seed(0))[:BATCH]
    bare = SEEConfig(mean=False)
    ket = SEEConfig(mean=False, slot_sizes=(5, 5, 5, 5))
    cases = {
        # As many parameters as a tenth of the dense matrix has; word2ket's order is 4.
        "word2ket": (SEEEmbedding.from_table(private_units(VOCAB, order=4, terms=3), DIM, ket), "its own setting"),
        "MorphTE": (SEEEmbedding.from_table(morphte_terms(), DIM, bare), "its own setting"),
        "both": (SEEEmbedding.from_table(see_terms(), DIM, bare), "SEE's setting"),
    }
    results = []
    for name, (embedding, setting) in cases.items():
        for what, ids in ((f"{BATCH:,} distinct tokens", distinct), (f"{BATCH:,} tokens of text", text)):
            upstream = torch.randn(len(ids), DIM)

            def step(rows: Any, embedding: SEEEmbedding = embedding, upstream: Tensor = upstream) -> None:
                embedding.zero_grad()
                rows().backward(upstream)

            ours = partial(embedding, ids)
            peers = {}
            if name != "MorphTE":
                peers["word2ket's way"] = partial(rows_by_trees, embedding, ids)
            # It costs the same for all tokens.
            if name != "word2ket" and ids is distinct:
                peers["MorphTE's way"] = lambda e=embedding, ids=ids: nn.functional.embedding(
                    ids, vocabulary_of_copies(e)
                )
            for way, peer in peers.items():
                check_same(embedding, ours, peer, upstream)
                # Seconds a run, of which few suffice.
                few = max(1, rounds // 6) if way.startswith("MorphTE") else rounds
                times = median_ratio(partial(step, ours), partial(step, peer), few)
                results.append(row(f"lookup with gradient, {what}, beside {way}, {setting}", "ms", 1e3, times))
                print(results[-1], file=sys.stderr, flush=True)
    return results


def check_same(embedding: SEEEmbedding, ours: Any, peer: Any, upstream: Tensor) -> None:
    """Stops if the two ways do not give the same rows and gradients."""
    found = []
    for rows in (ours(), peer()):
        (gradient,) = torch.autograd.grad(rows, embedding.weight, upstream)
        found.append((rows.detach(), gradient))
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def time_loading(rounds: int, dense: CausalLM, compressed: CausalLM) -> list[dict[str, Any]]:
    """Loading of the compressed model, beside the original."""
    ids = torch.zeros(1, 1, dtype=torch.long)

    @torch.inference_mode()
    def load(folder: Path) -> None:
        AutoModelForCausalLM.from_pretrained(folder, local_files_only=True)(input_ids=ids)

    with tempfile.TemporaryDirectory() as temporary, without_progress_bars():
        folders = [Path(temporary) / name for name in ("compressed", "dense")]
        save_compressed(compressed, folders[0])
        dense.model.save_pretrained(folders[1])
        times = median_ratio(*(partial(load, folder) for folder in folders), rounds)
    print(times, file=sys.stderr, flush=True)
    return [row("loading of SmolLM2-135M until its first logits, beside the dense model", "s", 1, times)]


def time_decoding(rounds: int, dense: CausalLM, compressed: CausalLM, prompts: list[Tensor]) -> list[dict[str, Any]]:
    """Tokens of the model with its embedding compressed, beside the original."""
    options = {"max_new_tokens": 48, "min_new_tokens": 48, "do_sample": False}

    @torch.inference_mode()
    def run(model: Any) -> None:
        for ids in prompts:
            model.generate(ids, attention_mask=torch.ones_like(ids), **options)

    times = median_ratio(partial(run, compressed.model), partial(run, dense.model), rounds)
    print(times, file=sys.stderr, flush=True)
    return [row("decoding of SmolLM2-135M, cached matrix, beside the dense model", "s", 1, times)]


def measure_memory() -> list[dict[str, Any]]:
    """Peaks of processes that train, less that of one that does nothing."""
    results = []
    for part, what in (("lookup", f"lookups of {BATCH:,} tokens"), ("head", f"and logits of {STATES} states")):
        nothing, ours, other = (peak_of(kind, part) for kind in ("nothing", "see", "dense"))
        results.append(
            {
                "what": f"peak memory of training an embedding, {what}, beside a dense one",
                "unit": "MB",
                "ours": ours - nothing,
                "other": other - nothing,
                "ratio": (ours - nothing) / (other - nothing),
            }
        )
    return results


def peak_of(kind: str, part: str) -> float:
    """Peak memory of a process of its own, in MB."""
    done = subprocess.run([sys.executable, __file__, "--train", kind, part], check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


def train(kind: str, part: str) -> None:
    """Trains an embedding, and its tied head if asked to, and prints the process's peak memory in MB."""
    torch.set_num_threads(1)
    if kind != "nothing":
        embedding: Any = nn.Embedding(VOCAB, DIM)
        if kind == "see":
            embedding = SEEEmbedding.from_table(see_terms(), DIM)
        head = SEEHead(embedding) if kind == "see" else partial(nn.functional.linear, weight=embedding.weight)
        optimizer = torch.optim.Adam(embedding.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        for _ in range(STEPS):
            ids = torch.randint(VOCAB, (BATCH,), generator=generator)
            states = embedding(ids)
            loss = states.square().mean()
            if part == "head":
                loss = loss + nn.functional.cross_entropy(head(states[:STATES]), ids[1 : STATES + 1])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    print(json.dumps(peak_memory()))


def peak_memory() -> float:
    """Peak memory of this process, in MB."""
    status = Path("/proc/self/status")
    if status.is_file():
        # What Linux tells by getrusage counts the process that started this one in.
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def row(what: str, unit: str, scale: float, times: tuple[float, float, float]) -> dict[str, Any]:
    """One line of the table."""
    ours, other, ratio = times
    return {"what": what, "unit": unit, "ours": scale * ours, "other": scale * other, "ratio": ratio}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--train", nargs=2, metavar=("KIND", "PART"), help="only train, for the figures of memory")
    arguments = parser.parse_args()
    if arguments.train:
        train(*arguments.train)
        return
    torch.set_num_threads(1)
    dense = load_causal_lm(MODEL, device="cpu")
    reports = [report.text for report in read_rows("reuters-r8", split="train", limit=20, seed=0)]
    text = dense.tokenizer(" ".join(reports), return_tensors="pt").input_ids[0, :BATCH]
    prompts = [dense.tokenizer(report, return_tensors="pt").input_ids[:, :24] for report in reports[:3]]
    # Speed does not depend on how well it fits.
    compressed = compress_model(dense, "hashed", RATIO, settings=SEESettings(steps=1))
    results = [
        *time_lookup(arguments.rounds, text),
        *time_decoding(arguments.rounds, dense, compressed, prompts),
        *time_loading(arguments.rounds, dense, compressed),
        *measure_memory(),
    ]
    table = Table("what", "ours", "other", "unit", "ratio")
    for line in results:
        table.add_row(line["what"], f"{line['ours']:.2f}", f"{line['other']:.2f}", line["unit"], f"{line['ratio']:.3f}")
    Console(width=160).print(table)
    if arguments.json is not None:
        versions = {"threads": 1, "torch": torch.__version__}
        write_json(arguments.json, {**versions, "tokens_of_text_distinct": len(text.unique()), "results": results})


if __name__ == "__main__":
    main()
