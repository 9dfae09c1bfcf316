"""Speed of the causal benchmark's truth beside the published way of judging an adjustment set, and of making questions.

    python benchmarks/causal_truth.py [--graphs N] [--rounds N] [--json FILE]

Ours gives the complete truth of a graph: all causal paths, all valid adjustment sets, the minimal ones. The other
lists every undirected path between treatments and outcomes, which the published scorer does to judge a single answer;
it is our own version of that, faster than a general graph library. Both see the same graphs, one after the other in
turns; a figure is the median of the ratios of the rounds. Graphs with more than 100,000 such paths, of which there are
some at 15 nodes, are left out, and the table says how many are left.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from intarsia.audit.causal.adjustment import Adjustment
from intarsia.audit.causal.building import Subject, draw_subject, generate_questions
from intarsia.audit.causal.config import BenchmarkConfig
from intarsia.audit.causal.paths import causal_paths
from intarsia.audit.causal.released import noncausal_paths

MOST_PATHS = 100_000


def drawn(config: BenchmarkConfig, count: int) -> list[Subject]:
    shapes = config.shapes()
    return [draw_subject(config, shapes[index % len(shapes)], index // len(shapes)) for index in range(count)]


def complete_truth(subject: Subject) -> int:
    # A new object each time: results are kept on it.
    adjustment = Adjustment(subject.graph, subject.effect.treatments, subject.effect.outcomes)
    paths = causal_paths(subject.graph, adjustment.treatments, adjustment.outcomes)
    return len(paths) + adjustment.valid_sets.count + len(adjustment.valid_sets.minimal)


def undirected_paths(subject: Subject) -> int:
    paths = noncausal_paths(subject.graph, subject.effect.treatments, subject.effect.outcomes)
    return sum(1 for _ in paths)


def can_be_listed(subject: Subject) -> bool:
    paths = noncausal_paths(subject.graph, subject.effect.treatments, subject.effect.outcomes)
    return sum(1 for _ in islice(paths, MOST_PATHS + 1)) <= MOST_PATHS


def seconds(work: Callable[[Subject], object], subjects: Sequence[Subject]) -> float:
    start = time.process_time()
    for subject in subjects:
        work(subject)
    return time.process_time() - start


def compare(level: int, graphs: int, rounds: int) -> dict[str, Any]:
    subjects = drawn(BenchmarkConfig(levels=(level,)), graphs)
    listed = [subject for subject in subjects if can_be_listed(subject)]
    times = [(seconds(complete_truth, listed), seconds(undirected_paths, listed)) for _ in range(rounds)]
    ours, other = (statistics.median(column) for column in zip(*times, strict=True))
    return {
        "what": f"complete truth of a graph of {5 * level} nodes",
        "ours_ms": 1000 * ours / len(listed),
        "other_ms": 1000 * other / len(listed),
        "ratio": statistics.median(mine / theirs for mine, theirs in times),
        "graphs": f"{len(listed)} of {len(subjects)}",
    }


def throughput(rounds: int) -> dict[str, float]:
    config = BenchmarkConfig()
    truth, made = [], []
    for _ in range(rounds):
        subjects = drawn(config, 600)
        truth.append(seconds(complete_truth, subjects))
        start = time.process_time()
        count = sum(1 for _ in generate_questions(BenchmarkConfig(minimal_sets=False)))
        made.append(count / (time.process_time() - start))
    return {"truth_of_600_graphs_s": statistics.median(truth), "questions_a_second": statistics.median(made)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--graphs", type=int, default=40, help="graphs of each size")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    results = [compare(level, options.graphs, options.rounds) for level in (1, 2, 3)]
    for row in results:
        print(json.dumps(row))
    found = throughput(options.rounds)
    print(json.dumps(found))
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"results": results, **found}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
