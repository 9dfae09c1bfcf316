"""Static merging beside mergekit: three 135M checkpoints, wall time, peak memory and whether the results agree.

    python benchmarks/merge_vs_mergekit.py [--repeats N] [--threads N] [--json FILE]

mergekit is installed in an environment of its own on first use. Each run is a fresh process, ours and theirs in turn,
so load from elsewhere hits both alike; figures are medians of the ratios of neighbouring runs. "merge" is the time of
the merge alone, "process" includes starting Python and importing. Peak memory is the process's largest resident set.

mergekit's TIES trims every tensor by itself, the paper trims the whole model: both of ours are run.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch
from platformdirs import user_cache_path
from rich.console import Console
from rich.table import Table
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from intarsia.merge.static import copy_companions
from intarsia.models import local_folder

MERGEKIT = "0.1.5"
BASE = "asset:smollm2-135m-instruct"
EXPERTS = ("a", "b", "c")
DENSITY = 0.3

OURS = """
import json, sys
from intarsia.merge.static import merge_checkpoints
job = json.loads(sys.argv[1])
result = merge_checkpoints(job["base"], job["experts"], job["method"], job["output"], params=job["params"],
                           overwrite=True, progress=False)
seconds = result.seconds
"""
THEIRS = """
import json, shutil, sys, time
import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
job = json.loads(sys.argv[1])
config = MergeConfiguration.model_validate(job["config"])
shutil.rmtree(job["output"], ignore_errors=True)
start = time.perf_counter()
run_merge(config, job["output"], options=MergeOptions(quiet=True), config_source=yaml.safe_dump(job["config"]))
seconds = time.perf_counter() - start
"""
# Not getrusage: its maximum includes the parent's memory from before exec.
REPORT = """
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps([seconds, int(peak.split()[1]) * 1024]))
"""


class Run(NamedTuple):
    merge_seconds: float
    process_seconds: float
    peak_bytes: int


def mergekit_python() -> Path:
    """Returns the interpreter of an environment with mergekit, made on first use."""
    folder = user_cache_path("intarsia") / "benchmarks" / f"mergekit-{MERGEKIT}"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        print(f"installing mergekit {MERGEKIT} in {folder} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        # The same torch first, so that a CPU build is not replaced by one with gigabytes of CUDA.
        for package in (f"torch=={torch.__version__}", f"mergekit=={MERGEKIT}"):
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", package], check=True)
        done.touch()
    return python


def make_experts(base: Path, folder: Path) -> dict[str, Path]:
    """Writes three copies of the base with noise of a tenth of each tensor's deviation added."""
    experts = {}
    for seed, name in enumerate(EXPERTS):
        generator = torch.Generator().manual_seed(seed)
        experts[name] = folder / name
        experts[name].mkdir()
        copy_companions(base, experts[name])
        tensors = load_file(base / "model.safetensors")
        for tensor in tensors.values():
            noise = torch.randn(tensor.shape, generator=generator)
            tensor += 0.1 * tensor.float().std(correction=0) * noise
        save_file(tensors, experts[name] / "model.safetensors", metadata={"format": "pt"})
    return experts


def run(python: str | Path, script: str, job: dict[str, Any]) -> Run:
    start = time.perf_counter()
    process = subprocess.run([str(python), "-c", script + REPORT, json.dumps(job)], capture_output=True, text=True)
    process_seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"{python} failed:\n{process.stderr[-3000:]}")
    seconds, peak = json.loads(process.stdout.strip().splitlines()[-1])
    return Run(seconds, process_seconds, peak)


