"""Where a number comes from: commit, versions, hardware, seed and command."""

import os
import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import intarsia

# What can change a number; other packages are in the lock file of the commit.
_PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "safetensors", "numpy", "scipy", "scikit-learn")

# Changes elsewhere in the checkout (documents, the result files themselves) do not change a number.
_CODE_PATHS = ("src", "recipes", "pyproject.toml", "requirements.lock")


def collect(command: str, seed: int) -> dict[str, Any]:
    """Describes this run.

    Args:
        command: The command line as the user would type it, without paths of this machine.
        seed: The seed of the run.

    Returns:
        `commit`, `command`, `seed`, `versions` and `hardware`, as they stand in a result file.
    """
    return {
        "commit": commit(),
        "command": command,
        "seed": seed,
        "versions": versions(),
        "hardware": hardware(),
    }


def checkout() -> Path | None:
    """The source checkout this package is imported from, or None if it was installed."""
    root = Path(__file__).resolve().parents[3]
    return root if (root / "pyproject.toml").is_file() and (root / "src" / "intarsia").is_dir() else None


def commit() -> str | None:
    """The checkout's commit, with `-dirty` if code or recipes have changes; None outside a git checkout."""
    root = checkout()
    if root is None or not (root / ".git").exists():
        return None
    head = _run("git", "-C", str(root), "rev-parse", "HEAD")
    changes = _run("git", "-C", str(root), "status", "--porcelain", "--", *_CODE_PATHS)
    return f"{head}-dirty" if head and changes else head


def versions() -> dict[str, str]:
    """Name -> version of Intarsia, Python and the packages that can change a number."""
    result = {"intarsia": intarsia.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            result[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return result


@cache
def hardware() -> dict[str, Any]:
    """CPU model, usable cores, memory in GiB, and the GPU's name or None."""
    return {"cpu": _cpu(), "cores": _cores(), "memory_gib": _memory_gib(), "gpu": _gpu()}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        return _run("sysctl", "-n", "machdep.cpu.brand_string") or platform.machine()
    return platform.processor() or platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _memory_gib() -> float | None:
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return round(total / 2**30, 1)


def _gpu() -> str | None:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return names[0] if len(names) == 1 else f"{len(names)} x {names[0]}"
    return "Apple GPU (MPS)" if torch.backends.mps.is_available() else None


def _run(*command: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
