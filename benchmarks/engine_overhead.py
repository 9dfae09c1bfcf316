"""What the engine costs a row: medians over repeated runs of a function that does nothing, for each backend.

Each run is timed with a few rows and with many; the difference gives the cost of a row, and what is left of the short
run the cost of starting the backend's workers. A run with an output includes writing and syncing it. The reference is
`concurrent.futures.ProcessPoolExecutor.map` with the chunk size the engine ends up with.

    python benchmarks/engine_overhead.py [--backends serial threads local ray] [--rows 20000] [--repeats 5]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from intarsia import engine

FEW = 100


def nothing(row: int) -> int:
    return row


def seconds(run: Callable[[int], object], rows: int, repeats: int) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(rows)
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(name: str, run: Callable[[int], object], rows: int, repeats: int) -> dict[str, object]:
    few = seconds(run, FEW, repeats)
    many = seconds(run, rows, repeats)
    row = max(0.0, many - few) / (rows - FEW)
    return {"system": name, "microseconds_a_row": round(1e6 * row, 1), "seconds_to_start": round(few - FEW * row, 3)}


def engine_run(backend: str, *, written: bool) -> Callable[[int], object]:
    def run(rows: int) -> object:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / "out.jsonl" if written else None
            return engine.map(nothing, range(rows), backend=backend, workers=2, output=output, progress=False)

    return run


def pool_run(rows: int) -> object:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        return list(pool.map(nothing, range(rows), chunksize=1024))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", default=["serial", "threads", "local"])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print(json.dumps(measure("ProcessPoolExecutor.map", pool_run, options.rows, options.repeats)))
    for backend in options.backends:
        for written in (False, True):
            name = f"engine {backend}{', with output' if written else ''}"
            print(json.dumps(measure(name, engine_run(backend, written=written), options.rows, options.repeats)))


if __name__ == "__main__":
    main()