def largest_difference(one: Path, other: Path) -> tuple[float, float]:
    """Returns the largest absolute difference of two merged models and the share of weights that differ above 1e-5."""
    largest, above, total = 0.0, 0, 0
    with safe_open(one / "model.safetensors", "pt") as ours:
        theirs = {}
        for file in sorted(other.glob("*.safetensors")):
            theirs |= load_file(file)
        for key in ours.keys():  # noqa: SIM118 - safe_open is no mapping
            difference = (ours.get_tensor(key).float() - theirs[key].float()).abs()
            largest = max(largest, float(difference.max()))
            above += int((difference > 1e-5).sum())
            total += difference.numel()
    return largest, above / total


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None, help="OMP_NUM_THREADS of both sides; by default unset")
    parser.add_argument("--json", type=Path, default=None, help="also write the figures here")
    arguments = parser.parse_args()
    if arguments.threads:
        os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    theirs_python = mergekit_python()
    base = local_folder(BASE)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        experts = make_experts(base, folder)
        rows = compare(theirs_python, base, experts, folder, "linear", [{}], arguments.repeats)
        trims = [{"density": DENSITY, "trim": trim} for trim in ("tensor", "global")]
        rows += compare(theirs_python, base, experts, folder, "ties", trims, arguments.repeats)
    table = Table(
        "method", "merge s", "mergekit s", "ratio", "process ratio", "peak MB", "mergekit MB", "ratio", "differ"
    )
    for row in rows:
        table.add_row(
            row["method"],
            f"{row['merge_seconds']:.2f}",
            f"{row['mergekit_merge_seconds']:.2f}",
            f"{row['merge_ratio']:.2f}",
            f"{row['process_ratio']:.2f}",
            f"{row['peak_bytes'] / 1e6:.0f}",
            f"{row['mergekit_peak_bytes'] / 1e6:.0f}",
            f"{row['memory_ratio']:.2f}",
            f"{row['largest_difference']:.1e} ({row['share_above_1e-5']:.2%} > 1e-5)",
        )
    Console(width=150).print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def compare(
    theirs_python: Path,
    base: Path,
    experts: dict[str, Path],
    folder: Path,
    method: str,
    variants: list[dict[str, Any]],
    repeats: int,
) -> list[dict[str, Any]]:
    """Runs mergekit and each of our variants in turn; returns the medians and how far the last results differ."""
    parameters = {"weight": 1.0} if method == "linear" else {"weight": 1.0, "density": DENSITY}
    config: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": str(path), "parameters": parameters} for path in experts.values()],
        "dtype": "float32",
    }
    if method == "ties":
        config["base_model"] = str(base)
    their_runs: list[Run] = []
    our_runs: list[list[Run]] = [[] for _ in variants]
    for _ in range(repeats):
        their_runs.append(run(theirs_python, THEIRS, {"config": config, "output": str(folder / "theirs")}))
        print(f"mergekit {method}: {their_runs[-1]}", file=sys.stderr)
        for i, params in enumerate(variants):
            job = {
                "base": str(base),
                "experts": {name: str(path) for name, path in experts.items()},
                "method": method,
                "params": params,
                "output": str(folder / f"ours{i}"),
            }
            our_runs[i].append(run(sys.executable, OURS, job))
            print(f"intarsia {method} {params}: {our_runs[i][-1]}", file=sys.stderr)
    rows = []
    for i, params in enumerate(variants):
        largest, share = largest_difference(folder / f"ours{i}", folder / "theirs")
        if method == "linear" and largest > 1e-5:
            sys.exit(f"linear merges differ by {largest}")
        pairs = list(zip(our_runs[i], their_runs, strict=True))
        rows.append(
            {
                "method": f"{method} ({params['trim']})" if "trim" in params else method,
                "merge_seconds": statistics.median(ours.merge_seconds for ours, _ in pairs),
                "mergekit_merge_seconds": statistics.median(theirs.merge_seconds for _, theirs in pairs),
                "merge_ratio": statistics.median(ours.merge_seconds / theirs.merge_seconds for ours, theirs in pairs),
                "process_ratio": statistics.median(
                    ours.process_seconds / theirs.process_seconds for ours, theirs in pairs
                ),
                "peak_bytes": statistics.median(ours.peak_bytes for ours, _ in pairs),
                "mergekit_peak_bytes": statistics.median(theirs.peak_bytes for _, theirs in pairs),
                "memory_ratio": statistics.median(ours.peak_bytes / theirs.peak_bytes for ours, theirs in pairs),
                "largest_difference": largest,
                "share_above_1e-5": share,
            }
        )
    return rows


if __name__ == "__main__":
    main()
