"""Functions of rows and trials that worker processes can import."""

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from intarsia.errors import ConfigError


def describe(number: int) -> dict[str, Any]:
    """Fails for some rows, and takes longer for earlier ones so that they finish out of order."""
    time.sleep(0.002 * (number % 3))
    if number % 10 == 7:
        raise ValueError(f"no {number}")
    return {"number": number, "square": number * number, "pair": (number, str(number))}


def double(number: int) -> int:
    return 2 * number


def slow_double(number: int) -> int:
    time.sleep(0.05)
    return 2 * number


def fail(number: int) -> int:
    raise RuntimeError(f"row {number} is broken")


def refuse(number: int) -> int:
    raise ConfigError("rank", number, "at least 1")


def exit_at_3(number: int) -> int:
    if number == 3:
        sys.exit("usage: ...")
    return number


def not_json(number: int) -> Any:
    return number if number % 2 else object()


def count_calls(number: int, *, folder: str) -> int:
    """Leaves a file a call."""
    (Path(folder) / f"{number}-{time.time_ns()}").touch()
    return number


def fail_until_allowed(number: int, *, folder: str) -> int:
    count_calls(number, folder=folder)
    if number == 2 and not (Path(folder) / "allowed").exists():
        raise ValueError("not yet")
    return number


def kill_worker_once(number: int, *, folder: str, victim: int) -> int:
    """The first process that gets the victim kills itself in the middle."""
    marker = Path(folder) / "killed"
    if number == victim and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def kill_worker_always(number: int, *, victim: int) -> int:
    if number == victim:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def threads_and_process(number: int) -> tuple[str | None, int]:
    time.sleep(0.1)
    return os.environ.get("OMP_NUM_THREADS"), os.getpid()


def hang_beside(number: int, *, folder: str) -> int:
    """Notes its process and then takes longer than any test."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)
    return number


def train(*, rank: int, seed: int, data: dict[str, Any] | None = None) -> dict[str, float]:
    if rank > 8:
        raise ValueError(f"rank {rank} is above the matrix")
    return {"loss": 1.0 / rank + 0.01 * seed + (data or {}).get("noise", 0.0)}


def diverge(*, rank: int) -> dict[str, float]:
    return {"loss": float("nan"), "rank": rank}


def visible_gpus(number: int) -> str | None:
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def map_inside(number: int) -> list[int]:
    from intarsia import engine

    return [outcome.value for outcome in engine.map(double, range(number), backend="ray")]
