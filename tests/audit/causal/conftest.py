"""Random graphs for the proofs, and the golden file."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from intarsia.audit.causal.graphs import CausalGraph


def random_graph(generator: np.random.Generator, size: int, density: float = 0.5) -> CausalGraph:
    edges = [(a, b) for b in range(size) for a in range(b) if generator.random() < density]
    return CausalGraph.from_edges(size, edges)


@pytest.fixture(scope="session")
def make_graph():
    return random_graph


@pytest.fixture(scope="session")
def golden():
    path = Path(__file__).parents[3] / "../shared/data/causal-golden/golden.jsonl.gz"
    if not path.exists():
        pytest.skip("no shared/data/causal-golden beside the repository")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
